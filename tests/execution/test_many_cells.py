"""A thousand cells in one process: nothing grows with their number, and the store is read while it is written."""

from __future__ import annotations

import csv
import gc
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agiqa_bench.benchmarks.made_up import write_table
from agiqa_bench.benchmarks.made_up_runs import planned
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.results import read_results

ROWS, REPEATS = 10, 100
CELLS = ROWS * REPEATS
SETTLED, LAST = 200, 900
"""Cells after which memory and open files are looked at: before the first, caches fill and modules are imported."""
GROWTH = 50 * 2**20 * (LAST - SETTLED) / 9_500
"""Bytes: the part of 50 MB, from the 500th to the 10,000th cell, that falls to so few."""


class Looking(Silent):
    """Looks at the process, and reads the store, after certain cells."""

    def __init__(self, store: Store, command: Any) -> None:
        self.done, self.store, self.command = 0, store, command
        self.resident: dict[int, int] = {}
        self.files: dict[int, int] = {}
        self.found: list[int] = []

    def finish(self, label: str, what: str, seconds: float, *, cells: int, error: str | None) -> None:
        assert error is None
        self.done += cells
        if self.done in (SETTLED, LAST):
            gc.collect()
            self.resident[self.done] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.files[self.done] = sum(1 for _ in Path("/proc/self/fd").iterdir())
        elif self.done in (SETTLED // 2, LAST + 50):
            results = read_results(self.store)
            assert not any(method.damaged for method in results.methods)
            self.found.append(sum(len(method.cells) for method in results.methods))
        elif self.done == CELLS // 2:  # in another process: what it takes is not this one's
            told = self.command("report", self.store.root, "--format", "csv")
            assert told.returncode == 0, told.stderr
            repeats = [int(row["repeats"]) for row in csv.DictReader(told.stdout.splitlines())]
            assert repeats == [REPEATS] * 5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("fresh_registries")
def test_neither_memory_nor_open_files_grow_with_the_cells_and_the_store_is_read_meanwhile(
    tmp_path: Path, command: Any
) -> None:
    methods = [f"made_up[number={number},noise={0.3 + 0.1 * number:.1f}]" for number in range(ROWS)]
    plan, store = planned(
        write_table(tmp_path / "s.csv", 100), methods, tmp_path / "out", repeats=REPEATS, device="cpu"
    )
    looking = Looking(store, command)
    outcome = run(plan, store, looking)
    assert (outcome.computed, outcome.failures) == (CELLS, [])
    assert looking.resident[LAST] - looking.resident[SETTLED] < GROWTH
    assert looking.files[LAST] == looking.files[SETTLED]
    assert looking.found == [SETTLED // 2, LAST + 50]
