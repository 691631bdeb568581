"""The main tables: every method under each target, with the best marked and what noise cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from agiqa_bench.evaluation.metrics import METRICS, MetricInfo
from agiqa_bench.evaluation.ranking import ALPHA
from agiqa_bench.reporting.build.against_best import best_and_tied
from agiqa_bench.reporting.build.ranked import RULE_OF_THUMB
from agiqa_bench.reporting.build.summaries import (
    METRIC,
    PRIMARY,
    anchor,
    best_of_most,
    counted_title,
    number_of,
    ordered,
    row_title,
)
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.model import Column, Mark, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults

SHOWN = ("srcc", "plcc", "krcc", "srcc_within_generator", "srcc_within_prompt", "rmse_fitted")
"""The metrics of the printed tables, the most telling first; the CSV has all."""

EXPLAINED = ("srcc_within_generator", "srcc_within_prompt", "rmse_fitted")
"""Those whose titles do not say it all."""

Numbers = dict[str, dict[str, Number]]
"""By label and metric."""


def comparison_table(results: RunResults, target: str, prefix: str) -> Table | None:
    """The methods under one target, best SRCC first; None if no cell is finished.

    Bold and underlined are what a column shows as best and second best; ties share a rank. `tied` marks methods that
    the corrected resampled t-test does not tell apart from the best. Methods that have a number in fewer repeats than
    others have no marks, and stand below.
    """
    methods = ordered(results, target)
    if not methods:
        return None
    columns = tuple(_column(METRIC[key]) for key in SHOWN)
    best, numbers = _marked(results, target, methods)
    rows = [
        Row(
            method.label,
            counted_title(results, method),
            tuple(numbers[method.label].values()),
            diagnostic=method.diagnostic,
        )
        for method in methods
    ]
    titles = {method.label: row_title(results, method) for method in methods}
    return Table(
        key=anchor(prefix, "results", target),
        title=f"{results.title}: {target}",
        columns=columns,
        rows=tuple(rows),
        notes=(*_legend(results, numbers, titles.get(best, "")), *_undefined(rows, columns)),
    )


def full_table(results: Sequence[RunResults], key: str = "table") -> Table:
    """All metrics of all methods, targets and data sets in one long table, for CSV; the same results, the same bytes.

    Text columns: dataset, split, select, target, weights, seed and the first 12 digits of the splits' digest, so that
    rows of several protocols can be told apart; then the number of repeats and each metric.
    """
    texts = ("dataset", "split", "select", "target", "weights", "seed", "splits")
    columns = [Column(name, name, text=True) for name in texts]
    columns.append(Column("repeats", "repeats", decimals=0))
    columns.extend(_column(metric) for metric in METRICS)
    rows = []
    for result in results:
        protocol = result.protocol
        for target in result.targets:
            for method in ordered(result, target):
                cells: list[Number | str] = [str(protocol[name]) for name in ("dataset", "split", "select")]
                cells += [target, " + ".join(method.weights), str(protocol["seed"]), protocol["splits_digest"][:12]]
                cells.append(Number(float(len(method.cells))))
                cells += [number_of(result, method, target, metric.key) for metric in METRICS]
                rows.append(Row(method.label, row_title(result, method), tuple(cells), "", method.diagnostic))
    return Table(key, "All results", tuple(columns), tuple(rows))


def _marked(results: RunResults, target: str, methods: Iterable[MethodResults]) -> tuple[str, Numbers]:
    """The label of the best method by the test, empty if there is none, and all numbers with their marks."""
    best, tied = best_and_tied(results, target, PRIMARY)
    numbers = {method.label: {key: number_of(results, method, target, key) for key in SHOWN} for method in methods}
    most = max(row[PRIMARY].n for row in numbers.values())
    for key in SHOWN:
        marks = best_of_most({label: row[key] for label, row in numbers.items()}, METRIC[key])
        for label, row in numbers.items():
            mark = marks.get(label, frozenset[Mark]())
            if key == PRIMARY and label in tied and row[key].n == most:
                mark |= {"tied"}
            row[key] = replace(row[key], marks=mark)
    return best, numbers


def _column(metric: MetricInfo) -> Column:
    return Column(
        metric.key,
        metric.title,
        decimals=metric.decimals,
        spread=True,
        interval=metric.key == PRIMARY,
        better=metric.better,
        explanation=metric.explanation,
    )


def _legend(results: RunResults, numbers: Numbers, best: str) -> list[str]:
    """What the marks, the brackets and the columns mean."""
    primary = [row[PRIMARY] for row in numbers.values()]
    spread = any(number.std is not None for number in primary)
    notes = [
        "best in bold, second best underlined; "
        + (
            "± is the standard deviation over repeats"
            if spread
            else "one repeat: there is no spread, no interval and no test"
        )
    ]
    if any("tied" in number.marks for number in primary):
        notes.append(
            f"≈ is not told apart from the best SRCC, that of {best} (corrected resampled t-test over the repeats, "
            f"Holm's correction for all pairs of methods, {100 * ALPHA:.0f} %)"
        )
    if spread:
        generators = results.protocol["split"] == "generator"
        notes.append(
            "in brackets the 95 % interval of the mean, with the variance of Nadeau and Bengio (2003)"
            + ("" if generators else ", because repeats share data")
        )
        if generators:
            notes.append(RULE_OF_THUMB)
    if any(_beyond(number) for number in primary):
        notes.append("an interval that passes 1 or -1 does so because the t distribution knows no bound of SRCC")
    if len({number.n for number in primary if number.n}) > 1:
        notes.append("rows with SRCC in fewer repeats than others stand below them, without marks")
    notes.append("; ".join(f"{METRIC[key].title}: {METRIC[key].explanation}" for key in EXPLAINED))
    return notes


def _beyond(number: Number) -> bool:
    """Whether an interval leaves the range of a correlation."""
    return number.low is not None and number.high is not None and (number.low < -1 or number.high > 1)


def _undefined(rows: Iterable[Row], columns: Sequence[Column]) -> list[str]:
    """What is not defined, in some repeats or in all, and why: one line for each column and reason."""
    partly, nowhere = [], dict[tuple[str, str], list[str]]()
    for row in rows:
        for column, cell in zip(columns, row.cells, strict=True):
            if not isinstance(cell, Number) or not cell.reason:
                continue
            if cell.value is None:
                nowhere.setdefault((column.title, cell.reason), []).append(row.name)
            else:
                partly.append(
                    f"{row.name}: {column.title} is defined in {counted(cell.n, 'repeat')} only ({cell.reason})"
                )
    never = [f"{title} is undefined for {', '.join(names)}: {reason}" for (title, reason), names in nowhere.items()]
    return partly + never
