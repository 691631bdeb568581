"""An array that is computed once, kept in a file, and read through a memory map ever after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agiqa_bench.atomic import new_file
from agiqa_bench.data.folder_lock import folder_lock


def stored_array(file: Path, compute: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """What a .npy file holds, read-only; computed and written if no process has done so yet.

    Several processes may ask at once: one computes, the others wait for it. A damaged file is written again.

    Args:
        file: Its name must cover everything that can change the array.
        compute: Gives the array, which becomes read-only.

    Raises:
        StoreError: The folder cannot be written.
    """
    array = _read(file)
    if array is None:
        with folder_lock(file):
            array = _read(file)
            if array is None:
                array = compute()
                array.flags.writeable = False
                with new_file(file) as content:
                    np.save(content, array)
    return array


def _read(file: Path) -> npt.NDArray[Any] | None:
    """A file's array through a memory map; None if there is no whole file."""
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array
