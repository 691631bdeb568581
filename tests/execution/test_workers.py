"""Worker processes: what one that dies leaves behind, what another has stored meanwhile, and how many threads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agiqa_bench.errors import AgiqaError
from agiqa_bench.execution.executors import processes
from agiqa_bench.execution.executors.processes import Processes, threads_of_each
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import Outcome, run
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, execute, tasks_of
from agiqa_bench.plugins import load_plugin

MORTAL = """
import os
from pathlib import Path

from agiqa_bench import Method


class Loss:
    def __init__(self, repeat):
        self.repeat = repeat

    def __float__(self):  # as the cell is stored
        if (Path(os.environ["EXAMPLE_FOLDER"]) / f"dies-{self.repeat}").exists():
            os._exit(9)
        return float(self.repeat)


class Mortal(Method):
    name = title = "mortal"
    targets = ("*",)
    uses_images = False
    trains_together = 3

    @classmethod
    def fit_together(cls, methods, parts):
        repeats = [method.context.repeat for method in methods]
        with (Path(os.environ["EXAMPLE_FOLDER"]) / "log").open("a") as log:
            log.write(f"{repeats}\\n")
        for method in methods:
            method.history = [{"loss": Loss(method.context.repeat)}]
        return [None] * len(methods)

    def predict(self, samples):
        return [len(name) + self.context.repeat for name in samples.names]
"""

PARTICULAR = """
from multiprocessing import parent_process
from pathlib import Path

from agiqa_bench import Dataset
from agiqa_bench.datasets.table import TableDataset


class Particular(Dataset):
    name = title = summary = licence = "particular"
    targets = TableDataset(Path({table!r}), annotations_only=True).targets

    def read(self):
        if parent_process() is not None:
            raise ZeroDivisionError("not here")
        return TableDataset(Path({table!r}), annotations_only=True).read()
"""


@pytest.fixture
def mortal(rated_table: Path, fresh_registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`mortal(repeats)`: a plan of groups of three that die over repeat N while the file `dies-N` is there."""
    monkeypatch.setenv("EXAMPLE_FOLDER", str(tmp_path))
    plugin = tmp_path / "mortal.py"
    plugin.write_text(MORTAL, encoding="utf-8")
    load_plugin(plugin)

    def plan(repeats: int) -> Plan:
        request = RunRequest(
            dataset=str(rated_table), methods=("mortal",), annotations_only=True, repeats=repeats, plugins=(plugin,)
        )
        return make_plan(request)

    return plan


def ran(plan: Plan, folder: Path, jobs: int = 2) -> Outcome:
    store = Store(folder / "out")
    store.prepare()
    plan.find_results(store)
    return run(plan, store, Silent(), Processes(jobs) if jobs > 1 else None)


def failures(folder: Path) -> list[tuple[str, str]]:
    files = sorted(folder.glob("out/failures/*/*.json"))
    return [(file.name[:2], json.loads(file.read_text())["error"]) for file in files]


def trained(folder: Path) -> list[str]:
    lines = (folder / "log").read_text().splitlines()
    (folder / "log").unlink()
    return lines


def test_a_worker_that_dies_between_two_cells_of_a_group_leaves_the_first(mortal: Any, tmp_path: Path) -> None:
    (tmp_path / "dies-1").touch()
    outcome = ran(mortal(3), tmp_path)
    assert trained(tmp_path) == ["[0, 1, 2]", "[1, 2]", "[1, 2]"], "tried three times in all"
    line = "its worker process died 3 times (out of memory?): try a smaller --batch-size or fewer --jobs"
    assert (outcome.computed, outcome.reused) == (1, 0)
    assert outcome.failures == [("mortal", "2 repeats", line)]
    assert failures(tmp_path) == [("01", "WorkerDied"), ("02", "WorkerDied")]
    (tmp_path / "dies-1").unlink()
    outcome = ran(mortal(3), tmp_path, jobs=1)
    assert trained(tmp_path) == ["[1, 2]"]
    assert (outcome.computed, outcome.reused, outcome.failures) == (2, 1, [])
    assert failures(tmp_path) == []


def test_what_a_plugin_raises_in_workers_alone_ends_the_run_with_that_line(
    rated_table: Path, fresh_registries: None, tmp_path: Path
) -> None:
    plugin = tmp_path / "particular.py"
    plugin.write_text(PARTICULAR.format(table=str(rated_table)), encoding="utf-8")
    load_plugin(plugin)
    request = RunRequest(
        dataset="particular", methods=("generator_mean",), annotations_only=True, repeats=2, plugins=(plugin,)
    )
    line = "^a worker process cannot make the plan again: ZeroDivisionError: not here; mend what raises it, or compute"
    with pytest.raises(AgiqaError, match=line):
        ran(make_plan(request), tmp_path)
    assert failures(tmp_path) == []


@pytest.mark.slow
def test_the_next_attempt_computes_what_the_dead_did_not_store(mortal: Any, tmp_path: Path) -> None:
    for repeat in (1, 4):
        (tmp_path / f"dies-{repeat}").touch()
    outcome = ran(mortal(6), tmp_path)
    # The first to die has stored a cell; how far the other is by then is a matter of chance.
    assert {"[1, 2]", "[4, 5]"} & set(trained(tmp_path)[-2:])
    assert (outcome.computed, outcome.reused) == (2, 0)
    assert sorted(what for _, what, _ in outcome.failures) == ["2 repeats", "2 repeats"]
    assert failures(tmp_path) == [(name, "WorkerDied") for name in ("01", "02", "04", "05")]


def test_what_another_process_has_stored_meanwhile_is_not_computed_again(mortal: Any, tmp_path: Path) -> None:
    plan, other = mortal(3), mortal(3)
    store = Store(tmp_path / "out")
    store.prepare()
    (task,) = tasks_of(plan)
    assert execute(other, store, Task("mortal", (1,)), lambda *progress: None).computed == 1
    result = execute(plan, store, task, lambda *progress: None)
    assert (result.computed, result.reused, result.failures) == (2, 1, ())
    assert trained(tmp_path) == ["[1]", "[0, 2]"]
    again = execute(mortal(3), store, task, lambda *progress: None)
    assert (again.computed, again.reused) == (0, 3)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("repeats", "jobs", "threads"), [(3, 8, None), (6, 8, 8), (30, 8, 2), (30, 3, 5)])
def test_cores_are_shared_by_the_workers_that_can_start(
    mortal: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repeats: int, jobs: int, threads: int | None
) -> None:
    monkeypatch.setattr(processes, "default_workers", lambda: 16)
    plan = mortal(repeats)
    assert threads_of_each(plan, jobs) == threads
    store = Store(tmp_path / "out")
    store.prepare()
    for task in tasks_of(plan)[1:]:
        execute(plan, store, task, lambda *progress: None)
    assert len(tasks_of(plan)) == 1
    assert threads_of_each(plan, jobs) == threads, "a run that goes on"
