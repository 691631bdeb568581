"""The same numbers again on CUDA: torch's switches, which can be looked at without a CUDA device."""

import os
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.evaluation.splits import make_splits
from agiqa_bench.execution import cell as cells
from agiqa_bench.execution.device import PeakMemory, repeatable, resolve_device
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


@pytest.mark.parametrize(
    ("asked", "there", "found"),
    [
        ("auto", 2, "cuda:0"),
        ("auto", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("cuda", 2, "cuda:0"),
        ("cuda:0", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
        ("cuda:2", 2, None),
        ("cuda", 0, None),
        ("cuda:", 2, None),
        ("cuda:-1", 2, None),
        ("xcuda:0", 2, None),
        ("gpu", 2, None),
    ],
)
def test_a_device_is_found_by_its_name_or_refused(monkeypatch, asked, there, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    if found is not None:
        assert resolve_device(asked) == found
        return
    with pytest.raises(ConfigError, match=f"^--device {asked}: (write auto, cpu or cuda:N|torch sees {there} CUDA)"):
        resolve_device(asked)


def test_the_memory_of_a_cuda_device_is_that_of_the_block(monkeypatch):
    said = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: said.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: said.append(("read", device)) or 5.0)
    with PeakMemory("cuda:1") as memory:
        assert said == [("reset", "cuda:1")]
    assert said == [("reset", "cuda:1"), ("read", "cuda:1")]
    assert memory.device_bytes == 5
    with PeakMemory("cpu") as memory:
        pass
    assert len(said) == 2
    assert memory.device_bytes is None


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
    context = Context(device="cuda:0", deterministic=deterministic)
    fitted = cells.fit_and_predict(Looks, None, context, Samples(table, ["quality"]), split)
    assert fitted.method.seen == [expected] * 3
    method = Looks(context=context)
    cells.score_all(method, Samples(table, ["quality"]))
    assert method.seen == [expected] * 2
