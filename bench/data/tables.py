"""Tables in files, as people write them: .csv, .tsv, .parquet and .xlsx."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    import pandas as pd

_DELIMITERS = ",;\t|"


def read_table(path: Path) -> pd.DataFrame:
    """The table as it stands: column names as written, cells as text or as stored.

    Raises:
        DataNotFoundError: There is no such file.
        DataError: It is empty, damaged, of an unknown kind, or its rows differ in length.
    """
    if not path.is_file():
        raise DataNotFoundError(f"table {path} does not exist; check the path")
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
        return reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"table {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, csv.Error) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"table {path} cannot be read: {reason}") from error


def _load_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        file.seek(0)
        rows = [row for row in csv.reader(file, delimiter=delimiter, strict=True) if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError("it is empty; it needs a header and at least one row")
    width = len(rows[0])
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != width:
            raise ValueError(
                f"data row {number} has {len(row)} cells where the header has {width}; quote cells that hold "
                f"'{delimiter}'"
            )
    table = pd.DataFrame(rows[1:], columns=rows[0], dtype=object)
    if delimiter == ";":
        # Spreadsheets that separate by semicolons do so because the comma is their decimal point.
        for position, column in enumerate(table.columns):
            if str(column).strip().lower().startswith("mos"):
                table.isetitem(position, table.iloc[:, position].str.replace(",", ".").to_numpy())
    return table


def _load_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet

    names = pyarrow.parquet.read_schema(path).names
    refuse_duplicates(names, path)
    return pd.read_parquet(path)


def _load_excel(path: Path) -> pd.DataFrame:
    import pandas as pd

    sheet = pd.read_excel(path, header=None, dtype=object, keep_default_na=False)
    if sheet.empty:
        raise ValueError("its first sheet is empty; it needs a header and at least one row")
    table = sheet.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index([str(name) for name in sheet.iloc[0]])
    return table


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
