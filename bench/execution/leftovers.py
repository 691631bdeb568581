"""Leftovers: what killed runs left half-written in a store, and when it may be deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agiqa_bench.atomic import is_temporary
from agiqa_bench.execution.claims import claim

_OLD_SECONDS = 24 * 3600

_FOLDERS = (".", "plans", "splits", "samples", "damaged", "failures/*")
"""Where a store writes, apart from cells and scores. Around and between them may be anything: `--output .` is allowed,
and so are hidden temporary files of others, whose names are not ours."""


def remove_leftovers(root: Path, now: float) -> None:
    """Delete old leftovers; the young ones may belong to a run that is alive.

    Those of cells and scores stay, however old they look, while anybody is at work on their row.

    Args:
        root: The store's folder.
        now: Seconds, by the clock that gives files there their times, see `agiqa_bench.atomic.probe`. That of this
            machine may be wrong, or another.
    """
    for pattern in _FOLDERS:
        _remove_old(_temporary(root, f"{pattern}/.*.tmp"), now)
    for row in [*root.glob("cells/*/"), *root.glob("scores/*/")]:
        leftovers = _temporary(row, ".*.tmp")
        if not leftovers:
            continue
        held = claim(sorted(root.glob(f"locks/{row.name}/*.lock")))
        if held is not None:
            _remove_old(leftovers, now)
            held.release(done=False)


def _temporary(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if is_temporary(path.name)]


def _remove_old(leftovers: Iterable[Path], now: float) -> None:
    for leftover in leftovers:
        with suppress(OSError):  # another command has just removed it, or it is somebody else's
            if now - leftover.stat().st_mtime < _OLD_SECONDS:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()
