"""Made-up methods and data for measuring the harness: they compute for a known time, and their scores make sense."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Method, MethodConfig
from agiqa_bench.seeds import derive_seed

GENERATORS = 10
PICTURE = 32
"""Height and width of a made-up picture."""


class MadeUp(Method):
    """Rates an image by the number of its generator, blurred by noise; learns nothing, but takes its time for it."""

    name = "made_up"
    title = "Made-up"
    targets = ("*",)
    uses_images = False
    citation = "@misc{made_up, title={Made-up}}"

    class Config(MethodConfig):
        """How well and how fast it rates."""

        number: int = Field(default=0, description="draws other noise")
        noise: float = Field(default=1.0, ge=0, description="standard deviation; a generator's step is 0.3")
        seconds: float = Field(default=0.0, ge=0, description="of processor time in each cell")

    @classmethod
    def row_name(cls, config: MethodConfig) -> str:
        """Each has a number."""
        return str(getattr(config, "number", 0))

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Compute for the time that the settings say."""
        spin(self.config.seconds)
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Scores (n, n_targets)."""
        if not self.trainable:
            spin(self.config.seconds)
        draw = np.random.default_rng(derive_seed(self.config.number, self.context.seed))
        generator = np.array([float(name.rpartition("-")[2]) for name in samples.generators])
        noise = draw.normal(0, self.config.noise, (len(samples), len(samples.targets)))
        return np.asarray(0.3 * generator[:, None] + noise, dtype=np.float64)


class MadeUpLooking(MadeUp):
    """The same, on images."""

    name = "made_up_looking"
    title = "Made-up, with images"
    uses_images = True


class MadeUpZeroShot(MadeUp):
    """The same, once for all repeats."""

    name = "made_up_zero_shot"
    title = "Made-up, zero-shot"
    trainable = False


def spin(seconds: float) -> None:
    """Keep a core busy for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def write_table(file: Path, images: int, targets: Sequence[str] = ("quality",), *, pictures: bool = False) -> Path:
    """Write a table data set: `images // GENERATORS` prompts, each with every generator.

    Args:
        file: A .csv; its name is the data set's, and draws other ratings.
        images: Number of rows.
        targets: What is rated, from 0 to 5.
        pictures: Whether there are image files of noise, `PICTURE` pixels high and wide, in a folder beside it.
    """
    import pandas as pd
    from PIL import Image

    draw = np.random.default_rng(derive_seed("made up", file.stem))
    generator, prompt = np.arange(images) % GENERATORS, np.arange(images) // GENERATORS
    names = [f"{file.stem}/{p:04d}-{g:02d}.png" for p, g in zip(prompt, generator, strict=True)]
    table = pd.DataFrame(
        {
            "image": names,
            "prompt": [f"a picture of thing {number}" for number in prompt],
            "generator": [f"generator-{number:02d}" for number in generator],
        }
    )
    for target in targets:
        liked = 1 + 0.3 * generator + draw.normal(0, 0.4, prompt.max() + 1)[prompt]
        table[f"mos_{target}"] = np.clip(liked + draw.normal(0, 0.4, images), 0, 5).round(4)
    table.to_csv(file, index=False)
    if pictures:
        (file.parent / file.stem).mkdir()
        for name in names:
            pixels = draw.integers(0, 256, (PICTURE, PICTURE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file.parent / name, compress_level=1)
    return file
