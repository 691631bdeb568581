"""The second fit of the default selection: as many epochs as the first has chosen, on training and validation part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agiqa_bench import Method, MethodConfig, Samples
from agiqa_bench.errors import AgiqaError, TrainingError
from agiqa_bench.evaluation.splits import Split, make_splits
from agiqa_bench.execution import cell as cells
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.method import Context
from agiqa_bench.registry import method_registry
from agiqa_bench.reporting.build.notes import notes
from agiqa_bench.reporting.results import read_results
from agiqa_bench.saved import load_model
from agiqa_bench.sealed import seal
from agiqa_bench.training.learner import Learner
from agiqa_bench.training.loop import seed_weights, train_together
from agiqa_bench.training.per_target import PerTarget
from agiqa_bench.training.recipe import Recipe, Schedule

TARGETS = ("quality", "alignment")
EPOCHS = 6


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


class _Config(MethodConfig):
    epochs: int = EPOCHS
    schedule: Schedule = "cosine"


class _Line(Learner):
    """Two numbers of a name to the MOS of a target; finds the epoch best that it is told to."""

    def __init__(self, method: Chooses, target: str, samples: Samples) -> None:
        self.model = method.networks[target]
        self._method, self._target, self._epoch = method, target, -1
        self._inputs, self._mos = inputs(samples), torch.from_numpy(samples.mos_of(target)).float()

    def loss(self, positions: Any, epoch: int, shared: Any) -> torch.Tensor:
        context = self._method.context
        if (self._target, bool(context.chosen), epoch) == Chooses.dies:
            raise Killed
        self._epoch = epoch
        return F.mse_loss(self.model(self._inputs[positions])[:, 0], self._mos[positions])

    def validate(self) -> float:
        return -abs(Chooses.best[self._method.context.repeat, self._target] - 1.0 - self._epoch)


class Chooses(PerTarget):
    """One line per target; several repeats are trained together if `trains_together` says so."""

    name = title = "chooses"
    targets = ("*",)
    uses_images = False
    selects_epoch = True
    Config = _Config
    best: ClassVar[Mapping[tuple[int, str], int]] = {}
    dies: ClassVar[tuple[str, bool, int] | None] = None
    log: ClassVar[list[tuple[int, str, int, int | None]]] = []

    def build(self) -> nn.Module:
        return nn.Linear(2, 1)

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        (failure,) = self.fit_together([self], [(train, validation)])
        if failure is not None:
            raise failure
        return self

    @classmethod
    def fit_together(
        cls, methods: Sequence[Self], parts: Sequence[tuple[Samples, Samples | None]]
    ) -> Sequence[AgiqaError | None]:
        config = methods[0].config
        recipe = Recipe(config.epochs, 8, 0.05, "sgd", schedule=config.schedule)
        for target in methods[0].context.targets:
            learners = []
            for method, (train, validation) in zip(methods, parts, strict=True):
                count = None if validation is None else len(validation)
                Chooses.log.append((method.context.repeat, target, len(train), count))
                seed_weights(method.context, target)
                method.networks[target] = method.build()
                learners.append(_Line(method, target, train))
            contexts, validate = [method.context for method in methods], parts[0][1] is not None
            sizes = [len(train) for train, _ in parts]
            for method, outcome in zip(
                methods,
                train_together(learners, sizes, recipe, contexts, 3, validate=validate, name=target),
                strict=True,
            ):
                assert isinstance(outcome, list)
                method.history += outcome
        return [None] * len(methods)

    def predict(self, samples: Samples) -> np.ndarray:
        with torch.inference_mode():
            return np.stack([self.networks[target](inputs(samples))[:, 0] for target in self.context.targets], axis=1)


class Together(Chooses):
    name = title = "chooses_together"
    trains_together = 3


def inputs(samples: Samples) -> torch.Tensor:
    return torch.tensor([[len(name), sum(map(ord, name)) / 1000] for name in samples.names]) / 10


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs 2 and 4 are the best ones of the first repeat."""
    monkeypatch.setattr(Chooses, "best", {(0, "quality"): 2, (0, "alignment"): 4})
    monkeypatch.setattr(Chooses, "dies", None)
    monkeypatch.setattr(Chooses, "log", [])
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def data() -> Samples:
    draw = np.random.default_rng(0)
    groups = [f"prompt {number // 3}" for number in range(60)]
    table = pd.DataFrame({"image": [f"{n * n}.png" for n in range(60)], "prompt": groups, "group": groups})
    table["generator"] = "g"
    for target in TARGETS:
        table[f"mos_{target}"] = draw.uniform(0, 5, 60)
    return Samples(table, TARGETS)


@pytest.fixture
def splits(data: Samples) -> tuple[Split, ...]:
    return make_splits(data._table, "table", repeats=3)


