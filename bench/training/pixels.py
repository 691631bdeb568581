"""Pixels for the training loop: a data set's decoded images on the device, cut into parts there.

On a CUDA device with room for them, images of one size are copied there once, for all repeats of a run; otherwise the
parts are cut from the memory map and sent over.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from agiqa_bench.data.image_cache import Images
from agiqa_bench.training.views import Boxes

_SHARE = 0.2
"""Part of the free memory of a device that images may take. Those of AGIQA-3K are not to fit into 8 GB, of which
fine-tuning at 512 x 512 needs almost all."""


class Pixels(Protocol):
    """Images of some samples."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Height and width of each image, (n, 2)."""

    def crops(self, positions: npt.NDArray[np.int64], boxes: Boxes) -> torch.Tensor:
        """Parts of one size of the images at `positions`, uint8 (b, 3, h, w), on the device.

        Where a box reaches beyond its image, the pixels at the border are repeated.
        """

    def image(self, position: int) -> torch.Tensor:
        """One whole image, uint8 (3, h, w), on the device."""

    def at_once(self, positions: npt.NDArray[np.int64]) -> torch.Tensor | None:
        """Whole images, uint8 (b, 3, h, w), for a CUDA device, where few large operations beat many small ones.

        None on a processor, and where the images of the samples are not all of one size. Whether they are resident
        makes no difference: what is computed must not depend on the memory that is free.
        """


def of_one_size(sizes: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Positions of the images of each size, given heights and widths (n, 2); together each position once."""
    distinct, number = np.unique(sizes, axis=0, return_inverse=True)
    return [np.flatnonzero(number.ravel() == each) for each in range(len(distinct))]


def open_pixels(images: Images, device: str) -> Pixels:
    """The images on a device, resident there if it is a CUDA device and they fit.

    Raises:
        BadImageError, StoreError: As `ImageCache.store`.
    """
    # Of all rows, because what is stacked holds them all, whichever are asked for.
    if device.startswith("cuda") and images.everything.uniform_size is not None:
        array, rows = images.stacked
        resident = _on_device(_Array(array), device)
        if resident is not None:
            return _Resident(resident, rows)
    return _Mapped(images, device)


class _Array:
    """An array that is told by its place in memory, so that repeats find the copy that is on the device already."""

    def __init__(self, array: npt.NDArray[np.uint8]) -> None:
        self.array = array
        self._key = (array.ctypes.data, array.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Array) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


def whole(pixels: Pixels, positions: npt.NDArray[np.int64]) -> torch.Tensor:
    """Whole images of one size, uint8 (b, 3, h, w), on the device."""
    sizes = pixels.sizes[positions]
    return pixels.crops(positions, np.concatenate([np.zeros_like(sizes), sizes], axis=1))


_held: dict[tuple[_Array, str], torch.Tensor] = {}
"""The images of one data set that are on a device."""


def _on_device(source: _Array, device: str) -> torch.Tensor | None:
    """All images on the device, uint8 (n, h, w, 3); None if they would take too much of its memory now."""
    if (source, device) in _held:
        return _held[source, device]
    _held.clear()
    torch.cuda.empty_cache()  # what torch holds back would count as taken
    free, _ = torch.cuda.mem_get_info(device)
    if source.array.nbytes > _SHARE * free:
        return None
    held = torch.empty(source.array.shape, dtype=torch.uint8, device=device)
    step = max(1, (256 << 20) // max(1, source.array[:1].nbytes))
    for start in range(0, len(held), step):
        # Copied because a memory-mapped array is read-only, which torch does not know.
        held[start : start + step] = torch.from_numpy(np.array(source.array[start : start + step])).to(device)
    _held[source, device] = held
    return held


class _Resident:
    def __init__(self, pixels: torch.Tensor, rows: npt.NDArray[np.int64]) -> None:
        self._pixels, self._rows = pixels, rows

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        return np.tile(np.array(self._pixels.shape[1:3], dtype=np.int64), (len(self._rows), 1))

    def crops(self, positions: npt.NDArray[np.int64], boxes: Boxes) -> torch.Tensor:
        device = self._pixels.device
        height, width = int(boxes[0, 2]), int(boxes[0, 3])
        corners = torch.from_numpy(boxes[:, :2]).to(device)
        rows = torch.from_numpy(self._rows[positions]).to(device)
        down = (corners[:, :1] + torch.arange(height, device=device)).clamp(0, self._pixels.shape[1] - 1)
        across = (corners[:, 1:] + torch.arange(width, device=device)).clamp(0, self._pixels.shape[2] - 1)
        return self._pixels[rows[:, None, None], down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)

    def image(self, position: int) -> torch.Tensor:
        return self._pixels[int(self._rows[position])].permute(2, 0, 1)

    def at_once(self, positions: npt.NDArray[np.int64]) -> torch.Tensor | None:
        rows = torch.from_numpy(self._rows[positions]).to(self._pixels.device)
        return self._pixels[rows].permute(0, 3, 1, 2)


class _Mapped:
    def __init__(self, images: Images, device: str) -> None:
        self._images, self._device = images, device
        self.sizes = images.sizes

    def crops(self, positions: npt.NDArray[np.int64], boxes: Boxes) -> torch.Tensor:
        parts = np.stack(
            [_part(self._images[int(position)], box) for position, box in zip(positions, boxes, strict=True)]
        )
        return torch.from_numpy(parts).to(self._device).permute(0, 3, 1, 2)

    def image(self, position: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self._images[position])).to(self._device).permute(2, 0, 1)

    def at_once(self, positions: npt.NDArray[np.int64]) -> torch.Tensor | None:
        if not self._device.startswith("cuda") or (self.sizes != self.sizes[0]).any():
            return None
        images = np.stack([self._images[int(position)] for position in positions])
        return torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2)


def _part(image: npt.NDArray[np.uint8], box: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """A part of an image (h, w, 3), its border pixels repeated where the box reaches beyond it."""
    corner, size = box[:2], box[2:]
    before, after = np.maximum(-corner, 0), np.maximum(corner + size - image.shape[:2], 0)
    (top, left), (bottom, right) = corner + before, corner + size - after
    part = image[top:bottom, left:right]
    if not (before.any() or after.any()):
        return part
    return np.pad(part, [(before[0], after[0]), (before[1], after[1]), (0, 0)], mode="edge")
