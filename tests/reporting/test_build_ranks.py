"""Ranks, tests against the best and critical-difference diagrams, on results made by hand."""

from pathlib import Path

import pytest

from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.evaluation.statistics import holm, paired_difference
from agiqa_bench.execution.store import CellResult
from agiqa_bench.reporting.build.ranks import (
    across_table,
    comparison_table,
    critical_difference_across,
    critical_difference_figure,
    rank_table,
    tied_with_best,
)
from agiqa_bench.reporting.model import Number
from agiqa_bench.reporting.results import MethodResults, RunResults

BEST = [0.80, 0.81, 0.79, 0.82, 0.78]
NEAR = [0.79, 0.82, 0.78, 0.81, 0.79]
POOR = [0.40, 0.42, 0.39, 0.41, 0.40]
BLIND = [0.30, 0.31, 0.29, 0.32, 0.30]


def method(label, values, target="quality", **changes):
    def cell(value):
        metrics = {metric.key: value for metric in METRICS}
        reasons = dict.fromkeys(metrics, "the scores do not vary") if value is None else {}
        return CellResult({"metrics": {target: metrics | {"undefined": reasons, "n": 20}}}, Path())

    facts = {
        "label": label,
        "display": label.title(),
        "name": label,
        "config": {},
        "targets": (target,),
        "weights": (),
        "stand_ins": (),
        "diagnostic": False,
        "trainable": True,
        "selects_epoch": False,
        "citation": "",
        "keeps_features": False,
        "preset": "",
        "note": "",
        "keys": {repeat: str(repeat) for repeat in range(5)},
        "cells": {repeat: cell(value) for repeat, value in enumerate(values) if value != "not finished"},
    }
    return MethodResults(**(facts | changes))


def results(*methods, title="Toy", target="quality", repeats=5, **protocol):
    facts = {"dataset": title.lower(), "split": "grouped", "select": "validation", "seed": 0, "annotations": "x"}
    sizes = dict.fromkeys(range(repeats), (80, 20))
    return RunResults(title, facts | {"splits_digest": "y"} | protocol, (target,), sizes, list(methods), [], plans=[])


def four(**protocol):
    return results(
        method("poor", POOR), method("best", BEST), method("near", NEAR), method("blind", BLIND, diagnostic=True),
        **protocol,
    )  # fmt: skip


def values(table, key):
    position = table.column(key)
    return {row.key: row.cells[position] for row in table.rows}


def numbers(table, key):
    return {label: cell.value for label, cell in values(table, key).items()}


def test_mean_ranks_and_first_places():
    table = rank_table(four(), "quality", "p-")
    assert table.key == "p-ranks-quality"
    # Repeats 0, 2 and 3 go to `best`, 1 and 4 to `near`.
    assert numbers(table, "srcc") == {"best": 1.4, "near": 1.6, "poor": 3.0, "blind": 4.0}
    assert numbers(table, "first") == {"best": 3.0, "near": 2.0, "poor": 0.0, "blind": 0.0}
    assert [sorted(cell.marks) for cell in values(table, "krcc").values()] == [["best"], ["second"], [], []]
    assert [row.diagnostic for row in table.rows] == [False, False, False, True]
    assert table.notes[0].startswith("ranks over 5 repeats")


def test_what_is_shown_as_equal_shares_a_rank():
    table = rank_table(results(method("a", [0.5, 0.6]), method("b", [0.50001, 0.59999]), repeats=2), "quality", "")
    assert numbers(table, "srcc") == {"a": 1.5, "b": 1.5}
    assert numbers(table, "first") == {"a": 2.0, "b": 2.0}


def test_methods_with_gaps_are_not_ranked_and_named():
    found = results(
        method("a", BEST), method("late", [0.9, 0.9, *["not finished"] * 3]), method("b", POOR),
        method("flat", [None] * 5),
    )  # fmt: skip
    table = rank_table(found, "quality", "")
    assert numbers(table, "srcc") == {"a": 1.0, "b": 2.0, "late": None, "flat": None}
    assert values(table, "srcc")["late"].reason == "no value in 3 of 5 repeats"
    assert "not ranked by SRCC: Late (no value in 3 of 5 repeats), Flat (no value in 5 of 5 repeats)" in table.notes
    figure = critical_difference_figure(found, "quality", "")
    assert "Not shown: Late (no value in 3 of 5 repeats), Flat (no value in 5 of 5 repeats)." in figure.caption


