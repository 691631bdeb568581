from __future__ import annotations

from math import exp, floor, log2

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from skimage.exposure import equalize_hist
from skimage.metrics import structural_similarity

from agiqa_bench.features.colour import gray
from agiqa_bench.methods.ceiq import CEIQ, ceiq_features, equalized, histogram, ssim_map

Array = np.ndarray

SMALL_IMAGES = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def patch() -> Array:
    return gray(skimage.data.astronaut()[100:124, 200:230])


def naive_equalized(image: Array) -> Array:
    """The minimisation that histeq documents: least difference of cumulative counts, off by half a level's at most."""
    counts = [int(np.sum(image == level)) for level in range(256)]
    mapping = []
    for level in range(256):
        below = sum(counts[: level + 1])
        slack = 0 if level in (0, 255) else counts[level] / 2
        errors = [image.size * (out + 1) / 64 - below + slack for out in range(64)]
        allowed = [error if error >= -1e-9 else float("inf") for error in errors]
        mapping.append(floor(255 * allowed.index(min(allowed)) / 63 + 0.5))
    return np.array([[mapping[value] for value in row] for row in image], dtype=np.uint8)


def naive_histogram(image: Array) -> list[float]:
    """Bin p of N, from 1, holds A (p - 1.5) / (N - 1) <= x < A (p - 0.5) / (N - 1), A = 255."""
    shares = []
    for p in range(1, 129):
        low, high = 255 * (p - 1.5) / 127, 255 * (p - 0.5) / 127
        shares.append(sum(1 for x in image.ravel().tolist() if low <= x < high) / image.size)
    return shares


def naive_ssim(first: Array, second: Array) -> float:
    window = [[exp(-(i * i + j * j) / 4.5) for j in range(-5, 6)] for i in range(-5, 6)]
    total = sum(map(sum, window))
    height, width = first.shape
    values = []
    for row in range(height):
        for column in range(width):
            mx = my = xx = yy = xy = 0.0
            for i in range(-5, 6):
                for j in range(-5, 6):
                    at = min(max(row + i, 0), height - 1), min(max(column + j, 0), width - 1)
                    w, x, y = window[i + 5][j + 5] / total, float(first[at]), float(second[at])
                    mx, my, xx, yy, xy = mx + w * x, my + w * y, xx + w * x * x, yy + w * y * y, xy + w * x * y
            c1, c2 = 2.55**2, 7.65**2
            structure = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
            values.append((2 * mx * my + c1) / (mx * mx + my * my + c1) * structure)
    return sum(values) / len(values)


def naive_features(image: Array) -> list[float]:
    enhanced = naive_equalized(image)
    pairs = [
        (a, b)
        for a, b in zip(naive_histogram(image), naive_histogram(enhanced), strict=True)
        if a > 0 and b > 0
    ]  # fmt: skip
    return [
        naive_ssim(image, enhanced),
        -sum(a * log2(a) for a, b in pairs),
        -sum(b * log2(b) for a, b in pairs),
        -sum(a * log2(b) for a, b in pairs),
        -sum(b * log2(a) for a, b in pairs),
    ]


def test_features_equal_the_naive_ones() -> None:
    image = patch()
    np.testing.assert_allclose(ceiq_features(image), naive_features(image), atol=1e-10)
    noise = np.random.default_rng(0).integers(0, 256, (13, 17), dtype=np.uint8)
    np.testing.assert_allclose(ceiq_features(noise), naive_features(noise), atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(SMALL_IMAGES)
def test_equalised_images_and_histograms_equal_the_naive_ones(image: Array) -> None:
    np.testing.assert_array_equal(equalized(image), naive_equalized(image))
    np.testing.assert_allclose(histogram(image), naive_histogram(image), atol=1e-12)
    assert np.isfinite(ceiq_features(image)).all()


def test_equalised_by_hand() -> None:
    # The end of 0's pixels is at 1/4 of all, the middle of 100's at 3/8, of 200's at 11/16, the end of 255's at 1.
    image = np.array([[0, 100, 200, 200, 255, 100, 0, 200]], dtype=np.uint8)
    # Levels ceil(64 * share) - 1 of 63 at the shares 1/4, 3/8, 11/16 and 1: 15, 23, 43 and 63.
    assert equalized(image).tolist() == [[61, 93, 174, 174, 255, 93, 61, 174]]
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert len(np.unique(equalized(ramp))) == 64


def test_equalised_is_close_to_scikit_images() -> None:
    image = gray(skimage.data.astronaut())
    ours, theirs = equalized(image).astype(float), 255 * equalize_hist(image)
    # One is quantised to 64 levels, the other is not; both map each level once for all pixels.
    assert np.abs(ours - theirs).max() < 255 / 63 + 255 * np.bincount(image.ravel()).max() / image.size
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.995


def test_ssim_is_scikit_images_away_from_the_border() -> None:
    image = gray(skimage.data.astronaut())[:96, :128]
    enhanced = equalized(image)
    _, expected = structural_similarity(
        image, enhanced, full=True, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    np.testing.assert_allclose(ssim_map(image, enhanced)[5:-5, 5:-5], expected[5:-5, 5:-5], atol=1e-10)
    np.testing.assert_allclose(ssim_map(image, image), 1, atol=1e-10)


def test_a_flat_image_has_features_too() -> None:
    # All pixels at 128 go to level ceil(64 / 2) - 1 = 31, gray value 125: one bin each, never the same.
    image = np.full((20, 20), 128, dtype=np.uint8)
    similarity = (2 * 128 * 125 + 2.55**2) / (128**2 + 125**2 + 2.55**2)
    np.testing.assert_allclose(ceiq_features(image), [similarity, 0, 0, 0, 0], atol=1e-9)


def test_higher_contrast_is_more_like_its_equalised_version() -> None:
    image = gray(skimage.data.astronaut()).astype(float)
    similarities = [ceiq_features((128 + (image - 128) * share).astype(np.uint8))[0] for share in (1, 0.5, 0.25, 0.1)]
    assert similarities == sorted(similarities, reverse=True)


def test_learns_contrast_with_the_released_models_settings(demo) -> None:
    contrast = np.array([gray(image).std() for image in demo.samples().images])
    samples = demo.samples(["quality"], mos_quality=5 * contrast / contrast.max())
    method = demo.method(CEIQ, ["quality"])
    config = method.config
    assert (config.kernel, config.c, config.epsilon, config.scale) == ("linear", 1.0, 0.1, "none")
    rows = np.random.default_rng(0).permutation(360)
    scores = method.fit(samples.subset(rows[:240])).predict(samples.subset(rows[240:]).hidden())
    assert scores.shape == (120, 1)
    assert np.corrcoef(scores[:, 0], contrast[rows[240:]])[0, 1] > 0.6


@pytest.mark.parametrize("side", [1, 2])
def test_the_smallest_images(side: int) -> None:
    image = np.arange(3 * side * side, dtype=np.uint8).reshape(side, side, 3)
    assert CEIQ().extract(image).shape == (5,)
