"""Many methods at once: ranks, tests of all pairs and against the best, Friedman, Nemenyi, bars of a diagram.

What is ranked in are columns: the repeats of one run, or data sets. Repeats share data, so pairs of methods
are told apart by the corrected resampled t-test there; Friedman's test and Nemenyi's critical difference take the
columns for independent, as Demsar ("Statistical comparisons of classifiers over multiple data sets", Journal of Machine
Learning Research 7, 2006) has them: they are for data sets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agiqa_bench.evaluation.statistics import (
    Difference,
    Values,
    check_lengths,
    holm,
    no_test_reason,
    paired_difference,
)

ALPHA = 0.05
"""The level of every verdict of this package."""


@dataclass(frozen=True)
class Ranking:
    """A method's ranks; 1 is best, ties are averaged.

    Attributes:
        mean_rank: Mean over the columns in which the method has a value; None if there is none.
        first: In how many of them no method was better.
        n: Number of columns in which it has a value.
    """

    mean_rank: float | None
    first: int
    n: int


@dataclass(frozen=True)
class Block:
    """The largest part of a table of values that is looked at as if nothing were missing.

    Attributes:
        values: One value per kept column, by method.
        columns: The positions of the kept columns.
        left_out: Methods that lack a value in one of them.
    """

    values: dict[str, list[float]]
    columns: tuple[int, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class PairTest:
    """Two methods compared by their repeats.

    Attributes:
        first: Name of one.
        second: Name of the other.
        difference: First less second.
        p_adjusted: The p-value after Holm's correction for all pairs; None where there is no test.
    """

    first: str
    second: str
    difference: Difference
    p_adjusted: float | None

    @property
    def told_apart(self) -> bool:
        """Whether the difference is significant, all pairs together."""
        return self.p_adjusted is not None and self.p_adjusted < ALPHA


@dataclass(frozen=True)
class Comparison:
    """A method beside the best one.

    Attributes:
        is_best: True for the best method itself.
        difference: This less the best, paired by repeats; None for the best itself, and if there is no best.
        p_adjusted: The p-value after Holm's correction for all pairs of methods; None where there is no test.
        reason: Why there is no test, in one line; empty if there is one.
    """

    is_best: bool
    difference: Difference | None
    p_adjusted: float | None
    reason: str = ""


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of k methods being equal, over N columns.

    Attributes:
        chi2: Friedman's statistic, corrected for ties, on k - 1 degrees of freedom.
        p: Its p-value.
        f: The statistic of Iman and Davenport, less conservative, on k - 1 and (k - 1)(N - 1) degrees of freedom;
            infinite where all columns have the same order.
        f_p: Its p-value.
    """

    chi2: float
    p: float
    f: float
    f_p: float


def ranks(values_by_method: Mapping[str, Values], *, higher_is_better: bool = True) -> dict[str, Ranking]:
    """Rank the methods in each column and average over the columns.

    In a column, only methods with a value are ranked; a method's `n` says in how many columns it was.

    Args:
        values_by_method: Values per method, one per column, all of one length.
        higher_is_better: False for an error such as RMSE.

    Raises:
        ValueError: The lengths differ.

    >>> ranks({"a": [0.9, 0.5], "b": [0.8, 0.5], "c": [0.7, None]})["b"]
    Ranking(mean_rank=1.75, first=1, n=2)
    """
    from scipy.stats import rankdata

    check_lengths(values_by_method)
    placed: dict[str, list[float]] = {name: [] for name in values_by_method}
    first = dict.fromkeys(values_by_method, 0)
    for row in zip(*values_by_method.values(), strict=True):
        defined = {name: value for name, value in zip(values_by_method, row, strict=True) if value is not None}
        numbers = np.array(list(defined.values()), dtype=np.float64)
        found = rankdata(-numbers if higher_is_better else numbers)
        for name, rank in zip(defined, found, strict=True):
            placed[name].append(float(rank))
            first[name] += bool(rank == found.min())
    return {
        name: Ranking(float(np.mean(found)) if found else None, first[name], len(found))
        for name, found in placed.items()
    }


def complete_block(values_by_method: Mapping[str, Values]) -> Block:
    """The columns that most methods have, and the methods that have all of them.

    A column is kept if more than half of the methods that have any value have one there, so that neither a method with
    few values nor a column that was begun last empties the table.

    Args:
        values_by_method: Values per method, one per column, all of one length.

    Raises:
        ValueError: The lengths differ.
    """
    check_lengths(values_by_method)
    some = [values for values in values_by_method.values() if any(value is not None for value in values)]
    columns = tuple(
        number
        for number, column in enumerate(zip(*some, strict=True))
        if 2 * sum(value is not None for value in column) > len(column)
    )
    kept: dict[str, list[float]] = {}
    for name, values in values_by_method.items():
        present = [value for number in columns if (value := values[number]) is not None]
        if present and len(present) == len(columns):
            kept[name] = present
    return Block(kept, columns, tuple(name for name in values_by_method if name not in kept))


