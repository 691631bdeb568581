"""One worker: a process that makes the plan again and computes the tasks that it is given."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from agiqa_bench.errors import AgiqaError, StoreError
from agiqa_bench.execution.executors.model import PAUSE_SECONDS, nobody
from agiqa_bench.execution.failures import failure_line
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, execute
from agiqa_bench.stopping import EXIT_CODE, stop_signals

_ORPHANS_SECONDS = 2.0
"""How long a worker whose parent was killed may clean up: the next command is waiting for its cell."""

_Message = Literal["ready", "begun"] | TaskResult | AgiqaError
"""What a worker says: that it has made the plan, that its task is its own, how that ended, or why no run can go on."""


class Worker:
    """A worker as its parent sees it.

    Attributes:
        task: What it is at; None if nothing.
        is_well: False once the process is gone, or has taken too long over its task.
        is_late: Whether it has taken too long.
    """

    def __init__(self, request: RunRequest, root: Path, threads: int | None, temporary: str) -> None:
        """Start the process.

        Args:
            request: What it makes the plan from.
            root: The store's folder.
            threads: Threads of its numerical libraries, unless OMP_NUM_THREADS says how many; None leaves it to them.
            temporary: Folder for its temporary files.
        """
        # spawn: a forked child would inherit torch's threads and locks in an unknown state.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, request, root, threads, temporary))
        with _interrupts_for_later():
            self._process.start()
        theirs.close()  # else the end of the process would not be the end of the connection
        self.task: Task | None = None
        self.is_well, self.is_late = True, False
        self._is_ready = self._is_forgotten = False
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
    def with_news(crew: Sequence[Worker]) -> list[Worker]:
        """Those of `crew` that have something to say, are late or are gone; waits for one, but not long."""
        deadlines = [worker._deadline for worker in crew if worker._deadline is not None]
        # The connection of a dead worker does not end while a process that it had forked lives on: so look.
        limits = [PAUSE_SECONDS, *(max(0.0, deadline - time.monotonic()) for deadline in deadlines)]
        heard = wait([worker._connection for worker in crew], min(limits))
        return [worker for worker in crew if worker._connection in heard or worker._is_past_it or worker.has_ended(0)]

    @property
    def _is_past_it(self) -> bool:
        return self._deadline is not None and self._deadline <= time.monotonic()

    def news(self) -> TaskResult | Literal["begun"] | None:
        """That its task is its own now, or how it ended; looks whether it is well.

        Raises:
            AgiqaError: No run can go on, as the worker has found.
        """
        try:
            if not self._connection.poll():
                self.is_late, self.is_well = not self.has_ended(0), False
                return None
            message: _Message = self._connection.recv()
        except (EOFError, OSError):
            self.is_well = False
            return None
        if isinstance(message, AgiqaError):
            raise message
        if isinstance(message, TaskResult):
            self._deadline = None
            return message
        self._is_ready = True
        self._set_deadline()
        return "begun" if message == "begun" else None

    def interrupt(self) -> None:
        """Let it finish the epoch that it is at, if it is at one, and end."""
        if self._is_ready and self.task is not None and self._process.pid is not None:
            with suppress(OSError):  # it has ended
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
        if self._is_forgotten:
            return
        self._is_forgotten = True
        _kill_group(self._process.pid)
        self._process.kill()
        self._process.join()
        self._connection.close()


@contextmanager
def _interrupts_for_later() -> Iterator[None]:
    """Let a process that is started in the block not hear of Ctrl-C before it can answer; see `_hear_interrupts`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start, which the first worker's would bring about, would undo the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear_interrupts() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _work(connection: Connection, request: RunRequest, root: Path, threads: int | None, temporary: str) -> None:
    """What the process does."""
    # A group of its own: Ctrl-C of a terminal goes to the parent alone, which knows what to do, and whatever a method
    # has started can be ended with the worker.
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, args=(temporary,), daemon=True).start()
    tempfile.tempdir = temporary
    if threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read by torch when a method imports it
    try:
        with stop_signals():
            _hear_interrupts()
            _work_off(connection, request, Store(root))
    except KeyboardInterrupt:  # SIGTERM is one too
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            shutil.rmtree(temporary, ignore_errors=True)
        _end_all()


def _work_off(connection: Connection, request: RunRequest, store: Store) -> None:
    try:
        plan = _plan(request)
        connection.send("ready")
        while (task := _next_task(connection)) is not None:
            connection.send(execute(plan, store, task, nobody, lambda: connection.send("begun")))
    except AgiqaError as error:
        # Some errors are made of other things than a line, and would not come out of the pipe again.
        connection.send(StoreError(str(error)) if isinstance(error, StoreError) else AgiqaError(str(error)))
    except BrokenPipeError:
        return  # the parent is gone, and this process will be


def _plan(request: RunRequest) -> Plan:
    """The plan that the parent has made.

    Raises:
        AgiqaError: It cannot be made here; whatever a plugin raises, it would raise in the next worker too.
    """
    from agiqa_bench.plugins import load_plugin

    try:
        for plugin in request.plugins:
            load_plugin(plugin)
        return make_plan(request)
    except AgiqaError:
        raise
    except Exception as error:
        line = f"a worker process cannot make the plan again: {failure_line(error)}"
        raise AgiqaError(f"{line}; mend what raises it, or compute in one process (--jobs 1)") from error


def _next_task(connection: Connection) -> Task | None:
    try:
        task: Task = connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    return task


def _end_with_parent(temporary: str) -> None:
    """A run that was killed must not go on in the background, nor leave anything there."""
    parent = parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    # What a method has started in a group of its own ends only if the method hears of the end.
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(_ORPHANS_SECONDS)
    shutil.rmtree(temporary, ignore_errors=True)
    _end_all()


def _end_all() -> None:
    """End this process, and all that it has started."""
    _kill_group(os.getpid())
    os._exit(EXIT_CODE)


def _kill_group(leader: int | None) -> None:
    if leader and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it is gone, or not a leader yet
            os.killpg(leader, signal.SIGKILL)
