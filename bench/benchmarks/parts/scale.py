"""Part `scale`: what planning, running and reporting cost when there are thousands of cells."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from agiqa_bench.benchmarks.clock import Took, in_turns, timed_command
from agiqa_bench.benchmarks.made_up import write_table
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings
from agiqa_bench.benchmarks.watched import Look, watched_command
from agiqa_bench.errors import BenchmarkError
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.results import read_results

SUMMARY = "plan, run and report thousands of cells of a method that computes nothing"

SIZES = {"tiny": (10, 10), "full": (100, 100), "paper": (100, 100)}
"""Rows of the comparison and repeats, by scale."""
SETTLED = 0.05
"""Share of the cells after which caches are filled: from there on, memory is not to grow with their number."""
READS = (0.25, 0.5, 0.75)
"""Shares of the cells after which the store is read, while it is written."""
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
        say(f"running {cells:,} cells, once, and reading the store meanwhile")
        reader = Reader(folder / "full", cells, say)
        seconds, looks = watched_command(
            _words(["run", "--config", str(full)]), reader.count, reader.read, _environment(folder)
        )
        commands = {
            "plan, nothing stored": ["run", "--config", str(none), "--dry-run"],
            "plan, all stored": ["run", "--config", str(full), "--dry-run"],
            "run, nothing left to do": ["run", "--config", str(full)],
            "report": ["report", str(folder / "full"), "--output", str(folder / "report")],
        }
        ways = {what: partial(_command, folder, words) for what, words in commands.items()}
        # Files and libraries are in memory by now, and a round is long.
        took = in_turns(ways, settings.rounds, say, uncounted=0)
    entries = [
        Entry("run, whole cells", "ms", (1000 * seconds / cells,), note="the command's time per cell"),
        *_growth(looks, cells),
        Entry("run, read meanwhile", "s", tuple(reader.seconds), note="plans and results, each time all there were"),
    ]
    entries += [Entry(what, "s", tuple(one.seconds for one in found)) for what, found in took.items()]
    entries += [Entry(f"{what}: processor", "s", tuple(one.processor for one in found)) for what, found in took.items()]
    entries += [
        Entry(f"{what}: memory", "MiB", tuple(one.mebibytes or 0.0 for one in found)) for what, found in took.items()
    ]
    title = f"{rows} rows x {repeats} repeats = {cells:,} cells on {IMAGES} images; whole commands, start included"
    return PartResult("scale", title, entries)


class Reader:
    """Reads a store while a command writes it.

    Attributes:
        seconds: What each reading took.
    """

    def __init__(self, folder: Path, cells: int, say: Say) -> None:
        """Nothing is read before some of so many cells are in `folder`."""
        self.seconds: list[float] = []
        self._folder, self._say = folder, say
        self._left = [int(share * cells) for share in READS]

    def count(self) -> int:
        """The cells that are there."""
        return sum(1 for _ in self._folder.glob("cells/*/[0-9]*"))

    def read(self, done: int) -> None:
        """Read all, if it is time.

        Raises:
            BenchmarkError: Something was half-written.
        """
        if not self._left or done < self._left[0]:
            return
        self._left = [mark for mark in self._left if mark > done]
        started = time.perf_counter()
        results = read_results(Store(self._folder))
        self.seconds.append(time.perf_counter() - started)
        found = sum(len(method.cells) for method in results.methods)
        damaged = [why for method in results.methods for why in method.damaged.values()]
        self._say(f"{found:,} cells read while the next ones are computed")
        if damaged or found < done:
            why = damaged[0] if damaged else f"{found} of {done} cells found"
            raise BenchmarkError(f"a store cannot be read while it is written: {why}")


def _growth(looks: Sequence[Look], cells: int) -> list[Entry]:
    """How much memory and how many open files came on top while all but the first cells were computed."""
    settled = [look for look in looks if SETTLED * cells <= look.done < cells]
    if not settled:
        return []
    first, last = settled[0], settled[-1]
    note = f"from cell {first.done:,} to cell {last.done:,}"
    fewest, most = (pick(look.files for look in settled) for pick in (min, max))
    return [
        Entry("run, growth of memory", "MiB", (last.mebibytes - first.mebibytes,), note=note),
        Entry("run, open files", "files", (float(most),), note=f"at most, and {fewest} at least, {note}"),
    ]


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
    """Time one command of this package."""
    return timed_command(_words(words), _environment(folder))


def _words(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", "-m", "agiqa_bench", *words]


def _environment(folder: Path) -> dict[str, str]:
    """With compiled code as after any first start."""
    return os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
