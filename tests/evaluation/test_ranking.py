from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from agiqa_bench.evaluation.ranking import (
    ALPHA,
    Friedman,
    Ranking,
    cliques,
    compare_all_pairs,
    compare_with_best,
    complete_block,
    friedman,
    nemenyi_critical_difference,
    ranks,
)
from agiqa_bench.evaluation.statistics import paired_difference


def tables(
    element: st.SearchStrategy[object], methods: tuple[int, int], columns: tuple[int, int]
) -> st.SearchStrategy[dict[str, list[object]]]:
    return st.tuples(st.integers(*methods), st.integers(*columns)).flatmap(
        lambda shape: st.lists(
            st.lists(element, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
        ).map(lambda rows: {f"m{number}": row for number, row in enumerate(rows)})
    )


tied = st.integers(0, 5).map(float)
gaps = tables(st.none() | tied, (1, 6), (1, 6))


def test_ranks_average_ties_and_leave_out_undefined_values() -> None:
    values = {"a": [0.9, 0.5, 0.7], "b": [0.8, 0.5, None], "c": [0.7, 0.9, 0.8], "d": [None, None, None]}
    found = ranks(values)
    assert found["a"] == Ranking(pytest.approx((1 + 2.5 + 2) / 3), 1, 3)
    assert found["b"] == Ranking(pytest.approx((2 + 2.5) / 2), 0, 2)
    assert found["c"] == Ranking(pytest.approx((3 + 1 + 1) / 3), 2, 3)
    assert found["d"] == Ranking(None, 0, 0)
    assert ranks({"a": [1.0], "b": [2.0]}, higher_is_better=False)["a"].mean_rank == 1.0
    assert [found.first for found in ranks({"a": [1.0], "b": [1.0], "c": [0.0]}).values()] == [1, 1, 0]
    assert ranks({}) == {}
    with pytest.raises(ValueError, match=r"one value .* per repeat"):
        ranks({"a": [1.0], "b": []})


@settings(deadline=None)
@given(gaps, st.booleans())
def test_ranks_are_those_of_scipy_and_pandas(values: dict[str, list[float | None]], higher: bool) -> None:
    found = ranks(values, higher_is_better=higher)
    placed = pd.DataFrame(values, dtype=float).rank(axis=1, ascending=not higher)
    for name, ranking in found.items():
        assert ranking.n == placed[name].count()
        assert (math.nan if ranking.mean_rank is None else ranking.mean_rank) == pytest.approx(
            placed[name].mean(), nan_ok=True
        )
        others = zip(*values.values(), strict=True)
        beaten = [(max if higher else min)((v for v in row if v is not None), default=None) for row in others]
        assert ranking.first == sum(
            own is not None and own == best for own, best in zip(values[name], beaten, strict=True)
        )
    if not any(None in row for row in values.values()):
        table = np.array(list(values.values()))
        expected = stats.rankdata(-table if higher else table, axis=0).mean(axis=1)
        assert [ranking.mean_rank for ranking in found.values()] == pytest.approx(expected.tolist())


def test_the_complete_block_leaves_out_methods_with_gaps_and_columns_that_few_have() -> None:
    values = {
        "whole": [1.0, 2.0, 3.0, 4.0],
        "also": [1.0, 2.0, 3.0, None],
        "third": [5.0, 6.0, 7.0, None],
        "gap": [1.0, None, 3.0, None],
        "never": [None] * 4,
    }
    found = complete_block(values)
    assert found.columns == (0, 1, 2)
    assert found.values == {"whole": [1.0, 2.0, 3.0], "also": [1.0, 2.0, 3.0], "third": [5.0, 6.0, 7.0]}
    assert found.left_out == ("gap", "never")
    assert complete_block({}).values == {}
    assert complete_block({"a": [None], "b": [None]}).left_out == ("a", "b")
    # Of two, one of which goes on: what both have.
    assert complete_block({"a": [1.0, 2.0], "b": [3.0, None]}).columns == (0,)


@settings(deadline=None)
@given(gaps)
def test_the_complete_block_has_no_gap_and_loses_nobody(values: dict[str, list[float | None]]) -> None:
    found = complete_block(values)
    assert {*found.values, *found.left_out} == values.keys()
    for name, row in found.values.items():
        assert row == [values[name][column] for column in found.columns]
        assert None not in row
    for name in found.left_out:
        assert not found.columns or None in [values[name][column] for column in found.columns]


@settings(max_examples=10, deadline=None)
@given(tables(st.integers(-999, 999).map(lambda n: n / 1000), (2, 5), (2, 6)))
def test_all_pairs_are_the_paired_tests_with_holm_over_all(values: dict[str, list[float]]) -> None:
    found = compare_all_pairs(values, 20, 80)
    assert [(pair.first, pair.second) for pair in found] == list(itertools.combinations(values, 2))
    for pair in found:
        assert pair.difference == paired_difference(values[pair.first], values[pair.second], 20, 80)
    made = [pair for pair in found if pair.difference.p is not None]
    if made:
        adjusted = multipletests([pair.difference.p for pair in made], alpha=0.05, method="holm")
        assert [pair.p_adjusted for pair in made] == pytest.approx(adjusted[1].tolist(), abs=1e-12)
        assert [pair.told_apart for pair in made] == [p < 0.05 for p in [pair.p_adjusted for pair in made]]
    assert not any(pair.told_apart for pair in found if pair.difference.p is None)
    # Neither names nor the order of methods matter.
    back = compare_all_pairs({f"new {name}": values[name] for name in reversed(values)}, 20, 80)
    by_pair = {frozenset((pair.first, pair.second)): pair.p_adjusted for pair in back}
    for pair in found:
        other = by_pair[frozenset((f"new {pair.first}", f"new {pair.second}"))]
        assert (other is None) == (pair.p_adjusted is None)
        assert other is None or other == pytest.approx(pair.p_adjusted, rel=1e-6, abs=1e-12)


def test_cliques_by_hand() -> None:
    def by_distance(limit: float) -> list[tuple[str, ...]]:
        places = {"a": 1.0, "b": 1.4, "c": 2.5, "d": 3.4, "e": 9.0}
        return cliques(list(places), lambda one, other: abs(places[one] - places[other]) >= limit)

    assert by_distance(1.25) == [("a", "b"), ("b", "c"), ("c", "d")]
    assert by_distance(2.1) == [("a", "b", "c"), ("b", "c", "d")]
    assert by_distance(0.1) == []
    assert by_distance(100) == [("a", "b", "c", "d", "e")]
    assert cliques([], lambda one, other: False) == []


@settings(deadline=None)
@given(st.integers(0, 8).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n * n)))))
def test_cliques_are_all_maximal_runs_of_which_no_two_are_told_apart(drawn: tuple[int, set[int]]) -> None:
    n, numbers = drawn
    apart = {frozenset(divmod(number, n)) for number in numbers if n and number < n * n}
    names = list(range(n))

    def joined(run: tuple[int, ...]) -> bool:
        return not any(frozenset(pair) in apart for pair in itertools.combinations(run, 2))

    runs = [tuple(names[i:j]) for i in names for j in range(i + 2, n + 1) if joined(tuple(names[i:j]))]
    expected = [run for run in runs if not any(set(run) < set(other) for other in runs)]
    assert cliques(names, lambda one, other: frozenset((one, other)) in apart) == expected


