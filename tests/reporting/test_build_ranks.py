"""Ranks, tests against the best and critical-difference diagrams, on results made by hand."""

from pathlib import Path

import pytest

from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.evaluation.statistics import holm, paired_difference
from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.reporting.build.across import across_blocks
from agiqa_bench.reporting.build.against_best import against_best_table, best_and_tied
from agiqa_bench.reporting.build.ranks import (
    critical_difference_figure,
    rank_table,
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
    table = against_best_table(four(), "quality", "p-")
    assert table.key == "p-paired-quality"
    assert [row.key for row in table.rows] == ["best", "near", "poor", "blind"]
    tests = {
        name: paired_difference(row, BEST, 20, 80) for name, row in (("near", NEAR), ("poor", POOR), ("blind", BLIND))
    }
    for name, test in tests.items():
        assert values(table, "difference")[name] == Number(test.mean, None, test.low, test.high, 5)
        assert numbers(table, "t")[name] == test.t
        assert numbers(table, "p")[name] == test.p
    # The three pairs without the best count too.
    others = [paired_difference(*pair, 20, 80).p for pair in ((NEAR, POOR), (NEAR, BLIND), (POOR, BLIND))]
    adjusted = holm([*(test.p for test in tests.values()), *others])
    assert [numbers(table, "p_holm")[name] for name in tests] == pytest.approx(adjusted[:3], rel=1e-9)
    assert values(table, "difference")["best"].value is None
    assert values(table, "verdict") == {
        "best": "best", "near": "not told apart from the best", "poor": "worse", "blind": "worse",
    }  # fmt: skip
    assert numbers(table, "repeats")["near"] == 5
    notes = " ".join(table.notes)
    assert "less Best, the best" in notes
    assert "20 test images and 80 to learn from" in notes
    assert "corrected for all tests between two of the 4 methods, not only for those with the best" in notes
    assert "one without 0 can therefore stand beside 'not told apart from the best'" in notes
    assert "rules of thumb" not in notes
    assert any("rules of thumb" in note for note in against_best_table(four(split="generator"), "quality", "").notes)
    assert best_and_tied(four(), "quality") == ("best", {"near"})


def test_the_verdict_is_that_of_the_corrected_p():
    # 0.024 below the best on average: alone that would be told apart, among 5 methods it is not.
    close = [0.77, 0.79, 0.77, 0.78, 0.77]
    found = results(
        method("best", BEST), method("close", close), method("near", NEAR), method("poor", POOR), method("blind", BLIND)
    )
    table = against_best_table(found, "quality", "")
    raw, corrected = numbers(table, "p")["close"], numbers(table, "p_holm")["close"]
    assert raw == pytest.approx(paired_difference(close, BEST, 20, 80).p)
    assert raw < 0.05 <= corrected
    assert values(table, "verdict")["close"] == "not told apart from the best"
    assert best_and_tied(found, "quality") == ("best", {"near", "close"})
    alone = against_best_table(results(method("best", BEST), method("close", close)), "quality", "")
    assert values(alone, "verdict")["close"] == "worse"


def test_the_variance_is_that_of_the_sizes_of_the_repeats_that_are_finished():
    unfinished = ["not finished"] * 2
    found = results(method("best", BEST[:3] + unfinished), method("near", NEAR[:3] + unfinished))
    found.sizes |= {3: (5, 500), 4: (5, 500)}
    table = against_best_table(found, "quality", "")
    assert numbers(table, "t")["near"] == paired_difference(NEAR[:3], BEST[:3], 20, 80).t
    assert "20 test images and 80 to learn from" in " ".join(table.notes)


def test_comparison_by_an_error_takes_the_lowest_as_best():
    table = against_best_table(four(), "quality", "", "rmse_fitted")
    assert [row.key for row in table.rows] == ["blind", "poor", "near", "best"]
    assert values(table, "verdict")["blind"] == "best"
    assert values(table, "verdict")["poor"] == "worse"
    assert "Blind, the best, sees no pixel" in table.notes


def test_what_is_not_tested_says_why():
    found = results(
        method("a", BEST), method("steady", [value - 0.1 for value in BEST]), method("once", [*[None] * 4, 0.9]),
        method("flat", [None] * 5), method("b", POOR),
    )  # fmt: skip
    table = against_best_table(found, "quality", "")
    assert [row.key for row in table.rows] == ["a", "steady", "b", "once", "flat"]
    verdicts = values(table, "verdict")
    assert verdicts["steady"].startswith("not tested: the difference is the same in every repeat")
    assert "there are 1" in verdicts["once"]
    assert "there are 0" in verdicts["flat"]
    assert verdicts["b"] == "worse"
    assert best_and_tied(found, "quality")[1] == frozenset()


def test_a_method_that_wins_in_the_few_repeats_that_it_has_is_not_called_worse():
    found = results(method("a", BEST), method("lucky", [None, None, 0.95, 0.981, 0.939]))
    assert values(against_best_table(found, "quality", ""), "verdict")["lucky"] == "better in the 3 repeats that it has"


def test_one_repeat_or_one_method_is_not_tested():
    once = results(method("a", [0.5]), method("b", [0.6]), repeats=1)
    assert against_best_table(once, "quality", "") is None
    assert critical_difference_figure(once, "quality", "") is None
    assert best_and_tied(once, "quality") == ("b", frozenset())
    assert "one repeat gives an order, and nothing to test it by" in rank_table(once, "quality", "").notes
    alone = results(method("a", BEST))
    nothing = results(method("a", ["not finished"] * 5), method("b", [None] * 5))
    for found in (alone, nothing, results()):
        assert rank_table(found, "quality", "") is None
        assert against_best_table(found, "quality", "") is None
        assert critical_difference_figure(found, "quality", "") is None
        assert best_and_tied(found, "quality")[1] == frozenset()
    assert across_blocks([], "") == []


def test_the_diagram_over_repeats_joins_what_the_test_does_not_tell_apart():
    figure = critical_difference_figure(four(), "quality", "p-")
    assert figure.key == "p-critical-difference-quality"
    assert "from Best (1.40) and Near (1.60) to Blind (4.00)" in figure.alt
    assert figure.alt.endswith("Joined by bars: Best to Near.")
    assert "over 5 repeats" in figure.caption
    assert "for 6 pairs" in figure.caption
    assert "Two methods without a common bar need not be told apart" in figure.caption
    assert figure.caption.endswith("Hollow: sees no pixel.")
    texts = {text.get_text() for axes in figure.draw().axes for text in axes.texts}
    assert any("Best" in text for text in texts)
    assert any("1.40" in text for text in texts)


def data_sets(count, noise=0.0, targets=("quality",)):
    """Four methods, in one order everywhere if there is no noise."""

    def named(rank, number, target):
        return method(f"m{rank}", [0.9 - 0.1 * rank + noise * ((rank * 7 + number * 5) % 4)] * 2, target, keys={0: "a"})

    sets = []
    for number in range(count):
        found = results(*(named(rank, number, targets[0]) for rank in range(4)), title=f"Set {number}", repeats=2)
        found.targets = targets
        for own in found.methods:
            own.targets = targets
            for stored in own.cells.values():
                stored.record["metrics"] = dict.fromkeys(targets, stored.record["metrics"][targets[0]])
        sets.append(found)
    return sets


def test_ranks_across_data_sets():
    table, figure = across_blocks(data_sets(3), "o-")
    assert (table.key, figure.key) == ("o-ranks-quality", "o-critical-difference-quality")
    assert [column.title for column in table.columns[:3]] == ["Set 0", "Set 1", "Set 2"]
    assert numbers(table, "mean") == {"m0": 1.0, "m1": 2.0, "m2": 3.0, "m3": 4.0}
    assert numbers(table, "first") == {"m0": 3.0, "m1": 0.0, "m2": 0.0, "m3": 0.0}
    assert "among the 4 methods that have a value on each of them" in table.notes[0]
    # All in one order: chi2 = N (k - 1) = 9 on 3 degrees of freedom, p = 0.0293.
    expected = "Friedman's test of 4 methods on 3 data sets: chi² = 9.00 (3 degrees of freedom), p = 0.0293"
    assert expected in table.notes[1]
    (table,) = across_blocks(data_sets(2), "")
    assert "no test" in table.notes[1]
    assert across_blocks(data_sets(1), "") == []


def test_targets_of_the_same_images_are_no_further_data_sets():
    """Three data sets with two targets each are three blocks for each target, not six."""
    table, figure, second, again = across_blocks(data_sets(3, targets=("quality", "alignment")), "")
    assert (table.title, second.title) == ("Ranks across data sets: quality", "Ranks across data sets: alignment")
    assert "on 3 data sets: chi² = 9.00" in second.notes[1]
    # q = 2.569, k = 4, N = 3: 2.569 sqrt(20 / 18) = 2.71.
    assert all("critical difference at 5 %, 2.71." in found.caption for found in (figure, again))
    assert across_blocks(data_sets(1, targets=("quality", "alignment")), "") == []


def test_the_diagram_across_data_sets_is_nemenyis():
    _, figure = across_blocks(data_sets(6), "o-")
    # q = 2.569, k = 4, N = 6: 2.569 sqrt(20 / 36) = 1.915, so that ranks 1 and 2 are joined, 1 and 3 are not.
    assert "critical difference at 5 %, 1.91." in figure.caption
    assert figure.alt.endswith("Joined by bars: M0 to M1; M1 to M2; M2 to M3.")
    assert "over 6 data sets: Set 0, Set 1" in figure.caption
    drawn = figure.draw()
    assert any("critical difference 1.91" in text.get_text() for axes in drawn.axes for text in axes.texts)


def test_without_a_difference_by_friedmans_test_all_are_joined():
    _, figure = across_blocks(data_sets(4, noise=0.3), "o-")
    assert "no difference is seen" in figure.caption
    assert "or all, because Friedman's test sees no difference" in figure.caption
    assert figure.alt.count(" to ") == 2


def test_what_few_methods_have_is_not_ranked_across_and_named():
    sets = data_sets(3)
    sets[0].methods.append(method("new", [0.95, 0.95]))
    sets.append(results(method("m0", [0.4, 0.5]), title="Rare", repeats=2))
    table, figure = across_blocks(sets, "")
    assert numbers(table, "mean")["new"] is None
    assert values(table, "Set 0")["new"].reason == "no value in 2 of 3 data sets"
    assert "not ranked, because most methods have no value there: Rare" in table.notes
    assert table.notes[-1].endswith("New (no value in 2 of 3 data sets)")
    assert "New (no value in 2 of 3 data sets)." in figure.caption
    assert numbers(table, "mean")["m3"] == pytest.approx(4.0)
    # Without a rank it is still better than all on one data set.
    assert numbers(table, "first") == {"m0": 2.0, "m1": 0.0, "m2": 0.0, "m3": 0.0, "new": 1.0}


def test_a_mean_over_fewer_repeats_than_others_has_no_rank_across():
    sets = data_sets(3)
    sets[1].methods.append(method("lucky", [0.99, "not finished"]))
    for place in (0, 2):
        sets[place].methods.append(method("lucky", [0.1, 0.1]))
    table, _ = across_blocks(sets, "")
    assert numbers(table, "first")["m0"] == 3.0
    assert numbers(table, "mean")["lucky"] is None


def test_names_say_what_was_chosen_on_the_test_part():
    found = four(select="test")
    found.methods[0].selects_epoch = True
    assert "Poor (chosen on test)" in {row.name for row in rank_table(found, "quality", "").rows}
    assert "Poor (chosen on test)" in {row.name for row in against_best_table(found, "quality", "").rows}