def test_of_a_run_that_goes_on_the_repeats_that_most_have_are_ranked():
    begun = [*BEST[:3], "not finished", "not finished"]
    found = results(method("a", BEST), method("b", begun), method("c", begun[:2] + ["not finished"] * 3))
    table = rank_table(found, "quality", "")
    assert table.notes[0].startswith("ranks over 3 repeats")
    assert numbers(table, "srcc") == {"a": 1.5, "b": 1.5, "c": None}


def test_comparison_with_the_best():
    table = comparison_table(four(), "quality", "p-")
    assert table.key == "p-paired-quality"
    assert [row.key for row in table.rows] == ["best", "near", "poor", "blind"]
    tests = {
        name: paired_difference(row, BEST, 20, 80) for name, row in (("near", NEAR), ("poor", POOR), ("blind", BLIND))
    }
    for name, test in tests.items():
        assert values(table, "difference")[name] == Number(test.mean, None, test.low, test.high, 5)
        assert numbers(table, "t")[name] == test.t
        assert numbers(table, "p")[name] == test.p
    assert [numbers(table, "p_holm")[name] for name in tests] == holm([test.p for test in tests.values()])
    assert values(table, "difference")["best"].value is None
    assert values(table, "verdict") == {
        "best": "best", "near": "not told apart from the best", "poor": "worse", "blind": "worse",
    }  # fmt: skip
    assert numbers(table, "repeats")["near"] == 5
    notes = " ".join(table.notes)
    assert "less Best, the best" in notes
    assert "20 test images and 80 to learn from" in notes
    assert "Holm's correction for 3 tests" in notes
    assert "rule of thumb" not in notes
    assert any("rule of thumb" in note for note in comparison_table(four(split="generator"), "quality", "").notes)
    assert tied_with_best(four(), "quality") == {"near"}


def test_comparison_by_an_error_takes_the_lowest_as_best():
    table = comparison_table(four(), "quality", "", "rmse_fitted")
    assert [row.key for row in table.rows] == ["blind", "poor", "near", "best"]
    assert values(table, "verdict")["blind"] == "best"
    assert values(table, "verdict")["poor"] == "worse"
    assert "Blind, the best, sees no pixel" in table.notes


def test_what_is_not_tested_says_why():
    found = results(
        method("a", BEST), method("steady", [value - 0.1 for value in BEST]), method("once", [*[None] * 4, 0.9]),
        method("flat", [None] * 5), method("b", POOR),
    )  # fmt: skip
    table = comparison_table(found, "quality", "")
    assert [row.key for row in table.rows] == ["a", "once", "steady", "b", "flat"]
    verdicts = values(table, "verdict")
    assert verdicts["steady"].startswith("not tested: the difference is the same in every repeat")
    assert "there are 1" in verdicts["once"]
    assert "there are 0" in verdicts["flat"]
    assert verdicts["b"] == "worse"
    assert tied_with_best(found, "quality") == frozenset()


def test_a_method_that_wins_in_the_few_repeats_that_it_has_is_not_called_worse():
    found = results(method("a", BEST), method("lucky", [None, None, 0.95, 0.981, 0.939]))
    assert values(comparison_table(found, "quality", ""), "verdict")["lucky"] == "better in the 3 repeats that it has"


def test_one_repeat_or_one_method_is_not_tested():
    once = results(method("a", [0.5]), method("b", [0.6]), repeats=1)
    assert comparison_table(once, "quality", "") is None
    assert critical_difference_figure(once, "quality", "") is None
    assert tied_with_best(once, "quality") == frozenset()
    assert "one repeat gives an order, and nothing to test it by" in rank_table(once, "quality", "").notes
    alone = results(method("a", BEST))
    nothing = results(method("a", ["not finished"] * 5), method("b", [None] * 5))
    for found in (alone, nothing, results()):
        assert rank_table(found, "quality", "") is None
        assert comparison_table(found, "quality", "") is None
        assert critical_difference_figure(found, "quality", "") is None
        assert tied_with_best(found, "quality") == frozenset()
    assert across_table([], "") is None