def context(**changes: Any) -> Context:
    return Context(**{"targets": TARGETS, "seed": 5} | changes)


def fitted(data: Samples, split: Split, cls: type[Method] = Chooses, **changes: Any) -> cells.Fitted:
    config = changes.pop("config", None)
    return cells.fit_and_predict(cls, config, context(**changes), data, split)


def test_the_default_is_a_refit_on_both_parts(data: Samples, splits: Sequence[Split]) -> None:
    found = fitted(data, splits[0])
    assert found.chosen == {"quality": (2, EPOCHS), "alignment": (4, EPOCHS)}
    first, second = (42, 6), (48, None)
    assert Chooses.log == [(0, target, *sizes) for sizes in (first, second) for target in TARGETS]


def test_a_refit_is_a_training_of_so_many_epochs(data: Samples, splits: Sequence[Split]) -> None:
    found = fitted(data, splits[0], config=_Config(schedule="constant"))
    for column, (target, epochs) in enumerate({"quality": 2, "alignment": 4}.items()):
        # The last epoch of a training that never heard of a longer one: with a constant rate it is the same.
        config = _Config(schedule="constant", epochs=epochs)
        plain = fitted(data, splits[0], config=config, selection="last")
        np.testing.assert_array_equal(found.scores[:, column], plain.scores[:, column], err_msg=target)
    without = fitted(data, splits[0], config=_Config(schedule="constant"), selection="validation")
    assert np.abs(found.scores - without.scores).min() > 1e-4


def test_the_schedule_stays_that_of_all_epochs_and_the_history_has_both(data: Samples, splits: Sequence[Split]) -> None:
    history = fitted(data, splits[0]).history
    first, second = ([entry for entry in history if entry.get("refit", 0.0) == number] for number in (0.0, 1.0))
    assert history == first + second
    assert [entry["epoch"] for entry in first] == [*range(1, EPOCHS + 1)] * 2
    assert [entry["epoch"] for entry in second] == [1, 2, 1, 2, 3, 4]
    rates = [Recipe(EPOCHS, 8, 0.05, schedule="cosine").rate(epoch) for epoch in range(EPOCHS)]
    assert [entry["learning_rate"] for entry in second] == [*rates[:2], *rates[:4]]
    assert not any("validation" in entry or "chosen" in entry for entry in second)