def test_friedman_by_hand() -> None:
    # Ranks by column: a 1 1 2 1, b 2 2 1 3, c 3 3 3 2; sums 5, 8, 11.
    # chi2 = 12 / (4 * 3 * 4) * (25 + 64 + 121) - 3 * 4 * 4 = 4.5; p on 2 degrees of freedom = exp(-4.5 / 2).
    # F = 3 * 4.5 / (4 * 2 - 4.5) on 2 and 6: p = (1 + 2 F / 6)^-3.
    found = friedman({"a": [0.9, 0.8, 0.6, 0.7], "b": [0.8, 0.7, 0.7, 0.5], "c": [0.1, 0.2, 0.3, 0.6]})
    f = 13.5 / 3.5
    assert (found.chi2, found.p) == pytest.approx((4.5, math.exp(-2.25)))
    assert (found.f, found.f_p) == pytest.approx((f, (1 + f / 3) ** -3))


@settings(max_examples=60, deadline=None)
@given(tables(tied, (3, 6), (2, 8)))
def test_friedman_is_that_of_scipy_and_an_analysis_of_variance_of_the_ranks(values: dict[str, list[float]]) -> None:
    table = np.array(list(values.values()))
    found = friedman(values)
    if np.all(table == table[0]):
        assert found == Friedman(0.0, 1.0, 0.0, 1.0)
        return
    expected = stats.friedmanchisquare(*table)
    assert (found.chi2, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    # Iman and Davenport's F is the two-way analysis of variance of the ranks.
    placed = stats.rankdata(table, axis=0)
    k, n = placed.shape
    between = n * ((placed.mean(axis=1) - placed.mean()) ** 2).sum()
    residual = placed - placed.mean(axis=1, keepdims=True)
    within = (residual**2).sum()
    if within < 1e-9:
        assert (found.f, found.f_p) == (math.inf, 0.0)
        return
    f = (between / (k - 1)) / (within / ((k - 1) * (n - 1)))
    assert found.f == pytest.approx(f, rel=1e-6, abs=1e-9)
    assert found.f_p == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)), rel=1e-6, abs=1e-9)


def test_friedman_needs_three_methods_and_two_columns() -> None:
    for values in ({}, {"a": [1.0, 2.0], "b": [2.0, 1.0]}, {"a": [1.0], "b": [2.0], "c": [3.0]}):
        with pytest.raises(ValueError, match="needs 3 methods and 2 columns"):
            friedman(values)
    agreed = friedman({"a": [3.0, 6.0, 9.0], "b": [2.0, 5.0, 8.0], "c": [1.0, 4.0, 7.0]})
    assert (agreed.chi2, agreed.f, agreed.f_p) == (pytest.approx(6.0), math.inf, 0.0)


