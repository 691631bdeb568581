"""Tables as CSV: every digit, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io

from agiqa_bench.harmless import spreadsheet_text
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Column, Number, Table

PARTS = ("mean", "std", "low", "high", "n", "marks")
"""What a number over repeats has a field for: `<column>_mean` ... `<column>_marks`."""

_EXACT = 2**53
"""Up to here every whole number is a float."""


def table_to_csv(table: Table) -> str:
    """A table as CSV with line feeds; the same table gives the same bytes.

    The first field is the row's key, called like the table's head in lower case; then come `name`, `group` if any row
    has one, and the columns. A column of texts has one field, called by its key. A column of numbers over repeats has
    the fields `<key>_mean`, `_std`, `_low`, `_high` (95 % interval), `_n` (repeats) and `_marks` (joined by blanks);
    a column of other numbers has `<key>`, and `<key>_marks` if any is marked. Numbers are not rounded: they are
    the shortest digits that read back as the same float, but for those that are quoted (`Column.printed`), which have
    the digits that they were printed with. What is not defined is empty. Texts stand in one line, and
    those that a spreadsheet would take for a formula begin with an apostrophe.
    """
    with_groups = any(row.group for row in table.rows)
    fields = [(column, _parts(column, position, table)) for position, column in enumerate(table.columns)]
    head = [table.head.lower(), "name", *(["group"] if with_groups else [])]
    head += [f"{column.key}_{part}" if part else column.key for column, parts in fields for part in parts]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(spreadsheet_text(name) for name in head)
    for row in table.rows:
        line = [spreadsheet_text(text) for text in (row.key, row.name, *([row.group] if with_groups else []))]
        for cell, (column, parts) in zip(row.cells, fields, strict=True):
            line += [_printed(cell, column) if column.printed else _field(cell, part) for part in parts]
        writer.writerow(line)
    return buffer.getvalue()


def _parts(column: Column, position: int, table: Table) -> tuple[str, ...]:
    """What follows the column's key in the names of its fields; nothing for the value itself."""
    if column.text:
        return ("",)
    numbers = [number for row in table.rows if isinstance(number := row.cells[position], Number)]
    if column.spread or column.interval or any(_over_repeats(number) for number in numbers):
        return PARTS
    return ("", "marks") if any(number.marks for number in numbers) else ("",)


def _over_repeats(number: Number) -> bool:
    return number.n > 0 or any(part is not None for part in (number.std, number.low, number.high))


def _printed(cell: Number | str, column: Column) -> str:
    """A number with the decimals that somebody printed it with, trailing zeros too; empty if there is none."""
    if isinstance(cell, str):
        return spreadsheet_text(cell)
    return "" if cell.value is None else number_text(cell, column).value


def _field(cell: Number | str, part: str) -> str:
    if isinstance(cell, str):
        return spreadsheet_text(cell) if part in ("", "mean") else ""
    if part == "marks":
        return " ".join(sorted(cell.marks))
    if part == "n":
        return str(cell.n)
    value = {"": cell.value, "mean": cell.value, "std": cell.std, "low": cell.low, "high": cell.high}[part]
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and -_EXACT < value < _EXACT else repr(float(value))
