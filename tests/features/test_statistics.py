from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d
from scipy.stats import gennorm

from agiqa_bench.features.statistics import (
    correlate_columns,
    fit_aggd,
    fit_ggd,
    gaussian_window,
    halve,
    moment_ratio,
    normalise,
)

Array = npt.NDArray[np.float64]


def plane(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float64)


def test_the_window_by_hand() -> None:
    # exp(-1 / 2) = 0.6065 beside the middle.
    np.testing.assert_allclose(gaussian_window(3, 1.0), np.array([0.60653066, 1, 0.60653066]) / 2.21306132, rtol=1e-8)
    assert gaussian_window(7, 7 / 6).sum() == pytest.approx(1, abs=1e-15)


def test_normalisation_by_loops() -> None:
    image = plane(6, 5)
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * (7 / 6) ** 2)) for i in range(-3, 4) for j in range(-3, 4)}
    total = sum(weights.values())
    coefficients, deviations = normalise(image)
    for row in range(6):
        for column in range(5):
            seen = [
                (weight / total, image[row + i, column + j])
                for (i, j), weight in weights.items()
                if 0 <= row + i < 6 and 0 <= column + j < 5
            ]
            mean = sum(weight * value for weight, value in seen)
            deviation = math.sqrt(abs(sum(weight * value**2 for weight, value in seen) - mean**2))
            assert deviations[row, column] == pytest.approx(deviation, rel=1e-10)
            assert coefficients[row, column] == pytest.approx((image[row, column] - mean) / (deviation + 1), rel=1e-10)


def test_moment_ratios_known_in_closed_form() -> None:
    # Laplace: E|x| = b, E x^2 = 2 b^2. Gauss: E|x| = sigma sqrt(2 / pi).
    np.testing.assert_allclose(moment_ratio([1.0, 2.0]), [0.5, 2 / np.pi], rtol=1e-14)
    assert (np.diff(moment_ratio(np.linspace(0.2, 10, 9801))) > 0).all()


@pytest.mark.parametrize("shape", [0.5, 1.0, 1.7, 2.0, 4.0])
def test_the_fit_recovers_the_generalised_gaussian_that_samples_were_drawn_from(shape: float) -> None:
    values = gennorm.rvs(shape, scale=3.0, size=400_000, random_state=1)
    deviation, found = fit_ggd(values)
    assert found == pytest.approx(shape, rel=0.02)
    assert deviation == pytest.approx(gennorm.std(shape, scale=3.0), rel=0.01)


def test_the_fit_is_the_nearest_entry_of_the_published_table() -> None:
    values = np.random.default_rng(3).normal(size=1000) ** 3
    ratio = np.mean(values**2) / np.mean(np.abs(values)) ** 2
    entries = [round(0.2 + 0.001 * i, 3) for i in range(9801)]
    ratios = [math.exp(math.lgamma(1 / s) + math.lgamma(3 / s) - 2 * math.lgamma(2 / s)) for s in entries]
    best = min(range(9801), key=lambda i: abs(ratios[i] - ratio))
    assert fit_ggd(values)[1] == pytest.approx(entries[best], abs=1e-9)


def test_shapes_stay_in_the_table() -> None:
    assert fit_ggd(np.array([1.0, -1.0] * 50)) == (1.0, 10.0)
    assert fit_ggd(np.array([0.0] * 9999 + [1.0]))[1] == 0.2
    assert fit_ggd(np.zeros((4, 4))) == (0.0, 0.2)


@pytest.mark.parametrize(("shape", "left", "right"), [(1.0, 1.0, 1.0), (2.0, 1.0, 3.0), (0.8, 2.0, 0.5)])
def test_the_asymmetric_fit_recovers_what_samples_were_drawn_from(shape: float, left: float, right: float) -> None:
    # Density exp(-(|x| / b)^shape) with b to the left and to the right: a side's mass is as its b.
    generator = np.random.default_rng(2)
    size = np.abs(gennorm.rvs(shape, size=400_000, random_state=generator))
    below = generator.random(size.size) < left / (left + right)
    found = fit_aggd(np.where(below, -left * size, right * size))
    unit = gennorm.std(shape)
    np.testing.assert_allclose(found, (shape, left * unit, right * unit), rtol=0.02)


def test_a_side_without_values_and_no_values_but_zero() -> None:
    values = np.abs(np.random.default_rng(4).normal(size=1000))
    almost = fit_aggd(np.append(values, -1e-9))
    shape, left, right = fit_aggd(values)
    assert left == 0
    assert shape == pytest.approx(almost[0], abs=0.02)
    assert right == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-12)
    mirrored = fit_aggd(-values)
    assert mirrored == (shape, right, left)
    assert fit_aggd(np.zeros(9)) == (0.2, 0.0, 0.0)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_the_shape_does_not_depend_on_the_scale(factor: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=500) ** 3 + 0.1
    deviation, shape = fit_ggd(values)
    scaled = fit_ggd(factor * values)
    assert scaled == pytest.approx((factor * deviation, shape), rel=1e-9, abs=1.1e-3)
    scaled_aggd, plain = fit_aggd(factor * values), fit_aggd(values)
    assert scaled_aggd == pytest.approx((plain[0], factor * plain[1], factor * plain[2]), rel=1e-9, abs=1.1e-3)


@pytest.mark.parametrize(("height", "width"), [(12, 10), (9, 13), (4, 7)])
def test_halving_by_loops(height: int, width: int) -> None:
    image = plane(height, width)
    np.testing.assert_allclose(halve(image), slow_halve(image), rtol=1e-11)


def test_halving_keeps_a_plain() -> None:
    np.testing.assert_allclose(halve(np.full((9, 8), 77.0)), np.full((5, 4), 77.0), rtol=1e-14)


def slow_halve(image: Array) -> Array:
    """Bicubic x 0.5 pixel by pixel: Keys' kernel (a = -0.5) of twice the width, the image mirrored at its border."""

    def keys(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def line(values: list[float]) -> list[float]:
        n, out = len(values), []
        for position in range((n + 1) // 2):
            centre = 2 * position + 0.5
            total = weight_sum = 0.0
            for tap in range(2 * position - 4, 2 * position + 6):
                weight = keys((tap - centre) / 2)
                mirrored = tap % (2 * n)
                total += weight * values[mirrored if mirrored < n else 2 * n - 1 - mirrored]
                weight_sum += weight
            out.append(total / weight_sum)
        return out

    columns = [line(list(column)) for column in image.T]
    return np.array([line([column[row] for column in columns]) for row in range(len(columns[0]))])


@pytest.mark.parametrize("shape", [(512, 512), (33, 64), (5, 1)])
@pytest.mark.parametrize(("mode", "origin"), [("constant", 0), ("reflect", -1)])
def test_columns_are_correlated_with_scipys_digits(shape: tuple[int, int], mode: str, origin: int) -> None:
    values = np.random.default_rng(0).uniform(0, 255, shape)
    taps = np.array([0.5, -1.0, 2.0, 0.25, 1.5, -0.75, 3.0, 0.125])[: 8 if origin else 7]
    before = values.copy()
    found = correlate_columns(values, taps, mode, origin)
    np.testing.assert_array_equal(found, correlate1d(values, taps, axis=0, mode=mode, origin=origin))
    np.testing.assert_array_equal(values, before)
    # Neighbours in a column are never a power of two apart, in which case they would share a place in the cache.
    assert found.strides[0] == (shape[1] + 8) * 8
