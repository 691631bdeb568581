"""Figures and galleries of results made by hand: which numbers they draw, and what they say."""

import json

import numpy as np
import pandas as pd
import pytest

from agiqa_bench.evaluation.metrics import evaluate, fit_logistic
from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.reporting.build import figures
from agiqa_bench.reporting.build.figures import (
    curves_figure,
    error_gallery,
    generator_figure,
    mos_figure,
    scatter_figure,
    strip_figure,
)
from agiqa_bench.reporting.results import MethodResults, RunResults

N, REPEATS = 60, 3
DRAWS = np.random.default_rng(0)
MOS = DRAWS.uniform(1, 5, N)
GENERATORS = np.array(["gan", "flow", ""])[np.arange(N) % 3]
ROWS = [np.sort(np.random.default_rng(repeat).permutation(N)[:30]) for repeat in range(REPEATS)]
SCORES = {"good": MOS + DRAWS.normal(0, 0.3, N), "poor": MOS + DRAWS.normal(0, 3, N), "blind": -MOS}


@pytest.fixture
def method(tmp_path):
    def make(label, repeats=range(REPEATS), history=(), targets=("quality",), **changes):
        facts = {"label": label, "display": label.title(), "name": label, "config": {}, "targets": targets}
        facts |= {"weights": (), "stand_ins": (), "diagnostic": label == "blind", "trainable": True}
        facts |= {"selects_epoch": False, "citation": "", "keeps_features": False, "preset": "", "note": ""}
        facts["keys"] = {repeat: str(repeat) for repeat in range(REPEATS)}
        made = MethodResults(**facts | changes)
        for repeat in repeats:
            rows, folder = ROWS[repeat], tmp_path / label / str(repeat)
            folder.mkdir(parents=True)
            table = {"row": rows, "image": [f"{row}.png" for row in rows]}
            table |= {"score_quality": SCORES[label][rows], "mos_quality": MOS[rows]}
            pd.DataFrame(table).to_parquet(folder / "predictions.parquet")
            if history:
                (folder / "history.json").write_text(json.dumps(history))
            metrics = evaluate(SCORES[label][rows], MOS[rows], list(GENERATORS[rows]), [""] * len(rows))
            files = {file.name: "" for file in folder.iterdir()}
            made.cells[repeat] = CellResult({"metrics": {"quality": metrics}, "files": files}, folder)
        return made

    return make


def results(*methods, **protocol):
    sizes = dict.fromkeys(range(REPEATS), (N - 30, 30))
    known = {"dataset": "demo", "select": "validation"} | protocol
    return RunResults("Demo", known, ("quality",), sizes, list(methods), [], [])


@pytest.fixture
def samples():
    columns = {"row": range(N), "image": [f"{n}.png" for n in range(N)], "path": [f"/data/{n}.png" for n in range(N)]}
    columns |= {"prompt": [f"prompt {n}" for n in range(N)], "generator": GENERATORS, "family": GENERATORS}
    return pd.DataFrame(columns | {"mos_quality": MOS})


def texts(figure):
    return [text.get_text() for text in figure.draw().axes[0].texts]


def srcc(label, repeat):
    return pd.Series(SCORES[label][ROWS[repeat]]).corr(pd.Series(MOS[ROWS[repeat]]), method="spearman")


def test_strip_has_the_methods_best_first_and_the_repeats_of_each(method):
    found = strip_figure(results(method("poor", [0, 2]), method("blind"), method("good")), "quality", "demo-")
    axes = found.draw().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Good",
        "Blind",
        "Poor (2 of 3 repeats)",
    ]
    (drawn,) = (line.get_xdata() for line in axes.lines if line.get_marker() == "o")
    expected = [srcc("good", 0), srcc("good", 1), srcc("good", 2), srcc("poor", 0), srcc("poor", 2)]
    np.testing.assert_allclose(drawn, expected)
    (means,) = (line.get_xdata() for line in axes.lines if line.get_marker() == "|")
    np.testing.assert_allclose(means, [np.mean(expected[:3]), -1, np.mean(expected[3:])])
    assert found.key == "demo-strip-srcc-quality"
    assert found.alt.startswith("SRCC of 3 methods in up to 3 repeats: best Good with 0.9")
    assert found.alt.endswith("last Blind with -1.000.")
    assert "Hollow: baselines that see no pixel." in found.caption
    assert "bars are the mean and its 95 % interval" in found.caption


def test_a_single_repeat_has_no_bars(method):
    once = strip_figure(results(method("poor", [0]), method("good", [0])), "quality", "")
    assert once.caption == "Each dot is the one repeat that there is."


def test_errors_are_ordered_the_other_way_round(method):
    found = strip_figure(results(method("poor"), method("good")), "quality", "", "rmse_fitted")
    labels = [label.get_text() for label in found.draw().axes[0].get_yticklabels()]
    assert labels == ["Good", "Poor"]
    assert ": best Good" in found.alt
    assert found.key == "strip-rmse-fitted-quality"


def test_scatter_draws_the_repeat_that_most_have_and_names_any_other(method):
    found = scatter_figure(results(method("good", [1, 2]), method("poor", [1]), method("blind", [0])), "quality", "x-")
    assert "Test images of repeat 1, and correlations of this repeat alone." in found.caption
    assert found.title == "Scores and MOS of repeat 1: quality"
    assert found.key == "x-scatter-quality"
    axes = found.draw().axes[0]
    grouped = np.split(axes.lines[0].get_ydata(), 2)
    for label, inches in zip(("good", "poor"), grouped, strict=True):
        assert np.corrcoef(inches, MOS[ROWS[1]])[0, 1] == pytest.approx(-1), label
    assert f"Good\nSRCC {srcc('good', 1):.3f}\nPLCC (fit)" in "|".join(texts(found))
    assert any(text.startswith("Blind, repeat 0\nSRCC −1.000\nPLCC") for text in texts(found))


