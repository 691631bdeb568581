"""Natural scene statistics: local normalisation of an image, and generalised Gaussians fitted by matching moments.

Written from the papers' formulas; where these leave a choice (borders, tables), as MATLAB does in the codes that the
authors of BRISQUE and HIGRADE released: windows reach into zeros outside the image (`filter2(..., 'same')`), shapes
are searched among 0.2, 0.201 ... 10, and an image is halved as by `imresize(image, 0.5)`.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d
from scipy.special import gammaln

Array = npt.NDArray[np.float64]

WINDOW_SIDE = 7
WINDOW_SIGMA = 7 / 6

_APART = 8
"""Numbers between rows: a line of the cache."""


def gaussian_window(side: int, sigma: float) -> Array:
    """One axis of a square Gaussian window, float64 (side,), which sums to 1."""
    offsets = np.arange(side) - (side - 1) / 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    return weights / weights.sum()  # type: ignore[no-any-return]


def normalise(image: Array) -> tuple[Array, Array]:
    """Mean-subtracted, contrast-normalised coefficients of an image (BRISQUE, equations 1 to 3).

    (I - mu) / (sigma + 1) with mean and standard deviation over a Gaussian window of 7 x 7, sigma 7/6.

    Args:
        image: float64 (h, w), on the scale 0 to 255 that the constant 1 is meant for.

    Returns:
        The coefficients, and the local standard deviation; both float64 (h, w).
    """
    mean, deviation = _windowed(image), _windowed(image * image)
    deviation -= mean * mean
    np.sqrt(np.abs(deviation, out=deviation), out=deviation)
    return (image - mean) / (deviation + 1), deviation


def fit_ggd(values: Array) -> tuple[float, float]:
    """Fit a generalised Gaussian of mean zero: density proportional to exp(-|x / b|^shape).

    By the ratio of E x^2 to (E |x|)^2 (Sharifi and Leon-Garcia 1995), to the nearest entry of the table.

    Args:
        values: float64, any shape, not empty.

    Returns:
        Standard deviation, >= 0, and shape, 0.2 to 10. Values that are all zero have shape 0.2: that is where the
        released codes' search ends.
    """
    power, magnitude = _power(values), float(np.abs(values).mean())
    shapes, ratios = _shape_table()
    shape = shapes[_nearest(-1 / ratios, -power / magnitude**2)] if magnitude > 0 else shapes[0]
    return float(np.sqrt(power)), float(shape)


def fit_aggd(values: Array) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian (Lasmar, Stitou and Berthoumieu 2009; BRISQUE, equations 7 to 10).

    Args:
        values: float64, any shape, not empty.

    Returns:
        Shape, 0.2 to 10; root mean square of the values below zero, and of those above. A side without values has
        root mean square 0, where the released codes give NaN, and the shape is the limit for ever smaller ones.
    """
    negative, positive = np.minimum(values, 0), np.maximum(values, 0)
    left = _root_mean_square(negative, int(np.count_nonzero(negative)))
    right = _root_mean_square(positive, int(np.count_nonzero(positive)))
    shapes, ratios = _shape_table()
    power = _power(values)
    if power == 0:
        return float(shapes[0]), left, right
    skewed = (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2
    ratio = float(np.abs(values).mean()) ** 2 / power * skewed
    return float(shapes[_nearest(ratios, ratio)]), left, right


def moment_ratio(shape: npt.ArrayLike) -> Array:
    """(E |x|)^2 / E x^2 of a generalised Gaussian: Gamma(2/s)^2 / (Gamma(1/s) Gamma(3/s)), rising with its shape s."""
    inverse = 1 / np.asarray(shape, dtype=np.float64)
    return np.exp(2 * gammaln(2 * inverse) - gammaln(inverse) - gammaln(3 * inverse))


def halve(image: Array) -> Array:
    """Half an image's size by bicubic interpolation with antialiasing, as MATLAB's imresize(image, 0.5).

    Args:
        image: float64 (h, w).

    Returns:
        float64 (ceil(h / 2), ceil(w / 2)).
    """
    # Samples of Keys' kernel, stretched to twice its width, at the eight pixels around a point between two of them.
    distances = np.abs(np.arange(8) - 3.5) / 2
    near, far = distances[2:6], distances[[0, 1, 6, 7]]
    taps = np.empty(8)
    taps[2:6] = 1.5 * near**3 - 2.5 * near**2 + 1
    taps[[0, 1, 6, 7]] = -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2
    taps /= taps.sum()
    narrow = correlate1d(image, taps, axis=1, mode="reflect", origin=-1)[:, ::2]
    return correlate_columns(narrow, taps, mode="reflect", origin=-1)[::2]


def correlate_columns(values: Array, taps: Array, mode: Literal["reflect", "constant"], origin: int = 0) -> Array:
    """Correlate along the columns as scipy's `correlate1d` does, for rows of 512 numbers in half the time.

    Rows whose length is a power of two (512 or 1,024 pixels) begin in the same few places of the processor's cache, and
    a column drives itself out of it. So the rows are laid a little apart; the digits are the same.
    """
    height, width = values.shape
    apart, found = (np.empty((height, width + _APART))[:, :width] for _ in range(2))
    apart[:] = values
    return correlate1d(apart, taps, axis=0, mode=mode, origin=origin, output=found)


def _windowed(image: Array) -> Array:
    window = gaussian_window(WINDOW_SIDE, WINDOW_SIGMA)
    rows = correlate_columns(image, window, mode="constant")
    return correlate1d(rows, window, axis=1, mode="constant")


def _power(values: Array) -> float:
    """Mean square, in one pass without a temporary array."""
    flat = values.ravel()
    return float(np.einsum("i,i->", flat, flat)) / flat.size


def _root_mean_square(values: Array, count: int) -> float:
    return float(np.sqrt(_power(values) * values.size / count)) if count else 0.0


@cache
def _shape_table() -> tuple[Array, Array]:
    """Shapes 0.2, 0.201 ... 10 and their moment ratios, which rise."""
    shapes = np.linspace(0.2, 10, 9801)
    return shapes, moment_ratio(shapes)


def _nearest(rising: Array, value: float) -> int:
    """Index of the entry of a rising table that is nearest to a value."""
    after = int(np.clip(np.searchsorted(rising, value), 1, len(rising) - 1))
    return after - int(value - rising[after - 1] <= rising[after] - value)
