"""A chapter across results: all methods side by side, their ranks, and training on one data set for another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from agiqa_bench.reporting.build.across import across_blocks
from agiqa_bench.reporting.build.cross import cross_matrix, crosses
from agiqa_bench.reporting.build.notes import chapter_names, design
from agiqa_bench.reporting.build.summaries import METRIC, best_of_most, finished, number_of, optimistic
from agiqa_bench.reporting.model import Chapter, Column, Mark, Number, Row, Section, Table
from agiqa_bench.reporting.results import RunResults

METRICS = ("srcc", "plcc")
"""The metrics of the overview."""

DECIMALS = 3
"""Of its numbers."""


def overview_chapter(all_results: Sequence[RunResults], prefix: str = "overview-") -> Chapter:
    """The methods across data sets and protocols, side by side; ranks only over data sets, each counted once."""
    once = _once_per_dataset(all_results)
    several = _data_sets(all_results) > 1
    sections = [
        Section(f"{prefix}methods", "All methods", (overview_table(all_results, prefix),)),
        Section(
            f"{prefix}ranks",
            "Ranks across data sets",
            tuple(across_blocks(once, prefix)),
            text=() if len(once) == len(all_results) else (_counted(once),),
        ),
        Section(
            f"{prefix}cross", "Trained on one data set, tested on another", tuple(cross_matrix(all_results, prefix))
        ),
    ]
    return Chapter(
        key=f"{prefix}chapter",
        title="Across data sets" if several else f"{all_results[0].title}: several protocols",
        sections=tuple(section for section in sections if section.blocks),
    )


def _data_sets(all_results: Sequence[RunResults]) -> int:
    """How many different data sets these are results on."""
    return len({results.protocol["dataset"] for results in all_results})


def _once_per_dataset(all_results: Sequence[RunResults]) -> list[RunResults]:
    """The first results on each data set, trained on itself: other splits of it would count it twice."""
    first: dict[str, RunResults] = {}
    for results in all_results:
        if not crosses(results):
            first.setdefault(str(results.protocol["dataset"]), results)
    return list(first.values())


def _counted(once: Sequence[RunResults]) -> str:
    names = ", ".join(f"{results.title} ({design(results)})" for results in once)
    return f"Each data set counts once, by the first of the runs that learn from it and were named: {names}."


def overview_table(all_results: Sequence[RunResults], prefix: str) -> Table:
    """Methods x (data set or protocol, target, metric): mean and standard deviation, the best of each column marked.

    The rows are in the order of their means over one protocol per data set: numbers under two of them are not to be
    put together.
    """
    names = chapter_names(all_results)
    once = _once_per_dataset(all_results) or all_results[:1]
    found = list(_columns(all_results, names))
    ranking = [numbers for results, _, numbers in found if any(results is own for own in once)]
    methods_by_label = {method.label: method for results in all_results for method in results.methods if method.cells}
    labels = _order(list(methods_by_label), ranking)
    rows = [
        Row(
            label,
            methods_by_label[label].display + _chosen_on_test(all_results, names, label),
            tuple(numbers.get(label, Number(None)) for _, _, numbers in found),
            diagnostic=methods_by_label[label].diagnostic,
        )
        for label in labels
    ]
    several = _data_sets(all_results) > 1
    return Table(
        key=f"{prefix}table",
        title="All methods on all data sets" if several else "All methods under each protocol",
        columns=tuple(column for _, column, _ in found),
        rows=tuple(rows),
        notes=_notes(all_results, names, once),
    )


def _columns(
    all_results: Sequence[RunResults], names: Sequence[str]
) -> Iterator[tuple[RunResults, Column, dict[str, Number]]]:
    """Each column with the results that it belongs to and its numbers by label, the best of those shown marked."""
    for results, name in zip(all_results, names, strict=True):
        for target in results.targets:
            methods = finished(results, target)
            for metric in (METRIC[key] for key in METRICS if methods):
                column = Column(
                    f"{name} {target} {metric.key}",
                    metric.title,
                    over=(name, target),
                    decimals=DECIMALS,
                    spread=True,
                    better=metric.better,
                    missing="-",
                    explanation=metric.explanation,
                )
                numbers = {m.label: number_of(results, m, target, metric.key) for m in methods}
                marks, none = best_of_most(numbers, replace(metric, decimals=DECIMALS)), frozenset[Mark]()
                yield results, column, {m: replace(own, marks=marks.get(m, none)) for m, own in numbers.items()}


def _order(labels: list[str], columns: Sequence[dict[str, Number]]) -> list[str]:
    """By their mean over the columns; below, those that lack one, or have it in fewer repeats than others."""
    most = [max((number.n for number in column.values()), default=0) for column in columns]

    def place(label: str) -> tuple[bool, bool, float]:
        numbers = [column.get(label, Number(None)) for column in columns]
        values = [number.value for number in numbers if number.value is not None]
        complete = all(number.n == n for number, n in zip(numbers, most, strict=True))
        return not values, not complete, -sum(values) / len(values) if values else 0.0

    return sorted(labels, key=place)


def _chosen_on_test(all_results: Sequence[RunResults], names: Sequence[str], label: str) -> str:
    """What is behind a row's name if an epoch was chosen on the test part; in some of the results only, in which."""
    own = [
        (name, optimistic(results, method))
        for results, name in zip(all_results, names, strict=True)
        for method in results.methods
        if method.label == label and method.cells
    ]
    chosen = [name for name, on_test in own if on_test]
    if not chosen:
        return ""
    return " (chosen on test)" if len(chosen) == len(own) else f" (chosen on test: {', '.join(chosen)})"


def _notes(all_results: Sequence[RunResults], names: Sequence[str], once: Sequence[RunResults]) -> tuple[str, ...]:
    notes = [
        "best in bold, second best underlined, in each column for itself; ± is the standard deviation over repeats; - "
        "was not run or does not predict that target"
    ]
    ordering = [name for results, name in zip(all_results, names, strict=True) if any(results is own for own in once)]
    notes.append(
        f"rows in the order of their mean SRCC and PLCC on {', '.join(ordering)}; those that lack a number there, or "
        "have it in fewer repeats than others, stand below"
    )
    if len(ordering) < len(names):
        notes.append("columns of one data set under different protocols are not to be compared with each other")
    partial = [
        f"{method.display} on {name} ({len(method.cells)} of {method.expected})"
        for results, name in zip(all_results, names, strict=True)
        for method in results.methods
        if 0 < len(method.cells) < method.expected
    ]
    if partial:
        notes.append(f"not all repeats are finished: {', '.join(partial)}; no marks with fewer repeats than others")
    return tuple(notes)
