"""The lock on making a folder: one process makes it, the others wait and find it made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from agiqa_bench import atomic
from agiqa_bench.errors import StoreError
from agiqa_bench.locks import has_no_locks, lock_on


@contextmanager
def folder_lock(
    folder: Path,
    remedy: str = "set AGIQA_CACHE to another",
    wait: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the lock on making `folder`; what a killed process left behind is then nobody's, and removed.

    Look inside the block whether `folder` has been made meanwhile.

    Args:
        folder: A folder or a file.
        remedy: What to do where there are no locks, for the error's line.
        wait: Called before another process is waited for.

    Raises:
        StoreError: The folder around it cannot be written, or its file system has no locks.
    """
    lock = lock_on(folder.with_name(f"{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            wait()
            lock.acquire()
    except OSError as error:
        if has_no_locks(error):
            line = f"{folder.parent} is on a file system without locks: {remedy}"
            raise StoreError(line) from error
        raise atomic.explain(error, folder) from error
    try:
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()
