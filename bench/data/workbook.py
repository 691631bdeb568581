"""The first sheet of an .xlsx workbook, without ever unpacking more than is fit for a table.

A workbook is a ZIP archive of XML files. Links to other workbooks, macros and pictures in it are not looked at;
formulas are not computed: what counts is the value that the spreadsheet program stored with them.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from agiqa_bench.bounded import BoundedReader
from agiqa_bench.errors import DataError

_MOST_LIST = 2**20
"""Bytes of an archive's list of files; each file takes about a hundred."""

_MOST_ROWS = 2**20
"""Of a sheet; a row's number may claim more, and all those before it would be gone through."""

_MOST_MERGED = 2**18
"""Ranges of merged cells: one for each prompt of a table of a million rows."""

_BLOCK = 2**20
"""Bytes of a file that are looked at in one go."""


def read_sheet(path: Path, most: int) -> Iterator[list[Any]]:
    """The rows of the first sheet, one after the other: text, numbers, truth values, dates; "" for an empty cell.

    Whole numbers are int, however they are stored. Merged cells all have the value that the spreadsheet program shows
    over them, that of the first. Rows end with their last cell that is not empty; rows in which no cell has a value of
    its own are left out.

    Args:
        path: The workbook.
        most: Bytes that its files may unpack to, all together.

    Raises:
        DataError: It has a password, is too large, holds a formula without a value or merged cells that overlap, or is
            no workbook.
        Exception: What openpyxl raises for a file that is damaged.
    """
    import openpyxl

    _check_archive(path, most)
    with warnings.catch_warnings():
        # About styles and validations, which are nothing to a reader of values.
        warnings.simplefilter("ignore")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        try:
            sheet = _first_sheet(book, path)
            merged = _MergedCells(_merged_ranges(sheet), path)
            has_gaps = False
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                if number > _MOST_ROWS:
                    raise DataError(f"table {path} has a row beyond the {_MOST_ROWS:,} that a sheet has; save it anew")
                has_gaps = has_gaps or any(value is None for value in row)
                cells = _without_end([_plain(value) for value in row])
                if cells and (cells := _without_end(merged.fill(number, cells))):
                    yield cells
        finally:
            book.close()
        if has_gaps:
            _refuse_formulas(path)


def _check_archive(path: Path, most: int) -> None:
    """Refuse what would unpack to more than `most`, or is no archive of plain XML."""
    refusal = DataError(f"table {path} is no workbook: its list of files is larger than {_MOST_LIST:,} bytes")
    try:
        with (
            path.open("rb") as raw,
            zipfile.ZipFile(cast("IO[bytes]", BoundedReader(raw, _MOST_LIST, refusal))) as file,
        ):
            entries = file.infolist()
    except zipfile.BadZipFile as error:
        raise DataError(
            f"table {path} cannot be read: it is no .xlsx workbook, or has a password; open it in a spreadsheet "
            "program and save it as .xlsx without one, or as .csv"
        ) from error
    # A reader unpacks no more of a file than the archive says it holds.
    size = sum(entry.file_size for entry in entries)
    if size > most:
        raise DataError(f"table {path} unpacks to {size:,} bytes where {most:,} are the most; save it as .csv")
    if any(entry.flag_bits & 1 for entry in entries):
        raise DataError(f"table {path} has a password; save it without one")
    with zipfile.ZipFile(path) as file:
        for entry in entries:
            _refuse_entities(path, file, entry)


