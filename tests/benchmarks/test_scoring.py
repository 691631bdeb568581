from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from agiqa_bench.benchmarks.clock import Took
from agiqa_bench.benchmarks.model import Entry, Settings
from agiqa_bench.benchmarks.painted import decoded_samples, painted_images
from agiqa_bench.benchmarks.parts import scoring
from agiqa_bench.benchmarks.parts.scoring import predict_seconds, repeats_over_one, throughput
from agiqa_bench.benchmarks.runnable import runnable
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError, WeightsUnavailableError
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.registry import method_registry

TINY = Settings(scale="tiny")


class Bright(Method):
    name = "bright"
    title = "Brightness"
    seen: ClassVar[list[int]] = []

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        self.seen.append(int(sum(image.astype(int).sum() for image in samples.images)))
        return np.zeros(len(samples))


class Weighty(Bright):
    name = "weighty"

    class Config(MethodConfig):
        backbone: str = "real"
        epochs: int = 100
        head_epochs: int = 50
        pretraining_epochs: int = 0
        width: int = 5

    presets: ClassVar = {"quick": {"width": 3, "epochs": 7}}

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        assert isinstance(config, Weighty.Config)
        if config.backbone == "real":
            raise WeightsUnavailableError("no weights: get them", {"backbone": "small"})
        return (Weights(config.backbone, "0", "small CLIP"),)


class Lost(Bright):
    name = "lost"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        raise WeightsUnavailableError("no weights: get them")


class Dull(Method):
    name = "dull"
    title = "Dull"
    trainable = False
    calls: ClassVar[list[int]] = []

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        self.calls.append(len(samples))
        return np.arange(len(samples), dtype=np.float64)


class Unable(Bright):
    name = "unable"

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:
        return "has no code"


class Broken(Bright):
    name = "broken"

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        raise ZeroDivisionError("three\nlines\nlong")


class Demanding(Bright):
    name = "demanding"

    class Config(MethodConfig):
        command: str


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> list[Samples]:
    source, folder = painted_images(64), tmp_path_factory.mktemp("painted")
    return [decoded_samples(folder / str(number), islice(source, 2)) for number in range(3)]


def test_each_round_has_pictures_of_its_own(painted: list[Samples]) -> None:
    assert [samples.images.uniform_size for samples in painted] == [(64, 64)] * 3
    assert len({samples.images.fingerprint for samples in painted}) == 3


def test_the_first_round_is_not_counted(painted: list[Samples], tmp_path: Path) -> None:
    Bright.seen.clear()
    rate, processor = throughput(Bright, painted, TINY, tmp_path)
    assert (rate.name, rate.unit, rate.better, len(rate.values)) == ("bright", "images/s", "higher", 2)
    assert (processor.unit, processor.better, len(processor.values)) == ("ms", "lower", 2)
    assert min(rate.values) > 0
    assert len(set(Bright.seen)) == len(Bright.seen) == 3


def test_a_slow_method_scores_fewer_images(
    painted: list[Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dull.calls.clear()
    monkeypatch.setattr(scoring, "FEW", 1)
    monkeypatch.setattr(scoring, "timed", lambda run: (run(), Took(5.0, 2.0))[1])
    rate, processor = throughput(Dull, painted, TINY, tmp_path)
    assert Dull.calls == [1, 1, 1]
    assert (rate.values, rate.note) == ((0.2, 0.2), "slow: only 1 images per round")
    assert processor.values == (2000.0, 2000.0)


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (Unable, "has no code"),
        (Lost, "no weights: get them"),
        (Broken, "failed: ZeroDivisionError: three lines long"),
        (Demanding, "command = {}: Field required"),
    ],
)
def test_what_cannot_run_says_why(painted: list[Samples], tmp_path: Path, cls: type[Method], why: str) -> None:
    assert throughput(cls, painted, TINY, tmp_path) == [Entry(cls.name, "images/s", (), "higher", why)]


def test_a_stand_in_is_named_and_the_training_is_short(tmp_path: Path) -> None:
    config, note = runnable(Weighty, Context(), None)
    assert config.model_dump() == {
        "backbone": "small",
        "epochs": 1,
        "head_epochs": 1,
        "pretraining_epochs": 0,
        "width": 3,
    }
    assert note == "weights: small (small CLIP)"
    assert runnable(Weighty, Context(), tmp_path)[0].model_dump()["width"] == 5


def test_settings_that_are_missing_are_refused() -> None:
    with pytest.raises(ConfigError, match="command"):
        runnable(Demanding, Context(), None)


@pytest.mark.parametrize("cls", [Bright, Unable])
def test_the_clock_counts_calls_and_goes(painted: list[Samples], cls: type[Method]) -> None:
    before = cls.__dict__.get("predict")
    with predict_seconds(cls) as spent:
        cls().predict(painted[0])
        cls().predict(painted[1])
    cls().predict(painted[2])
    assert len(spent) == 2
    assert cls.__dict__.get("predict") is before


@pytest.mark.usefixtures("fresh_registries")
def test_repeats_of_a_zero_shot_method_are_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scoring, "REPEATS", 3)
    Dull.calls.clear()
    method_registry().register("dull", Dull, origin="a test")
    found = repeats_over_one(Dull, painted_images(128), tmp_path, Settings(scale="tiny", rounds=1))
    assert (found.name, found.unit, len(found.values)) == ("dull, 3 repeats over one pass", "x", 1)
    assert (found.note, found.work) == ("time in predict, 12 images", "Dull")
    assert Dull.calls == [12] * 2


@pytest.mark.usefixtures("fresh_registries")
def test_a_run_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    method_registry().register("lost", Lost, origin="a test")
    found = repeats_over_one(Lost, painted_images(128), tmp_path, TINY)
    assert (found.values, found.note) == ((), "'lost' cannot run: no weights: get them")
