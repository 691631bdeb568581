"""SHA-256 of image files, remembered by (path, size, time of change) so that a warm run need not read them again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agiqa_bench.data.images import MAX_BYTES, too_long
from agiqa_bench.data.parallel import map_in_order
from agiqa_bench.errors import BadImageError, StoreError
from agiqa_bench.sealed import unseal, write_sealed

_log = logging.getLogger(__name__)


class FileContent(NamedTuple):
    """What is known of a file's content.

    Attributes:
        size: Its length in bytes.
        changed: Time of its last change, in nanoseconds.
        digest: Its SHA-256 (hex), or "" if it is not known yet.
        remembered: Whether the digest is from an earlier run, and holds only if nobody has set the clock back.
    """

    size: int
    changed: int
    digest: str = ""
    remembered: bool = False

    def read(self, path: str) -> bytes | None:
        """The content of `path`, or None if it is no longer this one.

        Raises:
            OSError: The file cannot be read.
        """
        with Path(path).open("rb") as file:
            content = file.read(self.size + 1)  # no more, whatever it has grown to
            status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns, len(content)) != (self.size, self.changed, self.size):
            return None
        return content if not self.remembered or hashlib.sha256(content).hexdigest() == self.digest else None


_UNKNOWN = FileContent(-1, -1)
"""What no file is like."""


def file_digests(
    paths: Sequence[str],
    memory: Path,
    workers: int,
    progress: Callable[[int, int, str], None],
    *,
    anew: bool = False,
) -> tuple[dict[str, FileContent], list[BadImageError]]:
    """Hash image files in parallel; longer ones than `images.MAX_BYTES` are refused unread.

    Args:
        paths: The files, without repeats.
        memory: Folder in which digests are remembered.
        workers: Number of threads.
        progress: Called with (done, total, what); only if something must be read.
        anew: Read every file, whatever is remembered.

    Returns:
        Size, time of change and digest of each file that can be read, in the order of `paths`, and why each other one
        cannot.
    """
    note = memory / f"{hashlib.sha256(json.dumps(list(paths)).encode()).hexdigest()}.json"
    known = {} if anew else _recall(note, paths)
    facts: dict[str, FileContent] = {}
    bad: list[BadImageError] = []
    unread: list[str] = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - an empty path must stay one, and not become the current folder
        except OSError as error:
            bad.append(_unreadable(path, error))
            continue
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            # Reading them may never end.
            bad.append(BadImageError(f"cannot read {path}: it is a device or a pipe and not a file"))
            continue
        if status.st_size > MAX_BYTES:
            bad.append(BadImageError(f"cannot read {path}: {too_long(status.st_size)}"))
            continue
        facts[path] = FileContent(status.st_size, status.st_mtime_ns)
        if path in known and known[path][:2] == facts[path][:2]:
            facts[path] = known[path]
        else:
            unread.append(path)
    for done, (path, found) in enumerate(map_in_order(_hash, unread, workers), start=1):
        if isinstance(found, BadImageError):
            bad.append(found)
        else:
            facts[path] = facts[path]._replace(digest=found)
        progress(done, len(unread), "reading image files")
    facts = {path: fact for path, fact in facts.items() if fact.digest}
    if unread:
        # A digest that cannot be remembered (a read-only cache) is only computed again.
        with contextlib.suppress(StoreError):
            write_sealed(note, {"files": [facts.get(path, _UNKNOWN)[:3] for path in paths]})
    return facts, bad


def _unreadable(path: str, error: OSError) -> BadImageError:
    return BadImageError(f"cannot read {path or 'an image without a path'}: {error.strerror or error}")


def _hash(path: str) -> str | BadImageError:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return _unreadable(path, error)


def _recall(note: Path, paths: Sequence[str]) -> dict[str, FileContent]:
    """What a note says of its files; nothing if it is damaged or absent, which only costs reading them."""
    try:
        content = note.read_bytes()
    except OSError:
        return {}
    record, fault = unseal(content)
    if record is None:
        _log.warning("%s %s; the files that it tells of are read again", note, fault)
        return {}
    facts = zip(paths, record["files"], strict=True)
    return {path: FileContent(size, changed, digest, True) for path, (size, changed, digest) in facts}
