"""Every method against the best one: differences, tests and verdicts."""

from __future__ import annotations

from agiqa_bench.evaluation.metrics import MetricInfo
from agiqa_bench.evaluation.ranking import ALPHA, Comparison, compare_with_best
from agiqa_bench.reporting.build.cross import crosses
from agiqa_bench.reporting.build.ranked import RULE_OF_THUMB, Named, names_of, repeats_of, rows
from agiqa_bench.reporting.build.summaries import METRIC, anchor, finished, mean_sizes
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.model import Column, Number, Table
from agiqa_bench.reporting.results import RunResults

TIED = "not told apart from the best"
"""The verdict on a difference that may be noise."""


def against_best_table(results: RunResults, target: str, prefix: str, metric: str = "srcc") -> Table | None:
    """Every method against the best: difference, its 95 % interval, test and verdict.

    Args:
        results: Under one protocol.
        target: One of its targets.
        prefix: Goes before the table's key.
        metric: Key of the metric.

    Returns:
        The best first, then by the difference, below them those that share fewer repeats with the best than others;
        None if no two methods share two repeats.
    """
    names, compared = names_of(results, target), _compared(results, target, metric)
    best = next((label for label, found in compared.items() if found.is_best), None)
    others = {label: found.difference for label, found in compared.items() if found.difference is not None}
    if best is None or all(difference.n_a < 2 for difference in others.values()):
        return None
    better = METRIC[metric].better
    sign = 1 if better == "lower" else -1
    most = max(difference.n_a for difference in others.values())

    def place(label: str) -> tuple[bool, bool, float]:
        difference = others[label]
        return difference.n_a == 0, difference.n_a < most, sign * (difference.mean or 0.0)

    cells = {label: _cells(compared[label], better) for label in compared}
    title = METRIC[metric].title
    return Table(
        key=anchor(prefix, "paired", target),
        title=f"Against the best {title}: {target}",
        columns=_columns(METRIC[metric]),
        rows=rows([best, *sorted(others, key=place)], cells, names),
        notes=_notes(results, names[best], len(compared), _sizes(results, target)),
    )


def best_and_tied(results: RunResults, target: str, metric: str = "srcc") -> tuple[str, frozenset[str]]:
    """The label of the best method, empty if there is none, and those that the test does not tell apart from it.

    They are those of `against_best_table`; a method without a test is not among them.
    """
    compared = _compared(results, target, metric)
    best = next((label for label, found in compared.items() if found.is_best), "")
    return best, frozenset(label for label, found in compared.items() if _verdict(found) == TIED)


def _columns(metric: MetricInfo) -> tuple[Column, ...]:
    return (
        Column(
            "difference",
            f"{metric.title} less best",
            decimals=metric.decimals,
            interval=True,
            signed=True,
            better=metric.better,
            missing="-",
        ),
        Column("verdict", "Verdict", text=True),
        Column(
            "t", "t", decimals=2, signed=True, missing="-", explanation="statistic of the corrected resampled t-test"
        ),
        Column("p", "p", decimals=4, p_value=True, missing="-", explanation="two-sided, of this pair alone"),
        Column(
            "p_holm",
            "p (Holm)",
            decimals=4,
            p_value=True,
            missing="-",
            explanation="corrected for all pairs of methods",
        ),
        Column("repeats", "Repeats", decimals=0, missing="-", explanation="in which both methods have a value"),
    )


def _notes(results: RunResults, best: Named, methods: int, sizes: tuple[float, float]) -> tuple[str, ...]:
    n_test, n_train = sizes
    others = "to learn from, or outside the test part if those are fewer" if crosses(results) else "to learn from"
    notes = [
        f"difference: mean of this method less {best.title}, the best, over the repeats that both have; in brackets "
        "its 95 % interval",
        "verdicts are corrected for the number of methods, intervals are not: one without 0 can therefore stand beside "
        f"'{TIED}'",
        "test: corrected resampled t-test (Nadeau and Bengio 2003), paired by repeat, variance of the mean s² (1 / J + "
        f"{n_test:.0f} / {n_train:.0f}) for J repeats with {n_test:.0f} test images and {n_train:.0f} {others}, "
        f"J - 1 degrees of freedom; verdicts at {100 * ALPHA:.0f} %",
        f"p (Holm): corrected for all tests between two of the {counted(methods, 'method')}, not only for those with "
        "the best: the best was found by the same numbers, and of equal methods it is the luckiest",
        "the test takes the differences for normal; what is not told apart need not be equal",
    ]
    if results.protocol["split"] == "generator":
        notes.append(RULE_OF_THUMB)
    if best.diagnostic:
        notes.append(f"{best.title}, the best, sees no pixel")
    return tuple(notes)


def _compared(results: RunResults, target: str, metric: str) -> dict[str, Comparison]:
    values = repeats_of(results, target, metric)
    n_test, n_train = _sizes(results, target)
    return compare_with_best(values, n_test, n_train, higher_is_better=METRIC[metric].better == "higher")


def _sizes(results: RunResults, target: str) -> tuple[float, float]:
    """(test rows, training rows) per repeat, averaged over those that a method has finished."""
    return mean_sizes(results, {repeat for method in finished(results, target) for repeat in method.cells})


def _cells(found: Comparison, better: str) -> tuple[Number | str, ...]:
    difference = found.difference
    if difference is None:
        none = Number(None, reason=found.reason)
        return none, _verdict(found, better), none, none, none, none
    return (
        Number(difference.mean, None, difference.low, difference.high, difference.n_a, reason=found.reason),
        _verdict(found, better),
        Number(difference.t, reason=found.reason),
        Number(difference.p, reason=found.reason),
        Number(found.p_adjusted, reason=found.reason),
        Number(float(difference.n_a)),
    )


def _verdict(found: Comparison, better: str = "higher") -> str:
    """What the test says of a method, in a few words."""
    if found.is_best:
        return "best"
    if found.p_adjusted is None or found.difference is None or found.difference.mean is None:
        return f"not tested: {found.reason}"
    if found.p_adjusted >= ALPHA:
        return TIED
    # The best mean may be another than the best one, which has most repeats.
    worse = (found.difference.mean < 0) == (better == "higher")
    return "worse" if worse else f"better in the {found.difference.n_a} repeats that it has"
