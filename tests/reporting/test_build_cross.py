"""The matrix over what was learnt from and what was tested on."""

import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, t

from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.plugins import load_plugin
from agiqa_bench.reporting.build import cross
from agiqa_bench.reporting.build.cross import cross_matrix, cross_notes, cross_warnings, crosses
from agiqa_bench.reporting.build.summaries import mean_sizes, summary_of
from agiqa_bench.reporting.results import read_results


@pytest.fixture
def tables(rated_table):
    """Three tables: 60 rows, 45 of them on a scale to 100, 30 others of them with a rating of noise besides."""
    table = pd.read_csv(rated_table)
    paths = {"rated": rated_table}
    for name, rows in (("wide", table.iloc[:45].copy()), ("small", table.iloc[30:].copy())):
        rows["mos_quality"] = (rows["mos_quality"] + (rows.index * 37 % 11) / 10) * (20 if name == "wide" else 1)
        paths[name] = rated_table.with_name(f"{name}.csv")
        rows.to_csv(paths[name], index=False)
    return paths


@pytest.fixture
def results_of(tables, tmp_path, example_methods, fresh_registries):
    """`results_of("rated", "wide")`: learnt from the one, tested on the other; one name: a plain run."""
    load_plugin(example_methods)

    def build(train, test, methods=("epochs", "name_length"), **changes):
        data = {"dataset": tables[train]} if train == test else {"train_on": tables[train], "test_on": tables[test]}
        names = {key: str(path) for key, path in data.items()}
        plan = make_plan(RunRequest(**names, methods=methods, annotations_only=True, **{"repeats": 3} | changes))
        store = Store(tmp_path / "-".join(map(str, (train, test, *changes.values()))))
        plan.find_results(store)
        store.prepare()
        store_inputs(plan, store)
        run(plan, store, Silent())
        return read_results(store)

    return build


def cell(table, row, column):
    return next(found for found in table.rows if found.key == row).cells[table.column(column)]


def srcc_by_repeat(results, label):
    """SRCC of a method's stored scores, by scipy."""
    method = next(method for method in results.methods if method.label == label)
    frames = [method.cells[repeat].predictions() for repeat in sorted(method.cells)]
    return [spearmanr(frame["score_quality"], frame["mos_quality"]).statistic for frame in frames]


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_a_full_matrix_has_every_pair_and_the_paired_change(results_of):
    names = ["rated", "wide"]
    home = {name: results_of(name, name) for name in names}
    away = {pair: results_of(*pair) for pair in permutations(names, 2)}
    (table,) = cross_matrix([*home.values(), *away.values()], "x-")
    assert table.key == "x-cross-quality"
    assert table.head == "Learnt from"
    assert [column.key for column in table.columns] == [
        *(f"srcc on {name}" for name in names),
        *(f"change on {name}" for name in names),
    ]
    assert [(row.group, row.name) for row in table.rows] == [
        ("Epochs", "rated"),
        ("Epochs", "wide"),
        ("Name length", "nothing (zero-shot)"),
    ]
    for test in names:
        there = srcc_by_repeat(home[test], "epochs")
        assert cell(table, f"epochs, learnt from {test}", f"srcc on {test}").value == pytest.approx(sum(there) / 3)
        assert cell(table, f"epochs, learnt from {test}", f"change on {test}").value is None
        untrained = cell(table, "name_length, learnt from nothing", f"srcc on {test}")
        assert untrained.value == pytest.approx(np.nanmean(srcc_by_repeat(home[test], "name_length")))
        assert cell(table, "name_length, learnt from nothing", f"change on {test}").value is None
    for (train, test), results in away.items():
        here, there = srcc_by_repeat(results, "epochs"), srcc_by_repeat(home[test], "epochs")
        assert cell(table, f"epochs, learnt from {train}", f"srcc on {test}").value == pytest.approx(sum(here) / 3)
        # Nadeau and Bengio by hand: 36 of 45 rows of the smaller set are there to learn from.
        differences = [a - b for a, b in zip(here, there, strict=True)]
        mean = sum(differences) / 3
        n_test = {"rated": 12, "wide": 9}[test]
        variance = sum((d - mean) ** 2 for d in differences) / 2 * (1 / 3 + n_test / 36)
        half = t.ppf(0.975, 2) * math.sqrt(variance)
        change = cell(table, f"epochs, learnt from {train}", f"change on {test}")
        assert (change.value, change.low, change.high) == pytest.approx((mean, mean - half, mean + half))
        assert change.n == 3
    assert any("rows to learn from: rated 48, wide 36" in note for note in table.notes)
    assert [note for note in table.notes if "empty" in note or "only" in note] == [
        "Name length, learnt from nothing (zero-shot): in 2 repeats only: the scores do not vary"
    ]


