from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from agiqa_bench.evaluation.statistics import (
    Difference,
    Summary,
    corrected_variance,
    holm,
    paired_difference,
    summarise,
    unpaired_difference,
)

NO_CORRECTION = (1e-15, 1.0)
"""Sizes of test and training part with which Nadeau and Bengio's variance is the ordinary one."""

samples = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=2, max_size=12)
pairs = st.lists(st.tuples(*[st.integers(-1000, 1000).map(lambda n: n / 1000)] * 2), min_size=2, max_size=12)


def numbers(found: Difference) -> tuple[float, ...]:
    return found.mean, found.low, found.high, found.t, found.p, found.df


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
        paired_difference([0.5, 0.6], [0.5], 20, 80)
    with pytest.raises(ValueError, match="finite"):
        unpaired_difference([0.5, 0.6], [0.5, math.inf], (20, 80), (20, 80))


@settings(deadline=None)
@given(samples)
def test_the_summary_is_that_of_scipy_without_the_correction(values: list[float]) -> None:
    found = summarise(values, *NO_CORRECTION)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    if len(set(values)) == 1:
        assert (found.std, found.low, found.high) == pytest.approx((0.0, found.mean, found.mean), abs=1e-12)
        return
    plain = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.std == pytest.approx(stats.tstd(values))
    assert (found.low, found.high) == pytest.approx(tuple(plain), rel=1e-6, abs=1e-9)


def test_paired_difference_by_hand() -> None:
    # Nadeau and Bengio's corrected resampled t on differences 0.1 0.2 0.3 0.4: mean 0.25, s^2 = 0.05 / 3, J = 4 and
    # n_test / n_train = 1/4, so the variance of the mean is 0.05 / 3 * (1/4 + 1/4) = 0.05 / 6.
    a, b = [0.6, 0.8, 0.8, 0.9], [0.5, 0.6, 0.5, 0.5]
    found = paired_difference(a, b, n_test=20, n_train=80)
    assert found.mean == pytest.approx(0.25)
    assert found.t == pytest.approx(0.25 / math.sqrt(0.05 / 6))
    # Two-sided p of Student's t with 3 degrees of freedom, in closed form; t(0.975, 3) = 3.182446305284263.
    u = found.t / math.sqrt(3)
    assert found.p == pytest.approx(1 - 2 / math.pi * (u / (1 + u * u) + math.atan(u)))
    half = 3.182446305284263 * math.sqrt(0.05 / 6)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half))
    assert (found.df, found.n_a, found.n_b) == (3.0, 4, 4)


@settings(deadline=None)
@given(pairs)
def test_paired_difference_is_the_plain_paired_test_without_the_correction(values: list[tuple[float, float]]) -> None:
    a, b = map(list, zip(*values, strict=True))
    found = paired_difference(a, b, *NO_CORRECTION)
    if len({round(x - y, 9) for x, y in values}) == 1:
        assert found.t == 0 if a == b else found.t is None
        return
    plain = stats.ttest_rel(a, b)
    assert (found.t, found.p) == pytest.approx((plain.statistic, plain.pvalue), rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(plain.confidence_interval(0.95)), rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(pairs, st.randoms())
def test_paired_difference_swaps_its_sign_and_forgets_the_order_of_repeats(
    values: list[tuple[float, float]], random: object
) -> None:
    a, b = map(list, zip(*values, strict=True))
    found, back = paired_difference(a, b, 20, 80), paired_difference(b, a, 20, 80)
    random.shuffle(values)
    shuffled = paired_difference(*map(list, zip(*values, strict=True)), 20, 80)
    if found.t is None:
        assert back.t is shuffled.t is None
        return
    assert (back.mean, back.t) == pytest.approx((-found.mean, -found.t), abs=1e-12)
    assert (back.low, back.high, back.p) == pytest.approx((-found.high, -found.low, found.p))
    assert numbers(shuffled) == pytest.approx(numbers(found), abs=1e-9)
    # Interval and test say the same.
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0) or found.p == pytest.approx(0.05)