def compare_all_pairs(values_by_method: Mapping[str, Values], n_test: float, n_train: float) -> list[PairTest]:
    """Test each pair of methods on the same repeats, with Holm's correction for all pairs.

    Args:
        values_by_method: Values per method, one per repeat, all of one length.
        n_test: See `agiqa_bench.evaluation.statistics.summarise`.
        n_train: The same.

    Returns:
        The pairs, in the order of the methods.

    Raises:
        ValueError: As `paired_difference`.
    """
    check_lengths(values_by_method)
    pairs = list(itertools.combinations(values_by_method, 2))
    found = [paired_difference(values_by_method[a], values_by_method[b], n_test, n_train) for a, b in pairs]
    tested = {pair: difference.p for pair, difference in zip(pairs, found, strict=True) if difference.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [PairTest(*pair, difference, adjusted.get(pair)) for pair, difference in zip(pairs, found, strict=True)]


def compare_with_best(
    values_by_method: Mapping[str, Values], n_test: float, n_train: float, *, higher_is_better: bool = True
) -> dict[str, Comparison]:
    """The tests of `compare_all_pairs` in which the best method is one of the two.

    The best is the one with the best mean among the methods that are defined in most repeats, so that a method that
    has a value in one lucky repeat is not the measure of all; the first of equals.

    Holm's correction counts all pairs, because the best was found by the same values: it may be in any pair, and of
    equal methods it is the luckiest (Hsu, "Multiple Comparisons: Theory and Methods", 1996). A correction for the
    k - 1 tests with it, as for a control that was named beforehand, calls one of 5, 10 or 20 equal methods worse in 9,
    13 or 18 % of tables of ten repeats; for all pairs it is 3 % (simulated in `tests/evaluation`). Hsu's comparison
    with the unknown best would exclude more methods, but says of them only that they are not better than all others.

    Args:
        values_by_method: Values per method, one per repeat, all of one length.
        n_test: See `agiqa_bench.evaluation.statistics.summarise`.
        n_train: The same.
        higher_is_better: False for an error such as RMSE.

    Returns:
        One comparison per method, in the order given; none is the best if no method has a value.

    Raises:
        ValueError: As `compare_all_pairs`.
    """
    check_lengths(values_by_method)
    best = _best(values_by_method, 1.0 if higher_is_better else -1.0)
    if best is None:
        return dict.fromkeys(values_by_method, Comparison(False, None, None, "no method has a value"))
    best_last = {name: values for name, values in values_by_method.items() if name != best}
    best_last[best] = values_by_method[best]
    comparisons = {
        pair.first: Comparison(False, pair.difference, pair.p_adjusted, no_test_reason(pair.difference))
        for pair in compare_all_pairs(best_last, n_test, n_train)
        if pair.second == best
    }
    comparisons[best] = Comparison(True, None, None, "this is the best method")
    return {name: comparisons[name] for name in values_by_method}


def _best(values_by_method: Mapping[str, Values], sign: float) -> str | None:
    best, best_key = None, (0, -math.inf)
    for name, values in values_by_method.items():
        defined = [value for value in values if value is not None]
        key = (len(defined), sign * float(np.mean(defined)) if defined else -math.inf)
        if defined and key > best_key:
            best, best_key = name, key
    return best


def cliques(order: Sequence[str], told_apart: Callable[[str, str], bool]) -> list[tuple[str, ...]]:
    """The bars of a critical-difference diagram: neighbours of which no two are told apart, none inside another.

    Args:
        order: The methods in the order of their mean ranks.
        told_apart: Whether two methods are; it is asked for both orders alike.

    Returns:
        Groups of two and more, from the front.

    >>> cliques("abcd", lambda x, y: {x, y} in ({"a", "c"}, {"a", "d"}, {"c", "d"}))
    [('a', 'b'), ('b', 'c')]
    """
    found = []
    end = 0
    for start in range(len(order)):
        stop = max(start, end)
        while stop < len(order) and not any(told_apart(order[stop], name) for name in order[start:stop]):
            stop += 1
        if stop > end and stop - start > 1:
            found.append(tuple(order[start:stop]))
        end = max(end, stop)
    return found


def friedman(values_by_method: Mapping[str, Sequence[float]]) -> Friedman:
    """Friedman's test (`scipy.stats.friedmanchisquare`) with the correction of Iman and Davenport (1980).

    F = (N - 1) chi2 / (N (k - 1) - chi2), Demsar (2006), section 3.2.2.

    Args:
        values_by_method: k >= 3 methods, each with N >= 2 finite values, one per column.

    Returns:
        Both statistics; 0 with p = 1 if all methods are tied in every column.

    Raises:
        ValueError: There are fewer methods or columns, or the lengths differ.
    """
    from scipy.stats import f as f_distribution
    from scipy.stats import friedmanchisquare

    check_lengths(values_by_method)
    table = np.array(list(values_by_method.values()), dtype=np.float64)
    k, n = table.shape if table.ndim == 2 else (len(table), 0)
    if k < 3 or n < 2:
        raise ValueError(f"Friedman's test needs 3 methods and 2 columns, got {k} and {n}")
    if np.all(table == table[0]):
        return Friedman(0.0, 1.0, 0.0, 1.0)
    result = friedmanchisquare(*table)
    chi2, largest = float(result.statistic), n * (k - 1)
    # With all columns in one order nothing is left below the line, but for rounding.
    f = (n - 1) * chi2 / (largest - chi2) if largest - chi2 > 1e-9 * largest else math.inf
    return Friedman(chi2, float(result.pvalue), f, float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1))))


def nemenyi_critical_difference(methods: int, columns: int, alpha: float = ALPHA) -> float:
    """The difference of mean ranks from which two methods are told apart: q sqrt(k (k + 1) / (6 N)).

    q is the studentized range statistic for k groups and infinite degrees of freedom divided by sqrt(2): Demsar (2006),
    section 3.2.2.

    Args:
        methods: k >= 2.
        columns: N >= 1.
        alpha: The level, in (0, 1).

    Raises:
        ValueError: There are fewer methods or columns.

    >>> round(nemenyi_critical_difference(4, 14), 2)
    1.25
    """
    from scipy.stats import studentized_range

    if methods < 2 or columns < 1:
        raise ValueError(f"a critical difference needs 2 methods and 1 column, got {methods} and {columns}")
    q = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * columns))
