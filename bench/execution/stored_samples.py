"""The rows of a data set as a store keeps them: what figures and galleries need, and no image file.

A folder per version of the annotations holds `samples.parquet` and its record, `samples.json`.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agiqa_bench import atomic
from agiqa_bench.data.dataset import REQUIRED_COLUMNS
from agiqa_bench.errors import StoreError
from agiqa_bench.execution.cell_files import SAMPLES, read_folder, read_part, write_record

if TYPE_CHECKING:
    import pandas as pd

_TABLE = "samples.parquet"


def write_samples(folder: Path, table: pd.DataFrame, fingerprint: str) -> None:
    """Write the rows of a data set, unless they are there; a table without images replaces none that has their paths.

    Args:
        folder: Where; what is there is whole.
        table: See `agiqa_bench.data.dataset.Dataset.samples`.
        fingerprint: Its annotations' fingerprint.

    Raises:
        StoreError: The file system refuses.
    """
    known, _ = read_folder(folder, SAMPLES, fingerprint)
    if known is not None and (table["path"] == "").any():
        return
    rows = table[[*REQUIRED_COLUMNS, *(name for name in table.columns if name.startswith("mos_"))]].copy()
    rows.insert(0, "row", np.arange(len(rows), dtype=np.int64))
    content = rows.to_parquet(index=False)
    if known is not None and known["files"].get(_TABLE) == hashlib.sha256(content).hexdigest():
        return
    with atomic.new_directory(folder) as new:
        (new / _TABLE).write_bytes(content)
        write_record(new, SAMPLES, fingerprint, {"rows": len(rows)})


def samples_damage(folder: Path, fingerprint: str) -> str:
    """What keeps stored rows that are there from being used; empty if nothing."""
    return read_folder(folder, SAMPLES, fingerprint)[1]


def read_samples(folder: Path, fingerprint: str) -> pd.DataFrame | None:
    """What `write_samples` wrote; None if it did not.

    Raises:
        StoreError: It is damaged, or cannot be read.
    """
    import pandas as pd

    record, fault = read_folder(folder, SAMPLES, fingerprint)
    if fault:
        place = f"{folder}/{fault}"
        raise StoreError(f"{place}; type the run's command again, which sets it aside and writes it anew")
    if record is None:
        return None
    return pd.read_parquet(io.BytesIO(read_part(folder / _TABLE)))
