"""Repeats that are trained in one go: one task, a cell each, and no cell that depends on its company."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from agiqa_bench import Method, Samples
from agiqa_bench.errors import AgiqaError, TrainingError
from agiqa_bench.execution.plan import cell_seed
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, tasks_of
from agiqa_bench.registry import method_registry


class Together(Method):
    """Predicts generator means; remembers who was trained with whom, and fails where it is told to."""

    name = "together"
    title = "Together"
    targets = ("*",)
    uses_images = False
    trains_together = 4
    company: ClassVar[list[list[int]]] = []
    fails: ClassVar[set[int]] = set()
    scores_badly: ClassVar[set[int]] = set()

    @classmethod
    def fit_together(
        cls, methods: Sequence[Self], parts: Sequence[tuple[Samples, Samples | None]]
    ) -> Sequence[AgiqaError | None]:
        repeats = [method.context.repeat for method in methods]
        cls.company.append(repeats)
        if cls.fails == {-1}:
            raise RuntimeError("nobody is fitted")
        for method, (train, _) in zip(methods, parts, strict=True):
            generators = np.array(train.generators)
            method.means = {name: train.mos[generators == name].mean() for name in set(train.generators)}
            method.noise = np.random.default_rng(method.context.seed).normal()
            method.history.append({"epoch": 1, "loss": method.noise})
        return [TrainingError(f"repeat {repeat} is wild") if repeat in cls.fails else None for repeat in repeats]

    def predict(self, samples: Samples) -> Any:
        if self.context.repeat in self.scores_badly:
            return np.full(len(samples), np.nan)
        return np.array([self.means[name] + self.noise * len(name) for name in samples.generators])


class Forgetful(Method):
    """Promises what it does not have."""

    name = title = "forgetful"
    trains_together = 2

    def predict(self, samples: Samples) -> Any:
        return np.zeros(len(samples))


@pytest.fixture
def together(plan_of: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`together(folder, repeats=10)`: the finished plan and how the run ended."""
    method_registry().register("together", Together, "a test")
    for name, empty in (("company", []), ("fails", set()), ("scores_badly", set())):
        monkeypatch.setattr(Together, name, empty)

    def go(folder: Path, repeats: int = 10) -> Any:
        plan = plan_of("together", repeats=repeats)
        store = Store(folder)
        store.prepare()
        plan.find_results(store)
        outcome = run(plan, store, Silent())
        return plan, outcome

    return go


