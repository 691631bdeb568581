"""Locks that the system takes back when their process ends, however it ends; and file systems that have none."""

from __future__ import annotations

import errno
from pathlib import Path

from filelock import FileLock

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What the system says of a lock on a file system that has none; some network file systems do."""


def lock_on(file: Path) -> FileLock:
    """A lock on a file, not taken yet; to take it where there are no locks raises an OSError, see `has_no_locks`."""
    # The library's other way, a file that is there or not, would outlive who is killed.
    return FileLock(file, fallback_to_soft=False)


def has_no_locks(error: OSError) -> bool:
    """Whether a lock could not be taken because the file system has none."""
    return error.errno in _WITHOUT_LOCKS
