"""Methods in ranks: what the tables and diagrams of ranks are made from.

Ranks take values as the tables show them, so that rounding noise decides none; tests take every digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agiqa_bench.evaluation.metrics import MetricInfo
from agiqa_bench.evaluation.ranking import Block, Ranking, complete_block, ranks
from agiqa_bench.evaluation.statistics import Values
from agiqa_bench.reporting.build.summaries import best_two, finished, row_title, shown, values_of
from agiqa_bench.reporting.model import Figure, Mark, Number, Row
from agiqa_bench.reporting.results import RunResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

RULE_OF_THUMB = "the repeats are left-out generators, not random splits: tests and intervals are rules of thumb"
"""What must be said of the variance of Nadeau and Bengio under the split by generator."""

RANK = MetricInfo("rank", "rank", "lower", 2, "1 is best, equal values share the average of their ranks")


@dataclass(frozen=True)
class Named:
    """A method's name for people, and whether it is a baseline that sees no pixel."""

    title: str
    diagnostic: bool


Names = Mapping[str, Named]
"""By label, in the order of the results."""


def names_of(results: RunResults, target: str) -> dict[str, Named]:
    """The methods with at least one finished repeat under a target."""
    return {method.label: Named(row_title(results, method), method.diagnostic) for method in finished(results, target)}


def repeats_of(results: RunResults, target: str, metric: str) -> dict[str, Values]:
    """A metric of these methods, one value per planned repeat."""
    names = names_of(results, target)
    return {
        method.label: values_of(results, method, target, metric) for method in results.methods if method.label in names
    }


@dataclass(frozen=True)
class Ranked:
    """Methods ranked in the columns that most of them have.

    Attributes:
        values: One value per column, by label; None where it is not defined.
        block: The part of them that is ranked, as the tables show it.
        rankings: By label, best mean rank first; equal ones in the order given.
        means: The mean ranks alone.
        over: What the columns are, in the plural.
    """

    values: Mapping[str, Values]
    block: Block
    rankings: dict[str, Ranking]
    means: dict[str, float]
    over: str

    def mean_rank(self, label: str) -> Number:
        """A method's mean rank, marked if it is one of the best two, or why it has none."""
        if label not in self.means:
            return Number(None, reason=self.why_not(label))
        marks = best_two(dict(self.means), RANK).get(label, frozenset[Mark]())
        return Number(self.means[label], n=self.rankings[label].n, marks=marks)

    def first(self, label: str) -> Number:
        """In how many columns no method was better than this one, or why that is not known."""
        if label in self.rankings:
            return Number(float(self.rankings[label].first))
        return Number(None, reason=self.why_not(label))

    def why_not(self, label: str) -> str:
        """Why a method is not ranked, in a few words."""
        missing = sum(self.values[label][column] is None for column in self.block.columns)
        return f"no value in {missing} of {len(self.block.columns)} {self.over}"


def rank_values(values: Mapping[str, Values], metric: MetricInfo, over: str) -> Ranked:
    """Rank methods in the columns that most of them have; see `complete_block`.

    Args:
        values: One value per column, by label.
        metric: What they are.
        over: What the columns are, in the plural, e.g. `repeats`.
    """
    rounded = {
        label: [None if value is None else shown(value, metric) for value in row] for label, row in values.items()
    }
    block = complete_block(rounded)
    found = ranks(block.values, higher_is_better=metric.better == "higher")
    means = {label: mean for label, ranking in found.items() if (mean := ranking.mean_rank) is not None}
    order = sorted(means, key=means.__getitem__)
    rankings = {label: found[label] for label in order}
    return Ranked(values, block, rankings, {label: means[label] for label in order}, over)


def rows(order: Iterable[str], cells: Mapping[str, Sequence[Number | str]], names: Names) -> tuple[Row, ...]:
    """The rows of a table of methods."""
    return tuple(
        Row(label, names[label].title, tuple(cells[label]), diagnostic=names[label].diagnostic) for label in order
    )


def left_out(ranked: Ranked, names: Names) -> str:
    """The methods that are not ranked, each with the reason; empty if all are."""
    return ", ".join(f"{names[label].title} ({ranked.why_not(label)})" for label in ranked.block.left_out)


def diagram(
    key: str,
    title: str,
    ranked: Ranked,
    joined: Sequence[Sequence[str]],
    names: Names,
    caption: Sequence[str],
    critical: float | None = None,
) -> Figure:
    """A critical-difference diagram of the ranked methods.

    Args:
        key: See `Figure`.
        title: See `Figure`.
        ranked: At least two methods.
        joined: Groups of labels that are not told apart; a bar joins each.
        names: Names of the labels.
        caption: Its sentences; that hollow dots see no pixel is added where there are some.
        critical: The critical difference, where there is one for all pairs.
    """
    titles = {label: names[label].title for label in ranked.means}
    if len(set(titles.values())) < len(titles):
        titles = {label: label for label in titles}
    hollow = [titles[label] for label in ranked.means if names[label].diagnostic]

    def draw() -> Drawing:
        from agiqa_bench.figures.critical_difference import critical_difference

        means = {titles[label]: mean for label, mean in ranked.means.items()}
        bars = [[titles[label] for label in group] for group in joined]
        return critical_difference(means, bars, critical=critical, hollow=hollow)

    ordered = [f"{titles[label]} ({mean:.2f})" for label, mean in ranked.means.items()]
    bars = "; ".join(f"{titles[group[0]]} to {titles[group[-1]]}" for group in joined)
    return Figure(
        key=key,
        title=title,
        alt=f"{len(ordered)} methods on an axis of mean ranks, from {ordered[0]} and {ordered[1]} to {ordered[-1]}. "
        f"Joined by bars: {bars or 'none'}.",
        draw=draw,
        caption=" ".join([*caption, *(["Hollow: sees no pixel."] if hollow else [])]),
    )
