"""The store: one folder per output, one sub-folder per finished cell, each written whole or not at all.

    <output>/
        cells/<label>/<repeat>-<key>/     cell.json, predictions.parquet, history.json; of a run that saves models
                                          also model.safetensors and model.json
        scores/<label>/<key>/             score.json, scores.parquet     (zero-shot: each image once, for all repeats)
        failures/<label>/<what>-<key>.json
        scratch/<label>/<key>/            what a running cell keeps for its own continuation
        locks/<label>/<what>-<key>.lock   held by who computes a cell now; see `agiqa_bench.execution.claims`
        plans/<time>-<id>.json            one per command: protocol, methods, keys, provenance
        splits/<digest>.json
        samples/<fingerprint>.parquet     the data set's rows, for figures and galleries: a report needs nothing else
        table.csv, table.md, costs.csv

A cell is found by its row's label, its repeat and its key, so a store holds results of many settings side by side, and
what is finished is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agiqa_bench import atomic
from agiqa_bench.data.dataset import REQUIRED_COLUMNS
from agiqa_bench.errors import StoreError
from agiqa_bench.execution.cell_files import checksums, damage, read_cell, read_record, write_json_file
from agiqa_bench.execution.records import plan_fault

if TYPE_CHECKING:
    import pandas as pd

_KEY_LENGTH = 16
_LEFTOVER_SECONDS = 24 * 3600


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
        """Per-image scores: columns row, image, score_<target>, mos_<target>."""
        import pandas as pd

        return pd.read_parquet(self.folder / "predictions.parquet")

    def history(self) -> list[dict[str, float | None]]:
        """Per-epoch records of a trained method, oldest first; null where a number was not finite."""
        file = self.folder / "history.json"
        history: list[dict[str, float | None]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        return history


class Store:
    """Reads and writes one output folder."""

    def __init__(self, root: Path) -> None:
        """Point at a folder; nothing is created yet."""
        self.root = root

    @property
    def name(self) -> str:
        """The folder's own name, for what is shown to others: where it lies on this machine is nobody's business."""
        return self.root.name or self.root.resolve().name

    def prepare(self) -> None:
        """Create the folder and prove that it can be written.

        Raises:
            StoreError: It cannot.
        """
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"output {self.root}: is a file; choose a folder with --output")
        probe = self.root / ".writable"
        atomic.write_bytes(probe, b"")
        probe.unlink(missing_ok=True)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Delete what killed runs left half-written; the young ones may belong to a run that is alive."""
        for leftover in [*self.root.glob("*/*/.*.tmp"), *self.root.glob("*/.*.tmp"), *self.root.glob(".*.tmp")]:
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime < _LEFTOVER_SECONDS:
                    continue
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink()

    # Cells

    def cell_folder(self, label: str, repeat: int, key: str) -> Path:
        """Where a cell lies once it is finished."""
        return Path(self.root, "cells", slug(label), f"{repeat:02d}-{key[:_KEY_LENGTH]}")

    def find_cell(self, label: str, repeat: int, key: str, *, with_model: bool = True) -> CellResult | None:
        """The finished cell with this key, or None.

        Args:
            label: Its row.
            repeat: Its split.
            key: Its key.
            with_model: Whether the content of a saved model counts too: a report reads none, and to look through
                gigabytes of them would take minutes.
        """
        folder = self.cell_folder(label, repeat, key)
        record, fault = read_cell(folder, key, with_model=with_model)
        return None if record is None or fault else CellResult(record, folder)

    def cell_damage(self, label: str, repeat: int, key: str) -> str:
        """What keeps a cell that is there from being used: the file, from the store's folder on, and what is wrong.

        Returns:
            One line; empty if the cell is not there, or can be used. The content of a saved model is not looked at.
        """
        folder = self.cell_folder(label, repeat, key)
        if not folder.is_dir():
            return ""
        _, fault = read_cell(folder, key, with_model=False)
        return f"{folder.relative_to(self.root).as_posix()}/{fault}" if fault else ""

    def lock_file(self, label: str, what: str, key: str) -> Path:
        """The file that whoever computes a cell (`what`: its repeat) or zero-shot scores holds a lock on."""
        return self.root / "locks" / slug(label) / f"{what}-{key[:_KEY_LENGTH]}.lock"

    def remove_unfinished(self, label: str, repeat: int, key: str) -> None:
        """Delete what killed processes left half-written of a cell; only for who holds its claim."""
        folder = self.cell_folder(label, repeat, key)
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    def has_cell(self, label: str, repeat: int, key: str) -> bool:
        """Whether a cell is there, whole or not."""
        return (self.cell_folder(label, repeat, key) / "cell.json").is_file()

    def find_other_cell(self, label: str, repeat: int, key: str) -> dict[str, Any] | None:
        """The record of the latest finished cell of the same row and repeat under another key, or None."""
        folder = self.cell_folder(label, repeat, key)
        others = [path for path in folder.parent.glob(f"{repeat:02d}-*/cell.json") if path.parent != folder]
        for file in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            try:
                record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # damaged: it explains nothing
            return record
        return None

    def write_cell(
        self,
        label: str,
        repeat: int,
        key: str,
        record: dict[str, Any],
        predictions: pd.DataFrame,
        history: list[dict[str, float | None]],
        save_model: Callable[[Path], Path] | None = None,
    ) -> CellResult:
        """Store a finished cell and forget what failed or was half-done under its key.

        Args:
            label: Its row.
            repeat: Its split.
            key: What its result depends on, hashed.
            record: What `cell.json` is to hold.
            predictions: See `CellResult.predictions`.
            history: See `CellResult.history`.
            save_model: Writes the fitted model into the folder that it is given, and returns its file; whatever it
                raises leaves nothing of the cell.

        Raises:
            StoreError: The file system refuses; nothing of the cell is left.
        """
        folder = self.cell_folder(label, repeat, key)
        with atomic.new_directory(folder) as new:
            predictions.to_parquet(new / "predictions.parquet", index=False)
            if history:
                write_json_file(new / "history.json", history)
            if save_model is not None:
                record = record | {"model": save_model(new).name}
            record = record | {"key": key, "files": checksums(new)}
            write_json_file(new / "cell.json", record)
        self.failure_file(label, f"{repeat:02d}", key).unlink(missing_ok=True)
        scratch = self.scratch_folder(label, key)
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # not there, or another cell of the row is running
            scratch.parent.rmdir()
        return CellResult(record, folder)

    # Zero-shot scores

    def scores_folder(self, label: str, key: str) -> Path:
        """Where the scores of a zero-shot method lie."""
        return self.root / "scores" / slug(label) / key[:_KEY_LENGTH]

    def find_scores(self, label: str, key: str) -> tuple[npt.NDArray[np.float64], dict[str, Any]] | None:
        """Scores (n_rows, n_targets) of all rows of the data set and their record, or None."""
        import pandas as pd

        folder = self.scores_folder(label, key)
        record = read_record(folder / "score.json", key)
        if record is None or damage(folder, record):
            return None
        return pd.read_parquet(folder / "scores.parquet").to_numpy(dtype=np.float64), record

    def write_scores(
        self, label: str, key: str, record: dict[str, Any], scores: npt.NDArray[np.float64], targets: tuple[str, ...]
    ) -> None:
        """Store the scores of all rows.

        Raises:
            StoreError: The file system refuses.
        """
        import pandas as pd

        with atomic.new_directory(self.scores_folder(label, key)) as new:
            pd.DataFrame(scores, columns=list(targets)).to_parquet(new / "scores.parquet", index=False)
            write_json_file(new / "score.json", record | {"key": key, "files": checksums(new)})
        self.failure_file(label, "scores", key).unlink(missing_ok=True)

    # Failures and scratch

    def failure_file(self, label: str, what: str, key: str) -> Path:
        """Where the failure of a cell (`what`: its repeat) or of zero-shot scores is recorded."""
        return self.root / "failures" / slug(label) / f"{what}-{key[:_KEY_LENGTH]}.json"

    def write_failure(self, label: str, what: str, key: str, record: dict[str, Any]) -> None:
        """Record why something failed; never taken for a result, and tried again by the next command."""
        atomic.write_json(self.failure_file(label, what, key), record | {"key": key})

    def scratch_folder(self, label: str, key: str) -> Path:
        """Folder for a running cell's own continuation; it survives a kill and goes when the cell is finished.

        The label counts, because two rows may have one key, and two processes may compute them at once.
        """
        return self.root / "scratch" / slug(label) / key[:_KEY_LENGTH]

    # Samples

    def samples_file(self, fingerprint: str) -> Path:
        """Where the rows of the data set whose annotations have this fingerprint lie."""
        return self.root / "samples" / f"{fingerprint[:_KEY_LENGTH]}.parquet"

    def write_samples(self, table: pd.DataFrame, fingerprint: str) -> None:
        """Store the rows of a data set; a table without images does not replace one that knows where they lie.

        Args:
            table: See `agiqa_bench.data.dataset.Dataset.samples`.
            fingerprint: Its annotations' fingerprint.

        Raises:
            StoreError: The file system refuses.
        """
        file = self.samples_file(fingerprint)
        if file.exists() and (table["path"] == "").any():
            return
        rows = table[[*REQUIRED_COLUMNS, *(name for name in table.columns if name.startswith("mos_"))]].copy()
        rows.insert(0, "row", np.arange(len(rows), dtype=np.int64))
        with atomic.new_file(file) as opened:
            rows.to_parquet(opened, index=False, write_page_checksum=True)

    def samples(self, fingerprint: str) -> pd.DataFrame | None:
        """The rows of a data set: columns row, image, path, prompt, group, generator, family, mos_<target>.

        Returns:
            One line per row, in the published order, so that `row` of the predictions is its position; None if no run
            of this version wrote them. `path` is the image's on the machine of the run, and may be empty.

        Raises:
            StoreError: The file is damaged.
        """
        import pandas as pd

        file = self.samples_file(fingerprint)
        try:
            return pd.read_parquet(file, page_checksum_verification=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise StoreError(f"{file}: damaged ({why}); delete it and type the run's command again") from error

    # Plans

    def write_plan(self, plan_id: str, record: dict[str, Any]) -> None:
        """Store what one command planned, and later how it ended."""
        atomic.write_json(self.root / "plans" / f"{plan_id}.json", record)

    def plans(self) -> list[dict[str, Any]]:
        """What the commands on this folder planned, oldest first.

        Raises:
            StoreError: The folder holds no plan, or one that cannot be read, or lacks what this version needs.
        """
        files = sorted((self.root / "plans").glob("*.json"))
        if not files:
            what = "no plan in plans/ tells what its cells are" if (self.root / "cells").is_dir() else "holds no run"
            raise StoreError(
                f"{self.root}: {what}; name the folder that 'agiqa-bench run' wrote (its --output, by default "
                "results/runs/<data set>)"
            )
        plans = []
        for file in files:
            try:
                plan = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise StoreError(f"{file}: cannot be read ({error}); move it away and run again") from error
            if fault := plan_fault(plan):
                raise StoreError(
                    f"{file}: is no plan of this version ({fault}); move it away, or run again with another --output"
                )
            plans.append(plan)
        return plans


@lru_cache(maxsize=1024)
def slug(label: str) -> str:
    """A label as a folder name: readable, safe on every file system, and unique by a hash where letters were lost.

    >>> slug("niqe")
    'niqe'
    >>> slug("clipscore[backbone=demo-rn]")
    'clipscore_backbone_demo-rn_-0e918daf'
    """
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in label)
    if kept == label and not label.startswith(".") and len(label) <= 64:
        return label
    return f"{kept[:48]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
