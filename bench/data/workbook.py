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

_BLOCK = 2**20
"""Bytes of a file that are looked at in one go."""


def read_sheet(path: Path, most: int) -> Iterator[list[Any]]:
    """The rows of the first sheet, one after the other: text, numbers, truth values, dates; "" for an empty cell.

    Whole numbers are int, however they are stored. Rows end with their last cell that is not empty; empty rows are
    left out.

    Args:
        path: The workbook.
        most: Bytes that its files may unpack to, all together.

    Raises:
        DataError: It has a password, is too large, holds a formula without a value, or is no workbook.
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
            has_gaps = False
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                if number > _MOST_ROWS:
                    raise DataError(f"table {path} has a row beyond the {_MOST_ROWS:,} that a sheet has; save it anew")
                has_gaps = has_gaps or any(value is None for value in row)
                cells = [_plain(value) for value in row]
                while cells and cells[-1] == "":
                    cells.pop()
                if cells:
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


def _first_sheet(book: Any, path: Path) -> Any:
    if not book.worksheets:
        raise DataError(f"table {path} has no sheet of cells; put the table into one")
    sheet = book.worksheets[0]
    # What the sheet says of its own size is not to be relied on.
    sheet.reset_dimensions()
    return sheet


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
