"""Statistics over repeats: mean and interval, comparison with the best, ranks.

Repeats are random splits of one data set, so their training and test parts overlap, and the usual standard error,
s / sqrt(J), is far too small. Every interval and test here uses the corrected resampled variance of Nadeau and Bengio
("Inference for the generalization error", Machine Learning 52, 2003), s^2 (1 / J + n_test / n_train), with J - 1
degrees of freedom.

An undefined value (None) is left out, never taken for a number: the `n` of each result says how many repeats it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float | None]
"""One value of a metric per repeat; None where it is not defined."""


@dataclass(frozen=True)
class Summary:
    """A metric over repeats.

    Attributes:
        mean: Mean over the repeats in which the metric is defined; None if there is none.
        std: Standard deviation (ddof 1); None for fewer than two.
        low: Lower end of the 95 % interval of the mean; None for fewer than two.
        high: Upper end of it.
        n: Number of repeats in which the metric is defined.
        undefined: Number of repeats in which it is not.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    n: int
    undefined: int = 0


@dataclass(frozen=True)
class TTest:
    """Result of a paired t-test: the statistic, positive if the first is higher, and the two-sided p-value."""

    t: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """A method beside the best one.

    Attributes:
        is_best: True for the best method itself; it has no test.
        difference: Mean of (this - best) over the repeats in which both are defined; None if there is none.
        t: Statistic of the corrected resampled t-test; None where there is no test.
        p: Two-sided p-value of this pair alone; None where there is no test.
        p_adjusted: The same after Holm's correction for all tests made; None where there is no test.
        n: Number of repeats in which both are defined.
        reason: Why there is no test, in one line; empty if there is one.
    """

    is_best: bool
    difference: float | None
    t: float | None
    p: float | None
    p_adjusted: float | None
    n: int
    reason: str = ""


@dataclass(frozen=True)
class Ranking:
    """Mean rank (1 is best, ties averaged) over the `n` repeats in which the method has a value; None if n is 0."""

    mean_rank: float | None
    n: int