def test_the_diagram_over_repeats_joins_what_the_test_does_not_tell_apart():
    figure = critical_difference_figure(four(), "quality", "p-")
    assert figure.key == "p-critical-difference-quality"
    assert "from Best (1.40) and Near (1.60) to Blind (4.00)" in figure.alt
    assert figure.alt.endswith("Joined by bars: Best to Near.")
    assert "over 5 repeats" in figure.caption
    assert "for 6 pairs" in figure.caption
    assert figure.caption.endswith("Hollow: sees no pixel.")
    texts = {text.get_text() for axes in figure.draw().axes for text in axes.texts}
    assert any("Best" in text for text in texts)
    assert any("1.40" in text for text in texts)


def data_sets(count, noise=0.0):
    return [
        results(
            *(method(f"m{rank}", [0.9 - 0.1 * rank + noise * ((rank * 7 + number * 5) % 4)] * 2) for rank in range(4)),
            title=f"Set {number}",
            repeats=2,
        )
        for number in range(count)
    ]


def test_ranks_across_data_sets():
    table = across_table(data_sets(3), "o-")
    assert table.key == "o-ranks"
    assert [column.over for column in table.columns[:3]] == [("Set 0",), ("Set 1",), ("Set 2",)]
    assert numbers(table, "mean") == {"m0": 1.0, "m1": 2.0, "m2": 3.0, "m3": 4.0}
    assert numbers(table, "first") == {"m0": 3.0, "m1": 0.0, "m2": 0.0, "m3": 0.0}
    # All in one order: chi2 = N (k - 1) = 9 on 3 degrees of freedom, p = 0.0293.
    assert "Friedman's test of 4 methods in 3 columns: chi² = 9.00 (3 degrees of freedom), p = 0.0293" in table.notes[1]
    assert "no test" in across_table(data_sets(2), "").notes[1]
    assert critical_difference_across(data_sets(2), "") is None
    assert across_table(data_sets(1), "") is None


def test_the_diagram_across_data_sets_is_nemenyis():
    figure = critical_difference_across(data_sets(6), "o-")
    # q = 2.569, k = 4, N = 6: 2.569 sqrt(20 / 36) = 1.915, so that ranks 1 and 2 are joined, 1 and 3 are not.
    assert "critical difference at 5%, 1.91." in figure.caption
    assert figure.alt.endswith("Joined by bars: M0 to M1; M1 to M2; M2 to M3.")
    assert "over 6 columns: Set 0 quality, Set 1 quality" in figure.caption
    drawn = figure.draw()
    assert any("critical difference 1.91" in text.get_text() for axes in drawn.axes for text in axes.texts)


def test_without_a_difference_by_friedmans_test_all_are_joined():
    figure = critical_difference_across(data_sets(4, noise=0.3), "o-")
    assert "no difference is seen" in figure.caption
    assert "or all, because Friedman's test sees no difference" in figure.caption
    assert figure.alt.count(" to ") == 2


def test_what_few_methods_have_is_not_ranked_across_and_named():
    sets = data_sets(3)
    sets[0].methods.append(method("new", [0.95, 0.95]))
    sets.append(results(method("m0", [0.4, 0.5]), title="Rare", repeats=2))
    table = across_table(sets, "")
    assert numbers(table, "mean")["new"] is None
    assert values(table, "Set 0 quality")["new"].reason == "no value in 2 of 3 columns"
    assert "not ranked, because most methods have no value there: Rare quality" in table.notes
    assert "methods without a rank: New (no value in 2 of 3 columns)" in table.notes
    assert numbers(table, "mean")["m3"] == pytest.approx(4.0)


def test_names_say_what_was_chosen_on_the_test_part():
    found = four(select="test")
    found.methods[0].selects_epoch = True
    assert "Poor (chosen on test)" in {row.name for row in rank_table(found, "quality", "").rows}
    assert "Poor (chosen on test)" in {row.name for row in comparison_table(found, "quality", "").rows}
