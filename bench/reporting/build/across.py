"""Ranks of methods across data sets: one table and one critical-difference diagram per target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agiqa_bench.evaluation.metrics import MetricInfo
from agiqa_bench.evaluation.ranking import ALPHA, Friedman, cliques, friedman, nemenyi_critical_difference, ranks
from agiqa_bench.evaluation.statistics import Values
from agiqa_bench.reporting.build.notes import chapter_names
from agiqa_bench.reporting.build.ranked import RANK, Named, Ranked, diagram, left_out, names_of, rank_values, rows
from agiqa_bench.reporting.build.summaries import METRIC, PRIMARY, anchor, shown, summary_of
from agiqa_bench.reporting.digits import counted, p_text
from agiqa_bench.reporting.model import Column, Figure, Number, Table
from agiqa_bench.reporting.results import RunResults

MIN_TESTED = 3
"""Fewest methods, and fewest data sets, for Friedman's test and Nemenyi's critical difference."""


def across_blocks(all_results: Sequence[RunResults], prefix: str, metric: str = PRIMARY) -> list[Table | Figure]:
    """Per target that two data sets have: ranks by the mean of a metric in each, Friedman's test, Nemenyi's diagram.

    Targets are kept apart: those of one data set share their images, and tests over data sets take columns for
    independent (Demsar 2006). A method without the metric in as many repeats as others has no place in a column.

    Args:
        all_results: One per data set, none of them learnt on another one.
        prefix: Goes before the keys.
        metric: Key of the metric.

    Returns:
        Tables, the best mean rank first, each followed by its diagram where three methods and three data sets allow
        one; nothing for fewer than two methods or data sets.
    """
    blocks: list[Table | Figure] = []
    for target in dict.fromkeys(target for results in all_results for target in results.targets):
        across = _across(all_results, target, METRIC[metric])
        if len(across.ranked.means) < 2 or len(across.ranked.block.columns) < 2:
            continue
        blocks.append(_table(across, prefix))
        test = across.test()
        if test is not None:
            blocks.append(_diagram(across, test, prefix))
    return blocks


@dataclass(frozen=True)
class _Across:
    """Means of a metric under one target, on several data sets.

    Attributes:
        target: The target.
        metric: The metric.
        columns: Names of the data sets, in order.
        values: One mean per column, by label; None where a method has none to be ranked by.
        names: By label.
        ranked: The methods that have a value in each of the columns that most have.
    """

    target: str
    metric: MetricInfo
    columns: list[str]
    values: dict[str, Values]
    names: dict[str, Named]
    ranked: Ranked

    def test(self) -> Friedman | None:
        """Friedman's test; None for too few methods or columns."""
        if min(len(self.ranked.means), len(self.ranked.block.columns)) < MIN_TESTED:
            return None
        return friedman(self.ranked.block.values)


def _across(all_results: Sequence[RunResults], target: str, metric: MetricInfo) -> _Across:
    columns: list[str] = []
    means: list[dict[str, float | None]] = []
    names: dict[str, Named] = {}
    for results, name in zip(all_results, chapter_names(all_results), strict=True):
        found = names_of(results, target)
        if not found:
            continue
        columns.append(name)
        means.append(_means(results, found, target, metric))
        # A name that says more, e.g. that an epoch was chosen on the test part, holds for the whole row.
        names |= {
            label: named
            for label, named in found.items()
            if label not in names or len(named.title) > len(names[label].title)
        }
    values: dict[str, Values] = {label: [column.get(label) for column in means] for label in names}
    return _Across(target, metric, columns, values, names, rank_values(values, metric, "data sets"))


def _means(results: RunResults, labels: Iterable[str], target: str, metric: MetricInfo) -> dict[str, float | None]:
    """Means of the methods that have the metric in the most repeats, by label; a lucky repeat has no rank."""
    own = set(labels)
    found = {m.label: summary_of(results, m, target, metric.key) for m in results.methods if m.label in own}
    most = max(summary.n for summary in found.values())
    return {label: summary.mean if summary.n == most else None for label, summary in found.items()}


