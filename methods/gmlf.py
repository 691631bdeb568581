"""GMLF, also GM-LOG (Xue, Mou, Zhang, Bovik and Feng 2014): joint statistics of gradient magnitude and Laplacian."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.ndimage import correlate, correlate1d

from agiqa_bench.features import colour, statistics
from agiqa_bench.features.colour import gray
from agiqa_bench.features.statistics import correlate_columns
from agiqa_bench.features.svr import BOUND, FeatureMethod, SVRConfig

Map = npt.NDArray[np.float64]

SIGMA = 0.5
"""Standard deviation of both filters, in pixels."""

RATIO = 2.5
"""Average of gradient magnitude over Laplacian on the LIVE database, in the authors' code."""

FLOOR = 0.2
"""What is added to the local energy that both maps are divided by."""

STEP, LEVELS = 0.2, 10
"""Width and number of the quantisation levels of the normalised maps."""

SMALL = 1e-4
"""What keeps the conditional probabilities finite."""

_MARGIN = 2
"""Rows and columns at each border that the filters' zero padding spoils and the authors' code leaves out."""


class GMLF(FeatureMethod):
    """40 features, model M3 of the paper, and an SVR with an RBF kernel on the unscaled features.

    After the paper and the authors' code (Grad_LOG_CP_TIP). (C, gamma) is what they chose on LIVE and CSIQ; on
    TID2008 it was (128, 16). Epsilon is not stated; libsvm's default, 0.1, is taken. C and epsilon are on the
    scale of the MOS: on a data set rated from 0 to 5 the same numbers mean another thing than on one from 0 to 100.
    """

    name = "gmlf"
    title = "GMLF"
    summary = "joint statistics of gradient magnitude and Laplacian of Gaussian, 40 features and an RBF SVR"
    targets = ("quality", "authenticity")
    groups = ("handcrafted", "svr")
    citation = """@article{xue2014gmlog,
  title = {Blind Image Quality Assessment Using Joint Statistics of Gradient Magnitude and {Laplacian} Features},
  author = {Xue, Wufeng and Mou, Xuanqin and Zhang, Lei and Bovik, Alan C. and Feng, Xiangchu},
  journal = {IEEE Transactions on Image Processing},
  volume = {23},
  number = {11},
  pages = {4850--4862},
  year = {2014}
}"""
    presets = {"quick": {}}  # noqa: RUF012 - literal class data
    feature_code = (colour, statistics)

    class Config(SVRConfig):
        """The paper's settings for LIVE."""

        c: float = Field(default=16384.0, gt=0, description=BOUND)
        gamma: Annotated[float, Field(gt=0)] | Literal["auto", "scale"] = Field(
            default=2.0, description="of the RBF kernel: a number, auto (1/40) or scale"
        )

    def minimum_size(self) -> int:
        """Smallest side that leaves a pixel without its border."""
        return 2 * _MARGIN + 1

    def extract(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """The 40 features; see `gmlf_features`."""
        return gmlf_features(gray(image))


def gmlf_features(image: npt.NDArray[np.uint8]) -> Map:
    """Features of model M3.

    Args:
        image: uint8 (h, w), gray values of 0 to 255 (not of 0 to 1), both sides at least 5.

    Returns:
        float64 (40,), each in [0, 1]: distribution of the quantised gradient magnitude, distribution of the quantised
        Laplacian, dependency of the gradient magnitude on the Laplacian and of the Laplacian on the gradient magnitude
        (the sum of the conditional probabilities of each level, not weighted); ten numbers each, that sum to 1.
    """
    gradient, laplacian = normalized_maps(image)
    cells = LEVELS * quantized(gradient) + quantized(laplacian)
    joint = np.bincount(cells.ravel(), minlength=LEVELS**2).reshape(LEVELS, LEVELS) / cells.size
    of_gradient, of_laplacian = joint.sum(axis=1), joint.sum(axis=0)
    gradient_given = (joint / (of_laplacian + SMALL)).sum(axis=1)
    laplacian_given = (joint / (of_gradient[:, None] + SMALL)).sum(axis=0)
    return np.concatenate(
        [of_gradient, of_laplacian, gradient_given / gradient_given.sum(), laplacian_given / laplacian_given.sum()]
    )


def normalized_maps(image: npt.NDArray[np.uint8]) -> tuple[Map, Map]:
    """Gradient magnitude and absolute Laplacian, both divided by their joint local energy (section III of the paper).

    Args:
        image: uint8 (h, w).

    Returns:
        Two maps, float64 (h - 4, w - 4), at least 0.
    """
    values = image.astype(np.float64)
    smooth, difference = gaussian_derivative()
    across = _separable(values, smooth, difference)
    down = _separable(values, difference, smooth)
    gradient = np.hypot(across, down) / RATIO
    laplacian = np.abs(correlate(values, laplacian_of_gaussian(), mode="constant"))
    window = _gaussian(3, 2 * SIGMA)
    energy = np.sqrt(_separable((gradient**2 + laplacian**2) / 2, window, window)) + FLOOR
    inner = slice(_MARGIN, -_MARGIN)
    return (gradient / energy)[inner, inner], (laplacian / energy)[inner, inner]


def quantized(values: Map) -> npt.NDArray[np.int64]:
    """Level of each value, 0 to 9: k for what is in (0.2 k, 0.2 k + 0.2]; 0 also for 0, 9 for all that is more."""
    return np.clip(np.ceil(values / STEP), 1, LEVELS).astype(np.int64) - 1


def gaussian_derivative() -> tuple[Map, Map]:
    """Column and row of the authors' 5 x 5 Gaussian derivative filter, whose absolute values sum to 1.

    The derivative is the difference of neighbouring values of a Gaussian that is cut off, so it belongs to the point
    half a pixel beside the centre, and its sum is not quite 0.

    Returns:
        Smoothing part and difference part, float64 (5,) each.
    """
    wide = _gaussian(3, SIGMA)
    smooth, difference = wide[1:-1], wide[1:-1] - wide[2:]
    return smooth / smooth.sum(), difference / np.abs(difference).sum()


def laplacian_of_gaussian() -> Map:
    """Laplacian of Gaussian, 5 x 5, with sum 0 as by MATLAB's fspecial, scaled so that its absolute values sum to 1."""
    offsets = np.arange(-2, 3)
    squares = offsets[:, None] ** 2 + offsets**2
    gaussian = np.exp(-squares / (2 * SIGMA**2))
    values = gaussian / gaussian.sum() * (squares - 2 * SIGMA**2) / SIGMA**4
    values -= values.mean()
    return values / np.abs(values).sum()  # type: ignore[no-any-return]


def _gaussian(radius: int, sigma: float) -> Map:
    """Values of a Gaussian at -radius ... radius, with sum 1."""
    values = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return values / values.sum()  # type: ignore[no-any-return]


def _separable(values: Map, column: Map, row: Map) -> Map:
    """Correlate with the outer product of a column and a row; outside the image all is 0."""
    rows = correlate1d(values, row, axis=1, mode="constant")
    return correlate_columns(rows, column, mode="constant")
