from __future__ import annotations

from collections.abc import Callable
from math import atan2, exp, floor, hypot, pi
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from scipy.ndimage import gaussian_filter

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError
from agiqa_bench.features.colour import gray
from agiqa_bench.methods.dsiqa import DSIQA, canny_edges, cpbd, edge_widths, vertical_edges

Array = np.ndarray


def photographs() -> dict[str, Array]:
    """Photographs that scikit-image's wheel holds."""
    return {
        "camera": skimage.data.camera(),
        "astronaut": gray(skimage.data.astronaut()),
        "coffee": gray(skimage.data.coffee()),
        "chelsea": gray(skimage.data.chelsea()),
        "coins": skimage.data.coins(),
    }


def blurred(image: Array, sigma: float) -> Array:
    return np.asarray(gaussian_filter(image.astype(float), sigma, mode="nearest").round().astype(np.uint8))


def naive_edges(image: Array) -> Array:
    height, width = image.shape
    values = image.astype(int).tolist()

    def pixel(row: int, column: int) -> int:
        return values[min(max(row, 0), height - 1)][min(max(column, 0), width - 1)]

    strength = [
        [abs(sum(k * (pixel(r + i, c + 1) - pixel(r + i, c - 1)) for i, k in ((-1, 1), (0, 2), (1, 1)))) / 8
         for c in range(width)]
        for r in range(height)
    ]  # fmt: skip
    edges = np.zeros(image.shape, dtype=bool)
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            here = strength[r][c]
            in_row = strength[r][c - 1] <= here > strength[r][c + 1]
            in_column = strength[r - 1][c] <= here > strength[r + 1][c]
            edges[r, c] = here > 2 and (in_row or in_column)
    return edges


def naive_run(row: list[int], start: int, step: int, goes_on: Callable[[int], bool]) -> int:
    """Pixels on one side: from the neighbour on as long as the differences outwards have the sign, at most 101."""
    for k in range(101):
        inner, outer = start + step * (1 + k), start + step * (2 + k)
        if not 0 <= outer < len(row) or not goes_on(row[outer] - row[inner]):
            break
    return k + 1


def naive_widths(image: Array, edges: Array) -> Array:
    height, width = image.shape
    values = image.astype(int).tolist()
    widths = np.zeros(image.shape, dtype=int)
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            if not edges[r, c]:
                continue
            across = (values[r][c + 1] - values[r][c - 1]) / 2
            down = (values[r + 1][c] - values[r - 1][c]) / 2
            degrees = atan2(down, across) * 180 / pi if across else 0.0
            angle = floor(abs(degrees) / 45 + 0.5) * 45
            if angle == 0:
                right, left = (lambda d: d > 0), (lambda d: d < 0)
            elif angle == 180:
                right, left = (lambda d: d < 0), (lambda d: d > 0)
            else:
                continue
            widths[r, c] = naive_run(values[r], c, 1, right) + naive_run(values[r], c, -1, left)
    return widths


def naive_cpbd(image: Array, canny: Array) -> float:
    widths = naive_widths(image, naive_edges(image))
    histogram, total = [0] * 101, 0
    for top in range(0, image.shape[0] - 63, 64):
        for left in range(0, image.shape[1] - 63, 64):
            at = slice(top, top + 64), slice(left, left + 64)
            if np.count_nonzero(canny[at]) <= 0.002 * 64 * 64:
                continue
            contrast = int(image[at].max()) - int(image[at].min())
            for width in widths[at].ravel().tolist():
                if width:
                    histogram[floor(100 * (1 - exp(-((width / (5 if contrast <= 50 else 3)) ** 3.6))) + 0.5)] += 1
                    total += 1
    return sum(histogram[:64]) / total if total else 0.0


def test_the_score_equals_the_naive_one() -> None:
    image = skimage.data.camera()[150:300, 130:290]
    low = (100 + image[::-1, ::-1] // 6).astype(np.uint8)  # contrast of at most 42: the other width
    for part in (image, blurred(image, 0.8), low):
        np.testing.assert_array_equal(vertical_edges(part), naive_edges(part))
        np.testing.assert_array_equal(edge_widths(part, vertical_edges(part)), naive_widths(part, naive_edges(part)))
        score = cpbd(part)
        assert 0 < score < 1
        assert score == pytest.approx(naive_cpbd(part, canny_edges(part)), abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(3, 9), st.integers(3, 14)), elements=st.integers(0, 40)))
def test_edges_and_widths_of_any_image_equal_the_naive_ones(image: Array) -> None:
    edges = vertical_edges(image)
    np.testing.assert_array_equal(edges, naive_edges(image))
    np.testing.assert_array_equal(edge_widths(image, edges), naive_widths(image, edges))


