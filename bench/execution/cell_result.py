"""A finished cell as a store gives it back."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agiqa_bench.execution.cell_files import read_part

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CellResult:
    """A finished cell as it is stored.

    Attributes:
        record: Content of `cell.json`: key and its components, metrics per target, costs, environment.
        folder: Where it lies.
    """

    record: dict[str, Any]
    folder: Path

    @property
    def asked_for_model(self) -> bool:
        """Whether the cell was computed by a run that saves models; the method may have had none to save."""
        return "model" in self.record

    @property
    def model(self) -> Path | None:
        """The fitted model, if it was saved."""
        name = self.record.get("model")
        return None if name is None else self.folder / name

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Metrics by target."""
        metrics: dict[str, dict[str, Any]] = self.record["metrics"]
        return metrics

    def predictions(self) -> pd.DataFrame:
        """Per-image scores: columns row, image, score_<target>, mos_<target>.

        Raises:
            StoreError: They cannot be read; likewise `history`.
        """
        import pandas as pd

        return pd.read_parquet(io.BytesIO(read_part(self.folder / "predictions.parquet")))

    def history(self) -> list[dict[str, float | None]]:
        """Per-epoch records of a trained method, oldest first; null where a number was not finite."""
        if "history.json" not in self.record["files"]:
            return []
        history: list[dict[str, float | None]] = json.loads(read_part(self.folder / "history.json"))
        return history
