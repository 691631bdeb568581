"""DSIQA, as CPBD (Narvekar and Karam 2011): the share of edges whose blur nobody is likely to notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from agiqa_bench.data.samples import Samples
from agiqa_bench.features import colour
from agiqa_bench.features.cache import ExtractingMethod
from agiqa_bench.features.colour import gray

Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float64]

BLOCK = 64
"""Side of a block in pixels; the smallest image that can be scored."""

EDGE_SHARE = 0.002
"""A block with a larger share of Canny edge pixels than this is an edge block."""

SOBEL_THRESHOLD = 2
"""Gray levels per pixel above which a pixel may be on a vertical edge."""

LONGEST = 101
"""Pixels on one side of an edge after which its width is no longer followed."""

BETA = 3.6
"""Exponent of the probability that a blur is noticed."""


class DSIQA(ExtractingMethod):
    """Cumulative probability of blur detection; in [0, 1], higher is sharper. No training.

    After the authors' MATLAB code (CPBD_compute). For DSIQA, IP-IQA's tables cite Narvekar and Karam (2009), who
    introduced this measure; the code is of its version of 2011. Canny edges are scikit-image's, with the standard
    deviation and thresholds of MATLAB's `edge`; its gradient is a Sobel operator on the smoothed image, where MATLAB's
    is the derivative of a Gaussian, so single edge pixels may differ, and with them which blocks with little content
    count. How MATLAB thins Sobel edges is not documented; see `vertical_edges`. Published ports differ from the
    original more: they have another Sobel threshold, or classify blocks by Sobel edges.
    """

    name = "dsiqa"
    title = "DSIQA"
    summary = "cumulative probability of blur detection (CPBD): the share of sharp edges, no training"
    targets = ("quality",)
    groups = ("handcrafted",)
    trainable = False
    citation = """@article{narvekar2011cpbd,
  title = {A No-Reference Image Blur Metric Based on the Cumulative Probability of Blur Detection ({CPBD})},
  author = {Narvekar, Niranjan D. and Karam, Lina J.},
  journal = {IEEE Transactions on Image Processing},
  volume = {20},
  number = {9},
  pages = {2678--2683},
  year = {2011}
}"""
    presets = {"quick": {}}  # noqa: RUF012 - literal class data
    feature_code = (colour,)

    def minimum_size(self) -> int:
        """One block: what is beside whole blocks is not looked at."""
        return BLOCK

    def extract(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """The score as the one feature; see `cpbd`."""
        return np.array([cpbd(gray(image))])

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """CPBD, float64 (n,), in [0, 1].

        Raises:
            BadImageError: An image is smaller than 64 x 64.
        """
        return self.features(samples)[:, 0]


def cpbd(image: npt.NDArray[np.uint8]) -> float:
    """Share of the edge widths in edge blocks at which blur is noticed with a probability of at most 63 percent.

    Probabilities are rounded to percents first, as in the authors' code.

    Args:
        image: uint8 (h, w), both sides at least 64.

    Returns:
        In [0, 1], higher is sharper; 0 for an image without edges.
    """
    widths = _blocks(edge_widths(image, vertical_edges(image)))
    blocks = _blocks(image)
    is_edge_block = _blocks(canny_edges(image)).mean(axis=1) > EDGE_SHARE
    contrast = np.ptp(blocks, axis=1)
    # Widths at which blur is just noticed, by the experiments of Ferzli and Karam (2009).
    just_noticed = np.where(contrast <= 50, 5.0, 3.0)
    counted = (widths > 0) & is_edge_block[:, None]
    relative = (widths / just_noticed[:, None])[counted]
    percent = np.floor(100 * (1 - np.exp(-(relative**BETA))) + 0.5)
    return float(np.mean(percent <= 63)) if percent.size else 0.0


def vertical_edges(image: npt.NDArray[np.uint8]) -> Mask:
    """Pixels with a horizontal Sobel gradient above 2 gray levels per pixel that is a maximum along row or column.

    Of two equal neighbours the right or lower one is the maximum, so that an ideal step has an edge. There is none on
    the border of the image.

    Args:
        image: uint8 (h, w).

    Returns:
        bool (h, w).
    """
    # Eight times the gradient, in integers: equal means equal.
    strength = np.abs(ndimage.sobel(image.astype(np.int32), axis=1, mode="nearest"))
    edges = np.zeros(image.shape, dtype=bool)
    inner = strength[1:-1, 1:-1]
    along_row = (inner >= strength[1:-1, :-2]) & (inner > strength[1:-1, 2:])
    along_column = (inner >= strength[:-2, 1:-1]) & (inner > strength[2:, 1:-1])
    edges[1:-1, 1:-1] = (inner > 8 * SOBEL_THRESHOLD) & (along_row | along_column)
    return edges


def edge_widths(image: npt.NDArray[np.uint8], edges: Mask) -> npt.NDArray[np.int64]:
    """Horizontal widths of edges after Marziliano et al. (2002), as in the authors' code.

    From an edge pixel's two neighbours outwards, gray values are followed as long as they go on to fall on the dark
    side and to rise on the bright side, for at most 101 pixels each. Only edges whose gradient points along the row,
    within 22.5 degrees, have a width; where the central difference along the row is 0, the direction counts as 0.

    Args:
        image: uint8 (h, w).
        edges: bool (h, w); none on the border.

    Returns:
        int64 (h, w), pixels; 0 where there is no edge or it has no width, else 2 to 202.
    """
    values = image.astype(np.float64)
    down, across = (np.gradient(values, axis=axis)[edges] for axis in (0, 1))
    angle = np.abs(np.degrees(np.arctan2(down, across)))
    angle[across == 0] = 0
    step = np.diff(values, axis=1)
    found = np.zeros(angle.shape, dtype=np.int64)
    for goes_on, direction in ((step > 0, angle < 22.5), (step < 0, angle >= 157.5)):
        found[direction] = _both_sides(goes_on)[edges][direction]
    widths = np.zeros(image.shape, dtype=np.int64)
    widths[edges] = found
    return widths


def _both_sides(goes_on: Mask) -> npt.NDArray[np.int64]:
    """Pixels on the left plus those on the right of each pixel of an edge.

    Args:
        goes_on: bool (h, w - 1), whether the edge goes on between a pixel and its right neighbour.

    Returns:
        int64 (h, w), at least 2.
    """
    # Beyond the border no edge goes on; a pixel's own two steps do not count, they are part of the edge.
    padded = np.pad(goes_on, ((0, 0), (2, 2)))
    right = _runs(padded)[:, 3:]
    left = _runs(padded[:, ::-1])[:, ::-1][:, :-3]
    return np.minimum(left + 1, LONGEST) + np.minimum(right + 1, LONGEST)


def _runs(flags: Mask) -> npt.NDArray[np.int64]:
    """Number of true flags in a row from each place on to the right, int64, same shape; the last flags are false."""
    places = np.arange(flags.shape[1])
    ends = np.where(flags, flags.shape[1], places)
    return np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1] - places


def canny_edges(image: npt.NDArray[np.uint8]) -> Mask:
    """Canny edges by scikit-image with MATLAB's defaults: standard deviation sqrt(2), thresholds from the image.

    The high threshold is the upper limit of the 64th of the largest gradient magnitude below which, up to it, more than
    70 percent of all pixels lie; the low one is 0.4 of it.

    Args:
        image: uint8 (h, w).

    Returns:
        bool (h, w).
    """
    from skimage.feature import canny

    values = image.astype(np.float64)
    sigma = np.sqrt(2)
    smooth = ndimage.gaussian_filter(values, sigma, mode="nearest")
    magnitude = np.hypot(ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1))
    largest = magnitude.max()
    if largest == 0:
        return np.zeros(image.shape, dtype=bool)
    bins = np.floor(63 * magnitude / largest + 0.5).astype(np.int64)
    cumulative = np.cumsum(np.bincount(bins.ravel(), minlength=64))
    high = largest * (1 + np.argmax(cumulative > 0.7 * image.size)) / 64
    edges: Mask = canny(values, sigma, 0.4 * high, high, mode="nearest")  # type: ignore[no-untyped-call]
    return edges


def _blocks(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole blocks, (n_blocks, 64 * 64); what is left at the right and lower border is dropped."""
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    whole = image[: rows * BLOCK, : columns * BLOCK]
    return whole.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK * BLOCK)
