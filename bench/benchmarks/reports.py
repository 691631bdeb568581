"""Seconds and memory of a whole report: `python -m agiqa_bench.benchmarks.reports RUN RUN ...`.

Each round is one `agiqa-bench report RUN... --output DIR` in a process of its own, start and imports included: tables
in all formats, every figure twice (SVG and PNG), and the page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer


@dataclass(frozen=True)
class Round:
    """One report.

    Attributes:
        seconds: Wall time.
        processor: Processor seconds of all its threads; other work on the machine hardly changes it.
        mebibytes: Peak resident memory.
    """

    seconds: float
    processor: float
    mebibytes: float


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders that 'agiqa-bench run' wrote.")],
    rounds: Annotated[int, typer.Option(min=1, help="Reports that are made.")] = 3,
) -> None:
    """Time the report of some runs and print the median of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        measured = [one_report(runs, Path(folder) / str(number)) for number in range(rounds)]
    typer.echo(
        f"report of {len(runs)} runs, median of {rounds}: {median(found.seconds for found in measured):.1f} s, "
        f"{median(found.processor for found in measured):.1f} s of processor, "
        f"peak {max(found.mebibytes for found in measured):.0f} MiB"
    )


def one_report(runs: list[Path], output: Path) -> Round:
    """Write one report in a process of its own.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    command = [sys.executable, "-m", "agiqa_bench", "report", *map(str, runs), "--output", str(output)]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Round(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    typer.run(main)