def test_nemenyi_is_demsars_table() -> None:
    # Demsar (2006), table 5 (a), two-tailed Nemenyi test at 0.05 and 0.10, k = 2 to 10, in three digits.
    at_5 = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    at_10 = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]
    for alpha, expected in ((0.05, at_5), (0.10, at_10)):
        # With N = k (k + 1) / 6 columns the root is 1 and q is left.
        found = [nemenyi_critical_difference(k, 6, alpha) / math.sqrt(k * (k + 1) / 36) for k in range(2, 11)]
        assert found == pytest.approx(expected, abs=1.1e-3)
    # His example: 4 classifiers on 14 data sets.
    assert nemenyi_critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert nemenyi_critical_difference(2, 1) == pytest.approx(1.960, abs=1.1e-3)
    for few in ((1, 14), (2, 0)):
        with pytest.raises(ValueError, match="needs 2 methods and 1 column"):
            nemenyi_critical_difference(*few)


def test_comparison_with_the_best() -> None:
    values = {
        "poor": [0.50, 0.52, 0.49, 0.51],
        "best": [0.80, 0.81, 0.79, 0.82],
        "near": [0.79, 0.82, 0.77, 0.82],
        "lucky": [None, None, None, 0.99],
        "never": [None, None, None, None],
    }
    found = compare_with_best(values, 20, 80)
    assert list(found) == list(values)
    assert [name for name, c in found.items() if c.is_best] == ["best"]
    assert found["best"].difference is found["best"].p_adjusted is None
    poor, near, both = (
        paired_difference(values[one], values[other], 20, 80)
        for one, other in (("poor", "best"), ("near", "best"), ("poor", "near"))
    )
    assert (found["poor"].difference, found["near"].difference) == (poor, near)
    # The pair without the best counts too.
    adjusted = multipletests([poor.p, near.p, both.p], method="holm")[1].tolist()
    assert [found["poor"].p_adjusted, found["near"].p_adjusted] == pytest.approx(adjusted[:2])
    assert found["poor"].p_adjusted < 0.05 < found["near"].p_adjusted
    assert found["poor"].difference.mean == pytest.approx(-0.3)
    assert (found["lucky"].difference.n_a, found["lucky"].p_adjusted) == (1, None)
    assert found["lucky"].difference.mean == pytest.approx(0.17)
    assert "needs 2 repeats in which both methods have a value, there are 1" in found["lucky"].reason
    assert (found["never"].difference.n_a, found["never"].difference.mean) == (0, None)
    with pytest.raises(ValueError, match=r"one value .* per repeat"):
        compare_with_best({"a": [1.0], "b": []}, 20, 80)


@pytest.mark.parametrize(("methods", "tables"), [(5, 2000), (10, 2000), (20, 600)])
def test_of_equal_methods_one_is_called_worse_in_no_more_than_5_percent_of_tables(methods: int, tables: int) -> None:
    """All have one true value, ten repeats share as much as Nadeau and Bengio take them to (1/5 of the variance)."""
    rng = np.random.default_rng(methods)
    shared, own = rng.normal(size=(tables, methods, 1)), rng.normal(size=(tables, methods, 10))
    values = math.sqrt(0.2) * shared + math.sqrt(0.8) * own
    best = values.mean(axis=2).argmax(axis=1)
    less = values - values[np.arange(tables), best][:, None]
    error = np.sqrt(less.var(axis=2, ddof=1) * (1 / 10 + 20 / 80))
    t = np.divide(less.mean(axis=2), error, out=np.zeros((tables, methods)), where=error > 0)
    # What the correction for the comparisons with the best alone would call worse; no other table need be looked at.
    suspects = np.flatnonzero(2 * stats.t.sf(abs(t).max(axis=1), 9) * (methods - 1) < ALPHA)
    wrong = 0
    for table in suspects:
        found = compare_with_best({str(name): row.tolist() for name, row in enumerate(values[table])}, 20, 80)
        assert [int(name) for name, c in found.items() if c.is_best] == [best[table]]
        wrong += any(c.p_adjusted is not None and c.p_adjusted < ALPHA for c in found.values())
    limit = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / tables)
    assert len(suspects) / tables > limit
    assert 0.01 < wrong / tables < limit


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=2, max_size=5))
def test_comparison_does_not_depend_on_names(values: dict[str, list[float]]) -> None:
    found = compare_with_best(values, 20, 80)
    other = compare_with_best({f"new {name}": row for name, row in values.items()}, 20, 80)
    assert [*found.values()] == [*other.values()]


def test_comparison_of_errors_takes_the_lowest_as_best() -> None:
    found = compare_with_best({"a": [0.5, 0.7], "b": [0.4, 0.3]}, 20, 80, higher_is_better=False)
    assert found["b"].is_best
    assert found["a"].difference.t > 0


def test_comparison_without_any_value_or_with_one_repeat() -> None:
    assert not any(c.is_best for c in compare_with_best({"a": [None], "b": [None]}, 20, 80).values())
    found = compare_with_best({"a": [0.5], "b": [0.6]}, 20, 80)
    assert found["b"].is_best
    assert found["a"].p_adjusted is None
    assert found["a"].reason
    assert compare_with_best({}, 20, 80) == {}
