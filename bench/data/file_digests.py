"""SHA-256 of files, remembered by (path, size, time of change) so that a warm run need not read them again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agiqa_bench import atomic
from agiqa_bench.data.parallel import map_in_order
from agiqa_bench.errors import BadImageError, StoreError

_Known = dict[str, tuple[int, int, str]]


def file_digests(
    paths: Sequence[str],
    memory: Path,
    workers: int,
    progress: Callable[[int, int, str], None],
) -> tuple[dict[str, str], list[BadImageError]]:
    """Hash files in parallel.

    Args:
        paths: The files, without repeats.
        memory: Folder in which digests are remembered.
        workers: Number of threads.
        progress: Called with (done, total, what); only if something must be read.

    Returns:
        SHA-256 (hex) of each file that can be read, in the order of `paths`, and why each other one cannot.
    """
    note = memory / f"{hashlib.sha256(json.dumps(list(paths)).encode()).hexdigest()}.json"
    known = _recall(note)
    facts: _Known = {}
    bad: list[BadImageError] = []
    unread: list[str] = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - an empty path must stay one, and not become the current folder
        except OSError as error:
            bad.append(_unreadable(path, error))
            continue
        fact = (status.st_size, status.st_mtime_ns)
        remembered = path in known and known[path][:2] == fact
        facts[path] = (*fact, known[path][2] if remembered else "")
        if not remembered:
            unread.append(path)
    for done, (path, found) in enumerate(map_in_order(_hash, unread, workers), start=1):
        if isinstance(found, BadImageError):
            bad.append(found)
        facts[path] = (*facts[path][:2], "" if isinstance(found, BadImageError) else found)
        progress(done, len(unread), "reading image files")
    facts = {path: fact for path, fact in facts.items() if fact[2]}
    if unread:
        # A digest that cannot be remembered (a read-only cache) is only computed again.
        with contextlib.suppress(StoreError):
            atomic.write_json(note, facts)
    return {path: digest for path, (_, _, digest) in facts.items()}, bad


def _unreadable(path: str, error: OSError) -> BadImageError:
    return BadImageError(f"cannot read {path or 'an image without a path'}: {error.strerror or error}")


def _hash(path: str) -> str | BadImageError:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return _unreadable(path, error)


def _recall(note: Path) -> _Known:
    """Read a note; a damaged or absent one is empty, which only costs reading the files."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        return {str(path): (int(size), int(changed), str(digest)) for path, (size, changed, digest) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
