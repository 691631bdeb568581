from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn
from PIL import Image, ImageCms
from pydantic import ValidationError
from scipy.signal import convolve2d
from scipy.stats import kurtosis, skew, spearmanr

from agiqa_bench.data.images import decode
from agiqa_bench.methods.higrade import HIGRADE, coherence_features, higrade_features, lab8

Array = npt.NDArray[np.float64]
Map = list[list[float]]


def photograph() -> npt.NDArray[np.uint8]:
    return decode(Path(sklearn.__file__).parent / "datasets" / "images" / "flower.jpg")


# A second implementation, by loops over pixels and the text of the released code's steps.


def at(image: Map, row: int, column: int) -> float:
    """A pixel, or zero outside the image."""
    inside = 0 <= row < len(image) and 0 <= column < len(image[0])
    return image[row][column] if inside else 0.0


def mapped(image: Map, value: Callable[[int, int], float]) -> Map:
    return [[value(row, column) for column in range(len(image[0]))] for row in range(len(image))]


def flat(image: Map) -> list[float]:
    return [value for row in image for value in row]


def gaussian(image: Map) -> list[float]:
    """Deviation and shape of a generalised Gaussian with the values' mean."""
    values = flat(image)
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    magnitude = sum(abs(value - mean) for value in values) / len(values)
    shapes = [0.2 + 0.001 * i for i in range(9801)]
    ratios = [math.exp(math.lgamma(1 / s) + math.lgamma(3 / s) - 2 * math.lgamma(2 / s)) for s in shapes]
    best = min(range(9801), key=lambda i: abs(ratios[i] - variance / magnitude**2))
    return [math.sqrt(variance), shapes[best]]


def one_scale(image: Map) -> list[float]:
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * (7 / 6) ** 2)) for i in range(-3, 4) for j in range(-3, 4)}
    total = sum(weights.values())

    def windowed(power: int) -> Map:
        return mapped(
            image, lambda r, c: sum(w * at(image, r + i, c + j) ** power for (i, j), w in weights.items()) / total
        )

    mean, square = windowed(1), windowed(2)
    field = mapped(image, lambda r, c: math.sqrt(abs(square[r][c] - mean[r][c] ** 2)))
    normal = mapped(image, lambda r, c: (image[r][c] - mean[r][c]) / (field[r][c] + 1))
    logs = mapped(image, lambda r, c: math.log(abs(normal[r][c]) + 0.1))
    deviations = np.array(field)
    found = [float(deviations.mean()), float((deviations.mean() / deviations.std(ddof=1)) ** 2)]
    height, width = len(image), len(image[0])

    def around(row: int, column: int) -> float:
        return logs[row % height][column % width]

    derivatives: list[Callable[[int, int], float]] = [
        lambda r, c: around(r, c + 1) - around(r, c),
        lambda r, c: around(r + 1, c) - around(r, c),
        lambda r, c: around(r + 1, c + 1) - around(r, c),
        lambda r, c: around(r + 1, c - 1) - around(r, c),
        lambda r, c: around(r, c) + around(r + 1, c + 1) - around(r, c + 1) - around(r + 1, c),
        lambda r, c: at(logs, r - 1, c) + at(logs, r + 1, c) - at(logs, r, c - 1) - at(logs, r, c + 1),
        lambda r, c: at(logs, r - 1, c - 1) + at(logs, r + 1, c + 1) - at(logs, r - 1, c + 1) - at(logs, r + 1, c - 1),
    ]
    for values in (normal, *(mapped(image, derivative) for derivative in derivatives)):
        found += gaussian(values)
    return found


