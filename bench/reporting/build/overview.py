"""A chapter across data sets: all methods side by side, their ranks, and training on one set for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agiqa_bench.reporting.build.cross import cross_matrix
from agiqa_bench.reporting.build.notes import chapter_names
from agiqa_bench.reporting.build.ranks import across_table, critical_difference_across
from agiqa_bench.reporting.build.summaries import METRIC, best_two, finished, number_of
from agiqa_bench.reporting.model import Block, Chapter, Column, Mark, Number, Row, Section, Table
from agiqa_bench.reporting.results import RunResults

METRICS = ("srcc", "plcc")
"""The metrics of the overview."""


def overview_chapter(all_results: Sequence[RunResults], prefix: str = "overview-") -> Chapter:
    """The methods across data sets; of each data set only what is unlike all others enters one column group."""
    sections = [
        Section(f"{prefix}methods", "All methods", (overview_table(all_results, prefix),)),
        _section(
            f"{prefix}ranks",
            "Ranks across data sets",
            across_table(all_results, prefix),
            critical_difference_across(all_results, prefix),
        ),
        _section(f"{prefix}cross", "Trained on one data set, tested on another", *cross_matrix(all_results, prefix)),
    ]
    return Chapter(
        key=f"{prefix}chapter",
        title="Across data sets",
        sections=tuple(section for section in sections if section.blocks),
    )


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


def _section(key: str, title: str, *blocks: Block | None) -> Section:
    return Section(key, title, tuple(block for block in blocks if block is not None))
