from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agiqa_bench.benchmarks.clock import Took
from agiqa_bench.benchmarks.model import Settings
from agiqa_bench.benchmarks.parts.decode import _beside_pillow, decode_alone, measure, write_pictures


def test_pictures_are_distinct_and_noisy_and_alike_in_every_format(tmp_path: Path) -> None:
    files = write_pictures(tmp_path, 10, 64)
    png = np.stack([np.asarray(Image.open(path)) for path in files["PNG"]]).astype(int)
    jpeg = np.stack([np.asarray(Image.open(path)) for path in files["JPEG"]]).astype(int)
    assert len(np.unique(png.reshape(10, -1), axis=0)) == 10
    assert np.abs(png - jpeg).mean() < 12
    assert np.diff(png, axis=2).std() > 6
    assert [Image.open(files[name][0]).format for name in files] == list(files)
    assert decode_alone(files["JPEG"][0]) == (64, 64, 3)


def test_the_faster_pillow_is_the_yardstick_in_every_round() -> None:
    took = {
        "threads": [Took(2.0, 0.0), Took(4.0, 0.0)],
        "processes": [Took(4.0, 0.0), Took(2.0, 0.0)],
        "image cache": [Took(2.5, 5.0), Took(4.0, 6.0)],
    }
    over = next(entry for entry in _beside_pillow("PNG", took, 10) if entry.unit == "x")
    assert over.values == pytest.approx((0.8, 0.5))


def test_the_part_measures_every_format() -> None:
    found = measure(Settings("tiny", rounds=2), lambda line: None)
    ratios = [entry for entry in found.entries if entry.unit == "x"]
    assert [entry.name.partition(":")[0] for entry in ratios] == ["JPEG", "PNG"]
    assert all(len(entry.values) == 2 and min(entry.values) > 0 for entry in found.entries)
    assert len({entry.name for entry in found.entries}) == len(found.entries)