def half(image: Map) -> Map:
    """Every second of the pixels between pixels, each from the eight nearest in both directions; mirrored borders."""
    taps = [-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875]
    height, width = len(image), len(image[0])

    def mirrored(place: int, side: int) -> int:
        place %= 2 * side
        return min(place, 2 * side - 1 - place)

    return [
        [
            sum(
                taps[i] * taps[j] * image[mirrored(2 * row + i - 3, height)][mirrored(2 * column + j - 3, width)]
                for i in range(8)
                for j in range(8)
            )
            for column in range((width + 1) // 2)
        ]
        for row in range((height + 1) // 2)
    ]


def gradient(image: Map) -> Map:
    height, width = len(image), len(image[0])

    def near(row: int, column: int) -> float:
        return image[min(max(row, 0), height - 1)][min(max(column, 0), width - 1)]

    def magnitude(row: int, column: int) -> float:
        weights = ((-1, 1), (0, 2), (1, 1))
        right = sum(w * (near(row + i, column + 1) - near(row + i, column - 1)) for i, w in weights)
        down = sum(w * (near(row + 1, column + i) - near(row - 1, column + i)) for i, w in weights)
        return math.hypot(right, down)

    return mapped(image, magnitude)


def coherences(channel: Array) -> list[float]:
    offsets = np.arange(-4, 5)
    bell = np.exp(-(offsets[:, None] ** 2 + offsets**2) / 0.5)
    bell /= bell.sum()
    to_right = bell - np.column_stack([np.zeros(9), bell[:, :-1]])
    found = []
    for top in range(0, channel.shape[0] - 8, 9):
        for left in range(0, channel.shape[1] - 8, 9):
            block = channel[top : top + 9, left : left + 9]
            right, down = convolve2d(block, to_right, mode="same"), convolve2d(block, to_right.T, mode="same")
            cross = (right * down).sum()
            small, large = np.linalg.eigvalsh([[(right**2).sum(), cross], [cross, (down**2).sum()]])
            found.append(((large - small) / (large + small)) ** 2)
    return found


def moments(values: list[float]) -> list[float]:
    return [np.mean(values), np.std(values, ddof=1), skew(values), kurtosis(values, fisher=False)]


@pytest.mark.parametrize(("variant", "width"), [(1, 216), (2, 120)])
def test_features_equal_a_second_implementation(variant: Any, width: int) -> None:
    image = photograph()[200:224, 300:320]
    expected: list[float] = []
    for channel in lab8(image):
        plane: Map = channel.tolist()
        expected += one_scale(plane) + one_scale(half(plane))
        if variant == 1:
            edges = gradient(plane)
            expected += one_scale(edges) + one_scale(half(edges))
        else:
            expected += moments(coherences(channel))
    features = higrade_features(image, variant)
    assert features.shape == (width,)
    np.testing.assert_allclose(features, expected, rtol=1e-8)


def test_lab_of_colours_known_by_hand() -> None:
    # For D50 red is 54.29, 80.81, 69.89, green 87.82, -79.29, 80.99 and blue 29.57, 68.30, -112.03.
    colours = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    expected = [[255, 128, 128], [0, 128, 128], [138, 209, 198], [224, 49, 209], [75, 196, 16]]
    np.testing.assert_array_equal(lab8(colours)[:, 0].T, expected)


def test_lab_is_that_of_an_icc_engine() -> None:
    image = photograph()[::2, ::2]
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    theirs = ImageCms.profileToProfile(Image.fromarray(image), *profiles, outputMode="LAB")
    assert theirs is not None
    # Pillow keeps a and b as signed bytes.
    expected = np.asarray(theirs).astype(int) ^ [0, 128, 128]
    difference = np.abs(lab8(image).transpose(1, 2, 0) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.03


def test_black_blocks_have_no_coherence() -> None:
    channel = lab8(photograph()[:36, :45])[0]
    rest = coherences(channel)[1:]
    channel[:9, :9] = 0
    found = coherence_features(channel)
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2:], [skew(rest), kurtosis(rest, fisher=False)], rtol=1e-9)
    features = higrade_features(np.zeros((40, 40, 3), np.uint8), 2)
    np.testing.assert_array_equal(features[36:40], np.zeros(4))


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_picture_in_one_grey_has_features_that_do_not_hang_on_rounding(variant: Any, value: int) -> None:
    features = higrade_features(np.full((45, 54, 3), value, np.uint8), variant)
    assert np.isfinite(features).all()
    turned = higrade_features(np.full((54, 45, 3), value, np.uint8), variant)
    np.testing.assert_allclose(features, turned, rtol=0.15, atol=0.15)
    if variant == 1:
        # The gradient of a plain map is zero everywhere: no deviation, no spread of it, and the shape's lower end.
        np.testing.assert_array_equal(features[36:40], [0, 0, 0, 0.2])


def test_variants_differ_in_width_and_gamma(few: Any) -> None:
    samples = few.samples(targets=("quality",))
    for settings, width in zip(HIGRADE.ablations.values(), (216, 120), strict=True):
        method = few.method(HIGRADE, targets=("quality",), **settings)
        scores = method.fit(samples).predict(samples.hidden())
        assert method.features(samples).shape == (len(samples), width)
        assert float(method.state()["quality.gamma"]) == 1 / width
        assert spearmanr(scores[:, 0], samples.mos[:, 0]).statistic > 0.9


def test_settings_are_the_released_models() -> None:
    config = HIGRADE.Config()
    assert (config.variant, config.kernel, config.c, config.gamma) == (1, "rbf", 1024, "auto")
    assert (config.epsilon, config.scale) == (0.1, "minmax")
    assert all(field.description for field in HIGRADE.Config.model_fields.values())
    with pytest.raises(ValidationError):
        HIGRADE.Config(variant=3)
