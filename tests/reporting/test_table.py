"""The table model and its renderings, on results made by hand."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.execution.store import CellResult
from agiqa_bench.reporting.results import MethodResults, RunResults
from agiqa_bench.reporting.table import build_table
from agiqa_bench.reporting.terminal import to_terminal
from agiqa_bench.reporting.text import costs_to_csv, to_csv, to_markdown

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


def cell(srcc, within=0.5, predict_seconds=1.0):
    metrics = {metric.key: 0.25 for metric in METRICS} | {"srcc": srcc, "srcc_within_generator": within}
    reasons = {key: "the scores do not vary" for key, value in metrics.items() if value is None}
    record = {
        "metrics": {"quality": metrics | {"undefined": reasons, "n": 20}},
        "costs": {"fit_seconds": 2.0, "predict_seconds": predict_seconds, "predicted": 20},
        "environment": {"device": {"name": "a processor"}},
        "precision": "float32",
    }
    return CellResult(record, Path())


def method(label, values, **changes):
    facts = {
        "label": label,
        "display": label.title(),
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
        "expected": 3,
        "cells": {repeat: value for repeat, value in enumerate(values) if value is not None},
    }
    return MethodResults(**(facts | changes))


def table_of(*methods, left_out=(), **protocol):
    sizes = dict.fromkeys(range(3), (80, 20))
    return build_table(
        RunResults("Toy", PROTOCOL | protocol, ("quality",), sizes, list(methods), list(left_out), plans=[])
    )


def test_mean_std_and_corrected_interval():
    table = table_of(method("a", [cell(0.1), cell(0.2), cell(0.3)]))
    summary = table.sections[0].rows[0].cells["srcc"].summary
    assert summary.mean == pytest.approx(0.2)
    assert summary.std == pytest.approx(0.1)
    # t(0.975, 2) = 4.302653; variance 0.01 * (1/3 + 20/80) of Nadeau and Bengio.
    assert summary.high - summary.mean == pytest.approx(4.302653 * (0.01 * (1 / 3 + 0.25)) ** 0.5, rel=1e-6)


def test_rows_are_sorted_by_srcc_and_best_and_second_are_marked():
    rows = table_of(
        method("low", [cell(0.1)] * 3), method("high", [cell(0.9)] * 3), method("negative", [cell(-0.95)] * 3),
        method("flat", [cell(None)] * 3),
    ).sections[0].rows  # fmt: skip
    assert [row.label for row in rows] == ["high", "low", "negative", "flat"]
    assert [row.cells["srcc"].rank for row in rows] == [1, 2, 0, 0]
    assert {row.cells["rmse_fitted"].rank for row in rows} == {1}


def test_an_undefined_metric_is_shown_as_such_in_every_format():
    table = table_of(method("a", [cell(0.5, within=None)] * 3))
    row = table.sections[0].rows[0].cells["srcc_within_generator"]
    assert row.mean is None
    assert row.reason == "the scores do not vary"
    assert "| undefined |" in to_markdown(table)
    (line,) = csv.DictReader(io.StringIO(to_csv(table)))
    assert line["srcc_within_generator_mean"] == line["srcc_within_generator_high"] == ""
    assert "undefined" in rendered(table)


def test_a_metric_that_is_defined_in_some_repeats_says_in_how_many():
    table = table_of(method("a", [cell(0.5), cell(0.7), cell(None)]))
    assert table.sections[0].rows[0].cells["srcc"].mean == pytest.approx(0.6)
    assert any("A, quality: SRCC is defined in 2 of 3 repeats (the scores do not vary)" in n for n in table.notes)


def test_unfinished_failed_and_optimistic_rows_are_said():
    table = table_of(
        method("a", [cell(0.5), None, cell(0.7)], selects_epoch=True, note="weights X cannot be had"),
        left_out=[("B", "failed: out of memory")],
        select="test",
        synthetic=True,
    )
    notes = "\n".join(table.notes)
    assert "A: only 2 of 3 repeats are finished" in notes
    assert "epoch chosen on the test part, which is optimistic: A" in notes
    assert "A: weights X cannot be had" in notes
    assert notes.startswith("synthetic data")
    assert "- B: failed: out of memory" in to_markdown(table)


def test_csv_holds_all_numbers_with_six_decimals_and_no_time():
    text = to_csv(table_of(method("a", [cell(0.1), cell(0.2), cell(0.3)], weights=("W1", "W2"))))
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["method"], line["weights"]) == ("a", "W1 + W2")
    assert line["srcc_mean"] == "0.200000"
    assert line["srcc_std"] == "0.100000"
    assert line["repeats"] == "3"
    assert "seconds" not in text
    assert {key.removesuffix("_mean") for key in line if key.endswith("_mean")} == {metric.key for metric in METRICS}


def test_costs_are_apart():
    table = table_of(method("a", [cell(0.1, predict_seconds=1.0), cell(0.2, predict_seconds=3.0)]))
    (line,) = csv.DictReader(io.StringIO(costs_to_csv(table)))
    assert float(line["fit_seconds"]) == 2.0
    assert float(line["milliseconds_per_image"]) == pytest.approx(1000 * 4 / 40)
    zero_shot = table_of(method("a", [cell(0.1)], trainable=False))
    assert next(csv.DictReader(io.StringIO(costs_to_csv(zero_shot))))["fit_seconds"] == ""


def test_names_cannot_break_a_markdown_table_or_a_terminal():
    table = table_of(method("a", [cell(0.1)], display="a|b\n[red]*x*`"))
    line = next(line for line in to_markdown(table).splitlines() if "a\\|b" in line)
    assert line.startswith("| a\\|b \\[red\\]\\*x\\*\\` |")
    assert "[red]*x*`" in rendered(table)


def rendered(table, width=160):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_terminal(table, width))
    return console.file.getvalue()


def test_a_narrow_terminal_shows_fewer_metrics_whole_and_says_which_are_missing():
    table = table_of(method("a method with a long name", [cell(0.1), cell(0.2)]))
    text = rendered(table, width=80)
    assert "0.150 ±0.071" in text
    assert "…" not in text
    assert "not shown for want of columns: PLCC, KRCC, RMSE (fit), SRCC in prompt" in " ".join(text.split())
    assert "want of columns" not in rendered(table, width=150)


def test_a_time_per_image_that_is_without_the_features_says_so():
    note = (
        "features are computed once and kept: their time is in the first repeat's training, not in the time per image"
    )
    table = table_of(
        method("a", [cell(0.1)], keeps_features=True),
        method("b", [cell(0.2)]),
        method("c", [cell(0.3)], keeps_features=True, trainable=False),
    )
    assert f"{note}: A" in table.notes


def test_stand_ins_are_named_in_a_note():
    table = table_of(method("a", [cell(0.1)], stand_ins=("demo CLIP RN",)), method("b", [], stand_ins=("tiny RN",)))
    (note,) = (note for note in table.notes if note.startswith("stand-ins"))
    assert note.endswith(": demo CLIP RN")