def test_the_interval_of_a_change_goes_by_the_sizes_of_the_repeats_that_both_have(results_of):
    home, away = results_of("wide", "wide"), results_of("rated", "wide")
    del away.methods[[method.label for method in away.methods].index("epochs")].cells[2]
    away.sizes[2] = home.sizes[2] = (5, 30)
    differences = np.subtract(srcc_by_repeat(away, "epochs"), srcc_by_repeat(home, "epochs")[:2])
    half = t.ppf(0.975, 1) * math.sqrt(differences.var(ddof=1) * (1 / 2 + 9 / 36))
    change = cell(cross_matrix([home, away], "")[0], "epochs, learnt from rated", "change on wide")
    assert (change.n, change.high - change.value) == (2, pytest.approx(half))


def test_the_diagonal_is_empty_with_the_reason_where_no_plain_run_has_the_same_test_parts(results_of):
    away = results_of("rated", "wide")
    row, column = "epochs, learnt from wide", "srcc on wide"
    (table,) = cross_matrix([away], "")
    assert cell(table, row, column).value is None
    assert cell(table, row, column).reason == "there is no run with --dataset wide"
    assert "empty: there is no run with --dataset wide" in table.notes
    assert cell(table, "epochs, learnt from rated", "change on wide").value is None
    assert cell(table, "epochs, learnt from rated", column).n == 3

    (table,) = cross_matrix([away, results_of("wide", "wide", repeats=2)], "")
    assert cell(table, row, column).reason == "the run with --dataset wide has other splits"
    other = results_of("wide", "wide", select="last")
    (table,) = cross_matrix([away, other], "")
    assert cell(table, row, column).reason == "the run with --dataset wide has other ways to choose the epoch"
    (table,) = cross_matrix([away, results_of("wide", "wide", methods=("name_length",), seed=0)], "")
    assert cell(table, row, column).reason == "no finished repeat of Epochs in the run with --dataset wide"


def test_other_annotations_of_the_test_set_are_not_the_same_test_part(results_of, tables):
    away = results_of("rated", "wide")
    tables["wide"].write_text(tables["wide"].read_text().replace("thing 7", "thing seven"))
    (table,) = cross_matrix([away, results_of("wide", "wide", seed=0)], "")
    reason = cell(table, "epochs, learnt from wide", "srcc on wide").reason
    assert reason == "the run with --dataset wide has other annotations and other splits"


def test_other_settings_are_not_compared(results_of):
    away = results_of("rated", "wide", methods=("epochs", "ablated"))
    home = results_of("wide", "wide", methods=("epochs", "ablated"), settings={"ablated": {"sign": 2.0}})
    for method in home.methods:
        # As two presets would leave it: one name, two settings.
        method.label = method.label.removesuffix("[sign=2.0]")
    (table,) = cross_matrix([away, home], "")
    assert cell(table, "ablated, learnt from nothing", "srcc on wide").value is not None
    trained = next(method for method in home.methods if method.label == "epochs")
    trained.config["rate"] = 1
    (table,) = cross_matrix([away, home], "")
    reason = cell(table, "epochs, learnt from wide", "srcc on wide").reason
    assert reason.startswith("Epochs ran with other settings (rate) with --dataset wide")


def test_several_training_sets_stand_below_each_other_and_missing_pairs_are_named(results_of):
    found = [results_of(*pair) for pair in (("rated", "wide"), ("small", "wide"), ("rated", "small"))]
    (table,) = cross_matrix(found, "")
    assert [row.name for row in table.rows if row.group == "Epochs"] == ["rated", "wide", "small"]
    assert [column.title for column in table.columns][:2] == ["wide", "small"]
    reason = cell(table, "epochs, learnt from wide", "srcc on small").reason
    assert reason == "there is no run with --train-on wide --test-on small"


def test_other_ways_to_split_have_a_matrix_of_their_own(results_of):
    found = [results_of("rated", "wide"), results_of("rated", "wide", split="image"), results_of("wide", "wide")]
    first, second = cross_matrix(found, "")
    assert (first.key, second.key) == ("cross-quality-1", "cross-quality-2")
    assert "image split" in second.title
    assert cell(first, "epochs, learnt from wide", "srcc on wide").n == 3
    assert cell(second, "epochs, learnt from wide", "srcc on wide").reason.endswith("has other splits")


