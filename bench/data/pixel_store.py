"""The file format of decoded pixels: one flat file of all images, and an index that proves it whole.

A store is a folder: `pixels.bin` (uint8, the images (h, w, 3) one after another) and `index.json` (their sizes and a
digest). It is written by `agiqa_bench.atomic.new_directory`, so it is there whole or not at all, and read through a
memory map, so opening it costs nothing and all processes of a machine share its pages.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agiqa_bench import atomic

_PIXELS, _INDEX = "pixels.bin", "index.json"

_FLUSHED = 32 << 20
"""Bytes after which what is written so far goes to the disk, while further images are decoded."""


class PixelStore:
    """An open store: `store[i]` is image i, uint8 (h, w, 3), a read-only view of the file."""

    def __init__(self, folder: Path, sizes: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8]) -> None:
        """Keep what `open_store` has checked."""
        self.folder = folder
        self.sizes = sizes
        self._pixels = pixels
        self._starts = np.concatenate([[0], np.cumsum(_bytes(sizes))])

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        height, width = self.sizes[index]
        return self._pixels[self._starts[index] : self._starts[index + 1]].reshape(height, width, 3)

    def stacked(self) -> npt.NDArray[np.uint8]:
        """All images of a store in which they have one size, uint8 (n, h, w, 3), read-only, without a copy."""
        return self._pixels.reshape(len(self), *self.sizes[0], 3)


def open_store(folder: Path) -> PixelStore | None:
    """Open the store in `folder`; None if there is none or it is damaged (index altered, pixels cut short)."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        sizes = np.asarray(index["sizes"], dtype=np.int64).reshape(-1, 2)
        if index["digest"] != _digest(sizes) or (folder / _PIXELS).stat().st_size != int(_bytes(sizes).sum()):
            return None
        # A plain array over the map: slices of a `memmap` object are slower and leak their class.
        pixels = np.memmap(folder / _PIXELS, dtype=np.uint8, mode="r").view(np.ndarray)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return PixelStore(folder, sizes, pixels)


def write_store(folder: Path, images: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Write images, taken one at a time, as the store in `folder`, replacing what is there.

    Raises:
        StoreError: The file system refuses; `folder` is then as it was.
    """
    sizes: list[list[int]] = []
    with atomic.new_directory(folder) as temporary:
        # `new_directory` flushes in the end: by then most bytes are on the disk, and nobody has waited for them.
        with (temporary / _PIXELS).open("wb") as file, ThreadPoolExecutor(1, thread_name_prefix="agiqa-flush") as pool:
            written, flush = 0, pool.submit(int)
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                sizes.append([image.shape[0], image.shape[1]])
                written += image.nbytes
                if written >= _FLUSHED and flush.done():
                    flush.result()
                    written, flush = 0, pool.submit(_flush, file.fileno())
            flush.result()
        index = {"digest": _digest(np.asarray(sizes, dtype=np.int64)), "sizes": sizes}
        (temporary / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def _flush(descriptor: int) -> int:
    os.fsync(descriptor)
    return 0


def _bytes(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.asarray(sizes.prod(axis=1) * 3, dtype=np.int64)


def _digest(sizes: npt.NDArray[np.int64]) -> str:
    return hashlib.sha256(sizes.astype("<i8").tobytes()).hexdigest()
