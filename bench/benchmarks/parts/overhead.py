"""Part `overhead`: what the harness adds to a cell's own computing."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from agiqa_bench.benchmarks.clock import in_turns, timed
from agiqa_bench.benchmarks.made_up import MadeUp, MadeUpLooking, MadeUpZeroShot, write_table
from agiqa_bench.benchmarks.made_up_runs import planned, run_planned
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "wall time of a cell less that of its computing, through the real runner, with and without images"

SIZES = {"tiny": (100, 2), "full": (3000, 10), "paper": (3000, 10)}
"""Images and repeats, by scale."""
COMPUTING = 0.05
"""Seconds that a made-up method computes in each cell; a zero-shot one once."""
CELL_SECONDS = 30.0
"""Of the cell that the share is stated for."""
TARGETS = ("quality", "alignment")

KINDS = {"trained": MadeUp, "trained, with images": MadeUpLooking, "zero-shot": MadeUpZeroShot}


def measure(settings: Settings, say: Say) -> PartResult:
    """Run made-up methods that compute for a known time, the kinds in turns; see `agiqa_bench.benchmarks.parts`.

    Planning is timed apart. What one command costs once, such as decoding, is in the cells: in a first run, which is
    not counted, the images come into the cache, and libraries into memory.
    """
    images, repeats = SIZES[settings.scale]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"writing {images} pictures")
        table = write_table(folder / "made-up.csv", images, TARGETS, pictures=True)
        ways = {kind: partial(_run, cls, table, folder, repeats) for kind, cls in KINDS.items()}
        took = in_turns(ways, settings.rounds, say)
    entries = []
    for kind, every in took.items():
        added = [cell for _, cell in every]
        share = tuple(100 * seconds / (CELL_SECONDS + seconds) for seconds in added)
        entries += [
            Entry(f"a cell, {kind}", "ms", tuple(1000 * seconds for seconds in added)),
            Entry(f"share of a cell that computes {CELL_SECONDS:.0f} s, {kind}", "%", share),
        ]
    entries += [Entry(f"plan, {kind}", "s", tuple(plan for plan, _ in every)) for kind, every in took.items()]
    title = f"{repeats} repeats on {images} images with {len(TARGETS)} targets; metrics, files and checks are in it"
    return PartResult("overhead", title, entries)


def _run(cls: type[MadeUp], table: Path, folder: Path, repeats: int, round_: int) -> tuple[float, float]:
    """Seconds of planning, and seconds per cell of running less computing."""
    made, output = [], folder / f"{round_} {cls.name}"
    method = f"{cls.name}[seconds={COMPUTING}]"
    planning = timed(lambda: made.append(planned(table, [method], output, repeats=repeats, device="cpu")))
    running = timed(lambda: run_planned(*made[0]))
    computing = COMPUTING * (repeats if cls.trainable else 1)
    return planning.seconds, (running.seconds - computing) / repeats
