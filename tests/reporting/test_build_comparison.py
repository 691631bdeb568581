"""The main tables and what is said beside them, on results made by hand."""

import csv
import io
from pathlib import Path

import pytest

from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.execution.store import CellResult
from agiqa_bench.reporting.build import notes
from agiqa_bench.reporting.build.comparison import comparison_table, full_table
from agiqa_bench.reporting.build.generators import generator_table
from agiqa_bench.reporting.build.notes import chapter_names
from agiqa_bench.reporting.build.overview import overview_table
from agiqa_bench.reporting.build.summaries import row_title
from agiqa_bench.reporting.model import Number
from agiqa_bench.reporting.render.comma_separated import table_to_csv
from agiqa_bench.reporting.results import MethodResults, RunResults, differences, join_comparable

PROTOCOL = {
    "dataset": "toy",
    "annotations": "x",
    "synthetic": False,
    "split": "grouped",
    "splits_digest": "y",
    "repeats": 3,
    "seed": 0,
    "select": "validation",
    "leaked_prompts": 0.0,
    "leaked_generators": 1.0,
}


def cell(srcc, within=0.5, generators=None):
    metrics = {metric.key: 0.25 for metric in METRICS} | {"srcc": srcc, "srcc_within_generator": within}
    reasons = {key: "the scores do not vary" for key, value in metrics.items() if value is None}
    per_generator = {
        name: {"n": 5, "srcc": value, "plcc": value, "krcc": value, "undefined": {} if value else {"srcc": "flat"}}
        for name, value in (generators or {}).items()
    }
    record = {"metrics": {"quality": metrics | {"undefined": reasons, "n": 20, "per_generator": per_generator}}}
    return CellResult(record, Path())


def method(label, values, **changes):
    facts = {
        "label": label,
        "display": label.title(),
        "name": label,
        "config": {},
        "targets": ("quality",),
        "weights": (),
        "stand_ins": (),
        "diagnostic": False,
        "trainable": True,
        "selects_epoch": False,
        "citation": "",
        "keeps_features": False,
        "preset": "",
        "note": "",
        "keys": {repeat: f"{label}-{repeat}" for repeat in range(3)},
        "cells": {repeat: value for repeat, value in enumerate(values) if value is not None},
    }
    return MethodResults(**(facts | changes))


def results_of(*methods, left_out=(), title="Toy", **protocol):
    sizes = dict.fromkeys(range(3), (80, 20))
    return RunResults(title, PROTOCOL | protocol, ("quality",), sizes, list(methods), list(left_out), plans=[])


def table_of(*methods, **options):
    return comparison_table(results_of(*methods, **options), "quality", "")


def number(table, row, key):
    return table.rows[row].cells[table.column(key)]


def test_mean_std_and_corrected_interval():
    found = number(table_of(method("a", [cell(0.1), cell(0.2), cell(0.3)])), 0, "srcc")
    assert found.value == pytest.approx(0.2)
    assert found.std == pytest.approx(0.1)
    assert found.n == 3
    # t(0.975, 2) = 4.302653; variance 0.01 * (1/3 + 20/80) of Nadeau and Bengio.
    assert found.high - found.value == pytest.approx(4.302653 * (0.01 * (1 / 3 + 0.25)) ** 0.5, rel=1e-6)


def test_rows_are_sorted_by_srcc_and_best_and_second_are_marked():
    table = table_of(
        method("low", [cell(0.1)] * 3), method("high", [cell(0.9)] * 3), method("negative", [cell(-0.95)] * 3),
        method("flat", [cell(None)] * 3),
    )  # fmt: skip
    assert [row.key for row in table.rows] == ["high", "low", "negative", "flat"]
    marks = [number(table, row, "srcc").marks & {"best", "second"} for row in range(4)]
    assert marks == [{"best"}, {"second"}, frozenset(), frozenset()]
    # What is shown as equal shares the mark, and a lower error would be the better one.
    assert all("best" in number(table, row, "rmse_fitted").marks for row in range(4))


def test_what_the_test_does_not_tell_apart_from_the_best_is_marked():
    table = table_of(
        method("best", [cell(0.80), cell(0.82), cell(0.84)]),
        method("close", [cell(0.82), cell(0.79), cell(0.83)]),
        method("far", [cell(0.20), cell(0.23), cell(0.23)]),
    )
    assert ["tied" in number(table, row, "srcc").marks for row in range(3)] == [False, True, False]
    assert any(note.startswith("≈ is not told apart from the best SRCC") for note in table.notes)


