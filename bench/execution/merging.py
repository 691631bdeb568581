"""Merging: stores that were computed apart, e.g. the shards of one request on several machines, joined into one.

What a run does is known from its plans. So a store is joined by its plans, and by all that they name: cells, zero-shot
scores, failures, splits and samples. What is damaged stays where it is.

One merge at a time writes to a folder. Runs may be at work there meanwhile: a merge claims what it copies, as they
claim what they compute.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agiqa_bench import atomic
from agiqa_bench.errors import StoreError
from agiqa_bench.execution.cell_files import CELL, SAMPLES, SCORE, read_folder
from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.execution.claims import claim
from agiqa_bench.execution.comparable import protocol_differences
from agiqa_bench.execution.keys import changed_components, key_of
from agiqa_bench.execution.store import Store
from agiqa_bench.reading import patiently
from agiqa_bench.sealed import unseal

ROUNDING = 1e-6
"""Up to this share of the largest score, other machines may come to other scores without a word."""

_PAUSE_SECONDS = 0.2
"""Between two looks whether another merge has ended."""

_OF_A_REPEAT = {"split", "seed", "mos_ranges"}
"""Components of a key in which the repeats of one row may differ."""


@dataclass
class Merged:
    """What came of it.

    Attributes:
        cells: Number of whole cells that the plans name and the target has now.
        copied: Number of those that were copied.
        planned: Number of cells that the latest plans name, which are those of the table.
        unfinished: The repeats of those that the target does not have, by label.
        damaged: One line per cell that is damaged in one store, and that no other has whole.
        differing: One line per row whose cells have other scores in one store than in another, beyond rounding.
    """

    cells: int = 0
    copied: int = 0
    planned: int = 0
    unfinished: dict[str, list[int]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def merge_stores(
    sources: Sequence[Store],
    target: Store,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    afterwards: Callable[[], None] = lambda: None,
) -> Merged:
    """Join stores of one comparison into one.

    Of a cell that several have, the target's is kept, and otherwise the first one's. A cell that a run computes in the
    target meanwhile is left to it. The plans come last: a merge that was broken off leaves no run behind that looks
    whole, and goes on when it is done again.

    Args:
        sources: The stores.
        target: Where; a new folder, or a store, which may be one of `sources`, and is joined too.
        say: Gets one line if another merge into the target must be waited for.
        afterwards: Called at last, before any other merge into the target begins.

    Raises:
        StoreError: One holds no run or a damaged plan, has a run going on, or differs from another in data, splits or
            code; nothing is copied then. Or the file system refuses.
    """
    _runs(sources, target)  # nothing at all is written where they cannot be joined
    target.prepare()
    with _alone(target, say):
        runs = _runs(sources, target)  # another merge may just have ended
        for run in runs:
            _refuse_if_busy(run.store)
        merged = _copy(runs, target)
        afterwards()
    return merged


@contextmanager
def _alone(target: Store, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until nobody else merges into a store, and let nobody do so meanwhile."""
    lock = [target.root / "locks" / "merge.lock"]
    held = claim(lock)
    if held is None:
        say(f"{target.root}: another merge is at work there; waiting until it has ended")
    while held is None:
        time.sleep(_PAUSE_SECONDS)
        held = claim(lock)
    try:
        yield
    finally:
        held.release(done=True)


def _runs(sources: Sequence[Store], target: Store) -> list[_Run]:
    """What there is to join, the target first.

    Raises:
        StoreError: It cannot be joined.
    """
    stores = {store.root.resolve(): store for store in sources}
    home = target.root.resolve()
    if home in stores or any((home / "plans").glob("*.json")):
        stores = {home: target} | stores
    runs = [_Run(store) for store in stores.values()]
    for position, run in enumerate(runs):
        for other in runs[:position]:
            other.refuse_if_different(run)
    return runs


def _copy(runs: Sequence[_Run], target: Store) -> Merged:
    """Copy what the target lacks."""
    merged = Merged()
    damaged: dict[_Cell, str] = {}
    for run in runs:
        _copy_cells(run, target, merged, damaged)
    planned = {cell for run in runs for cell in run.cells()}
    there = {cell for cell in planned if target.find_cell(*cell) is not None}
    merged.cells = len(there)
    merged.damaged = [line for cell, line in damaged.items() if cell not in there]
    current = dict.fromkeys(cell for run in runs for cell in run.current_cells())
    merged.planned = len(current)
    for label, repeat, key in current:
        if (label, repeat, key) not in there:
            merged.unfinished.setdefault(label, []).append(repeat)
    others = [run for run in runs if run.store.root.resolve() != target.root.resolve()]
    for run in others:
        _copy_failures(run, target)
        _copy_inputs(run, target)
    for run in others:
        _copy_plans(run, target)
    return merged