def corrected_variance(values: Sequence[float], n_test: float, n_train: float) -> float:
    """Variance of the mean of resampled results (Nadeau and Bengio 2003): s^2 (1 / J + n_test / n_train).

    Args:
        values: J >= 2 values, one per repeat.
        n_test: Test rows per repeat.
        n_train: Training rows per repeat, more than 0.

    Raises:
        ValueError: There are fewer than two values, one is not finite, or a size is not positive.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2 or not np.all(np.isfinite(array)):
        raise ValueError(f"the corrected variance needs at least 2 finite values, got {list(values)}")
    if n_test <= 0 or n_train <= 0:
        raise ValueError(f"test and training parts must not be empty: n_test={n_test}, n_train={n_train}")
    return float(array.var(ddof=1) * (1 / array.size + n_test / n_train))


def summarise(values: Values, n_test: float, n_train: float) -> Summary:
    """Mean, standard deviation and 95 % interval of a metric over repeats.

    The interval is mean +- t(0.975, n - 1) sqrt(`corrected_variance`), because repeats share data; it is not clipped
    to the metric's range.

    Args:
        values: One value per repeat, None where undefined.
        n_test: Test rows per repeat (their mean, if they differ).
        n_train: Training rows per repeat (their mean, if they differ).

    Raises:
        ValueError: As `corrected_variance`.
    """
    from scipy.stats import t

    defined = [value for value in values if value is not None]
    n, undefined = len(defined), len(values) - len(defined)
    if n < 2:
        return Summary(defined[0] if defined else None, None, None, None, n, undefined)
    mean = float(np.mean(defined))
    half = float(t.ppf(0.975, n - 1)) * math.sqrt(corrected_variance(defined, n_test, n_train))
    return Summary(mean, float(np.std(defined, ddof=1)), mean - half, mean + half, n, undefined)


def corrected_resampled_ttest(a: Values, b: Values, n_test: float, n_train: float) -> TTest | None:
    """Paired t-test of two methods on the same repeats, with the variance of Nadeau and Bengio (2003).

    Args:
        a: Values of the first method, one per repeat.
        b: Values of the second, same length; a repeat in which either is None is left out.
        n_test: See `summarise`.
        n_train: See `summarise`.

    Returns:
        t = mean(a - b) / sqrt(corrected variance) and its two-sided p-value with J - 1 degrees of freedom; None if
        fewer than two pairs are left, or all differences are one number other than 0, which leaves no variance to
        judge by. Equal methods have t = 0 and p = 1.

    Raises:
        ValueError: The lengths differ, or as `corrected_variance`.
    """
    from scipy.stats import t

    differences = _differences(a, b)
    if len(differences) < 2:
        return None
    mean, variance = float(np.mean(differences)), corrected_variance(differences, n_test, n_train)
    if variance == 0:
        return TTest(0.0, 1.0) if mean == 0 else None
    statistic = mean / math.sqrt(variance)
    return TTest(statistic, float(2 * t.sf(abs(statistic), len(differences) - 1)))


def _differences(a: Values, b: Values) -> list[float]:
    return [x - y for x, y in zip(a, b, strict=True) if x is not None and y is not None]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979) of p-values in [0, 1], in the order given.

    The k-th smallest of m, from 1, becomes the largest of p_j (m - j + 1) over j <= k, at most 1: an adjusted value
    below 0.05 is significant at 5 % for all m tests together.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def compare_with_best(
    values_by_method: Mapping[str, Values], n_test: float, n_train: float, *, higher_is_better: bool = True
) -> dict[str, Comparison]:
    """Test every method against the best one, on the same repeats, with Holm's correction.

    The best is the one with the best mean among the methods that are defined in most repeats, so that a method that
    has a value in one lucky repeat is not the measure of all; the first of equals.

    Args:
        values_by_method: Values per method, one per repeat, all of one length.
        n_test: See `summarise`.
        n_train: See `summarise`.
        higher_is_better: False for an error such as RMSE.

    Returns:
        One comparison per method, in the order given; none is the best if no method has a value.

    Raises:
        ValueError: The lengths differ, or as `corrected_variance`.
    """
    _check_lengths(values_by_method)
    best = _best(values_by_method, 1.0 if higher_is_better else -1.0)
    tests = {
        name: corrected_resampled_ttest(values, values_by_method[best], n_test, n_train)
        for name, values in values_by_method.items()
        if best is not None and name != best
    }
    made = {name: test for name, test in tests.items() if test is not None}
    adjusted = dict(zip(made, holm([test.p for test in made.values()]), strict=True))
    comparisons = {}
    for name, values in values_by_method.items():
        differences = [] if best is None else _differences(values, values_by_method[best])
        difference = float(np.mean(differences)) if differences else None
        test = made.get(name)
        comparisons[name] = Comparison(
            is_best=name == best,
            difference=difference,
            t=test.t if test else None,
            p=test.p if test else None,
            p_adjusted=adjusted.get(name),
            n=len(differences),
            reason="" if test else _no_test_reason(name == best, len(differences)),
        )
    return comparisons


def _best(values_by_method: Mapping[str, Values], sign: float) -> str | None:
    best, best_key = None, (0, -math.inf)
    for name, values in values_by_method.items():
        defined = [value for value in values if value is not None]
        key = (len(defined), sign * float(np.mean(defined)) if defined else -math.inf)
        if defined and key > best_key:
            best, best_key = name, key
    return best


def _no_test_reason(is_best: bool, pairs: int) -> str:
    if is_best:
        return "this is the best method"
    if pairs < 2:
        return f"a test needs 2 repeats in which both methods have a value, there are {pairs}"
    return "the difference is the same in every repeat: there is no variance to judge it by"


def ranks(values_by_method: Mapping[str, Values], *, higher_is_better: bool = True) -> dict[str, Ranking]:
    """Rank the methods in each repeat and average over repeats.

    In a repeat, only methods with a value are ranked; a method's `n` says in how many repeats it was.

    Args:
        values_by_method: Values per method, one per repeat, all of one length.
        higher_is_better: False for an error such as RMSE.

    Raises:
        ValueError: The lengths differ.
    """
    from scipy.stats import rankdata

    _check_lengths(values_by_method)
    placed: dict[str, list[float]] = {name: [] for name in values_by_method}
    for row in zip(*values_by_method.values(), strict=True):
        defined = {name: value for name, value in zip(values_by_method, row, strict=True) if value is not None}
        numbers = np.array(list(defined.values()), dtype=np.float64)
        for name, rank in zip(defined, rankdata(-numbers if higher_is_better else numbers), strict=True):
            placed[name].append(float(rank))
    return {name: Ranking(float(np.mean(found)) if found else None, len(found)) for name, found in placed.items()}


def _check_lengths(values_by_method: Mapping[str, Values]) -> None:
    lengths = {name: len(values) for name, values in values_by_method.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"every method needs one value (or None) per repeat, got {lengths}")
