"""BRISQUE (Mittal, Moorthy and Bovik 2012): natural scene statistics of an image's luma, and an SVR on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import gammaln

from agiqa_bench.features import colour, statistics
from agiqa_bench.features.statistics import Array, fit_aggd, fit_ggd, halve, normalise
from agiqa_bench.features.svr import BOUND, FeatureMethod, Scale, SVRConfig

_SHIFTS = ((0, 1), (1, 0), (1, 1), (-1, 1))
"""Rows and columns to the neighbours that a coefficient is multiplied with."""

_ROUNDING = 1e-9
"""Coefficients below it are taken for zero: rounding gives 1e-14, one grey level in the window's corner 1e-4."""


class BRISQUE(FeatureMethod):
    """36 features: how the locally normalised luma and its products with neighbours are distributed, at two scales.

    The features follow the paper and the authors' released code (github utlive/BRISQUE). The released model is an
    epsilon-SVR with RBF kernel, gamma 0.05 and C = 1024 on features scaled to [-1, 1]; these are the defaults, and
    the SVR is fitted to the training images in place of that model, which was fitted to photographs of LIVE. How the
    authors chose epsilon is not known; 0.1 is the default of libsvm. It is on the scale of the MOS, like C: a data set
    rated from 0 to 100 has a narrower band of free errors than one rated from 0 to 5.

    Against pyiqa: the same features but for its window in float32, whose weights do not sum to 1 exactly, so that plain
    patches there count on one side of the products' distribution; here they count on neither.
    """

    name = "brisque"
    title = "BRISQUE"
    summary = "36 statistics of the locally normalised luma at two scales, and an SVR"
    targets = ("quality", "authenticity")
    groups = ("handcrafted", "svr")
    citation = """@article{mittal2012brisque,
  title = {No-Reference Image Quality Assessment in the Spatial Domain},
  author = {Mittal, Anish and Moorthy, Anush Krishna and Bovik, Alan Conrad},
  journal = {IEEE Transactions on Image Processing},
  volume = {21},
  number = {12},
  pages = {4695--4708},
  year = {2012}
}"""
    presets = {"quick": {}}  # noqa: RUF012 - literal class data
    feature_code = (colour, statistics)

    class Config(SVRConfig):
        """The released model's settings."""

        c: float = Field(default=1024.0, gt=0, description=BOUND)
        gamma: float = Field(default=0.05, gt=0, description="of the RBF kernel")
        scale: Scale = Field(
            default="minmax",
            description="features as they are (none), to [-1, 1] as by svm-scale (minmax) or to mean 0 and variance 1 "
            "(standard), by the training images",
        )

    def minimum_size(self) -> int:
        """14: the window of 7 x 7 fits into the image at half its size."""
        return 2 * statistics.WINDOW_SIDE

    def extract(self, image: npt.NDArray[np.uint8]) -> Array:
        """Features of one image; see `brisque_features`."""
        return brisque_features(colour.gray(image).astype(np.float64))


def brisque_features(luma: Array) -> Array:
    """BRISQUE's features (table I of the paper), at the image's own size and at half of it.

    Per scale: shape and variance of the generalised Gaussian of the coefficients; then for the products with the
    right, lower, lower right and upper right neighbour shape, mean, left and right variance of the asymmetric one.

    Args:
        luma: float64 (h, w), 0 to 255.

    Returns:
        float64 (36,).
    """
    return np.concatenate([_scale_features(luma), _scale_features(halve(luma))])


def _scale_features(luma: Array) -> Array:
    coefficients, _ = normalise(luma)
    # Where the window sees one value, rounding would decide on which side a product counts.
    coefficients[np.abs(coefficients) < _ROUNDING] = 0
    deviation, shape = fit_ggd(coefficients)
    features = [shape, deviation**2]
    for shift in _SHIFTS:
        # Neighbours wrap around at the border, as in the released code.
        shape, left, right = fit_aggd(coefficients * np.roll(coefficients, shift, axis=(0, 1)))
        mean = (right - left) * np.exp(gammaln(2 / shape) - (gammaln(1 / shape) + gammaln(3 / shape)) / 2)
        features += [shape, mean, left**2, right**2]
    return np.array(features)
