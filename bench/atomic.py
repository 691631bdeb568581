"""Files and folders that appear whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from agiqa_bench.errors import StoreError

_STOPPING = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
}

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
"""What a rename to a folder that is not empty gives."""


def explain(error: OSError, path: Path) -> StoreError:
    """Turn a failed write to `path` into the one line that says what to do."""
    why = _STOPPING.get(error.errno or 0, error.strerror or str(error))
    return StoreError(
        f"cannot write {path}: {why}; what was finished before is kept: free or choose another place "
        "and type the same command again"
    )


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` durable; a no-op where directories cannot be opened (Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def probe(folder: Path) -> float:
    """Prove that a folder can be written, and tell what time it is there.

    Args:
        folder: Created if it is not there.

    Returns:
        Seconds, by the clock that gives its files their times; on a network that is the server's.

    Raises:
        StoreError: The file system refuses.
    """
    path = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = open_beside(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"\n")
                file.flush()
                os.fsync(file.fileno())
                return os.fstat(file.fileno()).st_mtime
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, folder) from error


def remove(path: Path) -> None:
    """Delete a file, if it is there.

    Raises:
        StoreError: The file system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, path) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all.

    Raises:
        StoreError: The file system refuses (full, read-only, no permission).
    """
    with new_file(path) as file:
        file.write(content)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing that appears as `path` when the block is left without an error, and else not at all.

    Raises:
        StoreError: The file system refuses (full, read-only, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = open_beside(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text with line feeds to `path`, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` that becomes `path` if the block ends well.

    A folder that is already at `path` is replaced: it is set aside under a hidden name (`.NAME.*.tmp`), the new one
    takes its place, and the old one is deleted. So

    - what is at `path` is always whole; between the two renames nothing is there, and only for that moment;
    - after an error `path` is as it was;
    - after a kill or a power cut `path` is as it was, or as it was to become, or, at that one moment, missing, with
      the old and the new folder whole under their hidden names. Hidden folders of killed processes stay until
      somebody who knows that no other process writes there removes them;
    - of several processes that write `path` at once one wins, and the others end without an error too.

    The files written into the folder must be writable by their owner when the block ends.

    Raises:
        StoreError: The file system refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _hidden_name(path)
        temporary.mkdir()
        try:
            yield temporary
            _fsync_tree(temporary)
            _put_in_place(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        fsync_directory(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def open_beside(path: Path) -> tuple[int, Path]:
    """Open a new hidden file in the folder of `path`, for writing, with the permissions that the umask leaves.

    Returns:
        The descriptor, which the caller closes, and the file, which the caller renames or removes.
    """
    temporary = _hidden_name(path)
    # The standard library's temporary files are for their owner alone, and the umask cannot be read without a race.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(temporary, flags, 0o666), temporary


def _hidden_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a name is one that this module gives to what is not finished: `.NAME.0123456789abcdef.tmp`."""
    return re.fullmatch(r"\..+\.[0-9a-f]{16}\.tmp", name, re.DOTALL) is not None


def _fsync_tree(folder: Path) -> None:
    for entry in sorted(folder.rglob("*")):
        if entry.is_dir():
            fsync_directory(entry)
        elif entry.is_file():
            # Windows flushes only what is open for writing.
            with entry.open("r+b") as handle:
                os.fsync(handle.fileno())
    fsync_directory(folder)


def _put_in_place(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`, replacing a folder there; what another process puts there meanwhile stays."""
    old = _hidden_name(path)
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):  # another process has just set it aside itself
            path.rename(old)
    try:
        new.rename(path)
    except OSError as error:
        if error.errno in _TAKEN:
            # Theirs came last and is whole: as if ours had been there for an instant before.
            shutil.rmtree(old, ignore_errors=True)
            return
        with suppress(OSError):  # nothing was set aside, or theirs is there; the first error is the one to tell
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
