"""Random views of training images: crops, resized crops, mirror images, and normalisation.

What is drawn for an image depends on a seed, the epoch and its row in the data set alone: not on the batch that it is
in, the other samples, or what ran before.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from agiqa_bench.seeds import derive_seed

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Boxes = npt.NDArray[np.int64]
"""Top, left, height and width of a part of each image, (n, 4), in pixels."""

_ROOM = 256 << 20
"""Bytes that images may take in float32 while they are resized."""

_TRIES = 10
"""How often a resized crop is drawn until it fits, as in torchvision."""


def draws(seed: int, epoch: int, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) for some rows of a data set, (n, count).

    A row's numbers are always the same, because those of all rows before it are drawn as well.
    """
    table = np.random.default_rng(derive_seed(seed, "views", epoch)).random((int(rows.max()) + 1, count))
    return table[rows]


def random_crops(uniform: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], size: int) -> Boxes:
    """Square parts at random places.

    Args:
        uniform: (n, 2), in [0, 1).
        sizes: Height and width of each image, (n, 2), both at least `size`.
        size: Side of the part.
    """
    corners = np.floor(uniform * (sizes - size + 1)).astype(np.int64)
    return np.concatenate([corners, np.full((len(sizes), 2), size)], axis=1)


def random_resized_crops(
    uniform: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.int64],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Boxes:
    """Parts of random area and shape (Szegedy et al. 2015), with torchvision's distribution.

    Args:
        uniform: (n, 22), in [0, 1).
        sizes: Height and width of each image, (n, 2).
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height.

    Returns:
        The first of ten tries that lies inside the image, or else the largest part in the middle of allowed shape.
    """
    n = len(sizes)
    height, width = sizes[:, :1], sizes[:, 1:]
    area = height * width * (scale[0] + uniform[:, :_TRIES] * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = np.exp(low + uniform[:, _TRIES : 2 * _TRIES] * (high - low))
    tall = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    wide = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
    first = fits.argmax(axis=1)
    rows = np.arange(n)
    shape = np.stack([tall[rows, first], wide[rows, first]], axis=1)
    corners = np.floor(uniform[:, 2 * _TRIES :] * (sizes - shape + 1)).astype(np.int64)
    boxes = np.concatenate([corners, shape], axis=1)
    for row in np.flatnonzero(~fits.any(axis=1)):
        boxes[row] = _middle(int(sizes[row, 0]), int(sizes[row, 1]), ratio)
    return boxes


def _middle(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    tall, wide = height, width
    if width / height < ratio[0]:
        tall = round(width / ratio[0])
    elif width / height > ratio[1]:
        wide = round(height * ratio[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def crop_grid(height: int, width: int, size: int, stride: int) -> Boxes:
    """All square parts whose corners lie on a grid, row by row, (n, 4)."""
    tops, lefts = range(0, height - size + 1, stride), range(0, width - size + 1, stride)
    return np.array([(top, left, size, size) for top in tops for left in lefts], dtype=np.int64).reshape(-1, 4)


def resized(image: torch.Tensor, box: npt.NDArray[np.int64], size: int) -> torch.Tensor:
    """A part of an image, uint8 (3, h, w), at size x size: bicubic with antialiasing, as torchvision does it."""
    top, left, height, width = (int(edge) for edge in box)
    part: torch.Tensor = transforms.resized_crop(
        image, top, left, height, width, [size, size], InterpolationMode.BICUBIC, antialias=True
    )
    return part


def resized_batch(pixels: torch.Tensor, boxes: Boxes, size: int) -> torch.Tensor:
    """Parts of images at size x size, all at once: as `resized`, but computed in float32 and rounded once.

    Bicubic with antialiasing (Keys 1981, a = -0.5, the kernel as wide as the pixels of the result) is linear in each
    axis, so that a part is two matrix products. For images on a CUDA device, where a part at a time is a chain of
    small kernels; a processor is faster with `resized`. 0.5 GFLOP for an image of 512 x 512 pixels at 224 x 224.

    Args:
        pixels: Whole images of one size, uint8 (n, 3, h, w).
        boxes: The part of each.
        size: Side of the result.

    Returns:
        uint8 (n, 3, size, size).
    """
    height, width = pixels.shape[2:]
    # Pixels and the first product, which is laid out anew for the second, in float32.
    step = max(1, _ROOM // (4 * 3 * (height * width + 2 * size * width)))
    edges = torch.from_numpy(boxes).to(pixels.device)
    parts = []
    for start in range(0, len(pixels), step):
        top, left, tall, wide = edges[start : start + step].T
        weights = _bicubic(top, tall, height, size), _bicubic(left, wide, width, size)
        parts.append(_resized(pixels[start : start + step], *weights))
    return torch.cat(parts)


def _resized(images: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, h, w) by weights (n, size, h) and (n, size, w), uint8 (n, 3, size, size)."""
    with torch.autocast(images.device.type, enabled=False):
        rows = torch.bmm(down, images.permute(0, 2, 3, 1).float().flatten(2)).view(*down.shape[:2], -1, 3)
        found = torch.bmm(rows.transpose(2, 3).flatten(1, 2), across.transpose(1, 2)).view(*down.shape[:2], 3, -1)
    return found.transpose(1, 2).round_().clamp_(0, 255).to(torch.uint8)


def _bicubic(start: torch.Tensor, extent: torch.Tensor, length: int, size: int) -> torch.Tensor:
    """Weights (n, size, length) of an axis' pixels in each of `size` pixels of a part, which add up to 1 each."""
    pixel = torch.arange(length, device=start.device)
    start, extent = start[:, None, None], extent[:, None, None]
    scale = extent / size
    centre = start + scale * (torch.arange(size, device=start.device)[:, None] + 0.5)
    away = ((pixel + 0.5 - centre) / scale.clamp_min(1)).abs()
    near, far = (1.5 * away - 2.5) * away**2 + 1, ((2.5 - 0.5 * away) * away - 4) * away + 2
    weights = torch.where(away < 1, near, torch.where(away < 2, far, 0))
    weights = torch.where((pixel >= start) & (pixel < start + extent), weights, 0)
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def mirrored(images: torch.Tensor, chosen: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Images (n, c, h, w) of which the chosen ones (n,) are mirrored left to right."""
    where = torch.from_numpy(chosen).to(images.device)[:, None, None, None]
    return torch.where(where, images.flip(-1), images)


def normalized(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 images (n, 3, h, w) as float32 with the channels' means and standard deviations taken out."""
    centre = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    spread = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return images.float().div_(255).sub_(centre).div_(spread)