def test_paired_difference_in_its_corners() -> None:
    assert paired_difference([0.5], [0.25], 20, 80) == Difference(0.25, None, None, None, None, None, 1, 1)
    assert paired_difference([0.5, None, 0.3], [0.25, 0.4, None], 20, 80).n_a == 1
    assert paired_difference([None], [0.4], 20, 80) == Difference(None, None, None, None, None, None, 0, 0)
    same = paired_difference([0.5, 0.6], [0.5, 0.6], 20, 80)
    assert numbers(same) == (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    # 0.3 - 0.2 and 0.2 - 0.1 are one number but for rounding: no variance to judge by.
    assert paired_difference([0.3, 0.2, 0.9], [0.2, 0.1, 0.8], 20, 80).p is None
    assert paired_difference([0.1 + 0.2, 0.5], [0.3, 0.5], 20, 80).p == 1.0


def test_unpaired_difference_by_hand() -> None:
    # a: mean 0.7, s^2 = 0.01, J = 3, 20/80: variance 0.01 * (1/3 + 1/4) = 0.07 / 12.
    # b: mean 0.5, s^2 = 0.02, J = 2, 10/90: variance 0.02 * (1/2 + 1/9) = 0.11 / 9.
    found = unpaired_difference([0.6, 0.7, 0.8], [0.4, None, 0.6], sizes_a=(20, 80), sizes_b=(10, 90))
    v_a, v_b = 0.07 / 12, 0.11 / 9
    df = (v_a + v_b) ** 2 / (v_a**2 / 2 + v_b**2 / 1)
    assert (found.mean, found.df) == pytest.approx((0.2, df))
    assert found.t == pytest.approx(0.2 / math.sqrt(v_a + v_b))
    assert found.p == pytest.approx(2 * stats.t.cdf(-found.t, df))
    assert found.high - found.mean == pytest.approx(stats.t.isf(0.025, df) * math.sqrt(v_a + v_b))
    assert (found.n_a, found.n_b) == (3, 2)


@settings(deadline=None)
@given(samples, samples)
def test_unpaired_difference_is_welchs_test_without_the_correction(a: list[float], b: list[float]) -> None:
    found = unpaired_difference(a, b, NO_CORRECTION, NO_CORRECTION)
    back = unpaired_difference(b, a, NO_CORRECTION, NO_CORRECTION)
    if len(set(a)) == len(set(b)) == 1:
        assert found.p == (1.0 if a[0] == b[0] else None)
    if len(set(a)) == 1 or len(set(b)) == 1:  # scipy warns
        return
    plain = stats.ttest_ind(a, b, equal_var=False)
    assert (found.t, found.p, found.df) == pytest.approx((plain.statistic, plain.pvalue, plain.df), rel=1e-6, abs=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(plain.confidence_interval(0.95)), rel=1e-6, abs=1e-9)
    assert (back.t, back.p, back.low) == pytest.approx((-found.t, found.p, -found.high), rel=1e-9, abs=1e-12)


def test_unpaired_difference_in_its_corners() -> None:
    sizes = (20.0, 80.0)
    assert unpaired_difference([0.5], [0.25, 0.25], sizes, sizes) == Difference(
        0.25, None, None, None, None, None, 1, 2
    )
    assert unpaired_difference([0.25, 0.75], [0.25], sizes, sizes) == Difference(
        0.25, None, None, None, None, None, 2, 1
    )
    assert unpaired_difference([None], [0.4], sizes, sizes) == Difference(None, None, None, None, None, None, 0, 1)
    # Where neither varies, all values but the two means are degrees of freedom.
    assert numbers(unpaired_difference([0.5] * 3, [0.5] * 4, sizes, sizes)) == (0.0, 0.0, 0.0, 0.0, 1.0, 5.0)
    assert unpaired_difference([0.5, 0.5], [0.25] * 3, sizes, sizes).p is None
    # Where only one varies, its degrees of freedom count.
    assert unpaired_difference([0.5, 0.6, 0.7], [0.25] * 5, sizes, sizes).df == pytest.approx(2.0)


REPEATS, TABLES = 10, 1000


def covered(values: np.ndarray, truth: float) -> tuple[float, float]:
    """How often the interval of (tables, repeats) values holds the truth, and how often the uncorrected one does."""
    found = [summarise(row, 20, 80) for row in values.tolist()]
    usual = stats.t.interval(0.95, REPEATS - 1, values.mean(axis=1), stats.sem(values, axis=1))
    return (
        float(np.mean([summary.low <= truth <= summary.high for summary in found])),
        float(np.mean((usual[0] <= truth) & (truth <= usual[1]))),
    )


def split_parts(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The groups of the test and the training part of each repeat, 20 % and 80 %."""
    order = np.argsort(rng.random((REPEATS, groups)), axis=1)
    return order[:, : groups // 5], order[:, groups // 5 :]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SRCC along the last axis of values without ties."""
    a, b = (values.argsort(axis=-1).argsort(axis=-1) - (values.shape[-1] - 1) / 2 for values in (a, b))
    return (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))


def binomial(rate: float) -> float:
    """Three standard errors of a rate over all tables."""
    return 3 * math.sqrt(rate * (1 - rate) / TABLES)


def test_the_interval_is_exact_where_repeats_share_as_much_as_it_takes_them_to() -> None:
    """Means over 20 of 100 images that were scored without training: 1/5 of their variance is common to all repeats."""
    rng = np.random.default_rng(5)
    data = rng.normal(size=(TABLES, 100))
    values = np.stack([table[split_parts(rng, 100)[0]].mean(axis=1) for table in data])
    corrected, usual = covered(values, 0.0)
    assert abs(corrected - 0.95) < binomial(0.95)
    assert usual < 0.82


def test_the_interval_covers_the_srcc_of_scores_without_training() -> None:
    """Of a grouped split: 60 prompts with 6 images each, which have part of their quality and their error in common."""
    rng = np.random.default_rng(6)
    values = []
    for _ in range(TABLES):
        mos = 0.6 * rng.normal(size=(60, 1)) + rng.normal(size=(60, 6))
        scores = mos + 0.5 * rng.normal(size=(60, 1)) + 0.8 * rng.normal(size=(60, 6))
        test, _ = split_parts(rng, 60)
        values.append(rank_correlation(scores[test].reshape(REPEATS, -1), mos[test].reshape(REPEATS, -1)))
    corrected, usual = covered(np.array(values), float(np.mean(values)))
    assert abs(corrected - 0.95) < binomial(0.95)
    assert usual < 0.82


@pytest.mark.parametrize(("features", "expected"), [(10, 0.94), (100, 0.926)])
def test_what_the_interval_covers_where_a_method_is_trained(features: int, expected: float) -> None:
    """Least squares on 48 prompts with 6 images each: learning from almost the same images makes repeats agree more
    than the correction takes them to, by as much as the method depends on them."""
    rng = np.random.default_rng(features)
    weights = np.full(features, features**-0.5)
    values = np.empty((TABLES, REPEATS))
    for table in values:
        inputs = 0.6 * rng.normal(size=(60, 1, features)) + 0.8 * rng.normal(size=(60, 6, features))
        mos = inputs @ weights + 0.6 * rng.normal(size=(60, 1)) + 0.8 * rng.normal(size=(60, 6))
        for repeat, (test, train) in enumerate(zip(*split_parts(rng, 60), strict=True)):
            learnt = inputs[train].reshape(-1, features)
            coefficients = np.linalg.solve(learnt.T @ learnt, learnt.T @ mos[train].ravel())
            table[repeat] = rank_correlation((inputs[test] @ coefficients).ravel(), mos[test].ravel())
    corrected, usual = covered(values, float(values.mean()))
    assert abs(corrected - expected) < binomial(expected)
    assert usual < 0.82 < corrected


def test_holm_by_hand() -> None:
    # Sorted 0.005 0.01 0.03 0.04: times 4, 3, 2, 1 = 0.02 0.03 0.06 0.04, running maximum 0.02 0.03 0.06 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@settings(max_examples=10, deadline=None)  # each call of statsmodels collects garbage
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_between_the_raw_and_bonferroni_values_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p)
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)
