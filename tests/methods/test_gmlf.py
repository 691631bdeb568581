from __future__ import annotations

from math import ceil, exp, sqrt

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agiqa_bench.features.colour import gray
from agiqa_bench.methods.gmlf import (
    GMLF,
    gaussian_derivative,
    gmlf_features,
    laplacian_of_gaussian,
    normalized_maps,
    quantized,
)

Array = np.ndarray


def gaussian_window(side: int, sigma: float) -> list[list[float]]:
    middle = side // 2
    values = [
        [exp(-((i - middle) ** 2 + (j - middle) ** 2) / (2 * sigma**2)) for j in range(side)] for i in range(side)
    ]
    total = sum(map(sum, values))
    return [[value / total for value in row] for row in values]


def scaled(window: list[list[float]]) -> list[list[float]]:
    total = sum(abs(value) for row in window for value in row)
    return [[value / total for value in row] for row in window]


def filtered(image: list[list[float]], window: list[list[float]]) -> list[list[float]]:
    """Correlation of the same size; zeros outside."""
    height, width, half = len(image), len(image[0]), len(window) // 2

    def at(row: int, column: int) -> float:
        total = 0.0
        for i, weights in enumerate(window):
            for j, weight in enumerate(weights):
                y, x = row + i - half, column + j - half
                if 0 <= y < height and 0 <= x < width:
                    total += weight * image[y][x]
        return total

    return [[at(row, column) for column in range(width)] for row in range(height)]


def naive_windows() -> tuple[list[list[float]], ...]:
    wide = gaussian_window(7, 0.5)
    across = [[wide[i][j] - wide[i][j + 1] for j in range(1, 6)] for i in range(1, 6)]
    down = [[wide[i][j] - wide[i + 1][j] for j in range(1, 6)] for i in range(1, 6)]
    narrow = gaussian_window(5, 0.5)
    log = [[narrow[i][j] * ((i - 2) ** 2 + (j - 2) ** 2 - 0.5) / 0.0625 for j in range(5)] for i in range(5)]
    mean = sum(map(sum, log)) / 25
    return scaled(across), scaled(down), scaled([[value - mean for value in row] for row in log])


def naive_maps(image: Array) -> tuple[Array, Array]:
    values = [[float(value) for value in row] for row in image]
    across, down, log = (filtered(values, window) for window in naive_windows())
    height, width = image.shape
    gm = [[sqrt(across[r][c] ** 2 + down[r][c] ** 2) / 2.5 for c in range(width)] for r in range(height)]
    lap = [[abs(log[r][c]) for c in range(width)] for r in range(height)]
    energy = [[(gm[r][c] ** 2 + lap[r][c] ** 2) / 2 for c in range(width)] for r in range(height)]
    norm = [[sqrt(value) + 0.2 for value in row] for row in filtered(energy, gaussian_window(7, 1.0))]
    rows, columns = range(2, height - 2), range(2, width - 2)
    return (
        np.array([[gm[r][c] / norm[r][c] for c in columns] for r in rows]),
        np.array([[lap[r][c] / norm[r][c] for c in columns] for r in rows]),
    )


def naive_statistics(gradient: Array, laplacian: Array) -> list[float]:
    levels = range(10)
    joint = [[0.0] * 10 for _ in levels]
    for g, n in zip(gradient.ravel().tolist(), laplacian.ravel().tolist(), strict=True):
        joint[min(max(ceil(g / 0.2), 1), 10) - 1][min(max(ceil(n / 0.2), 1), 10) - 1] += 1 / gradient.size
    of_g = [sum(joint[g]) for g in levels]
    of_n = [sum(joint[g][n] for g in levels) for n in levels]
    g_given_n = [sum(joint[g][n] / (of_n[n] + 1e-4) for n in levels) for g in levels]
    n_given_g = [sum(joint[g][n] / (of_g[g] + 1e-4) for g in levels) for n in levels]
    conditional = [[value / sum(values) for value in values] for values in (g_given_n, n_given_g)]
    return [*of_g, *of_n, *conditional[0], *conditional[1]]


def patch() -> Array:
    return gray(skimage.data.astronaut()[90:118, 200:232])


def test_maps_and_features_equal_the_naive_ones() -> None:
    for image in (patch(), np.random.default_rng(0).integers(0, 256, (14, 11), dtype=np.uint8)):
        for found, expected in zip(normalized_maps(image), naive_maps(image), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-10)
        np.testing.assert_allclose(gmlf_features(image), naive_statistics(*naive_maps(image)), atol=1e-10)


def test_filters_equal_the_naive_ones() -> None:
    across, down, log = (np.array(window) for window in naive_windows())
    smooth, difference = gaussian_derivative()
    np.testing.assert_allclose(np.outer(smooth, difference), across, atol=1e-14)
    np.testing.assert_allclose(np.outer(difference, smooth), down, atol=1e-14)
    np.testing.assert_allclose(laplacian_of_gaussian(), log, atol=1e-14)
    for window in (across, down, log):
        assert np.abs(window).sum() == pytest.approx(1, abs=1e-14)
    assert laplacian_of_gaussian().sum() == pytest.approx(0, abs=1e-15)


