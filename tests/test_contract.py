"""The contract suite: every built-in method keeps it, and it finds those that do not."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

from agiqa_bench import Method, Samples
from agiqa_bench.contract import check_method
from agiqa_bench.datasets.table import TableDataset
from agiqa_bench.errors import TrainingError
from agiqa_bench.registry import BUILT_IN, method_registry

BUILT_INS = [entry.name for entry in method_registry().entries() if entry.origin.startswith(BUILT_IN + " ")]
SKIPPED = {"cnn", "external", "external_trained", "hps", "imagereward"} | {"blipscore", "pickscore"}
SKIPPED |= {"sisblim", "stairreward"}
"""A backbone, a command or an interpreter must be named; weights are gigabytes; nobody can compute them."""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path_factory.getbasetemp() / "contract-cache"))


@pytest.mark.parametrize("name", BUILT_INS)
def test_every_built_in_method_keeps_the_contract(name):
    checks = list(check_method(method_registry().load(name)))
    assert [(check.name, check.detail) for check in checks if check.passed is False] == []
    skipped = any(check.detail.startswith("skipped here: ") for check in checks)
    assert skipped == (name in SKIPPED)
    assert sum(check.passed is True for check in checks) >= (3 if skipped else 6)


class Sound(Method):
    name = "sound"
    title = "Sound"
    targets = ("quality",)
    uses_images = False
    trainable = False

    def predict(self, samples: Samples) -> np.ndarray:
        return np.array([len(prompt) for prompt in samples.prompts], dtype=float)


def broken_checks(cls):
    return {check.name: check.detail for check in check_method(cls) if check.passed is False}


def test_a_sound_method_passes_every_check():
    assert broken_checks(Sound) == {}


class Forgets(Sound):
    def predict(self, samples):
        return super().predict(samples)[:-1]


class Infinite(Sound):
    def predict(self, samples):
        return super().predict(samples) / 0.0


class Drifts(Sound):
    calls = 0

    def predict(self, samples):
        Drifts.calls += 1
        return super().predict(samples) + Drifts.calls


class Ranks(Sound):
    """Depends on the other samples and on their order."""

    def predict(self, samples):
        return np.arange(len(samples), dtype=float)


class Remembers(Sound):
    """Reads the MOS of all rows through the samples' table."""

    def predict(self, samples):
        return samples._table["mos_quality"].to_numpy()[samples.rows]


class LooseConfig(BaseModel):
    pass


class Loose(Sound):
    Config = LooseConfig


class Nameless(Sound):
    title = ""


class SkipsInTwoLines(Sound):
    @classmethod
    def skip(cls, config, context):
        return "one\ntwo"


class Learns(Sound):
    """Trained, and can be saved; counts how often it is fitted."""

    trainable = True
    presets: ClassVar = {"quick": {}}
    ablations: ClassVar = {"all": {}}
    fits = 0

    def prepare(self):
        import torch

        self.offset = torch.rand(())

    def fit(self, train, validation=None):
        import torch

        Learns.fits += 1
        self.weight = torch.tensor(train.mos.mean() + np.random.normal())
        return self

    def predict(self, samples):
        return super().predict(samples) * float(self.weight) + float(self.offset)

    def state(self):
        return {"weight": self.weight, "offset": self.offset}

    def restore(self, state):
        self.weight, self.offset = state["weight"], state["offset"]
        return self


def test_a_method_that_can_be_saved_passes_with_two_fits():
    Learns.fits = 0
    checks = {check.name: check for check in check_method(Learns)}
    assert [check for check in checks.values() if check.passed is False] == []
    assert checks["a saved model predicts the same"].detail == "2 tensors give the same scores to the last digit"
    assert Learns.fits == 2


class ForgetsToSave(Learns):
    """Draws its offset while it prepares, and does not save it."""

    def state(self):
        return {"weight": self.weight}

    def restore(self, state):
        self.weight = state["weight"]
        return self


class SavesNoTensors(Learns):
    def state(self):
        return {"weight": float(self.weight)}


class CannotBeRestored(Learns):
    restore = Method.restore


class LeansOnOthers(Sound):
    """What it learns is how many there are."""

    trainable = True
    trains_together = 4

    @classmethod
    def fit_together(cls, methods, parts):
        for method in methods:
            method.weight = float(len(methods))
        return [None] * len(methods)

    def fit(self, train, validation=None):
        self.fit_together([self], [(train, validation)])
        return self

    def predict(self, samples):
        return super().predict(samples) * self.weight


class HarmsTheSecond(LeansOnOthers):
    """The first never notices."""

    @classmethod
    def fit_together(cls, methods, parts):
        for number, method in enumerate(methods):
            method.weight = 1.0 + number
        return [None] * len(methods)


class CountsTheFirstsSamples(LeansOnOthers):
    """Sees what the second learns from in the size of what the first does."""

    @classmethod
    def fit_together(cls, methods, parts):
        for method in methods:
            method.weight = float(len(parts[0][0]))
        return [None] * len(methods)


