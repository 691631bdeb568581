"""How a run is told to stop: Ctrl-C lets the epoch under way be finished and written down, a second one does not.

SIGTERM, which batch systems and `timeout` send, stops at once, as a second Ctrl-C does: nobody says how long is left.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
"""What a shell makes of a process that SIGTERM has ended: 143."""

INTERRUPTED = 128 + signal.SIGINT
"""What a shell makes of a process that Ctrl-C has ended: 130."""


class Terminated(KeyboardInterrupt):
    """This process was told to end by SIGTERM."""


class _Asked:
    """What this process was told; signals know no other place to leave it."""

    def __init__(self) -> None:
        self.unbroken = 0
        self.stop = False
        self.terminated = False


_asked = _Asked()


@contextmanager
def unbroken() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C wait until the block has ended, be it with an error; it raises KeyboardInterrupt then.

    For work that is lost if it is broken off, and ends soon: an epoch, and writing down what it learnt. Without
    `stop_signals`, Ctrl-C is what it always is.

    Yields:
        A function that tells whether Ctrl-C was pressed.
    """
    _asked.unbroken += 1
    try:
        yield lambda: _asked.stop
    except Exception as error:
        if _asked.stop:
            raise KeyboardInterrupt from error
        raise
    finally:
        _asked.unbroken -= 1
    if _asked.stop and not _asked.unbroken:
        raise KeyboardInterrupt


def was_terminated() -> bool:
    """Whether the block of `stop_signals` around the caller has heard SIGTERM.

    For who waits in a library that makes a plain KeyboardInterrupt of whatever a handler raises.
    """
    return _asked.terminated


def _silent(line: str) -> None:
    """Say nothing."""


@contextmanager
def stop_signals(say: Callable[[str], None] = _silent) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM in the block as this module says.

    Only the first SIGTERM counts: `timeout` sends two, and the second must not stop the cleaning up. Python handles
    signals in its main thread alone; in another one the block is left as it is.

    Args:
        say: Told that Ctrl-C was heard and what is finished first.

    Raises:
        KeyboardInterrupt: In the block, on Ctrl-C.
        Terminated: In the block, on SIGTERM; it is sent on to the processes that this one has started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if _asked.terminated:
            return
        _asked.terminated = True
        # A pool waits for the tasks that its workers are at, which may take hours.
        for child in multiprocessing.active_children():
            child.terminate()
        raise Terminated

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if _asked.unbroken and not _asked.stop:
            _asked.stop = True
            say("Ctrl-C: the epoch under way is finished and written down first; press it again to stop now")
            return
        raise KeyboardInterrupt

    _asked.stop = _asked.terminated = False
    before = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGTERM, terminate), (signal.SIGINT, interrupt))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _asked.stop = _asked.terminated = False
