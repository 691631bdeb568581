"""Part `statistics`: what metrics, intervals and tests cost, without a picture drawn."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agiqa_bench.benchmarks.clock import Took, in_turns, timed, timed_command
from agiqa_bench.benchmarks.made_up import GENERATORS
from agiqa_bench.benchmarks.made_up_runs import make_runs
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "cost of the metrics of every cell, and of the tables that compare methods"

SIZES = {"tiny": (3, 2, 100), "full": (20, 10, 3000), "paper": (20, 10, 3000)}
"""Methods, repeats and images, by scale."""
TEST_SHARE = 0.2


def measure(settings: Settings, say: Say) -> PartResult:
    """Time the metrics of all cells, then a report's tables from stored cells, in a process of its own."""
    methods, repeats, images = SIZES[settings.scale]
    cells = methods * repeats
    with tempfile.TemporaryDirectory() as folder:
        say(f"making {cells} cells to compare")
        runs = make_runs(Path(folder), 1, methods, repeats, images)
        command = [sys.executable, "-P", "-m", "agiqa_bench", "report", str(runs[0]), "--format", "markdown"]
        ways: dict[str, Callable[[int], Took]] = {
            f"metrics of {cells} cells": lambda number: _evaluate(number, cells, int(TEST_SHARE * images)),
            "all tables": lambda _: timed_command(command),
        }
        # What the metrics need is in memory since the runs were made.
        metrics, tables = in_turns(ways, settings.rounds, say, uncounted=0).values()
    entries = [
        Entry("metrics of all cells", "s", tuple(each.seconds for each in metrics), note="one target, one thread"),
        Entry("metrics of one cell, processor", "ms", tuple(1000 * each.processor / cells for each in metrics)),
        Entry("all tables", "s", tuple(each.seconds for each in tables), note="a whole process, start included"),
        Entry("all tables, processor", "s", tuple(each.processor for each in tables)),
    ]
    title = f"{methods} methods x {repeats} repeats on {images} images, of which {TEST_SHARE:.0%} are tested"
    return PartResult("statistics", title, entries)


def _evaluate(number: int, cells: int, images: int) -> Took:
    """Compute all metrics of so many cells, from good to poor."""
    from agiqa_bench.evaluation.metrics import evaluate

    draw = np.random.default_rng(number)
    mos = draw.normal(size=images)
    generators = [f"generator-{row % GENERATORS}" for row in range(images)]
    prompts = [f"prompt {row // GENERATORS}" for row in range(images)]
    scores = [mos + draw.normal(0, 0.3 + 3 * cell / cells, images) for cell in range(cells)]
    return timed(lambda: [evaluate(each, mos, generators, prompts) for each in scores])