def _refuse_entities(path: Path, file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse a file of the archive, whatever it is called, with a declaration in which entities can be made."""
    from xml.parsers.expat import ExpatError, ParserCreate

    def look(name: str, system: str | None, public: str | None, has_declarations: int) -> None:  # noqa: ARG001
        if has_declarations:
            raise DataError(f"table {path} is no workbook: {entry.filename} declares entities; save it as .csv")

    def stop(name: str, attributes: dict[str, str]) -> None:  # noqa: ARG001
        # A declaration stands before the first element; before it comes any number of comments and blanks.
        raise StopIteration

    parser = ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = look, stop
    # What is not XML to this parser (the last two: its encoding) is none to openpyxl either, which has the same one.
    with file.open(entry) as stream, suppress(StopIteration, ExpatError, LookupError, ValueError):
        while block := stream.read(_BLOCK):
            parser.Parse(block)
        # A newer expat waits with a long token until it has grown; at the end it looks at what is left.
        parser.Parse(b"", True)


def _first_sheet(book: Any, path: Path) -> Any:
    if not book.worksheets:
        raise DataError(f"table {path} has no sheet of cells; put the table into one")
    sheet = book.worksheets[0]
    # What the sheet says of its own size is not to be relied on.
    sheet.reset_dimensions()
    return sheet


def _merged_ranges(sheet: Any) -> list[tuple[int, int, int, int]]:
    """(first row, last row, first column, last column) of the merged cells, counted from 1, by their first rows.

    A sheet that is read row by row does not tell them: they stand behind the rows.

    Raises:
        ValueError: A range is none, or they are more than `_MOST_MERGED`.
    """
    from xml.parsers.expat import ParserCreate

    from openpyxl.utils.cell import range_boundaries

    found = []

    def look(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "mergeCell":
            left, top, right, bottom = range_boundaries(attributes.get("ref", ""))
            if not (left and top and right and bottom):
                raise ValueError(f"'{attributes.get('ref', '')[:60]}' is no range of merged cells")
            found.append((top, bottom, left, right))
            if len(found) > _MOST_MERGED:
                raise ValueError(f"it has more than {_MOST_MERGED:,} ranges of merged cells; unmerge them")

    parser = ParserCreate()
    parser.StartElementHandler = look
    with sheet._get_source() as stream:
        parser.ParseFile(stream)
    return sorted(found)


class _MergedCells:
    """Gives merged cells their value, as the rows of a sheet go by."""

    def __init__(self, ranges: list[tuple[int, int, int, int]], path: Path) -> None:
        self._waiting = ranges[::-1]
        self._path = path
        self._open: dict[int, tuple[int, Any]] = {}
        """Last row and value of the merged cells that have begun, by column."""

    def fill(self, number: int, cells: list[Any]) -> list[Any]:
        """The cells of a row, whose number counts from 1 and is above that of the row before.

        Raises:
            DataError: Two ranges have a cell in common.
        """
        self._open = {column: own for column, own in self._open.items() if own[0] >= number}
        while self._waiting and self._waiting[-1][0] <= number:
            top, bottom, left, right = self._waiting.pop()
            if bottom < number:
                continue
            # The first row may be one that was left out, as all its cells are empty.
            value = cells[left - 1] if top == number and left <= len(cells) else ""
            for column in range(left, right + 1):
                if column in self._open:
                    raise DataError(f"table {self._path}: merged cells of its first sheet overlap; save it anew")
                self._open[column] = bottom, value
        if self._open:
            cells = [*cells, *[""] * (max(self._open) - len(cells))]
            for column, (_, value) in self._open.items():
                cells[column - 1] = value
        return cells


def _without_end(cells: list[Any]) -> list[Any]:
    """The cells of a row up to the last that is not empty."""
    while cells and cells[-1] == "":
        cells.pop()
    return cells


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _refuse_formulas(path: Path) -> None:
    """Refuse formulas that were never computed: a program wrote them, and no spreadsheet program opened them since."""
    import openpyxl

    values = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    formulas = openpyxl.load_workbook(path, read_only=True, keep_links=False)
    try:
        pairs = zip(_first_sheet(values, path).iter_rows(), _first_sheet(formulas, path).iter_rows(), strict=True)
        for row, same in pairs:
            for cell, formula in zip(row, same, strict=True):
                if cell.value is None and formula.data_type == "f":
                    raise DataError(
                        f"table {path}: cell {formula.coordinate} is a formula without a stored value; open the table "
                        "in a spreadsheet program and save it"
                    )
    finally:
        values.close()
        formulas.close()
