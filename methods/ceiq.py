"""CEIQ (Yan, Li and Fu 2019): how similar an image is to itself with its contrast enhanced."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.ndimage import gaussian_filter

from agiqa_bench.features import colour
from agiqa_bench.features.colour import gray
from agiqa_bench.features.svr import FeatureMethod, SVRConfig

GrayImage = npt.NDArray[np.uint8]

LEVELS = 64
"""Gray levels of the equalised image, the default of MATLAB's histeq."""

BINS = 128
"""Bins of the histograms."""


class CEIQ(FeatureMethod):
    """Five features of the gray image and its histogram-equalised version, and a linear SVR.

    After the paper and the authors' code (mtobeiyf/CEIQ), whose released model is a linear epsilon-SVR with C = 1 on
    unscaled features. Neither states epsilon; libsvm's default, 0.1, is taken. Both are on the scale of the MOS: on a
    data set rated from 0 to 100 the same numbers mean another thing than on one rated from 0 to 5. The MATLAB functions
    behind the code (`rgb2gray`, `histeq`, `imhist`, `ssim`) are written anew from what is documented of them.
    """

    name = "ceiq"
    title = "CEIQ"
    summary = "similarity of an image to its histogram-equalised version, five features and a linear SVR"
    targets = ("quality", "authenticity")
    groups = ("handcrafted", "svr")
    citation = """@article{yan2019ceiq,
  title = {No-reference Quality Assessment of Contrast-distorted Images using Contrast Enhancement},
  author = {Yan, Jia and Li, Jie and Fu, Xin},
  journal = {arXiv preprint arXiv:1904.08879},
  year = {2019}
}"""
    presets = {"quick": {}}  # noqa: RUF012 - literal class data
    feature_code = (colour,)

    class Config(SVRConfig):
        """Settings of the released model."""

        kernel: Literal["rbf", "linear"] = Field(default="linear", description="rbf or linear")

    def extract(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """The five features; see `ceiq_features`."""
        return ceiq_features(gray(image))


def ceiq_features(image: GrayImage) -> npt.NDArray[np.float64]:
    """Features of CEIQ, equations 3 to 5 of the paper and the SSIM of Wang et al. (2004).

    Args:
        image: uint8 (h, w).

    Returns:
        float64 (5,): mean SSIM of the image and its equalised version; entropies in bits of the histograms of both;
        cross entropies of the first relative to the second and the other way round. The sums run over the bins that
        neither image leaves empty, as in the authors' code; a sum without any is 0.
    """
    enhanced = equalized(image)
    first, second = histogram(image), histogram(enhanced)
    both = (first > 0) & (second > 0)
    pair = np.stack([first[both], second[both]])
    # Rows of the matrix: h1 log h1, h1 log h2; h2 log h1, h2 log h2.
    entropies = 0.0 - pair @ np.log2(pair).T
    similarity = float(ssim_map(image, enhanced).mean())
    return np.array([similarity, entropies[0, 0], entropies[1, 1], entropies[0, 1], entropies[1, 0]])


def equalized(image: GrayImage) -> GrayImage:
    """The image with its histogram equalised to 64 levels, as MATLAB's histeq does by default.

    A gray level becomes the lowest output level up to which a flat histogram holds as many pixels as lie below the
    middle of the gray level's own pixels (of levels 0 and 255: below their end). It is one mapping for the whole image,
    not a local or contrast-limited one.

    Args:
        image: uint8 (h, w).

    Returns:
        uint8 (h, w), at most 64 different values, which divide 0 to 255 evenly.
    """
    counts = np.bincount(image.ravel(), minlength=256)
    half = counts.copy()
    half[[0, -1]] = 0
    # In integers, because a middle that falls on a limit between levels must not depend on rounding.
    twice_middle = 2 * np.cumsum(counts) - half
    level = np.maximum(-(-LEVELS * twice_middle // (2 * image.size)) - 1, 0)
    mapping: GrayImage = np.floor(255 * level / (LEVELS - 1) + 0.5).astype(np.uint8)
    enhanced: GrayImage = mapping[image]
    return enhanced


def histogram(image: GrayImage) -> npt.NDArray[np.float64]:
    """Share of the pixels in each of 128 bins, as by MATLAB's imhist: float64 (128,), sum 1.

    Bin k (from 0) is around 255 k / 127, so that the first and the last are half as wide as the others.

    Args:
        image: uint8 (h, w).
    """
    levels = np.arange(256)
    bins = (2 * (BINS - 1) * levels + 255) // (2 * 255)
    counts = np.bincount(image.ravel(), minlength=256)
    return np.bincount(bins, weights=counts, minlength=BINS) / image.size


def ssim_map(first: GrayImage, second: GrayImage) -> npt.NDArray[np.float64]:
    """SSIM around each pixel (Wang et al. 2004, equation 13), with the settings of MATLAB's ssim.

    Gaussian window of 11 x 11 with standard deviation 1.5, K1 = 0.01, K2 = 0.03, L = 255. The authors' code calls a
    function `ssim` that it does not ship, hence MATLAB's, which continues the border outwards and keeps all pixels,
    where the code of Wang et al. drops those within 5 pixels of the border.

    Args:
        first: uint8 (h, w).
        second: uint8 (h, w).

    Returns:
        float64 (h, w), in [-1, 1].
    """

    def local(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return gaussian_filter(values, 1.5, mode="nearest", radius=5)

    x, y = first.astype(np.float64), second.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = local(x), local(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = local(x * y) - product, local(x * x + y * y) - squares
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
