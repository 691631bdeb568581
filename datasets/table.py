"""A data set of one's own from a table: columns image, prompt, mos or mos_*, optionally group and generator."""

from __future__ import annotations

import csv
import math
import zipfile
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from agiqa_bench.data.dataset import Dataset, Fault, Target
from agiqa_bench.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    import pandas as pd

_DELIMITERS = ",;\t|"
_SHOWN = 60
"""How many characters of a name a message shows."""


class TableDataset(Dataset):
    """Rated images listed in a .csv, .tsv, .parquet or .xlsx table.

    Columns, in any order and letter case: `image` (path, absolute or relative to `--data-root` or the table's
    folder), `prompt`, and `mos` (taken as quality) or any number of `mos_<target>`. Optional: `group` (rows that must
    not be split over training and test; where it is blank the prompt) and `generator` (where it is blank "unknown").
    Others are ignored. An image may have several rows, one per rating.
    """

    name = "table"
    title = "table"
    licence = "as of the table's owner"
    summary = "a table of your own: --dataset path/to/table.csv"

    def __init__(
        self,
        path: Path,
        root: Path | None = None,
        *,
        annotations_only: bool = False,
        mos_range: tuple[float, float] | None = None,
    ) -> None:
        """Read the table, because its columns say what the targets are; images are looked for in `read`.

        Args:
            path: The table.
            root: Folder that image paths are relative to; None means the table's folder.
            annotations_only: Do not ask for images.
            mos_range: Lowest and highest MOS of the scale; None takes the lowest and highest MOS in the table.

        Raises:
            DataNotFoundError: There is no such file.
            DataError: The table is empty or malformed, lacks a column, has one twice, or a MOS is not a number.
        """
        super().__init__(root, annotations_only=annotations_only)
        self.path = path
        self._table, ranges = _interpret(_load(path), path)
        # Class data of other data sets; here the file decides.
        self.name = self.title = path.stem
        self.targets = tuple(Target(target, mos_range or found) for target, found in ranges.items())

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """Find the images; see `Dataset.read`."""
        table = self._table.copy()
        faults = []
        counts = table["image"].value_counts(sort=False)
        repeated = counts[counts > 1]
        if len(repeated):
            message = (
                f"{len(repeated)} image(s) of {self.path.name} have several rows (first: {repeated.index[0]}, "
                f"{repeated.iloc[0]} rows); every row is kept"
            )
            # Known: a table may give several ratings of one image.
            faults.append(Fault("duplicate-row", message, known=True))
        table["path"] = "" if self.annotations_only else [self._find(n, i) for n, i in enumerate(table["image"], 1)]
        missing = [] if self.annotations_only else list(dict.fromkeys(table.loc[table["path"] == "", "image"]))
        if missing:
            faults.append(
                Fault(
                    "missing-images",
                    f"{len(missing)} images of {self.path.name} are missing (first: expected "
                    f"{self._folders[0] / missing[0]}); mend the column 'image' or name the folder with --data-root",
                )
            )
        return table, tuple(faults)

    @property
    def _folders(self) -> list[Path]:
        return [*([self.root.absolute()] if self.root else []), self.path.absolute().parent]

    def _find(self, row: int, image: str) -> str:
        """The image's path; empty if there is no such file.

        Raises:
            DataError: The file system cannot say, because the name is too long or a folder may not be looked into.
        """
        for path in (folder / image for folder in self._folders):
            try:
                if S_ISREG(path.stat().st_mode):
                    return str(path)
            except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a NUL in the name
                continue
            except OSError as error:
                shown = image if len(image) <= _SHOWN else f"{image[:_SHOWN]}..."
                raise DataError(
                    f"table {self.path}: column 'image', data row {row}: cannot look for '{shown}' "
                    f"({error.strerror or error}); mend the name"
                ) from error
        return ""


def _load(path: Path) -> pd.DataFrame:
    """The table as it stands: column names as written, cells as text or as stored."""
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
    _refuse_duplicates(names, path)
    return pd.read_parquet(path)


def _load_excel(path: Path) -> pd.DataFrame:
    import pandas as pd

    sheet = pd.read_excel(path, header=None, dtype=object, keep_default_na=False)
    if sheet.empty:
        raise ValueError("its first sheet is empty; it needs a header and at least one row")
    table = sheet.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index([str(name) for name in sheet.iloc[0]])
    return table


def _refuse_duplicates(names: list[str], path: Path) -> None:
    tidy = [name.strip().lower() for name in names]
    twice = next((name for name in tidy if name and tidy.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"table {path} has the column '{twice}' twice; remove one")


def _interpret(raw: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, dict[str, tuple[float, float]]]:
    """The table under the contract of `Dataset.read` (without `path`), and the range of MOS of each target."""
    import pandas as pd

    _refuse_duplicates([str(name) for name in raw.columns], path)
    raw = raw.rename(columns={name: str(name).strip().lower() for name in raw.columns}).reset_index(drop=True)
    there = ", ".join(name for name in raw.columns if name) or "none"
    for column in ("image", "prompt"):
        if column not in raw.columns:
            raise DataError(f"table {path} has no column '{column}' (it has: {there})")
    targets = {
        "quality" if name == "mos" else name.removeprefix("mos_"): name
        for name in raw.columns
        if name == "mos" or (name.startswith("mos_") and name != "mos_")
    }
    if not targets:
        raise DataError(f"table {path} has no column 'mos' or 'mos_<target>' (it has: {there})")
    if {"mos", "mos_quality"} <= set(raw.columns):
        raise DataError(f"table {path} has both 'mos' and 'mos_quality', which mean the same; remove one")
    if raw.empty:
        raise DataError(f"table {path} has a header and no rows")
    image = _text(raw["image"])
    if (image == "").any():
        raise DataError(f"table {path}: data row {int((image == '').to_numpy().argmax()) + 1} names no image")
    prompt = _text(raw["prompt"])
    table = pd.DataFrame({"image": image, "prompt": prompt})
    # Without a prompt nothing ties images together: each stands for itself.
    alone = prompt.where(prompt != "", image)
    group, generator = (
        _text(raw[column]) if column in raw.columns else pd.Series("", index=raw.index)
        for column in ("group", "generator")
    )
    table["group"] = group.where(group != "", alone)
    table["generator"] = table["family"] = generator.where(generator != "", "unknown")
    ranges = {}
    for target, column in targets.items():
        mos = _mos(raw[column], image, path)
        table[f"mos_{target}"] = mos
        ranges[target] = (min(mos), max(mos))
    return table, ranges


def _text(values: pd.Series) -> pd.Series:
    return values.map(lambda value: "" if value is None or value != value else str(value).strip()).astype(str)


def _mos(values: pd.Series, image: pd.Series, path: Path) -> list[float]:
    numbers = [_number(value) for value in values]
    bad = [row for row, number in enumerate(numbers) if not math.isfinite(number)]
    if bad:
        raise DataError(
            f"table {path}: column '{values.name}', data row {bad[0] + 1} ({image.iloc[bad[0]]}): "
            f"'{values.iloc[bad[0]]}' is not a finite number ({len(bad)} such rows); mend or delete them"
        )
    return numbers


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is not a number is the point
    except (TypeError, ValueError):
        return math.nan