_Cell = tuple[str, int, str]
"""Label, repeat and key."""


class _Run:
    """A store and what its plans say."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.plans = store.plans()
        self.protocol: dict[str, Any] = self.plans[-1]["protocol"]
        current = [plan for plan in self.plans if not protocol_differences(plan["protocol"], self.protocol)]
        self.images: str | None = next((plan["images"] for plan in current[::-1] if plan["images"]), None)
        self.rows = {row["label"]: row for plan in current for row in plan["methods"] if row["skip"] is None}
        """Of the latest plan that has it, under the latest protocol."""

    def cells(self) -> Iterator[_Cell]:
        """All that were ever planned, each once."""
        yield from dict.fromkeys(_cells_of(row for plan in self.plans for row in plan["methods"]))

    def current_cells(self) -> Iterator[_Cell]:
        """Those of the table: older plans may name others, e.g. of older code."""
        yield from _cells_of(self.rows.values())

    def refuse_if_different(self, other: _Run) -> None:
        """Say in what another run differs, if it cannot be joined with this one."""
        here, there = self.store.root, other.store.root
        beside = f"'agiqa-bench report {here} {there}' shows them beside each other"
        found = protocol_differences(self.protocol, other.protocol)
        if self.images != other.images and None not in (self.images, other.images):
            found.append("image files")
        if found:
            raise StoreError(
                f"{there}: differs from {here} in its {', '.join(found)}, and only parts of one comparison are merged; "
                f"{beside}"
            )
        for label in self.rows.keys() & other.rows.keys():
            if self.rows[label]["keys"] != other.rows[label]["keys"]:
                raise StoreError(
                    f"{there}: '{label}' differs from that of {here} in {self._changed(other, label)}: compute both "
                    f"with the same version of everything, or leave one out; {beside}"
                )

    def _changed(self, other: _Run, label: str) -> str:
        """What differs between two rows of one label, in words."""
        one, another = self._components(label), other._components(label)
        if one and another:
            names = [name for name in changed_components(one, another) if name not in _OF_A_REPEAT]
        else:  # no cell is finished: what the plans tell
            mine, theirs = self.rows[label], other.rows[label]
            names = [name for name in ("config", "weights", "targets") if mine.get(name) != theirs.get(name)]
        return ", ".join(names) or "its code, libraries or settings"

    def _components(self, label: str) -> dict[str, Any]:
        """What the key of one of a row's finished cells was made of; empty if none is finished."""
        for repeat, key in self.rows[label]["keys"].items():
            if (found := self.store.find_cell(label, int(repeat), key, with_model=False)) is not None:
                components: dict[str, Any] = found.record["components"]
                return components
        return {}


def _cells_of(rows: Iterable[dict[str, Any]]) -> Iterator[_Cell]:
    for row in rows:
        for repeat, key in row["keys"].items():
            yield row["label"], int(repeat), key


def _refuse_if_busy(store: Store) -> None:
    for lock in sorted((store.root / "locks").glob("*/*.lock")):
        if not os.access(lock, os.W_OK):  # then nobody here can hold it
            continue
        held = claim([lock])
        if held is None:
            raise StoreError(f"{store.root}: a run is at work there; merge it when that has ended")
        held.release(done=False)


def _copy_cells(run: _Run, target: Store, merged: Merged, damaged: dict[_Cell, str]) -> None:
    """Copy what is whole, and compare what is there already."""
    gaps: dict[str, list[float]] = {}
    for cell in run.cells():
        label, repeat, key = cell
        found = run.store.find_cell(*cell)
        if found is None:
            if fault := run.store.cell_damage(*cell, with_model=True):
                damaged.setdefault(cell, str(run.store.root / fault))
            continue
        scores = _scores_key(found)
        # A run claims a trained cell by its own lock, and zero-shot ones by that of their scores.
        locks = target.lock_file(label, f"{repeat:02d}", key), target.lock_file(label, "scores", scores)
        with _claimed(locks) as is_ours:
            known = target.find_cell(*cell)
            if known is not None and (gap := _score_gap(known, found)) > ROUNDING:
                gaps.setdefault(label, []).append(gap)
            if known is None and is_ours:
                target.make_room(*cell)
                _copy_folder(found.folder, target.cell_folder(*cell), CELL, found.record)
                atomic.remove(target.failure_file(label, f"{repeat:02d}", key))
                merged.copied += 1
            if is_ours:
                _copy_scores(run.store, target, label, scores)
    for label, of_row in gaps.items():
        cells = "1 cell" if len(of_row) == 1 else f"{len(of_row)} cells"
        merged.differing.append(
            f"{run.store.root}: {cells} of '{label}' with other scores than the same cells that were there before, by "
            f"up to {max(of_row):.1e} of the largest score; those that were there are kept"
        )


