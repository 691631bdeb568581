from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agiqa_bench.evaluation.statistics import (
    Summary,
    compare_with_best,
    corrected_resampled_ttest,
    corrected_variance,
    holm,
    ranks,
    summarise,
)


def test_summary_by_hand() -> None:
    # Mean 0.7, squared deviations 0.01 + 0 + 0.01 = 0.02, s^2 = 0.01; corrected: 0.01 * (1/3 + 20/80).
    # t(0.975, 2) = 4.302652729696142 from any table.
    found = summarise([0.6, 0.7, 0.8], n_test=20, n_train=80)
    half = 4.302652729696142 * math.sqrt(0.01 * (1 / 3 + 0.25))
    assert found.mean == pytest.approx(0.7)
    assert found.std == pytest.approx(0.1)
    assert found.low == pytest.approx(0.7 - half)
    assert found.high == pytest.approx(0.7 + half)
    assert (found.n, found.undefined) == (3, 0)


def test_the_interval_is_wider_than_the_naive_one() -> None:
    values = list(np.random.default_rng(0).normal(size=10))
    found = summarise(values, 20, 80)
    low, high = stats.t.interval(0.95, 9, loc=np.mean(values), scale=stats.sem(values))
    assert (found.high - found.low) / (high - low) == pytest.approx(math.sqrt((0.1 + 0.25) / 0.1))


def test_undefined_repeats_are_left_out_and_counted() -> None:
    assert summarise([0.6, None, 0.8, 0.7], 20, 80) == Summary(
        *(getattr(summarise([0.6, 0.8, 0.7], 20, 80), key) for key in ("mean", "std", "low", "high", "n")), undefined=1
    )
    assert summarise([None, 0.5], 20, 80) == Summary(0.5, None, None, None, 1, 1)
    assert summarise([0.5], 20, 80) == Summary(0.5, None, None, None, 1, 0)
    assert summarise([None], 20, 80) == Summary(None, None, None, None, 0, 1)
    assert summarise([], 20, 80) == Summary(None, None, None, None, 0, 0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        summarise([0.5, math.nan], 20, 80)
    with pytest.raises(ValueError, match="must not be empty"):
        corrected_variance([0.5, 0.6], 20, 0)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        corrected_resampled_ttest([0.5, 0.6], [0.5], 20, 80)
    with pytest.raises(ValueError, match=r"one value .* per repeat"):
        ranks({"a": [1.0], "b": []})


def test_corrected_ttest_by_hand() -> None:
    # Differences 0.1 0.2 0.3 0.4: mean 0.25, s^2 = 0.05 / 3; variance 0.05 / 3 * (1/4 + 1/4) = 0.05 / 6.
    a, b = [0.6, 0.8, 0.8, 0.9], [0.5, 0.6, 0.5, 0.5]
    found = corrected_resampled_ttest(a, b, n_test=20, n_train=80)
    assert found.t == pytest.approx(0.25 / math.sqrt(0.05 / 6))
    # Two-sided p of Student's t with 3 degrees of freedom, in closed form.
    u = found.t / math.sqrt(3)
    assert found.p == pytest.approx(1 - 2 / math.pi * (u / (1 + u * u) + math.atan(u)))
    back = corrected_resampled_ttest(b, a, 20, 80)
    assert (back.t, back.p) == pytest.approx((-found.t, found.p))


def test_corrected_ttest_becomes_the_plain_paired_test_without_the_correction() -> None:
    rng = np.random.default_rng(1)
    a, b = list(rng.normal(size=10)), list(rng.normal(size=10))
    found = corrected_resampled_ttest(a, b, n_test=1e-12, n_train=1.0)
    plain = stats.ttest_rel(a, b)
    assert (found.t, found.p) == pytest.approx((plain.statistic, plain.pvalue), rel=1e-6)


def test_corrected_ttest_in_its_corners() -> None:
    assert corrected_resampled_ttest([0.5], [0.4], 20, 80) is None
    assert corrected_resampled_ttest([0.5, None, 0.3], [0.4, 0.4, None], 20, 80) is None
    same = corrected_resampled_ttest([0.5, 0.6], [0.5, 0.6], 20, 80)
    assert (same.t, same.p) == (0.0, 1.0)
    assert corrected_resampled_ttest([1.0, 2.0], [0.5, 1.5], 20, 80) is None


def test_holm_by_hand() -> None:
    # Sorted 0.005 0.01 0.03 0.04: times 4, 3, 2, 1 = 0.02 0.03 0.06 0.04, running maximum 0.02 0.03 0.06 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_between_the_raw_and_bonferroni_values_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p)
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


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
    assert found["best"].p is None
    poor, near = (corrected_resampled_ttest(values[name], values["best"], 20, 80) for name in ("poor", "near"))
    assert (found["poor"].t, found["poor"].p) == (poor.t, poor.p)
    assert [found["poor"].p_adjusted, found["near"].p_adjusted] == holm([poor.p, near.p])
    assert found["poor"].p_adjusted < 0.05 < found["near"].p_adjusted
    assert found["poor"].difference == pytest.approx(-0.3)
    assert (found["lucky"].n, found["lucky"].p) == (1, None)
    assert found["lucky"].difference == pytest.approx(0.17)
    assert "needs 2 repeats in which both methods have a value, there are 1" in found["lucky"].reason
    assert (found["never"].n, found["never"].difference) == (0, None)


def test_comparison_of_errors_takes_the_lowest_as_best() -> None:
    found = compare_with_best({"a": [0.5, 0.6], "b": [0.4, 0.3]}, 20, 80, higher_is_better=False)
    assert found["b"].is_best
    assert found["a"].t > 0


def test_comparison_without_any_value_or_with_one_repeat() -> None:
    assert not any(c.is_best for c in compare_with_best({"a": [None], "b": [None]}, 20, 80).values())
    found = compare_with_best({"a": [0.5], "b": [0.6]}, 20, 80)
    assert found["b"].is_best
    assert found["a"].p_adjusted is None
    assert found["a"].reason


def test_ranks_average_ties_and_leave_out_undefined_values() -> None:
    values = {"a": [0.9, 0.5, 0.7], "b": [0.8, 0.5, None], "c": [0.7, 0.9, 0.8], "d": [None, None, None]}
    found = ranks(values)
    assert (found["a"].mean_rank, found["a"].n) == (pytest.approx((1 + 2.5 + 2) / 3), 3)
    assert (found["b"].mean_rank, found["b"].n) == (pytest.approx((2 + 2.5) / 2), 2)
    assert (found["c"].mean_rank, found["c"].n) == (pytest.approx((3 + 1 + 1) / 3), 3)
    assert (found["d"].mean_rank, found["d"].n) == (None, 0)
    assert ranks({"a": [1.0], "b": [2.0]}, higher_is_better=False)["a"].mean_rank == 1.0
    assert ranks({}) == {}
