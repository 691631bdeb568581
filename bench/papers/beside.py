"""Published tables for people: as they were printed, and with what a run measured beside each figure.

Nothing measured stands beside a published figure unless the run is of the data that the figure is of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from agiqa_bench.papers import remarks
from agiqa_bench.papers.matching import differences, find_measured, other_data
from agiqa_bench.papers.published import PrintedRow, PublishedTable, published_tables
from agiqa_bench.reporting.build.summaries import METRIC, number_of
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults

DIFFERS = "differs_in"
"""Key of the column that says in what a measured row is not as published."""

NOTHING = "–"
"""What stands where nothing is printed, measured or compared."""


def printed(table: PublishedTable, prefix: str = "", notes: Iterable[str] = ()) -> Table:
    """A published table in its own layout: rows, groups, columns and digits as printed.

    Args:
        table: What was published.
        prefix: Goes before the table's key.
        notes: Further remarks, before those on the rows.
    """
    return _printed(table, table.columns, f"{prefix}{table.id}", notes)


def with_runs(table: PublishedTable, runs: Sequence[RunResults]) -> list[Table]:
    """A published table beside what runs have measured: a table for each column of data set and target.

    Where no run is of the published data, or none has a row of the table, it is the published table alone, and says
    what each run is instead. What the notes of one table say those behind it do not say again.

    Args:
        table: What was published.
        runs: Results, each under one protocol.
    """
    strangers = [note for results in runs for note in remarks.not_compared(table, results)]
    comparable = [results for results in runs if _comparable(table, results)]
    strangers += [remarks.no_row(table, results) for results in comparable if not _measures(table, results)]
    comparable = [results for results in comparable if _measures(table, results)]
    if not comparable:
        return [printed(table, notes=strangers)]
    tables: list[Table] = []
    for column in table.columns:
        fitting = [results for results in comparable if not other_data(table, column[0], results)]
        for number, results in enumerate(fitting, start=1):
            prefix = f"run{number}-" if len(fitting) > 1 else ""
            tables.append(beside(table, *column, results, prefix))
        if not fitting:
            what = f"no run that was given has figures on {table.datasets[column[0]].title}"
            tables.append(_printed(table, [column], f"{table.id}-{'-'.join(column)}", [what]))
    tables[0] = replace(tables[0], notes=(*tables[0].notes, *strangers))
    said: set[str] = set()
    for place, shown in enumerate(tables):
        tables[place] = replace(shown, notes=tuple(note for note in shown.notes if note not in said))
        said.update(shown.notes)
    return tables


def _measures(table: PublishedTable, results: RunResults) -> bool:
    """Whether a run has finished any row of a table on any of its data sets."""
    return any(
        find_measured(row, results, target)
        for dataset, target in table.columns
        if not other_data(table, dataset, results)
        for row in table.rows
    )


def _comparable(table: PublishedTable, results: RunResults) -> bool:
    return any(not other_data(table, dataset, results) for dataset in table.datasets)


def published_beside(results: RunResults, prefix: str) -> list[Table]:
    """The published tables on a run's data set that hold a method of the run, with what it measured.

    Empty for data that nothing was published on, such as the demo's.

    Args:
        results: A run under one protocol.
        prefix: Goes before the tables' keys.
    """
    return [
        beside(table, dataset, target, results, prefix)
        for table in published_tables()
        for dataset, target in table.columns
        if not other_data(table, dataset, results) and any(find_measured(row, results, target) for row in table.rows)
    ]


def beside(table: PublishedTable, dataset: str, target: str, results: RunResults, prefix: str = "") -> Table:
    """One column of a published table, beside each figure what a run of the same data measured.

    A difference is measured - published, of the numbers as they are shown. There is none for a row with a stand-in for
    weights, nor where it is doubtful that the published row is what was measured, nor beside a negative figure, whose
    sign may be that of a score that falls with quality.
    """
    rows = [row for row in table.rows if table.figure(row.method, dataset, target, table.metrics[0])]
    pairs = [(row, find_measured(row, results, target)) for row in rows]
    differing = {
        row.method: differences(row, table.protocol(row), results, measured)
        for row, measured in pairs
        if measured is not None
    }
    cells = []
    for row, measured in pairs:
        numbers: list[Number | str] = []
        for metric in table.metrics:
            text = table.figure(row.method, dataset, target, metric)
            numbers += _published_measured_difference(text, results, measured, target, metric, row.doubt)
        words = ", ".join(dict.fromkeys(found.what for found in differing.get(row.method, [])))
        differs = "not measured" if measured is None else words or NOTHING
        cells.append(Row(row.method, _name(table, row), (differs, *numbers), row.group))
    title = f"{table.title}: {table.datasets[dataset].title}, {target}, beside {remarks.where(results)}"
    return Table(
        key=f"{prefix}{table.id}-{dataset}-{target}",
        title=title,
        columns=_columns_beside(table),
        rows=tuple(cells),
        notes=(
            *remarks.sources(table, [dataset]),
            *remarks.run(table, dataset, results),
            *remarks.differing(differing),
            *remarks.measured(table, (dataset, target), pairs, results),
            *remarks.rows(table, [row for row, measured in pairs if measured is not None or row.unmeasured]),
        ),
    )


def _printed(table: PublishedTable, wanted: Sequence[tuple[str, str]], key: str, notes: Iterable[str]) -> Table:
    columns = tuple(
        Column(
            f"{dataset}_{target}_{metric}_published",
            METRIC[metric].title,
            over=(table.datasets[dataset].title, target),
            decimals=table.decimals,
            printed=True,
            missing=NOTHING,
            explanation=METRIC[metric].explanation,
        )
        for dataset, target in wanted
        for metric in table.metrics
    )
    rows = []
    for row in table.rows:
        figures = [
            table.figure(row.method, dataset, target, metric) for dataset, target in wanted for metric in table.metrics
        ]
        if any(figures):
            rows.append(Row(row.method, _name(table, row), tuple(_number(text) for text in figures), row.group))
    notes = (*remarks.sources(table, {dataset for dataset, _ in wanted}), *notes, *remarks.rows(table, table.rows))
    return Table(key, f"{table.title}: {table.caption}", columns, tuple(rows), notes=notes)


def _number(text: str) -> Number:
    return Number(float(text)) if text else Number(None, reason="not printed")


def _name(table: PublishedTable, row: PrintedRow) -> str:
    return f"{row.method} [second-hand]" if table.second_hand else row.method


def _columns_beside(table: PublishedTable) -> tuple[Column, ...]:
    columns = [Column(DIFFERS, "Differs in", text=True, explanation="explained in the notes")]
    for metric in table.metrics:
        over, decimals = (METRIC[metric].title,), table.decimals
        columns += [
            Column(
                f"{metric}_published",
                "Paper",
                over,
                decimals=decimals,
                printed=True,
                missing=NOTHING,
                explanation="as printed",
            ),
            Column(
                f"{metric}_measured",
                "Here",
                over,
                decimals=decimals,
                spread=True,
                missing=NOTHING,
                explanation="measured, mean over the repeats",
            ),
            Column(
                f"{metric}_difference",
                "Diff.",
                over,
                decimals=decimals,
                signed=True,
                missing=NOTHING,
                explanation="measured - published",
            ),
        ]
    return tuple(columns)


def _published_measured_difference(
    text: str, results: RunResults, method: MethodResults | None, target: str, metric: str, doubt: str
) -> tuple[Number, Number, Number]:
    """A published figure, the measured number, and their difference."""
    published = _number(text)
    if method is None or method.stand_ins:
        nothing = Number(None, reason="not measured" if method is None else "ran with a stand-in for weights")
        return published, nothing, nothing
    number = number_of(results, method, target, metric)
    if number.value is None or published.value is None:
        return published, number, Number(None, reason=number.reason or published.reason)
    if doubt:
        return published, number, Number(None, reason=doubt)
    if published.value < 0:
        return published, number, Number(None, reason="published with a minus")
    decimals = len(text.partition(".")[2])
    return published, number, Number(round(round(number.value, decimals) - published.value, decimals))
