"""One worker: a process that makes the plan again and computes the tasks that it is given."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from agiqa_bench.errors import AgiqaError, StoreError
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, execute
from agiqa_bench.stopping import EXIT_CODE, INTERRUPTED, Terminated, stop_signals

_Message = Literal["ready"] | TaskResult | AgiqaError
"""What a worker says: that it has made the plan, how a task ended, or why no run can go on."""


class Worker:
    """A worker as its parent sees it.

    Attributes:
        task: What it is at; None if nothing.
        is_well: False once the process is gone, or has taken too long over its task.
        is_late: Whether it has taken too long.
    """

    def __init__(self, request: RunRequest, root: Path, threads: int, temporary: str) -> None:
        """Start the process.

        Args:
            request: What it makes the plan from.
            root: The store's folder.
            threads: Threads of its numerical libraries.
            temporary: Folder for its temporary files.
        """
        # spawn: a forked child would inherit torch's threads and locks in an unknown state.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, request, root, threads, temporary))
        self._process.start()
        theirs.close()  # else the end of the process would not be the end of the connection
        self.task: Task | None = None
        self.is_well, self.is_late = True, False
        self._is_ready = False
        self._seconds: float | None = None
        self._deadline: float | None = None

    def begin(self, task: Task, seconds: float | None) -> None:
        """Give it a task, for which it has so many seconds from when it has made its plan."""
        self.task, self._seconds = task, seconds
        self._set_deadline()
        with suppress(OSError):  # it has died: `news` finds out
            self._connection.send(task)

    def _set_deadline(self) -> None:
        counts = self._is_ready and self._seconds is not None
        self._deadline = time.monotonic() + (self._seconds or 0.0) if counts else None

    @staticmethod
    def with_news(crew: Sequence[Worker], seconds: float | None) -> list[Worker]:
        """Those of `crew` that have something to say or are late; waits for one, or at most so many seconds."""
        deadlines = [worker._deadline for worker in crew if worker._deadline is not None]
        limits = [] if seconds is None else [seconds]
        limits += [max(0.0, deadline - time.monotonic()) for deadline in deadlines]
        heard = wait([worker._connection for worker in crew], min(limits, default=None))
        late = time.monotonic()
        return [
            worker
            for worker in crew
            if worker._connection in heard or (worker._deadline is not None and worker._deadline <= late)
        ]

    def news(self) -> TaskResult | None:
        """How its task ended, if it has; looks whether it is well.

        Raises:
            AgiqaError: No run can go on, as the worker has found.
        """
        try:
            if not self._connection.poll():
                self.is_late, self.is_well = True, False
                return None
            message: _Message = self._connection.recv()
        except (EOFError, OSError):
            self.is_well = False
            return None
        if isinstance(message, AgiqaError):
            raise message
        if message == "ready":
            self._is_ready = True
            self._set_deadline()
            return None
        self._deadline = None
        return message

    def interrupt(self) -> None:
        """Let it finish the epoch that it is at, if it is at one, and end."""
        if self._is_ready and self.task is not None and self._process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)
        else:
            self.kill()

    def terminate(self) -> None:
        """Let it clean up and end."""
        if self.task is None:
            self._connection.close()  # it waits for a task, and learns that there is none
        else:
            self._process.terminate()

    def has_ended(self, seconds: float | None) -> bool:
        """Whether it has ended; waits for that at most so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def kill(self) -> None:
        """End it, with all processes that it has started, and forget it."""
        _kill_group(self._process.pid)
        self._process.kill()
        self._process.join()
        self._connection.close()


def _work(connection: Connection, request: RunRequest, root: Path, threads: int, temporary: str) -> None:
    """What the process does."""
    # A group of its own: Ctrl-C of a terminal goes to the parent alone, which knows what to do, and whatever a method
    # has started can be ended with the worker.
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tempfile.tempdir = temporary
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when a method imports it
    try:
        with stop_signals():
            _work_off(connection, request, Store(root))
    except Terminated:
        os._exit(EXIT_CODE)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def _work_off(connection: Connection, request: RunRequest, store: Store) -> None:
    from agiqa_bench.plugins import load_plugin

    try:
        for plugin in request.plugins:
            load_plugin(plugin)
        plan = make_plan(request)
        connection.send("ready")
        while (task := _next_task(connection)) is not None:
            connection.send(execute(plan, store, task, lambda done, total, what: None))  # noqa: ARG005
    except AgiqaError as error:
        # Some errors are made of other things than a line, and would not come out of the pipe again.
        connection.send(StoreError(str(error)) if isinstance(error, StoreError) else AgiqaError(str(error)))


def _next_task(connection: Connection) -> Task | None:
    try:
        task: Task = connection.recv()
    except EOFError:
        return None
    return task


def _end_with_parent() -> None:
    """A run that was killed must not go on in the background."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        _kill_group(os.getpid())
        os._exit(EXIT_CODE)


def _kill_group(leader: int | None) -> None:
    if leader and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it is gone, or not a leader yet
            os.killpg(leader, signal.SIGKILL)
