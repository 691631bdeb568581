"""A module's work in a process of its own, with an answer in JSON.

So neither what another measurement has imported nor what it has left in memory makes anything look faster or larger
than it is; and what kills one stops no other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agiqa_bench.errors import AgiqaError, BenchmarkError

Watch = Callable[["subprocess.Popen[bytes]"], None]


def answer_of(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, watch: Watch | None = None
) -> dict[str, Any]:
    """Run a module in a process of its own; what it prints is thrown away, but for its standard error stream.

    Args:
        module: As it is imported; it calls `give_answer` with its last argument.
        arguments: The others.
        environment: All its environment variables; None means those of this process.
        watch: Called once the process runs; it may return before the process ends.

    Returns:
        The answer.

    Raises:
        BenchmarkError: The work fails, or the process dies, in one line.
    """
    with tempfile.TemporaryDirectory(prefix="answer-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-P", "-m", module, *arguments, str(answer)]
        own = dict(os.environ if environment is None else environment)
        with subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            if watch is not None:
                watch(process)
            status = process.wait()
        if not answer.exists():
            raise BenchmarkError(f"its process died with exit status {status} (out of memory?)")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise BenchmarkError(found["error"])
    return found


def give_answer(answer: Path, work: Callable[[], dict[str, Any]], *, debug: bool = False) -> None:
    """Do the work of such a process, and write what it gives, or why it gives nothing.

    Args:
        answer: The process's last argument.
        work: Gives what JSON can hold.
        debug: Whether the traceback of a failure is shown.
    """
    try:
        found = json.dumps(work(), allow_nan=False)
    except Exception as error:  # noqa: BLE001 - whatever fails must not stop the other measurements
        if debug:
            traceback.print_exc()
        found = json.dumps({"error": in_one_line(error)})
    answer.write_text(found, encoding="utf-8")


def in_one_line(error: Exception) -> str:
    """An error's message; with its type, if it is none of this package, and then only the first line."""
    text = str(error).strip()
    if isinstance(error, AgiqaError):
        return " ".join(text.split())
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"