@pytest.fixture
def tang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`tang(folder, repeats)`: the finished plan of a small CLIP-AGIQA on 60 painted pictures, and how it ended."""
    from PIL import Image

    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    lines = ["image,prompt,generator,mos_quality"]
    for number in range(60):
        level = draw.uniform(20, 200)
        pixels = np.clip(draw.normal(level, 5 + number % 7, (40, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,a picture of thing {number // 5},g{number % 5},{level / 50 + draw.normal(0, 0.2)}")
    (tmp_path / "painted.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def go(folder: Path, repeats: int) -> Any:
        request = RunRequest(
            dataset=str(tmp_path / "painted.csv"),
            methods=("clip_agiqa_tang[epochs=2]",),
            preset="quick",
            repeats=repeats,
            device="cpu",
            offline=True,
        )
        plan, store = make_plan(request), Store(folder)
        store.prepare()
        plan.find_results(store)
        return plan, run(plan, store, Silent())

    return go


def stored(plan: Any) -> dict[int, bytes]:
    (method,) = plan.methods
    return {
        cell.repeat: (cell.result.folder / "predictions.parquet").read_bytes()
        for cell in method.cells
        if cell.result is not None
    }


def tasks(plan: Any) -> list[Task]:
    return [task for task in tasks_of(plan) if task.label == "together"]


def test_each_task_is_of_one_pass_and_each_repeat_has_its_cell(together: Any, plan_of: Any, tmp_path: Path) -> None:
    plan, outcome = together(tmp_path / "a")
    assert Together.company == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (outcome.computed, outcome.failures) == (10, [])
    assert [task.repeats for task in tasks(plan_of("together", repeats=10))] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert stored(plan).keys() == set(range(10))
    record = json.loads((plan.methods[0].cells[4].result.folder / "cell.json").read_text())
    assert record["costs"]["trained_together"] == 4
    assert record["costs"]["predicted"] == 12
    store = Store(tmp_path / "a")
    found = [store.find_cell("together", cell.repeat, cell.key) for cell in plan.methods[0].cells]
    losses = [cell.history()[0]["loss"] for cell in found]
    assert losses == [np.random.default_rng(cell_seed(plan, plan.methods[0], repeat)).normal() for repeat in range(10)]


def test_other_numbers_of_repeats_are_other_groups_and_the_same_cells(together: Any, tmp_path: Path) -> None:
    plan, _ = together(tmp_path / "a")
    expected = stored(plan)
    few, _ = together(tmp_path / "b", repeats=2)
    assert stored(few) == {repeat: expected[repeat] for repeat in (0, 1)}
    Together.company.clear()
    more, outcome = together(tmp_path / "b")
    assert Together.company == [[2, 3], [4, 5, 6, 7], [8, 9]]
    assert (outcome.computed, outcome.reused) == (8, 2)
    assert stored(more) == expected


def test_a_cell_does_not_depend_on_its_company(tang: Any, tmp_path: Path) -> None:
    plan, outcome = tang(tmp_path / "a", 3)
    assert (outcome.computed, outcome.failures) == (3, [])
    expected = stored(plan)
    assert len(set(expected.values())) == 3
    (method,) = plan.methods
    shutil.rmtree(method.cells[1].result.folder)
    again, outcome = tang(tmp_path / "a", 3)
    assert (outcome.computed, outcome.reused) == (1, 2)
    recomputed = Store(tmp_path / "a").find_cell(method.label, 1, method.cells[1].key)
    assert recomputed.record["costs"]["trained_together"] == 1
    assert stored(again) == expected
    few, _ = tang(tmp_path / "b", 2)
    assert stored(few) == {repeat: expected[repeat] for repeat in (0, 1)}
    more, outcome = tang(tmp_path / "b", 3)
    assert (outcome.computed, outcome.reused) == (1, 2)
    assert stored(more) == expected


def test_a_repeat_that_fails_is_recorded_and_tried_again_alone(together: Any, tmp_path: Path) -> None:
    Together.fails.update({1})
    Together.scores_badly.update({6})
    _, outcome = together(tmp_path)
    assert outcome.computed == 8
    (first, wild), (second, bad) = ((what, line) for _, what, line in outcome.failures)
    assert (first, wild) == ("repeat 1", "repeat 1 is wild")
    assert second == "repeat 6"
    assert "12 of 12 scores are not finite" in bad
    records = sorted(tmp_path.glob("failures/*/*.json"))
    assert [(file.name[:2], json.loads(file.read_text())["error"]) for file in records] == [
        ("01", "TrainingError"),
        ("06", "PredictionError"),
    ]
    for failing in (Together.fails, Together.scores_badly, Together.company):
        failing.clear()
    _, outcome = together(tmp_path)
    assert Together.company == [[1], [6]]
    assert (outcome.computed, outcome.reused, outcome.failures) == (2, 8, [])
    assert not list(tmp_path.glob("failures/*/*.json"))


def test_what_fails_as_a_whole_fails_each_of_its_repeats(together: Any, tmp_path: Path) -> None:
    Together.fails.update({-1})
    _, outcome = together(tmp_path, repeats=3)
    assert outcome.computed == 0
    assert outcome.failures == [("together", f"repeat {n}", "RuntimeError: nobody is fitted") for n in range(3)]
    assert sorted(file.name[:2] for file in tmp_path.glob("failures/*/*.json")) == ["00", "01", "02"]


def test_a_method_that_does_not_say_how_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="sets trains_together and has no fit_together"):
        Forgetful.fit_together([], [])
