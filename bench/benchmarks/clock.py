"""Measurements: seconds, processor seconds and memory of a call or a command, and of several of them in turns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agiqa_bench.benchmarks import stopwatch
from agiqa_bench.benchmarks.model import Say
from agiqa_bench.errors import BenchmarkError

T = TypeVar("T")


@dataclass(frozen=True)
class Took:
    """What something took.

    Attributes:
        seconds: Wall time.
        processor: Processor seconds of all threads together; other work on the machine hardly changes it.
        mebibytes: Peak resident memory of a command's process; None of a call.
    """

    seconds: float
    processor: float
    mebibytes: float | None = None


def timed(
    run: Callable[[], object],
    wall: Callable[[], float] = time.perf_counter,
    processor: Callable[[], float] = time.process_time,
) -> Took:
    """Call something and time it by two clocks, both in seconds."""
    started, busy = wall(), processor()
    run()
    return Took(wall() - started, processor() - busy)


def in_turns(
    ways: Mapping[str, Callable[[int], T]], rounds: int, say: Say, *, uncounted: int = 1
) -> dict[str, list[T]]:
    """Measure several things one after the other in each round, so that other work on the machine meets them alike.

    Args:
        ways: Names, and what measures, called with the number of the round, from 0 on.
        rounds: Rounds that count.
        say: Told of each.
        uncounted: Rounds before those: by default one, in which files come into memory, and code is compiled.

    Returns:
        What each call gave, one per round that counts.
    """
    found: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(uncounted + rounds):
        for name, way in ways.items():
            counted = number - uncounted + 1
            say(f"{f'round {counted} of {rounds}' if counted > 0 else 'not counted'}: {name}")
            measured = way(number)
            if counted > 0:
                found[name].append(measured)
    return found


def timed_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Took:
    """Run a command, start and imports included, and time it; what it prints is thrown away.

    Args:
        command: Program and arguments.
        environment: All its environment variables; None means those of this process.

    Raises:
        BenchmarkError: It fails.
    """
    # Isolated: the stopwatch itself must start quickly; the command gets the environment as it is.
    watch = [sys.executable, "-I", "-S", stopwatch.__file__, *command]
    told = subprocess.run(watch, env=environment, capture_output=True, check=True)
    took = json.loads(told.stdout)
    if took["status"]:
        lines = told.stderr.decode("utf-8", "replace").strip().splitlines()
        why = lines[-1] if lines else "it said nothing"
        raise BenchmarkError(f"'{' '.join(command[1:])}' ended with exit status {took['status']}: {why}")
    return Took(took["seconds"], took["processor"], took["mebibytes"])
