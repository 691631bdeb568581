"""Part `scale`: what planning, running and reporting cost when there are thousands of cells."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from agiqa_bench.benchmarks.clock import Took, in_turns, timed_command
from agiqa_bench.benchmarks.made_up import write_table
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "plan, run and report thousands of cells of a method that computes nothing"

SIZES = {"tiny": (10, 10), "full": (100, 100), "paper": (100, 100)}
"""Rows of the comparison and repeats, by scale."""
IMAGES = 300
"""Rows of the data set; there are no files, and what is measured hardly depends on them."""

PLUGIN = """\
from agiqa_bench.benchmarks.made_up import MadeUp


class Scaled(MadeUp):
    name = "scaled"
    title = "Scaled"
"""


def measure(settings: Settings, say: Say) -> PartResult:
    """Time the commands that a user types, in processes of their own; see `agiqa_bench.benchmarks.parts`.

    The cells are computed once, because that takes longest; the other commands are timed in every round, in turns. A
    plan is shown by `run --dry-run`: into a new folder, and into the one where every cell is.
    """
    rows, repeats = SIZES[settings.scale]
    cells = rows * repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "made-up.csv", IMAGES)
        (folder / "scaled.py").write_text(PLUGIN, encoding="utf-8")
        full, none = (_request(folder, output, rows, repeats) for output in ("full", "none"))
        # The file cache of a first start, and that of compiled code, are not what is measured.
        _command(folder, ["run", "--config", str(none), "--dry-run"])
        say(f"running {cells:,} cells, once")
        running = _command(folder, ["run", "--config", str(full)])
        commands = {
            "plan, nothing stored": ["run", "--config", str(none), "--dry-run"],
            "plan, all stored": ["run", "--config", str(full), "--dry-run"],
            "run, nothing left to do": ["run", "--config", str(full)],
            "report": ["report", str(folder / "full"), "--output", str(folder / "report")],
        }
        ways = {what: partial(_command, folder, words) for what, words in commands.items()}
        # Files and libraries are in memory by now, and a round is long.
        took = in_turns(ways, settings.rounds, say, uncounted=0)
    entries = [Entry("run, whole cells", "ms", (1000 * running.seconds / cells,), note="the command's time per cell")]
    entries += [Entry(what, "s", tuple(one.seconds for one in found)) for what, found in took.items()]
    entries += [Entry(f"{what}: processor", "s", tuple(one.processor for one in found)) for what, found in took.items()]
    entries += [
        Entry(f"{what}: memory", "MiB", tuple(one.mebibytes or 0.0 for one in found)) for what, found in took.items()
    ]
    title = f"{rows} rows x {repeats} repeats = {cells:,} cells on {IMAGES} images; whole commands, start included"
    return PartResult("scale", title, entries)


def _request(folder: Path, output: str, rows: int, repeats: int) -> Path:
    """Write the file of a run."""
    lines = {
        "dataset": str(folder / "made-up.csv"),
        "annotations_only": True,
        "plugins": [str(folder / "scaled.py")],
        "methods": [f"scaled[number={number},noise={0.2 + 0.05 * number:.2f}]" for number in range(rows)],
        "repeats": repeats,
        "output": str(folder / output),
        "device": "cpu",
        "offline": True,
    }
    file = folder / f"{output}.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()), encoding="utf-8")
    return file


def _command(folder: Path, words: Sequence[str], round_: int = 0) -> Took:  # noqa: ARG001
    """Time one command of this package, with compiled code as after any first start."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    return timed_command([sys.executable, "-P", "-m", "agiqa_bench", *words], environment)
