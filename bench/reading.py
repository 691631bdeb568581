"""Reading from file systems that fail for a moment, as those of a network do.

What cannot be read is not the same as what is not there: who takes the one for the other computes a result again that
is whole, and writes over it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agiqa_bench.errors import StoreError

_PASSING = {errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EIO}
"""What may be otherwise a moment later: a server that was away, a file that was replaced while it was open."""

_PAUSES = (0.05, 0.5)
"""Seconds between attempts."""

_Read = TypeVar("_Read")


def patiently(read: Callable[[Path], _Read], file: Path) -> _Read:
    """What `read` makes of a file; tried again, twice, where the failure may pass.

    Args:
        read: Opens the file anew at each call.
        file: The file.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: There is no such file.
        StoreError: It may be there, and cannot be read.
    """
    pauses = list(_PAUSES)
    while True:
        try:
            return read(file)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            if error.errno not in _PASSING or not pauses:
                raise StoreError(
                    f"cannot read {file}: {error.strerror or error}; it is neither used nor computed again as long as "
                    "nobody knows what it holds: mend that, or move it away, and type the same command again"
                ) from error
        time.sleep(pauses.pop(0))
