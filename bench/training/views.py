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


def mirrored(images: torch.Tensor, chosen: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Images (n, c, h, w) of which the chosen ones (n,) are mirrored left to right."""
    where = torch.from_numpy(chosen).to(images.device)[:, None, None, None]
    return torch.where(where, images.flip(-1), images)


def normalized(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 images (n, 3, h, w) as float32 with the channels' means and standard deviations taken out."""
    centre = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    spread = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images.float().div(255) - centre) / spread
