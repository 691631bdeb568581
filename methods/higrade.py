"""HIGRADE (Kundu, Ghadiyaram, Bovik and Evans 2017): statistics of CIELAB maps and their gradients, and an SVR."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.features import statistics
from agiqa_bench.features.statistics import Array, fit_ggd, gaussian_window, halve, normalise
from agiqa_bench.features.svr import BOUND, FeatureMethod, Scale, SVRConfig

_TO_XYZ = np.array([
    [0.4360747, 0.3850649, 0.1430804],
    [0.2225045, 0.7168786, 0.0606169],
    [0.0139322, 0.0971045, 0.7141733],
])  # fmt: skip
"""Linear sRGB to XYZ for the white point D50 of the ICC, adapted by Bradford's transform."""

_BLOCK = 9
"""Side of the blocks whose gradients' coherence HIGRADE-2 measures."""


class HIGRADE(FeatureMethod):
    """216 features (HIGRADE-1) or 120 (HIGRADE-2) of an image in CIELAB, both at two scales.

    What follows the authors' released code (github utlive/higrade) where the paper leaves it open: CIELAB in the
    8-bit encoding of the ICC; borders; GGD fits to values less their mean; 0 for a feature that is not a number (here
    also where it is not finite: the code's standard deviation 0 of a flat map gives infinity); RBF kernel, features
    scaled to [-1, 1], gamma one over their number, C = 1024. MATLAB's own colour conversion is not public: ours is
    that of the ICC in floating point, rounded once at the end.

    Epsilon is not known: 0.1 is libsvm's default. Like C it is on the scale of the MOS, so that a data set rated from 0
    to 100 has a narrower band of free errors than one rated from 0 to 5.
    """

    name = "higrade"
    title = "HIGRADE"
    summary = "statistics of CIELAB maps and their gradients at two scales, and an SVR"
    targets = ("quality", "authenticity")
    groups = ("handcrafted", "svr")
    citation = """@article{kundu2017higrade,
  title = {No-Reference Quality Assessment of Tone-Mapped {HDR} Pictures},
  author = {Kundu, Debarati and Ghadiyaram, Deepti and Bovik, Alan C. and Evans, Brian L.},
  journal = {IEEE Transactions on Image Processing},
  volume = {26},
  number = {6},
  pages = {2957--2971},
  year = {2017}
}"""
    presets = {"quick": {}}  # noqa: RUF012 - literal class data
    ablations = {"HIGRADE-1": {}, "HIGRADE-2": {"variant": 2}}  # noqa: RUF012 - literal class data
    feature_code = (statistics,)

    class Config(SVRConfig):
        """The released models' settings."""

        variant: Literal[1, 2] = Field(
            default=1,
            description="1: each map and the magnitude of its gradient; 2: each map and the coherence of its gradient",
        )
        c: float = Field(default=1024.0, gt=0, description=BOUND)
        scale: Scale = Field(
            default="minmax",
            description="features as they are (none), to [-1, 1] as by svm-scale (minmax) or to mean 0 and variance 1 "
            "(standard), by the training images",
        )

    def minimum_size(self) -> int:
        """18: a block of 9 x 9 has a neighbour, and the window of 7 x 7 fits into the image at half its size."""
        return 2 * _BLOCK

    def feature_settings(self) -> dict[str, object]:
        """The variant."""
        return {"variant": self.config.variant}

    def extract(self, image: npt.NDArray[np.uint8]) -> Array:
        """Features of one image; see `higrade_features`."""
        return higrade_features(image, self.config.variant)


def higrade_features(image: npt.NDArray[np.uint8], variant: Literal[1, 2]) -> Array:
    """HIGRADE's features.

    Args:
        image: uint8 (h, w, 3), sRGB.
        variant: 1: for each of L, a, b the statistics of the map and those of the magnitude of its Sobel gradient;
            2: the statistics of the map and the moments of the coherence of its gradients.

    Returns:
        float64 (216,) for variant 1, (120,) for variant 2; 0 for what is undefined.
    """
    second = gradient_features if variant == 1 else coherence_features
    parts = [part(channel) for channel in lab8(image) for part in (spatial_features, second)]
    features = np.concatenate(parts)
    return np.where(np.isfinite(features), features, 0.0)


def lab8(image: npt.NDArray[np.uint8]) -> Array:
    """CIELAB for the white point D50 in the ICC's 8-bit encoding: 255 L / 100, a + 128, b + 128, rounded.

    Args:
        image: uint8 (h, w, 3), sRGB.

    Returns:
        float64 (3, h, w), whole numbers from 0 to 255.
    """
    relative = _TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)
    x, y, z = np.tensordot(relative, _linear_light()[image], axes=(1, 2))
    fx, fy, fz = map(_lab_curve, (x, y, z))
    encoded = np.stack([(116 * fy - 16) * 2.55, 500 * (fx - fy) + 128, 200 * (fy - fz) + 128])
    return np.clip(np.floor(encoded + 0.5), 0, 255)