class AlwaysLonely(LeansOnOthers):
    @classmethod
    def fit_together(cls, methods, parts):
        super().fit_together(methods, parts)
        return [None if len(methods) == 1 else TrainingError("crowded")] * len(methods)


class PeeksAtTest(Learns):
    """Learns from the MOS of the test samples of a target that it does not predict, too."""

    def predict(self, samples):
        return samples._table["mos_alignment"].to_numpy()[samples.rows]


class SpansAllRatings(Sound):
    """Scales by the ends of the ratings of all rows, which are the same whatever order these are in."""

    trainable = True

    def fit(self, train, validation=None):
        self.span = np.ptp(train._table["mos_quality"])
        return self

    def predict(self, samples):
        return super().predict(samples) * self.span


class Scales(Sound):
    """Scales by the range that it is told."""

    trainable = True

    def predict(self, samples):
        lowest, highest = self.mos_range("quality")
        return lowest + (highest - lowest) * super().predict(samples)


def test_a_range_that_a_data_set_takes_from_all_its_ratings_is_found(monkeypatch):
    assert broken_checks(Scales) == {}

    def of_all_rows(dataset):
        ends = {target.name: dataset.samples[f"mos_{target.name}"].agg(["min", "max"]) for target in dataset.targets}
        return tuple(replace(target, mos_range=tuple(ends[target.name])) for target in dataset.targets)

    monkeypatch.setattr(TableDataset, "learnt", property(of_all_rows))
    assert broken_checks(Scales) == {
        "test MOS cannot be read and do not count": "scores change with the MOS of the test samples"
    }


class OddAblation(Sound):
    ablations: ClassVar = {"without it": {"no_such_setting": False}}


class SaysTooMuch(Sound):
    @classmethod
    def note(cls, config, context):
        return "one\ntwo"


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    ("cls", "check", "detail"),
    [
        (Forgets, "scores are finite and of the right shape", "for 24 samples and 1 targets"),
        (Infinite, "scores are finite and of the right shape", "scores are not finite"),
        (Drifts, "the same seed gives the same scores", "two runs with the same seed differ"),
        (Ranks, "the order of samples does not matter", "samples in another order change a score"),
        (Ranks, "a zero-shot score depends on its own sample alone", "fewer samples at a time change a score"),
        (Remembers, "test MOS cannot be read and do not count", "scores change with the MOS"),
        (SpansAllRatings, "test MOS cannot be read and do not count", "scores change with the MOS"),
        (PeeksAtTest, "test MOS cannot be read and do not count", "scores change with the MOS"),
        (ForgetsToSave, "a saved model predicts the same", "a restored model's scores differ by up to"),
        (SavesNoTensors, "a saved model predicts the same", "not a tensor: weight"),
        (CannotBeRestored, "a saved model predicts the same", "method 'sound' cannot be restored"),
        (LeansOnOthers, "a repeat learns in company what it learns alone", "a cell that is computed again"),
        (HarmsTheSecond, "a repeat learns in company what it learns alone", "a cell that is computed again"),
        (CountsTheFirstsSamples, "a repeat learns in company what it learns alone", "a cell that is computed again"),
        (AlwaysLonely, "a repeat learns in company what it learns alone", "TrainingError: crowded"),
        (OddAblation, "settings refuse unknown keys and are frozen", "ablation 'without it': unknown key"),
        (SaysTooMuch, "a note is one line", "note must return one line"),
        (Loose, "settings refuse unknown keys and are frozen", "takes unknown keys"),
        (Nameless, "class data are complete", "needs a text as its 'title'"),
        (SkipsInTwoLines, "a skip is said in one line", "one line"),
    ],
)
def test_what_breaks_the_contract_is_found(cls, check, detail):
    assert detail in broken_checks(cls)[check]


class Chooses(Learns):
    """Chooses the last of three epochs, or trains for those that it is told; `odd` says what it does wrong."""

    selects_epoch = True
    odd = ""

    def fit(self, train, validation=None):
        super().fit(train, validation)
        epochs = 3 if self.odd == "deaf" else self.context.epochs_of("model", 3)
        self.weight = self.weight + epochs
        if self.odd == "leaves":
            self.weight = self.weight + Learns.fits
        if self.odd != "mute" and (validation is not None or self.context.chosen):
            self.context.kept("model", 2 if validation is not None else epochs, 3)
        return self


@pytest.mark.parametrize(
    ("odd", "passed", "detail"),
    [
        ("", True, "model: epoch 2 of 3"),
        ("mute", None, "does not tell which epoch it chose"),
        ("deaf", False, "the second fit did not train 'model' for the epochs that the first has chosen"),
        ("leaves", False, "from those of as many epochs on both parts"),
    ],
)
def test_a_refit_is_checked(monkeypatch, odd, passed, detail):
    monkeypatch.setattr(Chooses, "odd", odd)
    (check,) = [check for check in check_method(Chooses) if check.name.startswith("a refit")]
    assert check.passed is passed
    assert detail in check.detail
