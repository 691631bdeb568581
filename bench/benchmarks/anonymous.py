"""How much memory a process has allocated, seen from outside.

Anonymous memory is what a process has allocated and the system cannot take back. Pages of files that it maps, among
them decoded images, are not: the system drops them where memory is short. The peak of both together is to be had inside
a process from `agiqa_bench.execution.device.PeakMemory`, and of a command from `agiqa_bench.benchmarks.clock`.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

_EVERY = 0.005
"""Seconds between two looks at a process; a peak that is shorter than that may be missed."""


class AnonymousPeak:
    """Watches a process until it ends.

    Attributes:
        mebibytes: The most anonymous memory that the process itself held at a time; None where the system does not
            tell (anything but Linux).
    """

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self.mebibytes: float | None = None

    def __call__(self, process: subprocess.Popen[bytes]) -> None:
        """Look at it until it ends."""
        while process.poll() is None:
            found = anonymous(process.pid)
            if found is not None:
                self.mebibytes = max(found, self.mebibytes or 0.0)
            time.sleep(_EVERY)


def anonymous(process: int | str = "self") -> float | None:
    """Anonymous memory of a process in MiB, as Linux tells it (see proc(5)); None where it does not."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith("RssAnon:")), None)
    return None if found is None else int(found[1]) / 1024