def test_widths_by_hand() -> None:
    #                 0   1   2   3   4    5    6    7    8   9
    row = np.array([50, 50, 40, 50, 80, 120, 150, 160, 160, 90], dtype=np.uint8)
    image = np.tile(row, (3, 1))
    edges = np.zeros(image.shape, dtype=bool)
    edges[1, 4] = True
    # Left from 3: falls to 2, rises to 1; pixels 3, 2. Right from 5: rises to 7, level at 8; pixels 5, 6, 7.
    assert edge_widths(image, edges)[1].tolist() == [0, 0, 0, 0, 5, 0, 0, 0, 0, 0]
    # The same edge the other way round, and upside down: falling, and left is right.
    assert edge_widths(image[:, ::-1], edges[:, ::-1])[1, 5] == 5
    assert edge_widths(255 - image, edges)[1, 4] == 5


def test_a_long_edge_is_followed_for_101_pixels_a_side() -> None:
    image = np.tile(np.arange(251, dtype=np.uint8), (3, 1))
    edges = np.zeros(image.shape, dtype=bool)
    edges[1, 125] = True
    assert edge_widths(image, edges)[1, 125] == 202


def test_slanted_edges_have_no_width() -> None:
    rows, columns = np.indices((5, 9))
    edges = np.zeros((5, 9), dtype=bool)
    edges[2, 4] = True
    for down, across, has_width in ((0, 10, True), (4, 10, True), (5, 10, False), (10, 0, True), (10, 1, False)):
        image = (100 + down * (rows - 2) + across * (columns - 4)).astype(np.uint8)
        assert bool(edge_widths(image, edges)[2, 4]) is has_width, (down, across)


def step(rise: int, width: int) -> Array:
    """128 x 128: dark, a ramp of `width` differences in the middle of each block of 64, bright, and back."""
    ramp = np.clip(np.arange(64) - 32 + width / 2, 0, width) / width
    row = 100 + rise * np.concatenate([ramp, 1 - ramp])
    return np.tile(row.round().astype(np.uint8), (128, 1))


def test_sharp_steps_score_1_and_wide_ramps_0_at_either_contrast() -> None:
    # A width of 3 is not noticed at a contrast above 50, one of 5 not below; a step has 2, its two pixels.
    assert cpbd(step(120, 1)) == cpbd(step(40, 1)) == 1
    assert cpbd(step(120, 4)) == 0
    assert cpbd(step(40, 4)) == 1
    assert cpbd(step(40, 8)) == 0


def test_no_edges_score_0() -> None:
    for level in (0, 128, 255):
        assert cpbd(np.full((70, 200), level, dtype=np.uint8)) == 0
    assert cpbd(np.tile(np.arange(128, dtype=np.uint8), (128, 1))) == 0  # one gray level per pixel
    assert cpbd(step(120, 1).T.copy()) == 0  # nothing but horizontal edges


def test_what_is_beside_whole_blocks_does_not_count() -> None:
    image = np.full((100, 127), 80, dtype=np.uint8)
    image[:, 90:] = 200
    assert cpbd(image) == 0
    assert cpbd(np.pad(image, ((0, 0), (0, 1)), mode="edge")) == 1


def test_canny_thresholds_follow_the_image() -> None:
    image = skimage.data.camera()
    edges = canny_edges(image)
    assert 0.02 < edges.mean() < 0.3
    # Both thresholds are relative to the strongest edge, so halving the contrast changes next to nothing.
    assert np.mean(edges != canny_edges(image // 2)) < 0.05
    ys, xs = np.nonzero(canny_edges(step(120, 1)))
    assert set(xs.tolist()) <= {31, 32, 95, 96}
    assert len(ys) > 200


def test_the_score_falls_with_growing_blur_of_photographs() -> None:
    for name, image in photographs().items():
        scores = [cpbd(image), *(cpbd(blurred(image, sigma)) for sigma in (0.7, 1.0, 1.5, 2.0, 3.0))]
        assert scores == sorted(scores, reverse=True), f"{name}: {scores}"
        assert scores[0] > 0.3 > 0.05 > scores[-2], f"{name}: {scores}"


def samples_of(folder: Path, **images: Array) -> Samples:
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    files = [folder / f"{name}.png" for name in images]
    table = pd.DataFrame({"image": [file.name for file in files], "mos_quality": 1.0})
    return Samples(table, ["quality"], ImageCache(files, folder / "cache"), mos_hidden=True)


def test_scores_images_and_names_those_without_a_block(tmp_path: Path) -> None:
    astronaut = skimage.data.astronaut()[:200, :200]
    samples = samples_of(tmp_path, sharp=astronaut, small=astronaut[:63], gray=gray(astronaut))
    scores = DSIQA().predict(samples.subset([2, 0]))
    assert scores.tolist() == [cpbd(gray(astronaut))] * 2
    with pytest.raises(
        BadImageError, match=r"^dsiqa is undefined for image .*small\.png: it is 200 x 63, and at least 64 x 64 pixels"
    ):
        DSIQA().predict(samples)


def test_the_strength_of_an_edge_is_a_gradient_in_gray_levels_per_pixel() -> None:
    for slope, found in ((1, False), (2, False), (3, True)):
        image = np.full((3, 40), 20, dtype=np.uint8)
        image[:, 10:30] = 20 + slope * np.arange(20)
        image[:, 30:] = image[:, 29:30]
        assert hypot(slope, 0) == slope
        assert bool(vertical_edges(image).any()) is found