def gradient_features(channel: Array) -> Array:
    """`spatial_features` of the magnitude of the Sobel gradient, which is not divided by the filter's weight."""
    framed = np.pad(channel, 1, mode="edge")
    across, along = framed[:, 2:] - framed[:, :-2], framed[2:] - framed[:-2]
    right = across[:-2] + 2 * across[1:-1] + across[2:]
    down = along[:, :-2] + 2 * along[:, 1:-1] + along[:, 2:]
    return spatial_features(np.sqrt(right * right + down * down))


def spatial_features(channel: Array) -> Array:
    """Statistics of one map at its own size and at half of it.

    Per scale: mean of the field of local standard deviations, and the square of mean over standard deviation; standard
    deviation and shape of the generalised Gaussian of the normalised coefficients J; the same two of each of the seven
    derivatives of log(|J| + 0.1).

    Args:
        channel: float64 (h, w).

    Returns:
        float64 (36,); not finite where the field is constant.
    """
    return np.concatenate([_scale_features(channel), _scale_features(halve(channel))])


def coherence_features(channel: Array) -> Array:
    """Mean, standard deviation, skewness and kurtosis of the coherence of gradients in blocks of 9 x 9.

    The coherence ((l1 - l2) / (l1 + l2))^2 of a block is that of the eigenvalues of its structure tensor, the sums of
    products of its derivatives of a Gaussian, which see zeros outside the block. Pixels beyond the last whole block
    are left out.

    Args:
        channel: float64 (h, w), h and w at least 9.

    Returns:
        float64 (4,). A block of zeros has no coherence: mean and standard deviation are then NaN, the other two are
        those of the other blocks. They are NaN if the coherence does not vary.
    """
    rows, columns = (side // _BLOCK for side in channel.shape)
    whole = channel[: rows * _BLOCK, : columns * _BLOCK]
    blocks = whole.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(rows * columns, _BLOCK**2)
    to_right, to_down = _block_derivatives()
    right, down = blocks @ to_right.T, blocks @ to_down.T
    xx, yy, xy = ((p * q).sum(axis=1) for p, q in ((right, right), (down, down), (right, down)))
    with np.errstate(invalid="ignore"):
        coherence = ((xx - yy) ** 2 + 4 * xy**2) / (xx + yy) ** 2
    return _moments(coherence)


def _scale_features(channel: Array) -> Array:
    coefficients, deviation = normalise(channel)
    mean, variance = deviation.mean(), deviation.var(ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        features = [mean, mean**2 / variance]
    features += fit_ggd(coefficients - coefficients.mean())
    for derivative in _derivatives(np.log(np.abs(coefficients) + 0.1)):
        derivative -= derivative.mean()
        features += fit_ggd(derivative)
    return np.array(features)


def _derivatives(logs: Array) -> Iterator[Array]:
    """The seven log-derivatives, up to sign, which no feature depends on.

    The first five wrap around at the border and the last two see zeros there, as in the released code.
    """
    framed = np.pad(logs, 1, mode="wrap")
    above, left, above_left, below_left = framed[:-2, 1:-1], framed[1:-1, :-2], framed[:-2, :-2], framed[2:, :-2]
    yield logs - left
    yield logs - above
    yield logs - above_left
    yield logs - below_left
    yield logs + above_left - above - left
    framed = np.pad(logs, 1)
    yield framed[:-2, 1:-1] + framed[2:, 1:-1] - framed[1:-1, :-2] - framed[1:-1, 2:]
    yield framed[:-2, :-2] + framed[2:, 2:] - framed[:-2, 2:] - framed[2:, :-2]


def _moments(values: Array) -> Array:
    """Mean, standard deviation (n - 1), skewness and kurtosis (3 for a Gaussian), (4,).

    The last two leave out NaN and the first two do not, as MATLAB's functions.
    """
    known = values[~np.isnan(values)]
    skewness = kurtosis = np.nan
    if known.size:
        centred = known - known.mean()
        second = (centred**2).mean()
        # A spread of rounding errors alone, as of a picture in one colour, has no shape.
        if second > 1e-24:
            skewness, kurtosis = (centred**3).mean() / second**1.5, (centred**4).mean() / second**2
    deviation = values.std(ddof=1) if values.size > 1 else np.nan
    return np.array([values.mean(), deviation, skewness, kurtosis])


def _lab_curve(relative: Array) -> Array:
    return np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)


@cache
def _linear_light() -> Array:
    """Light of each 8-bit value of sRGB, 0 to 1, (256,)."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@cache
def _block_derivatives() -> tuple[Array, Array]:
    """Derivatives to the right and downwards as matrices (81, 81) on the pixels of a block, row by row.

    Differences of neighbours in a Gaussian window of 9 x 9, sigma 0.5, of which the first is a difference to zero.
    """
    window = gaussian_window(_BLOCK, 0.5)
    difference = np.diff(window, prepend=0.0)
    # Row i of a matrix holds the weights of all pixels in result i of the convolution.
    offsets = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK)) + _BLOCK // 2
    inside = (offsets >= 0) & (offsets < _BLOCK)
    smooth, derive = (taps[offsets % _BLOCK] * inside for taps in (window, difference))
    return np.kron(smooth, derive), np.kron(derive, smooth)
