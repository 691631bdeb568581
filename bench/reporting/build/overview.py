"""A chapter across data sets: all methods side by side, their ranks, and training on one set for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agiqa_bench.reporting.build.cross import cross_matrix, crosses
from agiqa_bench.reporting.build.notes import chapter_names, design
from agiqa_bench.reporting.build.ranks import across_table, critical_difference_across
from agiqa_bench.reporting.build.summaries import METRIC, best_two, finished, number_of
from agiqa_bench.reporting.model import Block, Chapter, Column, Mark, Number, Row, Section, Table
from agiqa_bench.reporting.results import RunResults

METRICS = ("srcc", "plcc")
"""The metrics of the overview."""


def overview_chapter(all_results: Sequence[RunResults], prefix: str = "overview-") -> Chapter:
    """The methods across data sets and protocols, side by side; ranks only over data sets, each counted once."""
    once = _once_per_dataset(all_results)
    sections = [
        Section(f"{prefix}methods", "All methods", (overview_table(all_results, prefix),)),
        Section(
            f"{prefix}ranks",
            "Ranks across data sets",
            _there(across_table(once, prefix), critical_difference_across(once, prefix)),
            text=() if len(once) == len(all_results) else (_counted(once),),
        ),
        Section(
            f"{prefix}cross", "Trained on one data set, tested on another", _there(*cross_matrix(all_results, prefix))
        ),
    ]
    return Chapter(
        key=f"{prefix}chapter",
        title="Across data sets",
        sections=tuple(section for section in sections if section.blocks),
    )


def _once_per_dataset(all_results: Sequence[RunResults]) -> list[RunResults]:
    """The first results on each data set, trained on itself: other splits of it would count it twice."""
    first: dict[str, RunResults] = {}
    for results in all_results:
        if not crosses(results):
            first.setdefault(str(results.protocol["dataset"]), results)
    return list(first.values())


def _counted(once: Sequence[RunResults]) -> str:
    names = ", ".join(f"{results.title} ({design(results)})" for results in once)
    return f"Each data set counts once, by the first of the runs on it that was named: {names}."


def overview_table(all_results: Sequence[RunResults], prefix: str) -> Table:
    """Methods x (data set, target, metric): mean and standard deviation, the best of each column marked."""
    names = chapter_names(all_results)
    columns, cells = [], []
    for results, name in zip(all_results, names, strict=True):
        for target in results.targets:
            methods = finished(results, target)
            for key in METRICS if methods else ():
                metric = METRIC[key]
                columns.append(
                    Column(
                        f"{name} {target} {key}",
                        metric.title,
                        over=(name, target),
                        decimals=3,
                        spread=True,
                        better=metric.better,
                        missing="-",
                        explanation=metric.explanation,
                    )
                )
                numbers = {method.label: number_of(results, method, target, key) for method in methods}
                marks = best_two({label: number.value for label, number in numbers.items()}, metric)
                none = frozenset[Mark]()
                cells.append(
                    {label: replace(number, marks=marks.get(label, none)) for label, number in numbers.items()}
                )
    titles = {method.label: method for results in all_results for method in results.methods if method.cells}
    rows = [
        Row(label, method.display, tuple(column.get(label, Number(None)) for column in cells), "", method.diagnostic)
        for label, method in titles.items()
    ]
    return Table(
        key=f"{prefix}table",
        title="All methods on all data sets",
        columns=tuple(columns),
        rows=tuple(sorted(rows, key=_by_mean, reverse=True)),
        notes=(
            "best in bold, second best underlined; ± is the standard deviation over repeats; - was not run or does "
            "not predict that target; rows in the order of their mean SRCC and PLCC",
        ),
    )


def _by_mean(row: Row) -> float:
    values = [cell.value for cell in row.cells if isinstance(cell, Number) and cell.value is not None]
    return sum(values) / len(values) if values else -2.0


def _there(*blocks: Block | None) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)
