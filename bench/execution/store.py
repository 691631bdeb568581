"""The store: one folder per output, one sub-folder per finished cell, each written whole or not at all.

    <output>/
        cells/<label>/<repeat>-<key>/     cell.json, predictions.parquet, history.json; of a run that saves models
                                          also model.safetensors and model.json
        scores/<label>/<key>/             score.json, scores.parquet     (zero-shot: each image once, for all repeats)
        failures/<label>/<what>-<key>.json
        scratch/<label>/<key>/            what a running cell keeps for its own continuation
        locks/<label>/<what>-<key>.lock   held by who computes a cell now; see `agiqa_bench.execution.claims`
        plans/<number>-<time>-<id>.json   one per command: protocol, methods, keys, provenance
        splits/<digest>-<checksum>.json
        samples/<fingerprint>/            samples.json, samples.parquet: the data set's rows, for figures and galleries
        damaged/<where it was>            what was not as it had been written, and was set aside
        table.csv, table.md, costs.csv

A cell is found by its row's label, its repeat and its key, so a store holds results of many settings side by side, and
what is finished is not computed again. Every file that is read back is covered by a checksum: its own seal (see
`agiqa_bench.sealed`), the record beside it, or the one in its name.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agiqa_bench import atomic
from agiqa_bench.errors import StoreError
from agiqa_bench.execution import stored_plans, stored_samples
from agiqa_bench.execution.cell_files import (
    CELL,
    SCORE,
    read_cell,
    read_folder,
    read_part,
    write_json_file,
    write_record,
)
from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.execution.leftovers import remove_leftovers
from agiqa_bench.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

_KEY_LENGTH = 16


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
        try:
            if self.root.is_symlink() and not self.root.exists():
                aim = self.root.readlink()
                raise StoreError(f"output {self.root}: a link to {aim}, which is not there; choose another --output")
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"output {self.root}: is a file; choose a folder with --output")
        except OSError as error:
            raise atomic.explain(error, self.root) from error
        remove_leftovers(self.root, atomic.probe(self.root))

    def set_aside(self, place: Path, why: str) -> None:
        """Move a file or folder that cannot be used to `damaged/`, where it overwrites nothing, and log a line.

        Args:
            place: What to move.
            why: What is wrong, beginning with the name of the file.

        Raises:
            StoreError: The file system refuses.
        """
        where = place.relative_to(self.root)
        aside, number = Path("damaged", where), 0
        while (self.root / aside).exists():
            number += 1
            aside = Path("damaged", where).with_name(f"{where.name}-{number}")
        try:
            (self.root / aside).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(place, self.root / aside)
        except FileNotFoundError:  # another command has just done it
            return
        except OSError as error:
            raise atomic.explain(error, self.root / aside) from error
        _log.warning("%s; set aside as %s", why, aside.as_posix())

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

        Raises:
            StoreError: The file system does not say whether it is there.
        """
        folder = self.cell_folder(label, repeat, key)
        record, _ = read_cell(folder, key, with_model=with_model)
        return None if record is None else CellResult(record, folder)

    def cell_damage(self, label: str, repeat: int, key: str, *, with_model: bool = False) -> str:
        """What keeps a cell that is there from being used: the file, from the store's folder on, and what is wrong.

        Returns:
            One line; empty if the cell is not there, or can be used.
        """
        folder = self.cell_folder(label, repeat, key)
        _, fault = read_cell(folder, key, with_model=with_model)
        return self._line(folder, fault)

    def _line(self, folder: Path, fault: str) -> str:
        return f"{folder.relative_to(self.root).as_posix()}/{fault}" if fault else ""

    def lock_file(self, label: str, what: str, key: str) -> Path:
        """The file that whoever computes a cell (`what`: its repeat) or zero-shot scores holds a lock on."""
        return self.root / "locks" / slug(label) / f"{what}-{key[:_KEY_LENGTH]}.lock"

    def make_room(self, label: str, repeat: int, key: str) -> None:
        """Make room for a cell: set aside a damaged one, and delete what killed processes left half-written of it.

        Only for who holds its claim.

        Raises:
            StoreError: The file system refuses.
        """
        self._make_room(self.cell_folder(label, repeat, key), self.cell_damage(label, repeat, key, with_model=True))

    def _make_room(self, folder: Path, damage: str) -> None:
        if damage:
            self.set_aside(folder, damage)
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    def has_cell(self, label: str, repeat: int, key: str) -> bool:
        """Whether a cell is there, whole or not."""
        return (self.cell_folder(label, repeat, key) / "cell.json").is_file()

    def find_other_cell(self, label: str, repeat: int, key: str) -> dict[str, Any] | None:
        """The record of the latest finished cell of the same row and repeat under another key, or None."""
        folder = self.cell_folder(label, repeat, key)
        others = []
        for file in folder.parent.glob(f"{repeat:02d}-*/cell.json"):
            with suppress(FileNotFoundError):  # another command has just set it aside
                others.append((file.stat().st_mtime, file))
        for _, file in sorted(others, reverse=True):
            if file.parent == folder:
                continue
            try:
                return read_sealed(file)
            except (FileNotFoundError, StoreError):
                continue  # damaged: it explains nothing
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
            record = write_record(new, CELL, key, record)
        atomic.remove(self.failure_file(label, f"{repeat:02d}", key))
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
        """Scores (n_rows, n_targets) of all rows of the data set and their record, or None.

        Raises:
            StoreError: The file system does not say whether they are there.
        """
        import pandas as pd

        folder = self.scores_folder(label, key)
        record, _ = read_folder(folder, SCORE, key)
        if record is None:
            return None
        scores = io.BytesIO(read_part(folder / "scores.parquet"))
        return pd.read_parquet(scores).to_numpy(dtype=np.float64), record

    def scores_damage(self, label: str, key: str) -> str:
        """What keeps scores that are there from being used; see `cell_damage`."""
        folder = self.scores_folder(label, key)
        return self._line(folder, read_folder(folder, SCORE, key)[1])

    def make_room_for_scores(self, label: str, key: str) -> None:
        """Set aside damaged scores, and delete what was left half-written of them; see `make_room`."""
        self._make_room(self.scores_folder(label, key), self.scores_damage(label, key))

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
            write_record(new, SCORE, key, record)
        atomic.remove(self.failure_file(label, "scores", key))

    # Failures and scratch

    def failure_file(self, label: str, what: str, key: str) -> Path:
        """Where the failure of a cell (`what`: its repeat) or of zero-shot scores is recorded."""
        return self.root / "failures" / slug(label) / f"{what}-{key[:_KEY_LENGTH]}.json"

    def write_failure(self, label: str, what: str, key: str, record: dict[str, Any]) -> None:
        """Record why something failed; never taken for a result, and tried again by the next command."""
        write_sealed(self.failure_file(label, what, key), record | {"key": key})

    def scratch_folder(self, label: str, key: str) -> Path:
        """Folder for a running cell's own continuation; it survives a kill and goes when the cell is finished.

        The label counts, because two rows may have one key, and two processes may compute them at once.
        """
        return self.root / "scratch" / slug(label) / key[:_KEY_LENGTH]

    # Samples

    def samples_folder(self, fingerprint: str) -> Path:
        """Where the rows of the data set whose annotations have this fingerprint lie."""
        return self.root / "samples" / fingerprint[:_KEY_LENGTH]

    def write_samples(self, table: pd.DataFrame, fingerprint: str) -> None:
        """Store the rows of a data set, see `stored_samples.write_samples`; a damaged table is set aside."""
        folder = self.samples_folder(fingerprint)
        if damage := stored_samples.samples_damage(folder, fingerprint):
            self.set_aside(folder, self._line(folder, damage))
        stored_samples.write_samples(folder, table, fingerprint)

    def samples(self, fingerprint: str) -> pd.DataFrame | None:
        """The rows of a data set: columns row, image, path, prompt, group, generator, family, mos_<target>.

        Returns:
            One line per row, in the published order, so that `row` of the predictions is its position; None if no run
            of this version wrote them. `path` is the image's on the machine of the run, and may be empty.

        Raises:
            StoreError: They are damaged.
        """
        return stored_samples.read_samples(self.samples_folder(fingerprint), fingerprint)

    # Plans

    def new_plan_id(self) -> str:
        """A name for a new plan, which comes after those of all others."""
        return stored_plans.new_id(self.root / "plans")

    def write_plan(self, plan_id: str, record: dict[str, Any]) -> None:
        """Store what one command planned, and later how it ended."""
        write_sealed(self.root / "plans" / f"{plan_id}.json", record)

    def plans(self) -> list[dict[str, Any]]:
        """What the commands on this folder planned, oldest first.

        Raises:
            StoreError: The folder holds no plan, or one that cannot be read, or lacks what this version needs.
        """
        plans = stored_plans.read_plans(self.root / "plans")
        if not plans:
            what = "holds no run" if self.root.is_dir() else "is a file" if self.root.exists() else "no such folder"
            if (self.root / "cells").is_dir():
                what = "no plan in plans/ tells what its cells are"
            raise StoreError(
                f"{self.root}: {what}; name the folder that 'agiqa-bench run' wrote (its --output, by default "
                "results/runs/<data set>)"
            )
        return plans

    def set_aside_plans(self) -> None:
        """Set aside the plans that are not as they were written.

        Raises:
            StoreError: The file system refuses.
        """
        for file, why in stored_plans.damaged_plans(self.root / "plans"):
            self.set_aside(file, why)


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