def _table(across: _Across, prefix: str) -> Table:
    ranked, metric = across.ranked, across.metric
    columns, cells = [], {label: list[Number | str]() for label in across.names}
    for column in ranked.block.columns:
        name = across.columns[column]
        columns.append(Column(name, name, ("Rank",), decimals=1, better="lower", missing="-"))
        own = rank_values({label: [across.values[label][column]] for label in ranked.means}, metric, "data sets")
        for label, row in cells.items():
            row.append(own.mean_rank(label) if label in own.means else Number(None, reason=ranked.why_not(label)))
    columns.append(Column("mean", "Mean rank", decimals=2, better="lower", missing="-", explanation=RANK.explanation))
    columns.append(
        Column(
            "first",
            "First in",
            decimals=0,
            better="higher",
            missing="-",
            explanation="data sets on which no method was better, those without a rank among them",
        )
    )
    first = _first(across)
    for label, row in cells.items():
        row += [ranked.mean_rank(label), Number(float(first[label]))]
    test = across.test()
    notes = [
        f"rank by mean {metric.title} on each data set: {RANK.explanation}; among the "
        f"{counted(len(ranked.means), 'method')} that have a value on each of them",
        f"no test: Friedman's needs {MIN_TESTED} methods and {MIN_TESTED} data sets"
        if test is None
        else _told(test, ranked),
        *_gaps(across),
    ]
    return Table(
        key=anchor(prefix, "ranks", across.target),
        title=f"Ranks across data sets: {across.target}",
        columns=tuple(columns),
        rows=rows([*ranked.means, *ranked.block.left_out], cells, across.names),
        notes=tuple(notes),
    )


def _first(across: _Across) -> dict[str, int]:
    """On how many of the data sets no method was better, counted over all methods: with a rank and without."""
    columns = across.ranked.block.columns
    kept = {
        label: [None if (value := row[column]) is None else shown(value, across.metric) for column in columns]
        for label, row in across.values.items()
    }
    found = ranks(kept, higher_is_better=across.metric.better == "higher")
    return {label: ranking.first for label, ranking in found.items()}


def _diagram(across: _Across, test: Friedman, prefix: str) -> Figure:
    ranked = across.ranked
    n = len(ranked.block.columns)
    critical = nemenyi_critical_difference(len(ranked.means), n)
    means, all_equal = ranked.means, test.f_p >= ALPHA
    joined = cliques(list(means), lambda one, other: not all_equal and abs(means[one] - means[other]) >= critical)
    names = ", ".join(across.columns[column] for column in ranked.block.columns)
    caption = [
        f"Mean rank by mean {across.metric.title} over {n} data sets: {names}. {_told(test, ranked)}.",
        f"Bars join neighbours that differ by less than Nemenyi's critical difference at {100 * ALPHA:.0f} %, "
        f"{critical:.2f}" + (", or all, because Friedman's test sees no difference." if all_equal else "."),
        *(f"{gap[0].upper()}{gap[1:]}." for gap in _gaps(across)),
    ]
    key = anchor(prefix, "critical-difference", across.target)
    title = f"Critical-difference diagram across data sets: {across.target}"
    return diagram(key, title, ranked, joined, across.names, caption, critical)


def _told(test: Friedman, ranked: Ranked) -> str:
    k, n = len(ranked.means), len(ranked.block.columns)
    verdict = "the methods differ" if test.f_p < ALPHA else "no difference is seen"
    return (
        f"Friedman's test of {k} methods on {n} data sets: chi² = {test.chi2:.2f} ({k - 1} degrees of freedom), "
        f"{p_text(test.p, 4)}; corrected by Iman and Davenport F = {test.f:.2f}, {p_text(test.f_p, 4)}: {verdict} at "
        f"{100 * ALPHA:.0f} %. Few data sets tell little apart"
    )


def _gaps(across: _Across) -> list[str]:
    """What is missing from the ranks, and why."""
    ranked, found = across.ranked, []
    dropped = [name for place, name in enumerate(across.columns) if place not in ranked.block.columns]
    if dropped:
        found.append(f"not ranked, because most methods have no value there: {', '.join(dropped)}")
    if ranked.block.left_out:
        found.append(
            f"without a rank, for want of a mean over as many repeats as others have: {left_out(ranked, across.names)}"
        )
    return found
