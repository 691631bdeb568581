"""Tables of ranks and critical-difference diagrams, over the repeats of one run and across data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agiqa_bench.evaluation.ranking import (
    ALPHA,
    Friedman,
    cliques,
    compare_all_pairs,
    friedman,
    nemenyi_critical_difference,
)
from agiqa_bench.evaluation.statistics import Values
from agiqa_bench.reporting.build.against_best import comparison_table, tied_with_best
from agiqa_bench.reporting.build.notes import chapter_names
from agiqa_bench.reporting.build.ranked import (
    RANK,
    RULE_OF_THUMB,
    Named,
    Ranked,
    count,
    diagram,
    left_out,
    names_of,
    rank_values,
    repeats_of,
    rows,
)
from agiqa_bench.reporting.build.summaries import METRIC, anchor, mean_sizes, summary_of
from agiqa_bench.reporting.model import Column, Figure, Number, Table
from agiqa_bench.reporting.results import RunResults

__all__ = [
    "across_table",
    "comparison_table",
    "critical_difference_across",
    "critical_difference_figure",
    "rank_table",
    "tied_with_best",
]

RANKED = ("srcc", "plcc", "krcc", "srcc_within_generator", "srcc_within_prompt")
"""The metrics of the table of ranks; the first orders its rows."""

MIN_ACROSS = 3
"""Fewest methods, and fewest columns, for a test over data sets."""


def rank_table(results: RunResults, target: str, prefix: str) -> Table | None:
    """Mean ranks over the repeats by several metrics, and how often a method came first; None for fewer than two.

    Args:
        results: Under one protocol.
        target: One of its targets.
        prefix: Goes before the table's key.
    """
    names = names_of(results, target)
    ranked = {key: rank_values(repeats_of(results, target, key), METRIC[key], "repeats") for key in RANKED}
    ranked = {key: found for key, found in ranked.items() if len(found.means) > 1}
    primary = ranked.get(RANKED[0])
    if primary is None:
        return None
    columns = [
        Column(
            key,
            METRIC[key].title,
            ("Mean rank",),
            decimals=2,
            better="lower",
            missing="-",
            explanation=RANK.explanation,
        )
        for key in ranked
    ]
    title = f"{METRIC[RANKED[0]].title} first in"
    columns.append(
        Column("first", title, decimals=0, better="higher", missing="-", explanation="repeats with no better method")
    )
    cells = {label: [*(found.mean_rank(label) for found in ranked.values()), primary.first(label)] for label in names}
    repeats = len(primary.block.columns)
    notes = [f"ranks over {count(repeats, 'repeat')}: {RANK.explanation}; best in bold, second best underlined"]
    if repeats == 1:
        notes.append("one repeat gives an order, and nothing to test it by")
    notes += [
        f"not ranked by {METRIC[key].title}: {left_out(found, names)}"
        for key, found in ranked.items()
        if found.block.left_out
    ]
    return Table(
        key=anchor(prefix, "ranks", target),
        title=f"Ranks over the repeats: {target}",
        columns=tuple(columns),
        rows=rows([*primary.means, *primary.block.left_out], cells, names),
        notes=tuple(notes),
    )


def critical_difference_figure(results: RunResults, target: str, prefix: str, metric: str = "srcc") -> Figure | None:
    """Mean ranks over the repeats; bars join what the corrected resampled t-test of all pairs does not tell apart.

    None for fewer than two methods or repeats.
    """
    names = names_of(results, target)
    ranked = rank_values(repeats_of(results, target, metric), METRIC[metric], "repeats")
    repeats = [list(results.sizes)[column] for column in ranked.block.columns]
    if len(ranked.means) < 2 or len(repeats) < 2:
        return None
    exact = {label: [ranked.values[label][column] for column in ranked.block.columns] for label in ranked.means}
    n_test, n_train = mean_sizes(results, repeats)
    pairs = compare_all_pairs(exact, n_test, n_train)
    apart = {frozenset((pair.first, pair.second)) for pair in pairs if pair.told_apart}
    joined = cliques(list(ranked.means), lambda one, other: frozenset((one, other)) in apart)
    caption = [
        f"Mean rank by {METRIC[metric].title} over {len(repeats)} repeats. Bars join neighbours of which no two are "
        f"told apart at {ALPHA:.0%} by the corrected resampled t-test (Nadeau and Bengio 2003), with Holm's correction "
        f"for {count(len(pairs), 'pair')}. Repeats share data: this test allows for that, Nemenyi's would not."
    ]
    if results.protocol["split"] == "generator":
        caption.append(f"{RULE_OF_THUMB[0].upper()}{RULE_OF_THUMB[1:]}.")
    if ranked.block.left_out:
        caption.append(f"Not shown: {left_out(ranked, names)}.")
    title = f"Critical-difference diagram over the repeats: {target}"
    return diagram(anchor(prefix, "critical-difference", target), title, ranked, joined, names, caption)


def across_table(all_results: Sequence[RunResults], prefix: str, metric: str = "srcc") -> Table | None:
    """Ranks by the mean of a metric in each data set and target, and Friedman's test.

    Args:
        all_results: One per data set, or protocol.
        prefix: Goes before the table's key.
        metric: Key of the metric.

    Returns:
        The best mean rank first; None for fewer than two methods, or two columns.
    """
    across = _across(all_results, metric)
    ranked = rank_values(across.values, METRIC[metric], "columns")
    if len(ranked.means) < 2 or len(ranked.block.columns) < 2:
        return None
    columns, cells = [], {label: list[Number | str]() for label in across.names}
    for column in ranked.block.columns:
        name, target = across.columns[column]
        columns.append(Column(f"{name} {target}", target, (name,), decimals=1, better="lower", missing="-"))
        own = rank_values({label: [across.values[label][column]] for label in ranked.means}, METRIC[metric], "columns")
        for label, row in cells.items():
            row.append(own.mean_rank(label) if label in own.means else Number(None, reason=ranked.why_not(label)))
    columns.append(Column("mean", "Mean rank", decimals=2, better="lower", missing="-", explanation=RANK.explanation))
    columns.append(Column("first", "First in", decimals=0, better="higher", missing="-"))
    for label, row in cells.items():
        row += [ranked.mean_rank(label), ranked.first(label)]
    notes = [f"rank by mean {METRIC[metric].title} in each column: {RANK.explanation}"]
    test = _friedman(ranked)
    notes.append(
        f"no test: Friedman's needs {MIN_ACROSS} methods and {MIN_ACROSS} columns"
        if test is None
        else _told(test, ranked)
    )
    notes += _gaps(ranked, across)
    return Table(
        key=f"{prefix}ranks",
        title="Ranks across data sets and targets",
        columns=tuple(columns),
        rows=rows([*ranked.means, *ranked.block.left_out], cells, across.names),
        notes=tuple(notes),
    )


def critical_difference_across(all_results: Sequence[RunResults], prefix: str, metric: str = "srcc") -> Figure | None:
    """Mean ranks over data sets and targets, with Nemenyi's critical difference (Demsar 2006).

    None for fewer than three methods, or three columns of a data set and a target.
    """
    across = _across(all_results, metric)
    ranked = rank_values(across.values, METRIC[metric], "columns")
    test = _friedman(ranked)
    if test is None:
        return None
    n = len(ranked.block.columns)
    critical = nemenyi_critical_difference(len(ranked.means), n)
    means, all_equal = ranked.means, test.f_p >= ALPHA
    joined = cliques(list(means), lambda one, other: not all_equal and abs(means[one] - means[other]) >= critical)
    names = ", ".join(" ".join(across.columns[column]) for column in ranked.block.columns)
    caption = [
        f"Mean rank by mean {METRIC[metric].title} over {n} columns: {names}. {_told(test, ranked)}.",
        f"Bars join neighbours that differ by less than Nemenyi's critical difference at {ALPHA:.0%}, {critical:.2f}"
        + (", or all, because Friedman's test sees no difference." if all_equal else "."),
        *(f"{gap[0].upper()}{gap[1:]}." for gap in _gaps(ranked, across)),
    ]
    title = "Critical-difference diagram across data sets and targets"
    return diagram(f"{prefix}critical-difference", title, ranked, joined, across.names, caption, critical)


@dataclass(frozen=True)
class _Across:
    """Means of a metric over several results.

    Attributes:
        columns: (name of the results, target), in order.
        values: One mean per column, by label; None where a method was not run.
        names: By label.
    """

    columns: list[tuple[str, str]]
    values: dict[str, Values]
    names: dict[str, Named]


def _across(all_results: Sequence[RunResults], metric: str) -> _Across:
    columns: list[tuple[str, str]] = []
    means: list[dict[str, float | None]] = []
    names: dict[str, Named] = {}
    for results, name in zip(all_results, chapter_names(all_results), strict=True):
        for target in results.targets:
            found = names_of(results, target)
            methods = [method for method in results.methods if method.label in found]
            columns.append((name, target))
            means.append({method.label: summary_of(results, method, target, metric).mean for method in methods})
            # A name that says more, e.g. that an epoch was chosen on the test part, holds for the whole row.
            names |= {
                label: named
                for label, named in found.items()
                if label not in names or len(named.title) > len(names[label].title)
            }
    return _Across(columns, {label: [column.get(label) for column in means] for label in names}, names)


def _friedman(ranked: Ranked) -> Friedman | None:
    if len(ranked.means) < MIN_ACROSS or len(ranked.block.columns) < MIN_ACROSS:
        return None
    return friedman(ranked.block.values)


def _told(test: Friedman, ranked: Ranked) -> str:
    k, n = len(ranked.means), len(ranked.block.columns)
    verdict = "the methods differ" if test.f_p < ALPHA else "no difference is seen"
    return (
        f"Friedman's test of {k} methods in {n} columns: chi² = {test.chi2:.2f} ({k - 1} degrees of freedom), "
        f"{_p(test.p)}; corrected by Iman and Davenport F = {test.f:.2f}, {_p(test.f_p)}: {verdict} at {ALPHA:.0%}. "
        "It takes columns for independent, which targets of the same images are not, and few columns tell little apart"
    )


def _p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def _gaps(ranked: Ranked, across: _Across) -> list[str]:
    """What is missing from the ranks, and why."""
    found = []
    dropped = [" ".join(name) for place, name in enumerate(across.columns) if place not in ranked.block.columns]
    if dropped:
        found.append(f"not ranked, because most methods have no value there: {', '.join(dropped)}")
    if ranked.block.left_out:
        found.append(f"methods without a rank: {left_out(ranked, across.names)}")
    return found