def _score_gap(one: CellResult, other: CellResult) -> float:
    """The largest difference of two cells' scores, as a share of the largest score."""
    table = "predictions.parquet"
    if one.record["files"].get(table) == other.record["files"].get(table):
        return 0.0
    here, there = one.predictions(), other.predictions()
    names = [name for name in here.columns if name.startswith("score_")]
    mine, theirs = here[names].to_numpy(dtype=np.float64), there[names].to_numpy(dtype=np.float64)
    largest = float(np.abs(mine).max())
    return float(np.abs(mine - theirs).max()) / largest if largest else float(np.abs(theirs).max())


def _scores_key(cell: CellResult) -> str:
    """The key of the zero-shot scores that a cell was cut from, if it was: its own is made of that and the split's."""
    return key_of({name: part for name, part in cell.record["components"].items() if name != "split"})


def _copy_scores(source: Store, target: Store, label: str, key: str) -> None:
    """Copy zero-shot scores, if there are any: they serve further repeats."""
    known, _ = read_folder(target.scores_folder(label, key), SCORE, key)
    found, _ = read_folder(source.scores_folder(label, key), SCORE, key)
    if known is None and found is not None:
        target.make_room_for_scores(label, key)
        _copy_folder(source.scores_folder(label, key), target.scores_folder(label, key), SCORE, found)
        atomic.remove(target.failure_file(label, "scores", key))


def _copy_failures(run: _Run, target: Store) -> None:
    """Copy why cells have failed that no store has finished; the record of the target is kept."""
    for label in dict.fromkeys(label for label, _, _ in run.cells()):
        here, there = (store.failure_file(label, "", "").parent for store in (run.store, target))
        for file in sorted(here.glob("*.json")):
            what, _, key = file.stem.rpartition("-")
            scored = target.scores_folder(label, key)
            finished = target.cell_folder(label, int(what), key) if what.isdecimal() else scored
            content = patiently(Path.read_bytes, file)
            with _claimed([target.lock_file(label, what, key)]) as is_ours:
                if is_ours and not finished.is_dir() and unseal(content)[0] is not None:
                    _write_new(there / file.name, content)


@contextmanager
def _claimed(files: Iterable[Path]) -> Iterator[bool]:
    """Claim files, whose locks nobody needs any more afterwards; whether that was possible."""
    held = claim(files)
    try:
        yield held is not None
    finally:
        if held is not None:
            held.release(done=True)


def _copy_inputs(run: _Run, target: Store) -> None:
    """Copy samples and splits; damaged ones are passed over, because the next run writes them anew."""
    for fingerprint in dict.fromkeys(plan["protocol"]["annotations"] for plan in run.plans):
        here, there = (store.samples_folder(fingerprint) for store in (run.store, target))
        known, _ = read_folder(there, SAMPLES, fingerprint)
        found, _ = read_folder(here, SAMPLES, fingerprint)
        if known is None and found is not None:
            _copy_folder(here, there, SAMPLES, found)
    for file in sorted((run.store.root / "splits").glob("*.json")):
        content = patiently(Path.read_bytes, file)
        if file.stem.endswith(hashlib.sha256(content).hexdigest()[:16]):
            _write_new(target.root / "splits" / file.name, content)


def _copy_plans(run: _Run, target: Store) -> None:
    for file in sorted((run.store.root / "plans").glob("*.json")):
        _write_new(target.root / "plans" / file.name, patiently(Path.read_bytes, file))


def _copy_folder(source: Path, target: Path, name: str, record: dict[str, Any]) -> None:
    """Copy a folder's record, which is in the file `name`, and the files that it names."""
    with atomic.new_directory(target) as new:
        for file in (name, *record["files"]):
            shutil.copyfile(source / file, new / file)


def _write_new(file: Path, content: bytes) -> None:
    if not file.exists():
        atomic.write_bytes(file, content)
