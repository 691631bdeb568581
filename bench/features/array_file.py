"""An array that is computed once, kept in a file, and read through a memory map ever after."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from agiqa_bench.atomic import new_file
from agiqa_bench.data.folder_lock import folder_lock

_log = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size


def stored_array(file: Path, compute: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """What an array's file holds, read-only; computed and written if no process has done so yet.

    Several processes may ask at once: one computes, the others wait for it. A damaged file is told of and written
    again.

    Args:
        file: Its name must cover everything that can change the array. It becomes one in numpy's format, followed by
            the SHA-256 of all that: numpy reads a file of altered numbers without a complaint.
        compute: Gives the array, which becomes read-only.

    Raises:
        StoreError: The folder cannot be written.
    """
    array = _read(file)
    if array is None:
        with folder_lock(file):
            array = _read(file)
            if array is None:
                if file.exists():
                    _log.warning("%s is not as it was written; what it held is computed again", file)
                array = compute()
                array.flags.writeable = False
                with new_file(file) as stream:
                    content = _Digested(stream)
                    np.save(content, array)
                    stream.write(content.digest())
    return array


class _Digested:
    """A stream for writing, with the digest of what went through."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.digest = self._digest.digest

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._stream.write(content)


def _read(file: Path) -> npt.NDArray[Any] | None:
    """A file's array through a memory map; None if there is no file that is as it was written."""
    try:
        content = np.memmap(file, dtype=np.uint8, mode="r").view(np.ndarray)
        if hashlib.sha256(content[:-_DIGEST].data).digest() != content[-_DIGEST:].tobytes():
            return None
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array