def test_generators_are_averaged_over_the_repeats(method):
    made = method("good")
    found = generator_figure(results(made), "quality", "")
    inside = [
        pd.Series(SCORES["good"][rows]).corr(pd.Series(MOS[rows]), method="spearman")
        for rows in (rows[GENERATORS[rows] == "gan"] for rows in ROWS)
    ]
    assert [label.get_text() for label in found.draw().axes[0].get_xticklabels()] == ["flow", "gan"]
    assert texts(found)[1] == f"{np.mean(inside):.2f}"
    for cell in made.cells.values():
        cell.metrics["quality"]["per_generator"] = {}
    assert generator_figure(results(made), "quality", "") is None


def test_nothing_finished_is_no_figure(method, samples):
    nothing = results(method("good", []))
    assert strip_figure(nothing, "quality", "") is None
    assert scatter_figure(nothing, "quality", "") is None
    assert generator_figure(nothing, "quality", "") is None
    assert curves_figure(nothing, "") is None
    assert error_gallery(nothing, "quality", samples, "") is None


def epoch(number, loss, **more):
    return {"epoch": float(number), "loss": loss, "learning_rate": 0.1, "micro_batch": 8.0} | more


def test_curves_follow_stages_and_tell_targets_apart(method):
    staged = [epoch(1, 3.0, stage=1.0), epoch(2, None, stage=1.0), epoch(1, 1.0, stage=2.0)]
    apart = [
        epoch(1, 2.0, target=0.0, validation=0.5, chosen=1.0),
        epoch(1, 4.0, target=1.0, validation=None, chosen=0.0),
    ]
    found = curves_figure(
        results(
            method("good", history=staged),
            method("poor", history=apart, targets=("quality", "alignment")),
            method("blind", history=[{"left_out_error": 1.0, "chosen": 2.0, "target": 0.0}]),
        ),
        "x-",
    )
    assert found.key == "x-curves"
    assert found.alt == "Training loss and validation score per epoch of 3 trainings, over at most 3 epochs."
    written = texts(found)
    assert [name for name in written if name.startswith(("Good", "Poor", "Blind"))] == [
        "Good",
        "Poor: quality",
        "Poor: alignment",
    ]
    assert written.count("not recorded") == 2
    assert "Rings" in found.caption
    assert found.caption.endswith("with other layers or settings: Good.")
    assert written.count("validation score") == 3
    assert curves_figure(results(method("blind", [])), "") is None


def test_a_second_training_is_drawn_stage_by_stage_and_says_so(method):
    first = [epoch(1, 3.0, stage=1.0), epoch(2, 2.0, stage=1.0), epoch(3, 2.5, stage=1.0), epoch(1, 1.0, stage=2.0)]
    again = [epoch(1, 2.9, refit=1.0), epoch(2, 1.9, refit=1.0), epoch(1, 0.9, refit=1.0)]
    curve = figures._curve([*first, *again])
    assert curve.loss == (3.0, 2.0, 2.5, 1.0)
    assert curve.starts == (3,)
    np.testing.assert_array_equal(curve.refit, [2.9, 1.9, np.nan, 0.9])
    found = curves_figure(results(method("good", history=[*first, *again]), select="refit"), "x-")
    assert (
        "second training, on training and validation part, up to the epoch that the first has chosen" in found.caption
    )
    assert found.alt == "Training loss and validation score per epoch of 1 training, over at most 4 epochs."
    alone = curves_figure(results(method("poor", history=first)), "x-")
    assert "second training" not in alone.caption


def test_mos_are_counted_by_family(method, samples):
    found = mos_figure(results(method("good")), samples, "x-")
    assert found.alt == (
        f"Histogram of the MOS of 60 images. quality: {MOS.min():.2f} to {MOS.max():.2f}, mean {MOS.mean():.2f}, "
        f"standard deviation {MOS.std(ddof=1):.2f}."
    )
    assert [text.get_text() for text in found.draw().legends[0].texts] == ["flow", "gan", "family not known"]
    assert not mos_figure(results(), samples.assign(family=[f"{n}" for n in range(N)]), "").draw().legends
    assert mos_figure(results(), None, "") is None


def test_the_gallery_has_the_largest_errors_of_the_best_method_that_sees_images(method, samples):
    SCORES["blind"] = MOS.copy()  # better than all, but it looks at nothing
    found = error_gallery(results(method("poor"), method("good"), method("blind")), "quality", samples, "x-", count=5)
    SCORES["blind"] = -MOS
    mapped = {row: [] for row in range(N)}
    for rows in ROWS:
        values = fit_logistic(SCORES["good"][rows], MOS[rows])(SCORES["good"][rows])
        for row, value in zip(rows, values, strict=True):
            mapped[row].append(value)
    means = {row: np.mean(values) for row, values in mapped.items() if values}
    order = sorted(means, key=lambda row: -abs(means[row] - MOS[row]))[:5]
    assert [picture.name for picture in found.pictures] == [f"{row}.png" for row in order]
    first = found.pictures[0]
    assert (first.path, first.prompt) == (f"/data/{order[0]}.png", f"prompt {order[0]}")
    assert (first.mos, first.predicted) == pytest.approx((MOS[order[0]], means[order[0]]))
    assert found.title == "Largest errors of Good: quality"
    assert not found.free


def test_only_images_that_code_has_painted_are_free(method, samples):
    made = method("good")
    assert error_gallery(results(made, synthetic=True), "quality", samples, "").free
    assert not error_gallery(results(made, synthetic=True, train_on="demo", test_on="a"), "quality", samples, "").free
    assert error_gallery(results(made), "quality", None, "") is None
