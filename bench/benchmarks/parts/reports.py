"""Part `reports`: seconds and memory of a whole report, every table and figure of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from agiqa_bench.benchmarks.clock import Took, in_turns, timed_command
from agiqa_bench.benchmarks.made_up_runs import make_runs
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "seconds and memory of a report over several large runs: tables in all formats, every figure, the page"

SIZES = {"tiny": (1, 3, 2, 100), "full": (3, 20, 10, 3000), "paper": (3, 20, 10, 3000)}
"""Data sets, methods, repeats and images, by scale."""


def measure(settings: Settings, say: Say) -> PartResult:
    """Make runs of made-up methods, and time `agiqa-bench report RUN... --output DIR` in processes of its own."""
    sets, methods, repeats, images = SIZES[settings.scale]
    with tempfile.TemporaryDirectory() as folder:
        say(f"making {sets * methods * repeats} cells to report")
        runs = make_runs(Path(folder), sets, methods, repeats, images)
        took = in_turns({"report": partial(_report, runs, Path(folder))}, settings.rounds, say)["report"]
    title = f"a report over {sets} data sets x {methods} methods x {repeats} repeats x {images} images, start included"
    entries = [
        Entry("whole report", "s", tuple(each.seconds for each in took)),
        Entry("whole report, processor", "s", tuple(each.processor for each in took)),
        Entry("peak memory", "MiB", tuple(each.mebibytes or 0.0 for each in took)),
    ]
    return PartResult("reports", title, entries)


def _report(runs: Sequence[Path], folder: Path, round_: int) -> Took:
    words = ["report", *map(str, runs), "--output", str(folder / f"report-{round_}")]
    return timed_command([sys.executable, "-P", "-m", "agiqa_bench", *words])
