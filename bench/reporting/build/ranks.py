"""Tables of ranks and critical-difference diagrams over the repeats of one run."""

from __future__ import annotations

from agiqa_bench.evaluation.ranking import ALPHA, cliques, compare_all_pairs
from agiqa_bench.reporting.build.ranked import (
    RANK,
    RULE_OF_THUMB,
    diagram,
    left_out,
    names_of,
    rank_values,
    repeats_of,
    rows,
)
from agiqa_bench.reporting.build.summaries import METRIC, anchor, mean_sizes
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.model import Column, Figure, Table
from agiqa_bench.reporting.results import RunResults

RANKED = ("srcc", "plcc", "krcc", "srcc_within_generator", "srcc_within_prompt")
"""The metrics of the table of ranks; the first orders its rows."""


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
    notes = [f"ranks over {counted(repeats, 'repeat')}: {RANK.explanation}; best in bold, second best underlined"]
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
        f"told apart at {100 * ALPHA:.0f} % by the corrected resampled t-test (Nadeau and Bengio 2003), with Holm's "
        f"correction for {counted(len(pairs), 'pair')}. Repeats share data: this test allows for that, Nemenyi's would "
        "not.",
        "Two methods without a common bar need not be told apart, as something between them may be.",
    ]
    if results.protocol["split"] == "generator":
        caption.append(f"{RULE_OF_THUMB[0].upper()}{RULE_OF_THUMB[1:]}.")
    if ranked.block.left_out:
        caption.append(f"Not shown: {left_out(ranked, names)}.")
    title = f"Critical-difference diagram over the repeats: {target}"
    return diagram(anchor(prefix, "critical-difference", target), title, ranked, joined, names, caption)
