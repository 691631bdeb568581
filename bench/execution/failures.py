"""Failures: what is said, and written down, of a cell whose method raised something."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from agiqa_bench.errors import AgiqaError
from agiqa_bench.execution.provenance import environment, now


class CellFailed(Exception):  # noqa: N818 - it never leaves a task
    """The method's own part of a cell failed.

    Attributes:
        line: What happened, and, where that is known, what to do.
        record: The same with traceback, time and environment, JSON-ready.
    """

    def __init__(self, error: Exception, device: str) -> None:
        """Describe `error` of a run on `device`; it is not kept, because its traceback holds tensors."""
        self.line = failure_line(error)
        super().__init__(self.line)
        self.record: dict[str, Any] = {
            "error": type(error).__name__,
            "line": self.line,
            "traceback": "".join(traceback.format_exception(error)),
            "time": now(),
            "environment": environment(device),
        }


def failure_line(error: Exception) -> str:
    r"""One line for whatever a method raised; where memory was short, what to do about it.

    >>> failure_line(ValueError("no such thing\n  as this"))
    'ValueError: no such thing'
    """
    text = str(error).strip()
    line = text.splitlines()[0] if text else "no message"
    if _is_out_of_memory(error):
        told = f" ({line})" if text else ""
        return f"out of memory{told}: try a smaller --batch-size, --precision bf16, or fewer --jobs"
    return line if isinstance(error, AgiqaError) else f"{type(error).__name__}: {line}"


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules:  # then it is not torch's
        return False
    from agiqa_bench.training.memory import is_out_of_memory

    return is_out_of_memory(error)
