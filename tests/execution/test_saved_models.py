"""Fitted models that a run keeps beside their results."""

import hashlib
import json
import sys
from types import ModuleType

import numpy as np
import pytest

from agiqa_bench.errors import StoreError
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.method import Method
from agiqa_bench.registry import method_registry


class Savable(Method):
    name = title = "savable"
    targets = ("*",)
    uses_images = False

    def fit(self, train, validation=None):
        self.mean = train.mos.mean()
        return self

    def predict(self, samples):
        return self.mean + np.array([len(name) + 0.01 * row for row, name in enumerate(samples.names)])

    def state(self):
        return {"mean": self.mean}


class NeverSaved(Savable):
    name = title = "never_saved"

    def state(self):
        return None


class ZeroShot(Savable):
    name = title = "zero_shot"
    trainable = False
    mean = 0.0


class CannotBeSaved(Savable):
    name = title = "cannot_be_saved"
    state = Method.state


class BreaksWhileSaved(Savable):
    name = title = "breaks_while_saved"

    def state(self):
        return {"mean": "no tensor"}


@pytest.fixture(autouse=True)
def saved(monkeypatch):
    """Stands in for the module that writes safetensors: the road is under test here, not the format."""
    module = ModuleType("agiqa_bench.saved")

    def save_model(method, path, *, weights=()):
        assert weights == ()
        files = path.with_suffix(".safetensors"), path.with_suffix(".json")
        files[0].write_text(f"{float(method.state()['mean'])!r}")
        files[1].write_text(json.dumps(method.name))
        return files

    module.save_model = save_model
    monkeypatch.setitem(sys.modules, "agiqa_bench.saved", module)
    return module


@pytest.fixture
def compute(rated_table, tmp_path, fresh_registries):
    for cls in (Savable, NeverSaved, ZeroShot, CannotBeSaved, BreaksWhileSaved):
        method_registry().register(cls.name, cls, "tests")
    store = Store(tmp_path / "out")

    def call(*methods, **changes):
        request = RunRequest(dataset=str(rated_table), methods=methods, annotations_only=True, repeats=2, **changes)
        plan = make_plan(request)
        plan.find_results(store)
        notes = [method.without_model for method in plan.methods]
        return plan, notes, run(plan, store, Silent())

    return call


def cells_of(plan: Plan):
    return [cell.result for method in plan.methods for cell in method.cells]


def test_models_lie_beside_their_results_and_are_covered_by_the_checksums(compute, tmp_path):
    plan, _, outcome = compute("savable", save_models=True)
    assert (outcome.computed, outcome.failures) == (2, [])
    for planned in plan.methods[0].cells:
        cell = Store(tmp_path / "out").find_cell("savable", planned.repeat, planned.key)
        assert planned.result.model == cell.model
        assert cell.model == cell.folder / "model.safetensors"
        content = cell.model.read_bytes()
        assert 1.0 < float(content) < 5.0
        assert cell.record["files"]["model.safetensors"] == hashlib.sha256(content).hexdigest()
        assert json.loads((cell.folder / "model.json").read_text()) == "savable"
    assert compute("savable", save_models=True)[2].reused == 2
    victim = cells_of(plan)[0].model
    victim.write_text("damaged!")
    _, notes, outcome = compute("savable", save_models=True)
    assert (notes, outcome.computed, outcome.reused) == ([False], 1, 1)
    assert victim.read_bytes() != b"damaged!"


def test_a_cell_stored_without_model_is_computed_again_only_when_models_are_wanted(compute):
    plan, _, outcome = compute("savable")
    assert outcome.computed == 2
    assert [cell.model for cell in cells_of(plan)] == [None, None]
    assert not (cells_of(plan)[0].folder / "model.safetensors").exists()
    keys = [cell.key for cell in plan.methods[0].cells]
    plan, notes, outcome = compute("savable", save_models=True)
    assert (notes, outcome.computed, outcome.reused) == ([True], 2, 0)
    assert [cell.key for cell in plan.methods[0].cells] == keys
    plan, notes, outcome = compute("savable")
    assert (notes, outcome.computed, outcome.reused) == ([False], 0, 2)
    assert all(cell.model.is_file() for cell in cells_of(plan))


def test_what_has_no_model_is_not_computed_again_for_one(compute):
    names = ("never_saved", "zero_shot", "cannot_be_saved")
    plan, _, outcome = compute(*names, save_models=True)
    assert (outcome.computed, outcome.failures) == (6, [])
    assert [cell.model for cell in cells_of(plan)] == [None] * 6
    _, notes, outcome = compute(*names, save_models=True)
    assert (notes, outcome.computed, outcome.reused) == ([False] * 3, 0, 6)


def test_a_state_that_cannot_be_written_fails_its_cell_and_leaves_nothing(compute, tmp_path):
    _, _, outcome = compute("breaks_while_saved", "savable", save_models=True)
    assert outcome.computed == 2
    assert {(label, line) for label, _, line in outcome.failures} == {
        ("breaks_while_saved", "ValueError: could not convert string to float: 'no tensor'")
    }
    assert list((tmp_path / "out/cells").glob("breaks_while_saved/*")) == []
    assert list((tmp_path / "out").rglob(".*.tmp")) == []


def test_a_full_disk_ends_the_run(compute, saved, tmp_path, monkeypatch):
    def full(method, path, *, weights=()):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "save_model", full)
    with pytest.raises(StoreError, match="no space left on the device"):
        compute("savable", save_models=True)
    assert list((tmp_path / "out").glob("cells/savable/*")) == []
