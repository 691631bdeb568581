"""Shards: parts of a plan for machines that know nothing of each other."""

from __future__ import annotations

import io
from itertools import chain
from pathlib import Path

import pytest

from agiqa_bench import Method
from agiqa_bench.cli.console import HarmlessConsole
from agiqa_bench.cli.plan import show_plan
from agiqa_bench.errors import ConfigError
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest, build_request, parse_shard
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, all_tasks, execute, own_tasks, tasks_of
from agiqa_bench.registry import method_registry

METHODS = ("name_length", "epochs", "odd_history")


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "-1/3", "1/0", "1/3/5", "a/b", "1.5/3", "1/9999999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard .*: write i/n with i from 1 to n, e\.g\. 2/3"):
        parse_shard(text)
    with pytest.raises(ConfigError, match="write i/n"):
        build_request(None, {"dataset": "demo", "shard": text})


def test_a_shard_is_a_pair_of_numbers(tmp_path: Path) -> None:
    assert parse_shard(" 2/3 ") == (2, 3)
    file = tmp_path / "run.toml"
    file.write_text('dataset = "demo"\nshard = "1/1"\n')
    assert build_request(file, {}).shard == (1, 1)
    assert RunRequest(dataset="demo").shard is None


def test_shards_are_disjoint_and_together_all_whatever_is_done(plan_of, tmp_path: Path) -> None:
    whole = plan_of(*METHODS, repeats=4)
    assert all_tasks(whole) == [
        Task("name_length", (0, 1, 2, 3)),
        *(Task(label, (repeat,)) for label in METHODS[1:] for repeat in range(4)),
    ]
    store = Store(tmp_path / "out")
    store.prepare()
    parts = [plan_of(*METHODS, repeats=4, shard=(number, 3)) for number in (1, 2, 3)]
    before = [tasks_of(plan) for plan in parts]
    assert [len(tasks) for tasks in before] == [3, 3, 3]
    assert sorted(chain(*before), key=str) == sorted(all_tasks(whole), key=str)
    assert sum(task.label == "name_length" for task in chain(*before)) == 1, "scoring is not divided"
    for tasks in before:
        assert {task.label for task in tasks} >= {"epochs", "odd_history"}

    done = [Task("epochs", (0,)), Task("odd_history", (2,))]
    for task in done:
        execute(whole, store, task, lambda *progress: None)
    for plan, tasks in zip(parts, before, strict=True):
        plan.find_results(store)
        assert tasks_of(plan) == [task for task in tasks if task not in done]
        assert tasks_of(plan, finished=True) == tasks


def test_the_numbers_of_tasks_are_the_same_where_a_method_is_skipped(
    plan_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that lacks a method's package or weights, and has a share in all other methods, as everywhere."""
    requested = ("name_length", "odd_history", "epochs")
    here = [plan_of(*requested, repeats=4, shard=(number, 3)) for number in (1, 2, 3)]
    lacking = {"name_length": "its package is not installed", "odd_history": "its weights are not here"}
    for name, reason in lacking.items():
        cls = method_registry().load(name)
        monkeypatch.setattr(cls, "skip", classmethod(lambda cls, config, context, reason=reason: reason))
    there = [plan_of(*requested, repeats=4, shard=(number, 3)) for number in (1, 2, 3)]
    for one, other in zip(here, there, strict=True):
        assert all_tasks(one) == all_tasks(other)
        assert own_tasks(one) == own_tasks(other)
        assert tasks_of(other) == [task for task in tasks_of(one) if task.label == "epochs"]
        assert tasks_of(other, finished=True) == tasks_of(other)
    # The first shard is computed where everything is there, the others where it is not: none of "epochs" is lost.
    computed = [*tasks_of(here[0]), *tasks_of(there[1]), *tasks_of(there[2])]
    assert sorted(task.repeats for task in computed if task.label == "epochs") == [(0,), (1,), (2,), (3,)]
    console = HarmlessConsole(file=io.StringIO(), width=200)
    show_plan(there[1], tmp_path, console)
    line = "shard 2/3: 3 of 9 tasks are this command's, 1 of them to compute; 2 are of methods that are skipped here"
    assert line in console.file.getvalue()


def test_a_method_that_cannot_be_loaded_here_has_no_numbers(plan_of) -> None:
    class Broken(Method):
        name = title = "broken"
        targets = ("*",)
        uses_images = False

        @classmethod
        def skip(cls, config: object, context: object) -> str | None:
            raise RuntimeError("no such library")

    method_registry().register("broken", Broken, "tests")
    assert "broken" in plan_of("no-pixel").unusable
    told = (
        r"--shard: method 'broken' cannot be planned: RuntimeError: no such library; its tasks cannot be counted here, "
        r"and the shards of other machines would be others: mend it, or leave it out on all of them \(--methods "
        r"no-pixel,-broken\)"
    )
    with pytest.raises(ConfigError, match=told):
        plan_of("no-pixel", shard=(1, 2))
    assert plan_of("no-pixel", "-broken", shard=(1, 2)).unusable == {}


class Counts(Silent):
    def __init__(self) -> None:
        self.started, self.finished = {}, 0

    def start(self, cells) -> None:
        self.started = dict(cells)

    def finish(self, label: str, what: str, seconds: float, *, cells: int, error: str | None) -> None:
        self.finished += cells


def test_a_shard_computes_and_counts_its_own_cells(plan_of, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.prepare()
    started, computed = [], 0
    for number in (1, 2):
        plan, watcher = plan_of("name_length", "epochs", repeats=2, shard=(number, 2)), Counts()
        plan.find_results(store)
        computed += run(plan, store, watcher).computed
        assert watcher.finished == sum(watcher.started.values())
        started.append(watcher.started)
    assert started == [{"name_length": 2, "epochs": 1}, {"epochs": 1}]
    assert computed == 4
    whole = plan_of("name_length", "epochs", repeats=2)
    whole.find_results(store)
    assert tasks_of(whole) == []
