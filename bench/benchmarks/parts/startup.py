"""Part `startup`: how long the command line takes to answer when nothing is computed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from agiqa_bench.benchmarks.clock import Took, in_turns, timed_command
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "seconds until help, version and lists are there, in processes of their own"

COMMANDS = (("--version",), ("--help",), ("methods", "list"), ("datasets", "list"), ("run", "--help"))

_PYTHON = "python alone"


def measure(settings: Settings, say: Say) -> PartResult:
    """Time each command in every round, the commands in turns; see `agiqa_bench.benchmarks.parts`.

    The first round, which fills the system's file cache and that of compiled code, is not counted.
    """
    start = [sys.executable, "-P"]
    commands = {_PYTHON: [*start, "-c", "pass"]}
    commands |= {f"agiqa-bench {' '.join(words)}": [*start, "-m", "agiqa_bench", *words] for words in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        # As after any first start of an installed package, though this process may be told to keep no such cache.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(Path(folder)), "PYTHONDONTWRITEBYTECODE": ""}
        ways = {name: partial(_timed, command, environment) for name, command in commands.items()}
        took = in_turns(ways, settings.rounds, say)
    entries = [
        Entry(name, "s", tuple(each.seconds for each in every), "neither" if name == _PYTHON else "lower")
        for name, every in took.items()
    ]
    return PartResult("startup", "wall time of whole processes whose modules are compiled, taken in turns", entries)


def _timed(command: Sequence[str], environment: Mapping[str, str], round_: int) -> Took:  # noqa: ARG001
    return timed_command(command, environment)
