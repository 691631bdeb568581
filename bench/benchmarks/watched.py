"""A command that works off many cells, watched from outside: what grows with their number, and what does not."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agiqa_bench.benchmarks.anonymous import anonymous
from agiqa_bench.errors import BenchmarkError

_EVERY = 1.0
"""Seconds between two looks."""


@dataclass(frozen=True)
class Look:
    """A command at one moment.

    Attributes:
        done: Cells that were finished.
        mebibytes: Anonymous memory of its process; see `agiqa_bench.benchmarks.anonymous`.
        files: Files, pipes and sockets that its process had open.
    """

    done: int
    mebibytes: float
    files: int


def watched_command(
    command: Sequence[str],
    done: Callable[[], int],
    looked: Callable[[int], None],
    environment: Mapping[str, str] | None = None,
) -> tuple[float, list[Look]]:
    """Run a command, and look at it every second until it ends; what it prints is thrown away.

    Args:
        command: Program and arguments.
        done: Counts the cells that are finished.
        looked: Told their number after each look.
        environment: All its environment variables; None means those of this process.

    Returns:
        Seconds that it took, and the looks: none where the system does not tell (anything but Linux).

    Raises:
        BenchmarkError: It fails.
    """
    looks: list[Look] = []
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told
        ) as process,
    ):
        try:
            while process.poll() is None:
                finished = done()
                mebibytes, files = anonymous(process.pid), _open_files(process.pid)
                if mebibytes is not None and files is not None:
                    looks.append(Look(finished, mebibytes, files))
                looked(finished)
                time.sleep(_EVERY)
        finally:
            process.kill()
        seconds = time.perf_counter() - started
        if process.returncode:
            told.seek(0)
            lines = told.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            words = " ".join(command[1:])
            raise BenchmarkError(f"'{words}' ended with exit status {process.returncode}: {lines[-1]}")
    return seconds, looks


def _open_files(process: int) -> int | None:
    try:
        return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return None
