"""The main tables: every method under each target, with the best marked and what noise cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from agiqa_bench.evaluation.metrics import METRICS, MetricInfo
from agiqa_bench.reporting.build.ranks import tied_with_best
from agiqa_bench.reporting.build.summaries import METRIC, anchor, best_two, finished, number_of, row_title
from agiqa_bench.reporting.model import Column, Mark, Number, Row, Table
from agiqa_bench.reporting.results import RunResults

SHOWN = ("srcc", "plcc", "krcc", "srcc_within_generator", "srcc_within_prompt", "rmse_fitted")
"""The metrics of the printed tables, the most telling first; the CSV has all."""

PRIMARY = "srcc"
"""The metric that orders the rows and that the methods are tested by."""


def comparison_table(results: RunResults, target: str, prefix: str) -> Table | None:
    """The methods under one target, best SRCC first; None if no cell is finished.

    Bold and underlined are what a column shows as best and second best; ties share a rank. `tied` marks methods that
    the corrected resampled t-test does not tell apart from the best.
    """
    methods = finished(results, target)
    if not methods:
        return None
    tied = tied_with_best(results, target, PRIMARY)
    columns = tuple(_column(METRIC[key]) for key in SHOWN)
    numbers = {method.label: {key: number_of(results, method, target, key) for key in SHOWN} for method in methods}
    for key in SHOWN:
        marks = best_two({label: row[key].value for label, row in numbers.items()}, METRIC[key])
        for label, row in numbers.items():
            mark = marks.get(label, frozenset[Mark]())
            if key == PRIMARY and label in tied:
                mark |= {"tied"}
            row[key] = replace(row[key], marks=mark)
    rows = [
        Row(method.label, row_title(results, method), tuple(numbers[method.label].values()), "", method.diagnostic)
        for method in methods
    ]
    notes = ["best in bold, second best underlined; ± is the standard deviation over repeats"]
    if any("tied" in row[PRIMARY].marks for row in numbers.values()):
        notes.append(
            "≈ is not told apart from the best SRCC (corrected resampled t-test over the repeats, Holm's correction, "
            "5 %)"
        )
    notes.append(
        "in brackets the 95 % interval of the mean, with the variance of Nadeau and Bengio (2003), because repeats "
        "share data"
    )
    notes.extend(_undefined(rows, columns))
    return Table(
        key=anchor(prefix, "results", target),
        title=f"{results.title}: {target}",
        columns=columns,
        rows=tuple(sorted(rows, key=lambda row: _by_primary(row, columns))),
        notes=tuple(notes),
    )


def full_table(results: Sequence[RunResults], key: str = "table") -> Table:
    """All metrics of all methods, targets and data sets in one long table, for CSV; the same results, the same bytes.

    Text columns: dataset, split, select, target, weights; then the number of repeats and each metric.
    """
    texts = ("dataset", "split", "select", "target", "weights")
    columns = [Column(name, name, text=True) for name in texts]
    columns.append(Column("repeats", "repeats", decimals=0))
    columns.extend(_column(metric) for metric in METRICS)
    rows = []
    for result in results:
        protocol = result.protocol
        for target in result.targets:
            table = comparison_table(result, target, "")
            order = [row.key for row in table.rows] if table is not None else []
            methods = {method.label: method for method in finished(result, target)}
            for method in (methods[label] for label in order):
                cells: list[Number | str] = [str(protocol[name]) for name in ("dataset", "split", "select")]
                cells += [target, " + ".join(method.weights), Number(float(len(method.cells)))]
                cells += [number_of(result, method, target, metric.key) for metric in METRICS]
                rows.append(Row(method.label, row_title(result, method), tuple(cells), "", method.diagnostic))
    return Table(key, "All results", tuple(columns), tuple(rows))


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


def _by_primary(row: Row, columns: Sequence[Column]) -> tuple[bool, float]:
    cell = row.cells[[column.key for column in columns].index(PRIMARY)]
    value = cell.value if isinstance(cell, Number) else None
    return (value is None, 0.0 if value is None else -value)


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
                partly.append(f"{row.name}: {column.title} is defined in {cell.n} repeats only ({cell.reason})")
    never = [f"{title} is undefined for {', '.join(names)}: {reason}" for (title, reason), names in nowhere.items()]
    return partly + never
