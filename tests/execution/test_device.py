"""The same numbers again on CUDA: torch's switches, which can be looked at without a CUDA device."""

import os
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch

from agiqa_bench.data.samples import Samples
from agiqa_bench.evaluation.splits import make_splits
from agiqa_bench.execution import cell as cells
from agiqa_bench.execution.device import PeakMemory, repeatable
from agiqa_bench.method import Context, Method


def switches():
    return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "to be taken back")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    assert switches() == (False, True)
    yield
    assert switches() == (False, True)


def test_switches_are_set_on_cuda_alone_and_set_back():
    with repeatable("cuda:0", wanted=True):
        assert switches() == (True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert switches() == (False, True)
    with repeatable("cuda:0", wanted=False), repeatable("cpu", wanted=True):
        assert switches() == (False, True)
    with pytest.raises(RuntimeError, match="no such algorithm"), repeatable("cuda:0", wanted=True):
        raise RuntimeError("no such algorithm")


def test_a_users_own_choice_for_cublas_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with repeatable("cuda:0", wanted=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


class Looks(Method):
    name = title = "looks"

    def __init__(self, config=None, context=None):
        super().__init__(config, context)
        self.seen = []

    def prepare(self):
        self.seen.append(switches())

    def fit(self, train, validation=None):
        self.seen.append(switches())
        return self

    def predict(self, samples):
        self.seen.append(switches())
        return np.zeros(len(samples))


@pytest.mark.parametrize(("deterministic", "expected"), [(True, (True, False)), (False, (False, True))])
def test_cells_and_scores_run_under_them(monkeypatch, deterministic, expected):
    monkeypatch.setattr(cells, "PeakMemory", lambda device: PeakMemory("cpu"))
    monkeypatch.setattr(torch, "manual_seed", lambda seed: nullcontext())
    names = [f"prompt {number}" for number in range(10)]
    table = pd.DataFrame({"image": names, "prompt": names, "group": names, "generator": "g", "mos_quality": 1.0})
    split = make_splits(table, "table", repeats=1)[0]
    method = Looks(context=Context(device="cuda:0", deterministic=deterministic))
    cells.fit_and_predict(method, Samples(table, ["quality"]), split)
    assert method.seen == [expected] * 3
    method = Looks(context=Context(device="cuda:0", deterministic=deterministic))
    cells.score_all(method, Samples(table, ["quality"]))
    assert method.seen == [expected] * 2
