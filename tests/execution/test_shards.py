"""Shards: parts of a plan for machines that know nothing of each other."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest, build_request, parse_shard
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, all_tasks, execute, tasks_of

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
