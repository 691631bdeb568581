"""What a cell cost: times, memory, parameters."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from agiqa_bench.data.samples import Samples
from agiqa_bench.evaluation.splits import make_splits
from agiqa_bench.execution import cell as cells
from agiqa_bench.execution import device
from agiqa_bench.execution.device import PeakMemory
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import _cut_to
from agiqa_bench.method import Context, Method
from agiqa_bench.parameters import ParameterCounts
from agiqa_bench.training.memory import in_batches

MEBIBYTE = 2**20
BLOCK = 96 * MEBIBYTE
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def touch(size):
    """Use memory that the process has not had before: an array might lie where another has been."""
    with mmap.mmap(-1, size) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1


def samples() -> Samples:
    names = [f"prompt {number}" for number in range(20)]
    table = pd.DataFrame({"image": names, "prompt": names, "group": names, "generator": "g", "mos_quality": 1.0})
    return Samples(table, ["quality"])


class Greedy(Method):
    """Needs a block of memory for a moment, and has a network of 7 parameters, 3 of them frozen."""

    name = title = "greedy"
    block = BLOCK

    def fit(self, train, validation=None):
        touch(self.block)
        self.network = torch.nn.Sequential(torch.nn.Linear(2, 1).requires_grad_(False), torch.nn.Linear(1, 2))
        return self

    def predict(self, samples):
        return np.arange(len(samples), dtype=float)


class Says(Greedy):
    """Knows better how many parameters it has."""

    name = title = "says"

    def parameter_counts(self):
        return ParameterCounts(10**9, None)


class ZeroShot(Greedy):
    name = title = "zero_shot"
    trainable = False

    def prepare(self):
        self.fit(None)


def test_a_trained_cell_knows_its_parameters():
    data = samples()
    split = make_splits(data._table, "table", repeats=1)[0]
    costs = cells.fit_and_predict(Greedy, None, Context(), data, split).costs
    assert (costs.parameters, costs.trainable_parameters) == (7, 4)
    assert costs.predicted == len(split.test)
    assert costs.fit_seconds > 0
    assert costs.peak_device_bytes is None
    costs = cells.fit_and_predict(Says, None, Context(), data, split).costs
    assert (costs.parameters, costs.trainable_parameters) == (10**9, None)


class Wrong(Greedy):
    """A plugin whose count fails."""

    name = title = "wrong"

    def parameter_counts(self):
        raise RuntimeError("no such attribute")


def test_a_count_that_fails_costs_no_finished_fit(caplog):
    data = samples()
    split = make_splits(data._table, "table", repeats=1)[0]
    fitted = cells.fit_and_predict(Wrong, None, Context(), data, split)
    assert len(fitted.scores) == len(split.test)
    assert (fitted.costs.parameters, fitted.costs.trainable_parameters) == (None, None)
    assert "wrong: parameters are not counted: RuntimeError: no such attribute" in caplog.text


def test_zero_shot_scores_know_them_too():
    _, costs = cells.score_all(ZeroShot(), samples())
    assert (costs.parameters, costs.trainable_parameters) == (7, 0)


class Short(Greedy):
    """Has memory for `room` samples at a time."""

    name = title = "short"
    room = 3

    def predict(self, samples):
        def score(positions):
            if len(positions) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return torch.from_numpy(positions)

        return in_batches(score, len(samples), 16, "cpu").numpy()


class ShortZeroShot(Short):
    trainable = False


def test_a_cell_notes_how_few_samples_it_scored_at_a_time_for_want_of_memory():
    data = samples()
    scores, costs = cells.score_all(ShortZeroShot(), data)
    assert scores[:, 0].tolist() == [*range(20)]
    assert costs.scoring_batch == 2, "16, 8 and 4 do not fit"
    split = make_splits(data._table, "table", repeats=1)[0]
    costs = cells.fit_and_predict(Short, None, Context(), data, split).costs
    assert (costs.scoring_batch, costs.micro_batch) == (2, None)
    _, costs = cells.score_all(ZeroShot(), data)
    assert costs.scoring_batch is None, "what an earlier cell noted is not this one's"


def test_what_has_no_network_has_no_count(plan_of, tmp_path):
    plan = plan_of("epochs", repeats=1)
    store = Store(tmp_path / "out")
    store.prepare()
    plan.find_results(store)
    run(plan, store, Silent())
    (cell,) = plan.methods[0].cells
    costs = store.find_cell("epochs", 0, cell.key).record["costs"]
    assert costs["parameters"] is None
    assert costs["trainable_parameters"] is None
    assert costs["peak_device_bytes"] is None
    if sys.platform == "linux":
        assert 10 * MEBIBYTE < costs["peak_host_bytes"] < 2**40


@on_linux
def test_the_peak_of_the_host_is_that_of_the_block_alone():
    with PeakMemory("cpu") as before:
        pass
    with PeakMemory("cpu") as greedy:
        touch(BLOCK)
    with PeakMemory("cpu") as after:
        pass
    assert greedy.host_bytes - before.host_bytes == pytest.approx(BLOCK, rel=0.1)
    assert greedy.host_bytes - greedy.host_bytes_before == pytest.approx(BLOCK, rel=0.1)
    assert greedy.host_bytes - after.host_bytes > 0.9 * BLOCK, "an earlier peak does not count"


@pytest.mark.parametrize("refused", ["clear_refs", "status"])
def test_where_the_system_does_not_tell_there_is_no_number(refused, monkeypatch, tmp_path):
    (tmp_path / "clear_refs").write_text("")
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\n")
    monkeypatch.setattr(device, "_PROCESS", tmp_path)
    with PeakMemory("cpu") as memory:
        pass
    assert (memory.host_bytes, memory.device_bytes) == (2 * MEBIBYTE, None)
    assert (tmp_path / "clear_refs").read_text() == "5"
    file = tmp_path / refused
    file.unlink()
    file.mkdir()  # can neither be read nor written
    with PeakMemory("cpu") as memory:
        pass
    assert memory.host_bytes is None


def test_other_systems_have_no_proc(monkeypatch):
    monkeypatch.setattr(device, "_PROCESS", Path("/no/such/folder"))
    with PeakMemory("cpu") as memory:
        pass
    assert memory.host_bytes is None


@pytest.mark.parametrize("cut", [[4.0, 2.0, 8.0], [2.0, 8.0, 4.0], [8.0, 4.0, 2.0]])
def test_of_batches_that_were_cut_the_smallest_piece_is_kept(cut: list[float]) -> None:
    whole: dict[str, float | None] = {"epoch": 0.0, "micro_batch": 1.0}
    assert _cut_to([whole, *({"micro_batch": size, "batch": 16.0} for size in cut)]) == 2
    assert _cut_to([whole, {"micro_batch": None, "batch": 16.0}]) is None