def test_remarks_and_samples(results_of, tables):
    away, home = results_of("rated", "wide"), results_of("wide", "wide")
    assert crosses(away)
    assert not crosses(home)
    assert cross_notes(home) == ()
    scale, leak, untrained = cross_notes(away)
    assert "do not ask for the same scale" in scale
    assert leak.startswith("rated → wide: ")
    assert "100% a generator" in leak
    assert untrained.startswith("zero-shot methods learn nothing from rated: their scores are those of a run on wide")
    assert cross_matrix([home], "") == []
    wide = pd.read_csv(tables["wide"])
    for results, first in ((away, 60), (home, 0)):
        samples = cross.tested_samples(results)
        assert list(samples["mos_quality"]) == pytest.approx(list(wide["mos_quality"]), rel=1e-12)
        assert list(samples["row"]) == list(range(first, first + 45))


def test_the_interval_on_another_data_set_counts_the_rows_that_its_test_parts_are_drawn_from(results_of):
    """Of 30 rows 6 are tested: the test parts repeat as those of a plain run on 30 rows, whatever was learnt from."""
    away = results_of("rated", "small")
    assert away.sizes[0] == (48, 6)
    assert mean_sizes(away) == (6, 24)
    method = next(method for method in away.methods if method.label == "epochs")
    found, values = summary_of(away, method, "quality", "srcc"), srcc_by_repeat(away, "epochs")
    half = t.ppf(0.975, 2) * math.sqrt(np.var(values, ddof=1) * (1 / 3 + 6 / 24))
    assert (found.low, found.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert mean_sizes(results_of("small", "rated")) == (12, 24)
    assert mean_sizes(results_of("small", "small")) == (6, 24)


def test_that_interval_is_not_too_narrow_for_a_small_test_set_after_a_large_training_set():
    """The true variance of the mean over repeats, by drawing the data sets anew, against the formula's two sizes."""
    draw, repeats = np.random.default_rng(1), 10
    true = draw.normal(size=8)

    def sample(n):
        x = draw.normal(size=(n, 8))
        return x, x @ true + 3 * draw.normal(size=n)

    means, variances = [], []
    for _ in range(200):
        (x, y), (far_x, far_y), values = sample(1000), sample(100), []
        for _ in range(repeats):
            fit, test = draw.permutation(1000)[:800], draw.permutation(100)[:20]
            learnt = np.linalg.solve(x[fit].T @ x[fit], x[fit].T @ y[fit])
            values.append(np.corrcoef(far_x[test] @ learnt, far_y[test])[0, 1])
        means.append(np.mean(values))
        variances.append(np.var(values, ddof=1))
    by_rows_learnt, by_rows_tested = (np.mean(variances) * (1 / repeats + 20 / rows) for rows in (800, 80))
    assert by_rows_learnt < 0.6 * np.var(means, ddof=1)
    assert by_rows_tested > 0.8 * np.var(means, ddof=1)


def test_a_change_between_methods_that_learnt_other_targets_is_withheld(results_of):
    away, home = results_of("rated", "wide"), results_of("wide", "wide")
    next(method for method in home.methods if method.label == "epochs").targets = ("quality", "alignment")
    (table,) = cross_matrix([away, home], "")
    found = cell(table, "epochs, learnt from rated", "change on wide")
    assert found.value is None
    assert found.reason.startswith("Epochs learnt quality from rated and quality and alignment from wide")
    assert found.reason.endswith("give the run with --dataset wide --targets quality")
    assert cell(table, "epochs, learnt from wide", "srcc on wide").value is not None


def test_precision_and_batch_size_are_settings_too(results_of):
    away, home = results_of("rated", "wide"), results_of("wide", "wide", batch_size=3)
    (table,) = cross_matrix([away, home], "")
    reason = cell(table, "epochs, learnt from rated", "change on wide").reason
    assert reason.startswith("Epochs ran with other batch size with --dataset wide")


def test_images_on_both_sides_are_a_warning(results_of):
    away = results_of("rated", "wide", repeats=1)
    assert cross_warnings(away) == ()
    away.protocol["shared_images"] = 0.625
    assert cross_warnings(away) == ("rated → wide: 62.5% of the test images are themselves in the training part",)
    (table,) = cross_matrix([away], "")
    assert cross_warnings(away)[0] in table.notes
    assert "one repeat: no intervals" in " ".join(table.notes)
    home = results_of("wide", "wide")
    home.protocol["shared_images"] = 0.5
    assert cross_warnings(home) == ()


def test_data_sets_have_their_titles_and_older_stores_their_names(results_of):
    away = results_of("rated", "wide")
    away.protocol["train_title"], away.protocol["test_title"] = "Rated things", "Wide things"
    (table,) = cross_matrix([away], "")
    assert [column.title for column in table.columns] == ["Wide things"] * 2
    assert [row.name for row in table.rows if row.group == "Epochs"] == ["Rated things", "Wide things"]
    del away.protocol["train_title"], away.protocol["test_title"]
    (table,) = cross_matrix([away], "")
    assert [column.title for column in table.columns] == ["wide"] * 2
