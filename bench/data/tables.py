"""Tables in files, as people write them: .csv, .tsv, .parquet and .xlsx.

A table is the user's own file, and its contents may be anybody's: what is not a table of plain values is refused in one
line, and no table takes more than some hundred megabytes of memory. Paths in it may be absolute and may leave its
folder; they are only ever read.
"""

from __future__ import annotations

import csv
import itertools
import numbers
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agiqa_bench.data.workbook import read_sheet
from agiqa_bench.errors import DataError, DataNotFoundError
from agiqa_bench.named_file import require_file

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 1_000_000
"""Rows that a table may have, header and all."""

MOST_CELLS = 4_000_000
"""Rows times columns."""

MOST_BYTES = 128 * 2**20
"""Of a file, and of all texts of a table together."""

MOST_LETTERS = 2**17
"""In one cell; the csv module of the standard library stops there too."""

_DELIMITERS = ",;\t|"


def read_table(path: Path) -> pd.DataFrame:
    """The table as it stands: column names as written, cells as text or as stored.

    Raises:
        DataNotFoundError: There is no such file.
        DataError: It is empty, damaged, too large (`MOST_ROWS`, `MOST_CELLS`, `MOST_BYTES`, `MOST_LETTERS`) or of an
            unknown kind, its rows differ in length, or it holds what is no plain value.
    """
    require_file(path, "table", DataError, MOST_BYTES, missing=DataNotFoundError)
    if path.stat().st_size == 0:
        raise DataError(f"table {path} is empty; it needs a header and at least one row")
    reader = {".csv": _load_csv, ".tsv": _load_csv, ".parquet": _load_parquet, ".xlsx": _load_excel}.get(
        path.suffix.lower()
    )
    if reader is None:
        raise DataError(
            f"table {path}: '{path.suffix}' is not a known kind of table; use .csv, .tsv, .parquet or .xlsx"
        )
    try:
        table = reader(path)
        _check_texts(table)
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"table {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except Exception as error:
        # The readers of other people's formats raise whatever a file makes them stumble over.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"table {path} cannot be read: {reason}") from error
    return table


def _load_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        file.seek(0)
        lines = csv.reader(map(_without_nul, file), delimiter=delimiter, strict=True)
        rows = _checked(row for row in lines if any(map(str.strip, row)))
        first = next(rows, None)
        if first is None:
            raise ValueError("it is empty; it needs a header and at least one row")
        found = []
        for number, row in enumerate(rows, start=1):
            if len(row) != len(first):
                raise ValueError(
                    f"data row {number} has {len(row)} cells where the header has {len(first)}; quote cells that hold "
                    f"'{delimiter}'"
                )
            found.append(row)
    table = pd.DataFrame(found, columns=list(first), dtype=object)
    if delimiter == ";":
        # Spreadsheets that separate by semicolons do so because the comma is their decimal point.
        for position, column in enumerate(table.columns):
            if str(column).strip().lower().startswith("mos"):
                table.isetitem(position, table.iloc[:, position].str.replace(",", ".").to_numpy())
    return table


def _without_nul(line: str) -> str:
    if "\0" in line:
        raise ValueError("it holds NUL bytes, as UTF-16 does; save it as UTF-8")
    return line


def _load_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        refuse_duplicates(schema.names, path)
        _check_size(file.metadata.num_rows, len(schema.names))
        for field in schema:
            if pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
                raise ValueError(f"column '{field.name}' holds {field.type}; a table has plain values: leave it out")
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
        if size > MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes where {MOST_BYTES:,} are the most; split it")
    # Texts that are stored once stay so, however many rows repeat them; what pandas noted down is nothing to trust.
    with pq.ParquetFile(path, read_dictionary=schema.names) as file:
        table: pd.DataFrame = file.read().replace_schema_metadata().to_pandas()
    return table.astype({name: object for name, kind in table.dtypes.items() if kind == "category"})


def _load_excel(path: Path) -> pd.DataFrame:
    import pandas as pd

    rows = _checked(read_sheet(path, MOST_BYTES // 2))
    first = next(rows, None)
    if first is None:
        raise ValueError("its first sheet is empty; it needs a header and at least one row")
    found = list(rows)
    width = max(map(len, [first, *found]))
    filled = [[*row, *[""] * (width - len(row))] for row in (first, *found)]
    return pd.DataFrame(filled[1:], columns=[str(name) for name in filled[0]], dtype=object)


def _checked(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Rows as they come, as long as they are not too many.

    Raises:
        ValueError: They are more than `MOST_ROWS`, or have more than `MOST_CELLS` cells.
    """
    cells = 0
    for number, row in enumerate(rows, start=1):
        cells += len(row)
        if number > MOST_ROWS or cells > MOST_CELLS:
            _check_size(number, -(-cells // number))
        yield row


def _check_size(rows: int, columns: int) -> None:
    if rows > MOST_ROWS:
        raise ValueError(f"it has more than {MOST_ROWS:,} rows, which are the most; split it")
    if rows * columns > MOST_CELLS:
        raise ValueError(f"it has more than {MOST_CELLS:,} cells, which are the most; leave out columns or split it")


def _check_texts(table: pd.DataFrame) -> None:
    """Refuse texts that are too long, each or all together, or that no file in UTF-8 could hold."""
    letters = 0
    for name, column in table.items():
        for row, value in enumerate(itertools.chain([name], column if column.dtype == object else ())):
            if not isinstance(value, str):
                continue
            letters += len(value)
            place = f"column '{str(name)[:60]}', data row {row}" if row else f"the name of column '{value[:60]}'"
            if len(value) > MOST_LETTERS:
                raise ValueError(f"{place} has {len(value):,} letters where {MOST_LETTERS:,} are the most; cut it")
            if letters > MOST_BYTES:
                raise ValueError(f"its texts have more than {MOST_BYTES:,} letters, which are the most; split it")
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ValueError(f"{place} holds half of a character; type the text anew")


def column_metadata(path: Path, key: str) -> dict[str, str]:
    """What the columns of a Parquet table say under `key` in their metadata, by name in small letters.

    Other kinds of table have no such metadata, and most of Parquet neither.

    Args:
        path: A table that `read_table` has read.
        key: E.g. `mos_range`.
    """
    if path.suffix.lower() != ".parquet":
        return {}
    import pyarrow.parquet as pq

    said = {field.name.strip().lower(): (field.metadata or {}).get(key.encode()) for field in pq.read_schema(path)}
    return {name: text.decode(errors="replace") for name, text in said.items() if text is not None}


def refuse_duplicates(names: list[str], path: Path) -> None:
    """Refuse a table that has a column twice, whatever its letter case.

    Raises:
        DataError: It has.
    """
    tidy = [name.strip().lower() for name in names]
    twice = next((name for name in tidy if name and tidy.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"table {path} has the column '{twice}' twice; remove one")


def as_text(values: pd.Series) -> pd.Series:
    """A column's cells as text without spaces around it; an empty cell is an empty text."""
    return values.map(lambda value: "" if value is None or value != value else str(value).strip()).astype(str)


def as_number(value: object) -> float:
    """A cell as a number: NaN where it is none, such as a date or a truth value; infinity where it is too large.

    >>> as_number("2.5"), as_number(True), as_number("1_000")
    (2.5, nan, nan)
    """
    is_text = isinstance(value, str) and "_" not in value  # which Python alone takes for a digit
    if not is_text and (isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal)):
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]  # checked above
    except ValueError:
        return float("nan")
    except OverflowError:
        return float("inf")