def test_levels_by_hand() -> None:
    values = np.array([0.0, 1e-9, 0.1999, 0.21, 0.39, 0.41, 1.79, 1.81, 1.99, 2.5, 100.0])
    assert quantized(values).tolist() == [0, 0, 0, 1, 1, 2, 8, 9, 9, 9, 9]


def test_the_maps_of_a_ramp_by_hand() -> None:
    # Slope 4 along the rows. A filter answers with its sum times the value, and its first moment times the slope; the
    # Laplacian of a ramp is 0.
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (50, 1))
    _, difference = gaussian_derivative()
    across = 4 * (np.arange(60) * difference.sum() + np.arange(-2, 3) @ difference)
    down = 4 * np.arange(60) * difference.sum()
    gradient = np.hypot(across, down) / 2.5
    window = np.array([sum(row) for row in gaussian_window(7, 1.0)])
    energy = np.sqrt(np.convolve(gradient**2, window, mode="same") / 2)
    gm, lap = normalized_maps(ramp)
    np.testing.assert_allclose(gm[20, 8:48], (gradient / (energy + 0.2))[10:50], rtol=1e-9)
    np.testing.assert_allclose(lap[20, 8:48], 0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(5, 12), st.integers(5, 12))))
def test_four_distributions_whatever_the_image(image: Array) -> None:
    features = gmlf_features(image)
    assert features.shape == (40,)
    assert np.all((features >= 0) & (features <= 1))
    np.testing.assert_allclose(features.reshape(4, 10).sum(axis=1), 1, atol=1e-12)


def test_a_flat_image_is_in_the_lowest_levels() -> None:
    for level in (0, 100, 255):
        gm, lap = normalized_maps(np.full((40, 40), level, dtype=np.uint8))
        # The zeros outside reach into the outer rows.
        assert quantized(gm[6:-6, 6:-6]).max() == 0
        np.testing.assert_allclose(lap[6:-6, 6:-6], 0, atol=1e-12)
    # The derivative filter's sum is w(-2) - w(3) and not 0, so that a bright plain is not quite without gradient.
    _, difference = gaussian_derivative()
    weights = np.exp(-2.0 * np.arange(-3, 4) ** 2)
    total = (weights[1] - weights[6]) / np.abs(weights[1:6] - weights[2:7]).sum()
    assert difference.sum() == pytest.approx(total, rel=1e-12)
    raw = 255 * total * sqrt(2) / 2.5
    assert gm[20, 20] == pytest.approx(raw / (raw / sqrt(2) + 0.2), rel=1e-9)


def test_gray_values_are_those_of_0_to_255() -> None:
    # On 0 to 1 the constant of the normalisation wins and 98 percent of the mass is in the lowest level.
    assert 0.1 < gmlf_features(skimage.data.camera())[0] < 0.25


def test_five_pixels_are_needed() -> None:
    method = GMLF()
    assert method.minimum_size() == 5
    assert method.extract(np.zeros((5, 5, 3), dtype=np.uint8)).shape == (40,)


def test_learns_the_demo_with_the_papers_settings(demo) -> None:
    method = demo.method(GMLF, ["quality"])
    config = method.config
    assert (config.kernel, config.c, config.gamma, config.epsilon, config.scale) == ("rbf", 16384, 2, 0.1, "none")
    samples = demo.samples(["quality"])
    rows = np.random.default_rng(0).permutation(360)
    scores = method.fit(samples.subset(rows[:240])).predict(samples.subset(rows[240:]).hidden())
    assert np.corrcoef(scores[:, 0], samples.mos[rows[240:], 0])[0, 1] > 0.4


def test_of_three_targets_rated_up_to_a_hundred_each_column_is_its_targets(few) -> None:
    quality, alignment = (20 * few.table[f"mos_{target}"] for target in ("quality", "alignment"))
    mos = {"mos_quality": quality, "mos_alignment": alignment, "mos_authenticity": 100 - quality}
    ranges = dict.fromkeys(("quality", "alignment", "authenticity"), (0.0, 100.0))

    def predicted(*targets: str) -> Array:
        samples = few.samples(targets, **mos)
        method = GMLF(GMLF.Config(), few.context(targets, mos_ranges=ranges)).fit(samples.subset(np.arange(30)))
        return np.asarray(method.predict(samples.subset(np.arange(30, 40)).hidden()))

    found = predicted("authenticity", "quality")
    assert found.shape == (10, 2)
    np.testing.assert_array_equal(found, np.hstack([predicted("authenticity"), predicted("quality")]))
    np.testing.assert_allclose(found.sum(axis=1), 100, atol=1)  # each mirrors the other
    assert np.all(np.ptp(found, axis=0) > 5)
