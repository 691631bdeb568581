"""From what a user types after `--dataset` to a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.errors import DataError, DataNotFoundError
from agiqa_bench.named_file import expanded, require_file
from agiqa_bench.registry import dataset_registry

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx")


def open_dataset(
    name_or_path: str,
    root: Path | None = None,
    *,
    annotations_only: bool = False,
    mos_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Dataset:
    """Open a registered data set by name, or a table of one's own by path; nothing is read yet.

    Args:
        name_or_path: A registered name, or the path of a .csv, .tsv, .parquet or .xlsx table.
        root: Folder of `--data-root`; None means the default.
        annotations_only: Do not ask for images.
        mos_ranges: Of `--mos-range`; see `Dataset.state_ranges`.

    Raises:
        UnknownNameError: No data set has that name, or no target that of a range.
        ConfigError: The data set states such a range itself.
        DataNotFoundError: The table's file does not exist.
        DataError: It is no file.
    """
    path = expanded(Path(name_or_path))
    if path.suffix.lower() in TABLE_SUFFIXES:
        from agiqa_bench.datasets.table import TableDataset

        require_file(path, "data set table", DataError, missing=DataNotFoundError)
        dataset: Dataset = TableDataset(path, root, annotations_only=annotations_only)
    else:
        dataset = dataset_registry().load(name_or_path)(root, annotations_only=annotations_only)
    if mos_ranges:
        dataset.state_ranges(mos_ranges)
    return dataset
