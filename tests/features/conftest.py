"""Small data sets of images that a test draws itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples

MakeSamples = Callable[..., Samples]


@pytest.fixture
def make_samples(tmp_path: Path) -> MakeSamples:
    """`make_samples(images, mos)`: samples of uint8 (h, w, 3) arrays in files 0.png, 1.png ...."""

    def make(images: Sequence[np.ndarray], mos: np.ndarray | None = None, cache: str = "cache") -> Samples:
        names = [f"{number}.png" for number in range(len(images))]
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image).save(tmp_path / name)
        ratings = np.zeros((len(images), 1)) if mos is None else np.reshape(mos, (len(images), -1))
        targets = ("quality", "authenticity")[: ratings.shape[1]]
        columns = {f"mos_{target}": column for target, column in zip(targets, ratings.T, strict=True)}
        table = pd.DataFrame({"image": names, **columns})
        return Samples(table, targets, ImageCache([tmp_path / name for name in names], tmp_path / cache))

    return make