def test_costs_count_both_fits(data: Samples, splits: Sequence[Split], monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(cells, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    assert fitted(data, splits[0]).costs.fit_seconds == 2
    assert fitted(data, splits[0], selection="validation").costs.fit_seconds == 1


@pytest.mark.parametrize(
    ("selection", "sizes", "chosen"), [("validation", (42, 6), 2), ("last", (48, None), 0), ("test", (48, 12), 2)]
)
def test_other_selections_fit_once(
    data: Samples, splits: Sequence[Split], selection: str, sizes: tuple[int, int | None], chosen: int
) -> None:
    found = fitted(data, splits[0], selection=selection, targets=("quality",))
    assert Chooses.log == [(0, "quality", *sizes)]
    assert found.chosen == ({"quality": (chosen, EPOCHS)} if chosen else {})
    assert not any("refit" in entry for entry in found.history)


def test_repeats_that_choose_other_epochs_are_refitted_together(
    data: Samples, splits: Sequence[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    best = {
        (repeat, target): 1 + (2 * repeat + column) % EPOCHS
        for repeat in range(3)
        for column, target in enumerate(TARGETS)
    }
    monkeypatch.setattr(Chooses, "best", best)
    contexts = [context(seed=repeat, repeat=repeat) for repeat in range(3)]
    together = cells.fit_together_and_predict(Together, None, contexts, data, splits)
    for repeat, found in enumerate(together):
        assert isinstance(found, cells.Fitted)
        assert {name: epoch for name, (epoch, _) in found.chosen.items()} == {t: best[repeat, t] for t in TARGETS}
        assert found.costs.trained_together == 3
        alone = fitted(data, splits[repeat], Together, seed=repeat, repeat=repeat)
        np.testing.assert_array_equal(found.scores, alone.scores)
        assert found.history == alone.history


@pytest.mark.parametrize(
    ("dies", "again"),
    [
        (("alignment", False, 3), [(42, 6), (48, None)]),
        (("quality", True, 1), [(48, None)]),
        (("alignment", True, 3), [(48, None)]),
    ],
)
def test_a_kill_in_either_fit_ends_with_the_same_digits(
    data: Samples,
    splits: Sequence[Split],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies: tuple[str, bool, int],
    again: list[tuple[int, int | None]],
) -> None:
    undisturbed = fitted(data, splits[0])
    monkeypatch.setattr(Chooses, "dies", dies)
    with pytest.raises(Killed):
        fitted(data, splits[0], scratch=tmp_path)
    monkeypatch.setattr(Chooses, "dies", None)
    Chooses.log.clear()
    found = fitted(data, splits[0], scratch=tmp_path)
    assert Chooses.log == [(0, target, *sizes) for sizes in again for target in TARGETS]
    np.testing.assert_array_equal(found.scores, undisturbed.scores)
    assert (found.history, found.chosen) == (undisturbed.history, undisturbed.chosen)


def test_what_the_first_fit_found_may_be_damaged(
    data: Samples, splits: Sequence[Split], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = fitted(data, splits[0], scratch=tmp_path)
    file = tmp_path / "first_fit.json"
    for content in (file.read_bytes().replace(b"2,", b"3,"), b"", seal({"chosen": {"quality": 2}})):
        file.write_bytes(content)
        Chooses.log.clear()
        caplog.clear()
        np.testing.assert_array_equal(fitted(data, splits[0], scratch=tmp_path).scores, undisturbed.scores)
        assert len(Chooses.log) == 4
        assert "training begins anew" in caplog.text


class OwnLoop(Method):
    """Has a loop of its own, and tells what `tells` says: (epoch, of how many) in the first fit and in the second."""

    name = title = "own_loop"
    targets = ("*",)
    uses_images = False
    selects_epoch = True
    tells: ClassVar[tuple[tuple[int, int] | None, tuple[int, int] | None]] = (None, None)
    fits: ClassVar[list[int]] = []

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        OwnLoop.fits.append(len(train))
        told = self.tells[bool(self.context.chosen)]
        if told is not None:
            self.context.kept("model", *told)
        self.mean = float(train.mos.mean())
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        return self.mean + np.arange(len(samples), dtype=float)


def own_loop(monkeypatch: pytest.MonkeyPatch, *tells: tuple[int, int] | None) -> type[Method]:
    monkeypatch.setattr(OwnLoop, "tells", tells)
    monkeypatch.setattr(OwnLoop, "fits", [])
    return OwnLoop


def test_who_does_not_tell_is_fitted_once(
    data: Samples, splits: Sequence[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fitted(data, splits[0], own_loop(monkeypatch, None, None))
    assert (found.chosen, OwnLoop.fits) == ({}, [42])


@pytest.mark.parametrize("second", [(3, 5), (4, 10)], ids=["as many epochs", "the same share of more"])
def test_a_loop_of_ones_own_that_tells_is_refitted(
    data: Samples, splits: Sequence[Split], monkeypatch: pytest.MonkeyPatch, second: tuple[int, int]
) -> None:
    first = (second[0] * 5 // second[1], 5)
    found = fitted(data, splits[0], own_loop(monkeypatch, first, second))
    assert (found.chosen, OwnLoop.fits) == ({"model": first}, [42, 48])


@pytest.mark.parametrize("second", [None, (5, 5)], ids=["nothing", "all epochs"])
def test_who_tells_and_does_not_heed_it_fails(
    data: Samples, splits: Sequence[Split], monkeypatch: pytest.MonkeyPatch, second: tuple[int, int] | None
) -> None:
    with pytest.raises(TrainingError, match="the second fit did not train 'model' for the epochs that the first has"):
        fitted(data, splits[0], own_loop(monkeypatch, (3, 5), second))


def test_no_such_epoch(data: Samples, splits: Sequence[Split], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="epoch 0 of 5 of 'model': epochs are counted from 1"):
        fitted(data, splits[0], own_loop(monkeypatch, (0, 5), None))


def test_a_run_keeps_the_second_fit_and_says_so(plan_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method_registry().register("chooses", Chooses, "a test")
    method_registry().register("own_loop", own_loop(monkeypatch, None, None), "a test")
    plan, store = plan_of("chooses", "own_loop", repeats=1, save_models=True), Store(tmp_path / "run")
    store.prepare()
    assert plan.protocol["select"] == "refit"
    plan.find_results(store)
    assert run(plan, store, Silent()).failures == []
    results = read_results(store)
    (cell,) = next(method for method in results.methods if method.label == "chooses").cells.values()
    assert cell.record["chosen"] == {"quality": [2, EPOCHS]}
    assert sum(entry.get("refit") == 1 for entry in cell.history()) == 2
    model = load_model(cell.model)
    images = plan.samples(plan.methods[0]).subset(plan.splits[0].test)
    np.testing.assert_array_equal(model.predict(images)[:, 0], cell.predictions()["score_quality"])
    assert not list((store.root / "scratch").rglob("*"))
    said = notes(results)
    assert (
        "epoch chosen on the validation part, then trained anew for as many epochs on training and validation part "
        "(--select refit): chooses"
    ) in said
    assert (
        "tells no epoch that it chose, so it was not trained anew and has learnt from the training part alone, as "
        "under --select validation: own_loop"
    ) in said
