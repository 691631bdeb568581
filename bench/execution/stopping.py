"""SIGTERM ends a run as Ctrl-C does: batch systems and `timeout` send it, and nothing may be left running or lying."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
"""What a shell makes of a process that SIGTERM has ended: 143."""


class Terminated(KeyboardInterrupt):
    """This process was told to end by SIGTERM."""


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Raise `Terminated` in the block on SIGTERM, and send it on to the processes that this one has started.

    Only the first one counts: `timeout` sends two, and the second must not stop the cleaning up. Python handles signals
    in its main thread alone; in another one the block is left as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal told
        if told:
            return
        told = True
        # A pool waits for the tasks that its workers are at, which may take hours.
        for child in multiprocessing.active_children():
            child.terminate()
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
