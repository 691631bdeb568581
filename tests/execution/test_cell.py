"""What one cell lets a method see of the ratings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import HiddenMOSError
from agiqa_bench.evaluation.splits import Leakage, Split
from agiqa_bench.execution.cell import fit_and_predict, fit_together_and_predict, known_ranges, score_all
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.tasks import execute, tasks_of
from agiqa_bench.method import Context, Method

TABLE = pd.DataFrame(
    {"image": [f"{row}.png" for row in range(6)], "prompt": "a cat", "generator": "g", "group": "g"}
    | {"mos_quality": [1.0, 2.0, 3.0, 4.0, 0.0, 9.0], "mos_alignment": [10.0, 40.0, 20.0, 30.0, -5.0, 50.0]}
)
"""The ends of both ratings are in the test part of `SPLIT`; the others' are in training and validation, one in each."""

SPLIT = Split(0, np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), Leakage(0.0, 0.0, 0.0))


class Curious(Method):
    """Learns the mean, and looks at the ratings of what it is to predict; tells the ranges that it knew."""

    name, title, uses_images, trains_together = "curious", "Curious", False, 2
    reads = "mos"
    seen = []  # noqa: RUF012 - all instances write into it

    def prepare(self):
        self.seen.append(dict(self.context.mos_ranges))

    def fit(self, train, validation=None):
        self.mean = train.mos.mean()
        self.seen.append(dict(self.context.mos_ranges))
        return self

    @classmethod
    def fit_together(cls, methods, parts):
        for method, (train, validation) in zip(methods, parts, strict=True):
            method.fit(train, validation)
        return [None] * len(methods)

    def predict(self, samples):
        assert samples.names == ["4.png", "5.png"]
        return samples.mos if self.reads == "mos" else samples.mos_of("alignment")


class CuriousOfOthers(Curious):
    """Looks at ratings that it does not predict."""

    reads = "mos_of"


@pytest.mark.parametrize("cls", [Curious, CuriousOfOthers])
def test_no_road_to_a_score_leads_past_readable_test_ratings(cls):
    samples = Samples(TABLE, ("quality",))
    with pytest.raises(HiddenMOSError, match="cannot be read"):
        fit_and_predict(cls, None, Context(), samples, SPLIT)
    (found,) = fit_together_and_predict(cls, None, [Context()], samples, [SPLIT])
    assert isinstance(found, HiddenMOSError)
    with pytest.raises(HiddenMOSError, match="cannot be read"):
        score_all(cls(), samples.subset(SPLIT.test))


@pytest.mark.parametrize("selection", ["refit", "last", "validation", "test"])
def test_a_range_that_nobody_states_is_that_of_training_and_validation(selection, monkeypatch):
    samples = Samples(TABLE, ("quality",))
    stated = {"quality": None, "alignment": None, "authenticity": (0.0, 100.0)}
    wanted = {"quality": (1.0, 4.0), "alignment": (10.0, 40.0), "authenticity": (0.0, 100.0)}
    assert known_ranges(stated, samples, SPLIT) == wanted
    contexts = [Context(mos_ranges=stated, selection=selection)] * 2
    monkeypatch.setattr(Curious, "seen", [])
    other = Split(1, np.array([0]), np.array([1, 5]), np.array([4, 5]), Leakage(0.0, 0.0, 0.0))
    fit_together_and_predict(Curious, None, contexts, samples, [SPLIT, other])
    # Each repeat's own, from the first moment on.
    wider = wanted | {"quality": (1.0, 9.0), "alignment": (10.0, 50.0)}
    assert Curious.seen == [wanted, wider] * 2
    assert Curious(context=Context(mos_ranges=wider)).mos_range("quality") == (1.0, 9.0)


@pytest.mark.parametrize("name", ["clip_agiqa_fu", "clipiqa_plus"])
def test_no_rating_of_a_test_image_moves_a_score_on_a_table_of_ones_own(name, tmp_path, monkeypatch):
    """Through plan and task, as `run` goes: the road on which the range of a table is found."""
    from agiqa_bench.data.catalogue import open_dataset
    from agiqa_bench.execution.store import Store

    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    rows = open_dataset("demo").samples.iloc[::9].reset_index(drop=True)
    rows["image"] = rows["path"]
    file = tmp_path / "mine.csv"

    def run(table, **changes):
        table.drop(columns=["path", "family"]).to_csv(file, index=False)
        request = RunRequest(dataset=str(file), methods=(name,), preset="quick", repeats=1, offline=True, **changes)
        plan = make_plan(request)
        store = Store(tmp_path / "run")
        store.prepare()
        (task,) = tasks_of(plan)
        assert execute(plan, store, task, lambda done, total, what: None).failures == ()
        (method,), (split,) = plan.methods, plan.splits
        cell = method.cells[0]
        stored = store.find_cell(method.label, 0, cell.key)
        return method, split, cell.components["mos_ranges"], stored.predictions()["score_quality"].to_numpy()

    method, split, ranges, scores = run(rows)
    assert "scaled by the range of quality" in method.note
    assert "in each repeat's training part: none is stated (--mos-range)" in method.note
    learnt = rows.drop(index=split.test)["mos_quality"]
    assert ranges["quality"] == [learnt.min(), learnt.max()]
    others = rows.copy()
    others.loc[split.test[0], ["mos_quality", "mos_alignment"]] += 40.0
    _, _, same_ranges, same = run(others)
    assert same_ranges == ranges
    np.testing.assert_array_equal(same, scores)
    # What the user states counts, and is on the scale that is stated.
    stated, _, wider, other = run(rows, mos_range={"*": (0.0, 100.0)})
    assert "scaled by" not in stated.note
    assert wider["quality"] == [0.0, 100.0]
    assert not np.array_equal(other, scores)