def test_an_undefined_metric_has_its_reason():
    table = table_of(method("a", [cell(0.5, within=None)] * 3))
    found = number(table, 0, "srcc_within_generator")
    assert (found.value, found.reason) == (None, "the scores do not vary")


def test_a_metric_that_is_defined_in_some_repeats_says_in_how_many():
    table = table_of(method("a", [cell(0.5), cell(0.7), cell(None)]))
    assert number(table, 0, "srcc").value == pytest.approx(0.6)
    assert "A: SRCC is defined in 2 repeats only (the scores do not vary)" in table.notes


def test_unfinished_failed_and_optimistic_rows_are_said():
    chosen = method("a", [cell(0.5), None, cell(0.7)], selects_epoch=True, note="weights X cannot be had")
    results = results_of(chosen, left_out=[("B", "failed: out of memory")], select="test", synthetic=True)
    assert notes.warnings(results) == (
        "synthetic data: rendered by code and rated by a simulated panel, not by people",
        "epoch chosen on the test part, which is optimistic: A",
    )
    assert "A: only 2 of 3 repeats are finished" in notes.notes(results)
    assert "A: weights X cannot be had" in notes.notes(results)
    assert row_title(results, chosen) == "A (chosen on test)"


def test_stand_ins_and_other_splits_are_warnings():
    results = results_of(
        method("a", [cell(0.1)], stand_ins=("demo CLIP RN",)), method("b", [], stand_ins=("tiny RN",)), split="image"
    )
    first, second = notes.warnings(results)
    assert first.endswith(": demo CLIP RN")
    assert second == "image-level split: optimistic, prompts are on both sides"


def test_the_full_table_holds_every_metric_and_no_time():
    results = results_of(method("a", [cell(0.1), cell(0.2), cell(0.3)], weights=("W1", "W2")))
    text = table_to_csv(full_table([results]))
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["method"], line["name"], line["weights"]) == ("a", "A", "W1 + W2")
    assert float(line["srcc_mean"]) == pytest.approx(0.2)
    assert float(line["srcc_std"]) == pytest.approx(0.1)
    assert float(line["repeats"]) == 3
    assert "seconds" not in text
    assert {key.removesuffix("_mean") for key in line if key.endswith("_mean")} == {metric.key for metric in METRICS}


def test_inside_each_generator():
    values = [cell(0.5, generators={"g": 0.2, "h": None}), cell(0.5, generators={"g": 0.4})]
    table = generator_table(results_of(method("a", values)), "quality", "")
    assert [column.title for column in table.columns] == ["g", "h"]
    inside, flat = table.rows[0].cells
    assert (inside.value, inside.n) == (pytest.approx(0.3), 2)
    assert flat == Number(None, reason="flat")
    assert generator_table(results_of(method("a", [cell(0.5)])), "quality", "") is None


def test_what_cannot_be_compared_stays_apart_and_says_why():
    one, other = results_of(method("a", [cell(0.1)])), results_of(method("a", [cell(0.1)]), splits_digest="z", seed=1)
    assert differences(one, other) == ["splits", "seeds"]
    assert len(join_comparable([one, other])) == 2
    assert len(join_comparable([one, results_of(method("b", [cell(0.1)]))])) == 1


def test_the_same_row_of_two_folders_is_one_only_if_its_keys_agree(tmp_path):
    from agiqa_bench.execution.store import Store

    one, again = results_of(method("a", [cell(0.1)])), results_of(method("a", [None, cell(0.2)]))
    one.stores, again.stores = (Store(tmp_path / "one"),), (Store(tmp_path / "two"),)
    (joined,) = join_comparable([one, again])
    assert [sorted(m.cells) for m in joined.methods] == [[0, 1]]
    again.methods[0].keys[0] = "another"
    (joined,) = join_comparable([one, again])
    assert [m.display for m in joined.methods] == ["A", "A [two]"]


def test_across_data_sets_each_keeps_its_own_columns():
    first = results_of(method("a", [cell(0.1)] * 3), method("b", [cell(0.3)] * 3))
    second = results_of(method("a", [cell(0.9)] * 3), title="Other", dataset="other")
    third = results_of(method("a", [cell(0.5)] * 3), split="image", splits_digest="i")
    assert chapter_names([first, second, third]) == ["Toy, split grouped", "Other", "Toy, split image"]
    table = overview_table([first, second], "")
    assert [column.over for column in table.columns] == [("Toy", "quality")] * 2 + [("Other", "quality")] * 2
    by_key = {row.key: row.cells for row in table.rows}
    assert [by_key["a"][place].value for place in (0, 2)] == pytest.approx([0.1, 0.9])
    assert by_key["b"][2].value is None
    assert by_key["b"][0].marks == {"best"}
