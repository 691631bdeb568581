"""A data set of one's own from a table: columns image, prompt, mos or mos_*, optionally group and generator."""

from __future__ import annotations

import math
import re
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from agiqa_bench.data.dataset import Dataset, Fault, Target, parse_mos_range
from agiqa_bench.data.tables import as_number, as_text, column_metadata, read_table, refuse_duplicates
from agiqa_bench.errors import ConfigError, DataError
from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    import pandas as pd

_TARGET = re.compile(r"\w[\w .+()-]{0,59}")
"""It becomes part of the names of columns, settings and files."""

_SHOWN = 60
"""How many characters of a name a message shows."""


class TableDataset(Dataset):
    """Rated images listed in a .csv, .tsv, .parquet or .xlsx table.

    Columns, in any order and letter case: `image` (path, absolute or relative to `--data-root` or the table's
    folder), `prompt`, and `mos` (taken as quality) or any number of `mos_<target>`. Optional: `group` (rows that must
    not be split over training and test; where it is blank the prompt, however it is spelt: see
    `agiqa_bench.evaluation.splits.normalised`) and `generator` (where it is blank "unknown"). Others are ignored. A
    column of a Parquet table may state the range of its MOS in its metadata `mos_range` (`1,5`). An image may have
    several rows, one per rating. A table is its user's own file: image paths may leave its folder, and are only ever
    read.
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
    ) -> None:
        """Read the table, because its columns say what the targets are; images are looked for in `read`.

        Args:
            path: The table.
            root: Folder that image paths are relative to; None means the table's folder.
            annotations_only: Do not ask for images.

        Raises:
            DataNotFoundError: There is no such file.
            DataError: The table is empty or malformed, lacks a column, has one twice, or a MOS is not a number.
        """
        super().__init__(root, annotations_only=annotations_only)
        self.path = path
        self._table, columns = _interpret(read_table(path), path)
        # Class data of other data sets; here the file decides.
        self.name = self.title = one_line(path.stem).strip(". ") or "table"
        # Never the range of the ratings themselves: those of test images are among them.
        stated = column_metadata(path, "mos_range")
        self.targets = tuple(
            Target(target, _range(stated[column], column, path) if column in stated else None)
            for target, column in columns.items()
        )

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


def _interpret(raw: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table under the contract of `Dataset.read` (without `path`), and the column of each target."""
    import pandas as pd

    from agiqa_bench.evaluation.splits import normalised

    refuse_duplicates([str(name) for name in raw.columns], path)
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
    odd = next((name for name in targets if not _TARGET.fullmatch(name)), None)
    if odd is not None:
        raise DataError(
            f"table {path}: a target cannot be called '{odd[:_SHOWN]}'; give the column 'mos_<target>' a "
            "name of at most 60 letters, digits, blanks and . + - _ ( )"
        )
    if {"mos", "mos_quality"} <= set(raw.columns):
        raise DataError(f"table {path} has both 'mos' and 'mos_quality', which mean the same; remove one")
    if raw.empty:
        raise DataError(f"table {path} has a header and no rows")
    image = as_text(raw["image"])
    if (image == "").any():
        raise DataError(f"table {path}: data row {int((image == '').to_numpy().argmax()) + 1} names no image")
    prompt = as_text(raw["prompt"])
    table = pd.DataFrame({"image": image, "prompt": prompt})
    # One name for all spellings, whatever the order of the rows. Without a prompt each image stands for itself.
    spelling = {normalised(text): text for text in sorted(set(prompt), reverse=True)}
    alone = prompt.map(lambda text: spelling[normalised(text)]).where(prompt != "", image)
    group, generator = (
        as_text(raw[column]) if column in raw.columns else pd.Series("", index=raw.index)
        for column in ("group", "generator")
    )
    table["group"] = group.where(group != "", alone)
    table["generator"] = table["family"] = generator.where(generator != "", "unknown")
    for target, column in targets.items():
        table[f"mos_{target}"] = _mos(raw[column], image, path)
    return table, targets


def _range(text: str, column: str, path: Path) -> tuple[float, float]:
    try:
        return parse_mos_range(text)[1]
    except ConfigError as error:
        raise DataError(
            f"table {path}: the metadata 'mos_range' of column '{column}' is '{one_line(text[:_SHOWN])}'; write the "
            "lowest and the highest rating that the scale allows, e.g. 1,5"
        ) from error


def _mos(values: pd.Series, image: pd.Series, path: Path) -> list[float]:
    numbers = [as_number(value) for value in values]
    bad = [row for row, number in enumerate(numbers) if not math.isfinite(number)]
    if bad:
        raise DataError(
            f"table {path}: column '{values.name}', data row {bad[0] + 1} ({image.iloc[bad[0]]}): "
            f"'{values.iloc[bad[0]]}' is not a finite number ({len(bad)} such rows); mend or delete them"
        )
    return numbers
