from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from agiqa_bench.benchmarks.painted import RANGE, painted_images, rated_pictures


def test_images_are_the_same_every_time_and_no_two_are_alike() -> None:
    # More than a shift along one side could tell apart.
    images = list(islice(painted_images(32), 10 * 32 + 15))
    assert len({image.tobytes() for image in images}) == len(images)
    assert all(image.shape == (32, 32, 3) and image.dtype == np.uint8 for image in images)
    assert np.array_equal(next(painted_images(32)), images[0])


def test_noise_is_as_strong_as_asked_for_and_each_images_own() -> None:
    plain, noisy = (np.stack(list(islice(painted_images(64, noise=noise), 2))).astype(int) for noise in (0.0, 3.0))
    added = noisy - plain
    inside = (plain > 20) & (plain < 235)
    assert 2.8 < added[inside].std() < 3.2
    assert not np.array_equal(added[0], added[1])


def test_files_hold_the_images_and_ratings_are_in_range(tmp_path: Path) -> None:
    table = rated_pictures(tmp_path, 13, 32)
    assert np.array_equal(np.asarray(Image.open(table["path"][12])), list(islice(painted_images(32), 13))[12])
    assert table["prompt"].nunique() == 2
    assert table[["mos_quality", "mos_alignment"]].stack().between(*RANGE).all()
