"""Exact filters on 8-bit pictures: smooth noise, blur, resampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.shapes import Field

Image = npt.NDArray[np.uint8]


def to_uint8(values: Field) -> Image:
    """Round to the nearest 8-bit value, halves up, clipped to [0, 255]."""
    return np.floor(np.clip(values, 0.0, 255.0) + 0.5).astype(np.uint8)


def white_noise(draws: Draws, size: int) -> Field:
    """Independent values in [-1, 1), float64 (size, size)."""
    return (draws.words(size, size) >> np.uint64(40)).astype(np.float64) / 8388608.0 - 1.0


def smooth_noise(draws: Draws, size: int, cells: int) -> Field:
    """Random values on a grid of `cells` x `cells`, smoothly interpolated; float64 (size, size) in [-1, 1].

    The same draws give the same field at every size, sampled more or less finely.
    """
    grid = white_noise(draws, cells + 1)
    position = (np.arange(size, dtype=np.float64) + 0.5) * (cells / size)
    cell = np.floor(position)
    t = position - cell
    t = t * t * (3.0 - 2.0 * t)
    index = cell.astype(np.int64)
    rows = grid[index] + t[:, None] * (grid[index + 1] - grid[index])
    return rows[:, index] + t[None, :] * (rows[:, index + 1] - rows[:, index])


def _box(values: npt.NDArray[np.int64], whole: int, part: int) -> npt.NDArray[np.int64]:
    """Mean over a window of 2 * whole + 1 pixels and `part` / 256 of one more on each side, along the first axis."""
    pad = whole + 1
    padded = np.concatenate([values[:1].repeat(pad, 0), values, values[-1:].repeat(pad, 0)])
    sums = np.concatenate([np.zeros_like(padded[:1]), padded.cumsum(0)])
    length = len(values)
    inner = sums[2 * whole + 2 : 2 * whole + 2 + length] - sums[1 : 1 + length]
    ends = padded[:length] + padded[2 * pad : 2 * pad + length]
    mean: npt.NDArray[np.int64] = (256 * inner + part * ends) // (256 * (2 * whole + 1) + 2 * part)
    return mean


def blur(image: Image, radius: float) -> Image:
    """Blur with three box filters (about a Gaussian of standard deviation `radius`), edges repeated.

    Args:
        image: uint8 (height, width, channels).
        radius: In pixels, not negative; fractions count.
    """
    steps = int(radius * 256.0)
    values = image.astype(np.int64) * 256
    for _ in range(3):
        values = _box(values, steps // 256, steps % 256)
        values = _box(values.swapaxes(0, 1), steps // 256, steps % 256).swapaxes(0, 1)
    return ((values + 128) >> 8).astype(np.uint8)


def resample(image: Image, x: Field, y: Field) -> Image:
    """The picture looked up at pixel positions (x, y), bilinear, edges repeated.

    Args:
        image: uint8 (height, width, channels).
        x: Columns, float64, broadcasting with `y` to the shape of the result.
        y: Rows, float64.
    """
    height, width = image.shape[:2]
    x, y = np.broadcast_arrays(np.clip(x, 0.0, width - 1.0), np.clip(y, 0.0, height - 1.0))
    left = np.minimum(np.floor(x), width - 2.0)
    top = np.minimum(np.floor(y), height - 2.0)
    u, v = (x - left)[..., None], (y - top)[..., None]
    i, j = top.astype(np.int64), left.astype(np.int64)
    values = image.astype(np.float64)
    upper = values[i, j] + u * (values[i, j + 1] - values[i, j])
    lower = values[i + 1, j] + u * (values[i + 1, j + 1] - values[i + 1, j])
    return to_uint8(upper + v * (lower - upper))
