"""Claims: who computes a cell now, so that several commands on one folder share the work and do none of it twice.

A claim is a lock that the system takes back when its process ends, however it ends. On a file system without locks
everybody gets every claim: work may be done twice then, and nothing worse, because cells appear whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from agiqa_bench import atomic
from agiqa_bench.locks import has_no_locks, lock_on


class Claim:
    """The locks on some files; released with `release`, or when the process ends."""

    def __init__(self, locks: list[FileLock]) -> None:
        """Use `claim`."""
        self._locks = locks

    def release(self, *, done: bool) -> None:
        """Let others have them.

        Args:
            done: Whether what they stand for is stored; their files are deleted then. Somebody who has one of them open
                still gets its lock, looks into the store, and finds nothing left to do.
        """
        for lock in self._locks:
            if done:
                with suppress(OSError):  # Windows deletes no open file
                    Path(lock.lock_file).unlink()
            lock.release()
        for folder in {Path(lock.lock_file).parent for lock in self._locks} if done else ():
            with suppress(OSError):  # others of the row are at work
                folder.rmdir()


def claim(files: Iterable[Path]) -> Claim | None:
    """Lock files, all or none, without waiting.

    Args:
        files: Their folders are created.

    Returns:
        None if somebody else holds one of them.

    Raises:
        StoreError: They cannot be written.
    """
    held: list[FileLock] = []
    for file in files:
        lock = lock_on(file)
        try:
            _take(lock, file)
        except Timeout:
            Claim(held).release(done=False)
            return None
        except OSError as error:
            if has_no_locks(error):
                continue
            Claim(held).release(done=False)
            raise atomic.explain(error, file) from error
        held.append(lock)
    return Claim(held)


_ATTEMPTS = 5
"""Somebody who has done with the row may delete its folder just as it was created."""


def _take(lock: FileLock, file: Path) -> None:
    for attempt in range(_ATTEMPTS):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return
