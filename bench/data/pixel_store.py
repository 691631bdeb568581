"""The file format of decoded pixels: one flat file of all images, and an index that proves it whole.

A store is a folder: `pixels.bin` (uint8, the images (h, w, 3) one after another) and `index.json` (sealed: the size and
the CRC-32 of each). It is written by `agiqa_bench.atomic.new_directory`, so it is there whole or not at all, and read
through a memory map, so opening it costs nothing and all processes of a machine share its pages. To look whether the
pixels are as they were written takes a second for several thousand images, so one process does it for all of a run.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agiqa_bench import atomic
from agiqa_bench.data.parallel import default_workers, map_in_order
from agiqa_bench.errors import StoreError
from agiqa_bench.sealed import read_sealed, write_sealed

_PIXELS, _INDEX = "pixels.bin", "index.json"

_FLUSHED = 32 << 20
"""Bytes after which what is written so far goes to the disk, while further images are decoded."""


class PixelStore:
    """An open store: `store[i]` is image i, uint8 (h, w, 3), a read-only view of the file."""

    def __init__(
        self, folder: Path, sizes: npt.NDArray[np.int64], checksums: list[int], pixels: npt.NDArray[np.uint8]
    ) -> None:
        """Keep what `open_store` has checked."""
        self.folder = folder
        self.sizes = sizes
        self._checksums = checksums
        self._pixels = pixels
        self._starts = np.concatenate([[0], np.cumsum(_bytes(sizes))])

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        height, width = self.sizes[index]
        return self._pixels[self._starts[index] : self._starts[index + 1]].reshape(height, width, 3)

    def is_whole(self, index: int) -> bool:
        """Whether every bit of image `index` is as it was written."""
        return _checksum(self[index]) == self._checksums[index]

    def stacked(self) -> npt.NDArray[np.uint8]:
        """All images of a store in which they have one size, uint8 (n, h, w, 3), read-only, without a copy."""
        return self._pixels.reshape(len(self), *self.sizes[0], 3)


def open_store(folder: Path) -> PixelStore | None:
    """Open the store in `folder`; None if there is none or it is damaged (index altered, pixels cut short).

    Altered pixels are not looked for: see `PixelStore.is_whole`.
    """
    try:
        index = read_sealed(folder / _INDEX)
        sizes = np.asarray(index["sizes"], dtype=np.int64).reshape(-1, 2)
        if (folder / _PIXELS).stat().st_size != int(_bytes(sizes).sum()):
            return None
        # A plain array over the map: slices of a `memmap` object are slower and leak their class.
        pixels = np.memmap(folder / _PIXELS, dtype=np.uint8, mode="r").view(np.ndarray)
    except (OSError, StoreError, ValueError):
        return None
    return PixelStore(folder, sizes, index["checksums"], pixels)


def write_store(folder: Path, images: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Write images, taken one at a time, as the store in `folder`, replacing what is there.

    Raises:
        StoreError: The file system refuses; `folder` is then as it was.
    """
    sizes: list[list[int]] = []
    checksums: list[int] = []
    # Made in threads, image by image, while each is still in the processor's cache and others are decoded.
    summed = map_in_order(_checksum, (np.ascontiguousarray(image) for image in images), default_workers())
    with atomic.new_directory(folder) as temporary:
        # `new_directory` flushes in the end: by then most bytes are on the disk, and nobody has waited for them.
        with (temporary / _PIXELS).open("wb") as file, ThreadPoolExecutor(1, thread_name_prefix="agiqa-flush") as pool:
            written, flush = 0, pool.submit(int)
            for image, checksum in summed:
                file.write(image.data)
                sizes.append([image.shape[0], image.shape[1]])
                checksums.append(checksum)
                written += image.nbytes
                if written >= _FLUSHED and flush.done():
                    flush.result()
                    written, flush = 0, pool.submit(_flush, file.fileno())
            flush.result()
        write_sealed(temporary / _INDEX, {"sizes": sizes, "checksums": checksums})


def _flush(descriptor: int) -> int:
    os.fsync(descriptor)
    return 0


def _bytes(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.asarray(sizes.prod(axis=1) * 3, dtype=np.int64)


def _checksum(image: npt.NDArray[np.uint8]) -> int:
    # Against accidents: it finds each single altered bit, and takes less than half the time of SHA-256.
    return zlib.crc32(image.reshape(-1).data)
