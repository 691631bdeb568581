"""Small methods for tests of the road: trained in epochs, zero-shot, and some that misbehave."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from agiqa_bench import Method, MethodConfig, Samples


class LengthConfig(MethodConfig):
    sign: float = 1.0
    words: bool = False


class PromptLength(Method):
    """Zero-shot: the length of the file name. Counts its calls in the file that EXAMPLE_LOG names."""

    name = "name_length"
    title = "Name length"
    targets = ("*",)
    uses_images = False
    trainable = False
    Config = LengthConfig

    def predict(self, samples: Samples) -> np.ndarray:
        log(f"name_length {len(samples)}")
        return self.config.sign * np.array([len(name) for name in samples.names], dtype=float)


class Ablated(PromptLength):
    """Has an ablation table, with names as papers write them, and something to say about its settings."""

    name = "ablated"
    title = "Ablated"
    presets: ClassVar = {"quick": {"sign": 5.0}}
    ablations: ClassVar = {
        "none": {},
        "sign turned": {"sign": -1.0},
        "sign + words, both": {"sign": -1.0, "words": True},
    }

    @classmethod
    def note(cls, config: LengthConfig, context: object) -> str:
        return "counts words" if config.words else ""


class EpochMethod(Method):
    """Trained in epochs: approaches the generator means; chooses the epoch that is best on validation."""

    name = "epochs"
    title = "Epochs"
    targets = ("*",)
    uses_images = False
    selects_epoch = True

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        log(f"epochs {len(train)} {None if validation is None else len(validation)}")
        time.sleep(float(os.environ.get("EXAMPLE_SLEEP", "0")))
        generators = np.array(train.generators)
        means = {name: train.mos[generators == name].mean(axis=0) for name in set(train.generators)}
        noise = np.random.normal(0, 0.01, size=3)
        for epoch in range(3):
            self.history.append({"epoch": epoch, "loss": float(1 / (epoch + 1) + noise[epoch])})
            self.context.progress(epoch + 1, 3, "epochs")
        self.means = means
        self.noise = float(noise.sum())
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        lengths = np.array([[len(name)] for name in samples.names])
        return np.stack([self.means[name] for name in samples.generators]) + self.noise + 0.001 * lengths


class FailsSometimes(EpochMethod):
    """Fails while the file that EXAMPLE_FAIL names exists."""

    name = "fails_sometimes"
    title = "Fails sometimes"
    selects_epoch = False

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        if Path(os.environ.get("EXAMPLE_FAIL", "/nonexistent")).exists():
            raise RuntimeError("the example was told to fail\nwith a second line")
        return super().fit(train, validation)


class OddHistory(EpochMethod):
    """Keeps numbers of numpy, and a loss that is not one."""

    name = "odd_history"
    title = "Odd history"
    selects_epoch = False

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        super().fit(train, validation)
        self.history = [{"epoch": np.int64(0), "loss": np.float32(0.5)}, {"epoch": 1, "loss": float("nan")}]
        return self


class Dies(EpochMethod):
    """Ends its process while the file that EXAMPLE_FAIL names exists, as the kernel does when memory is short."""

    name = "dies"
    title = "Dies"
    selects_epoch = False

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        if Path(os.environ.get("EXAMPLE_FAIL", "/nonexistent")).exists():
            os._exit(9)
        return super().fit(train, validation)


class ReturnsNaN(Method):
    name = "returns_nan"
    title = "Returns NaN"
    targets = ("*",)
    uses_images = False
    trainable = False

    def predict(self, samples: Samples) -> np.ndarray:
        scores = np.arange(len(samples), dtype=float)
        scores[3] = np.nan
        return scores


class PeeksAtMOS(Method):
    name = "peeks"
    title = "Peeks"
    targets = ("*",)
    uses_images = False
    trainable = False

    def predict(self, samples: Samples) -> np.ndarray:
        return samples.mos


class BrightnessConfig(MethodConfig):
    twice: bool = False


class Brightness(Method):
    """Zero-shot, on small versions of the images."""

    Config = BrightnessConfig

    name = "brightness"
    title = "Brightness"
    targets = ("*",)
    trainable = False

    def predict(self, samples: Samples) -> np.ndarray:
        return samples.images.resized(16).mean(axis=(1, 2, 3))


class Skips(Method):
    name = "skips"
    title = "Skips"
    targets = ("*",)
    uses_images = False

    @classmethod
    def skip(cls, config: MethodConfig, context: object) -> str | None:
        return "has no readable specification"

    def predict(self, samples: Samples) -> np.ndarray:
        raise AssertionError("a skipped method ran")


def log(line: str) -> None:
    if "EXAMPLE_LOG" in os.environ:
        with Path(os.environ["EXAMPLE_LOG"]).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
