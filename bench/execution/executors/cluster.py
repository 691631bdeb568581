"""Tasks on a Ray cluster, whose nodes may be lost: the output folder is all that they share."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from agiqa_bench import atomic
from agiqa_bench.data.roots import data_root
from agiqa_bench.errors import AgiqaError, ConfigError
from agiqa_bench.execution.code_digest import may_use_torch
from agiqa_bench.execution.executors.model import (
    ATTEMPTS,
    PAUSE_SECONDS,
    Waiting,
    failed,
    seconds_for,
    too_slow,
    without_stored,
)
from agiqa_bench.execution.executors.node import Job, Message, compute
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult
from agiqa_bench.method import Method
from agiqa_bench.offline import SWITCHES, is_offline
from agiqa_bench.stopping import Terminated

_AHEAD = 256
"""So many tasks Ray is given at once: an autoscaler sees that nodes are wanted, and to wait for them stays cheap."""

_OBJECTS_BYTES = 100 * 2**20
"""Shared memory of a Ray that is started here: what goes through it is a few lines a task."""

_LAST_WORDS_SECONDS = 10.0
"""How long it is waited for workers that were ended."""


class Cluster:
    """The executor of `--executor ray`: one Ray task for each of ours, wherever it asks for no more than is free.

    A task asks for the CPUs and GPUs that its method declares, at most for those of the largest node. It computes with
    as many threads as OMP_NUM_THREADS says where this command runs, and with as many as it has CPUs if that is not
    set: on every node the same number, because rounding may depend on it. With the variable set, or with one CPU a
    task against `--jobs` that leaves each worker one core, the table is that of a local run to the last digit.

    Each node makes its own plan, of its own data, and computes nothing if a key differs from this machine's. A task
    whose worker or node is lost is begun again, three times at most in all. If this command is killed, Ray ends its
    workers, their claims are released, and the same command goes on with what is not stored.
    """

    def __init__(self, address: str | None, cell_timeout: float | None) -> None:
        """Remember how.

        Args:
            address: Of a cluster, as Ray takes it, e.g. `auto`; None starts a Ray on this machine.
            cell_timeout: Seconds that a cell may take from when its node has made its plan; None means as long as it
                likes.

        Raises:
            ConfigError: Ray is not installed, or cannot do with such an address what is needed.
        """
        if address is not None and address.startswith("ray://"):
            raise ConfigError(
                f"--ray-address {address}: Ray's client cannot follow tasks; run this command on a node of the "
                "cluster, with --ray-address auto"
            )
        _ray()
        self._address, self._cell_timeout = address, cell_timeout

    def results(self, plan: Plan, store: Store, tasks: list[Task], watcher: Watcher) -> Generator[TaskResult]:
        """See `Executor`. Ctrl-C is passed on to the nodes, and waited for; a second one ends their workers.

        The watcher is told that a task begins when its node is ready for it.

        Raises:
            AgiqaError: The cluster cannot be joined, or a node cannot compute what this machine would.
            StoreError: A node cannot see or write the output folder.
        """
        with _connected(self._address), _termination() as was_terminated, _token(store) as token:
            work = _Work(plan, store, token, self._cell_timeout)
            watcher.say(work.description)
            try:
                yield from work.results(tasks, watcher)
            except KeyboardInterrupt as stop:
                if isinstance(stop, Terminated) or was_terminated():
                    raise Terminated from stop
                if work.running:
                    watcher.say("Ctrl-C: epochs under way are finished and written down first; again to stop now")
                work.interrupt()
                raise
            finally:
                work.end()


@dataclass
class _Running:
    """A task that Ray has; `attempt` counts from 1."""

    task: Task
    attempt: int
    deadline: float | None = None
    is_late: bool = False


class _Work:
    """One command's tasks on the cluster that this process has joined."""

    def __init__(self, plan: Plan, store: Store, token: str, cell_timeout: float | None) -> None:
        self._plan, self._store, self._cell_timeout = plan, store, cell_timeout
        self._ray = _ray()
        self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self.running: dict[Any, _Running] = {}
        self._methods = {method.label: method for method in plan.methods}
        self._jobs = {device: _job(plan, store, token, device) for device in ("cpu", "cuda:0")}
        self._compute = self._ray.remote(compute)
        if plan.request.device not in ("auto", "cpu") and not self._largest("GPU"):
            raise ConfigError(f"--device {plan.request.device}: no node of the cluster has a GPU; try --device cpu")

    @property
    def description(self) -> str:
        """The cluster in a few words."""
        cpus, gpus = (sum(node.get(name, 0) for node in self._nodes) for name in ("CPU", "GPU"))
        nodes = "1 node" if len(self._nodes) == 1 else f"{len(self._nodes)} nodes"
        return f"Ray: {nodes} with {cpus:g} CPUs and {gpus:g} GPUs"

    def results(self, tasks: list[Task], watcher: Watcher) -> Generator[TaskResult]:
        """How each task ended."""
        waiting = Waiting(tasks, watcher)
        lost: deque[_Running] = deque()
        while waiting or lost or self.running:
            while len(self.running) < _AHEAD:
                if (task := waiting.next()) is not None:
                    self._begin(_Running(task, 1))
                elif lost:
                    self._begin(lost.popleft())
                else:
                    break
            for stream in self._with_news(PAUSE_SECONDS if waiting else None):
                running = self.running[stream]
                message = self._news(stream)
                if message == "ready":
                    self._set_deadline(running)
                    watcher.begin(running.task.label, running.task.what)
                    continue
                del self.running[stream]
                if isinstance(message, TaskResult):
                    if message.taken:
                        waiting.again(running.task)
                    else:
                        yield message
                elif running.is_late and self._cell_timeout is not None:
                    yield too_slow(self._plan, self._store, running.task, self._cell_timeout)
                else:
                    yield from self._after_loss(running, lost)

    def interrupt(self) -> None:
        """Let workers finish the epoch that they are at, if they are at one, and wait for that."""
        for stream in self.running:
            self._ray.cancel(stream)
        self._wait_for_all(None)

    def end(self) -> None:
        """End the workers of what is not finished."""
        for stream in self.running:
            self._ray.cancel(stream, force=True)
        self._wait_for_all(_LAST_WORDS_SECONDS)

    def _begin(self, running: _Running) -> None:
        task = running.task
        method = self._methods[task.label]
        cpus, gpus = self._share(method.cls)
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, int(cpus)))
        switches = dict(SWITCHES) if is_offline(self._plan.request.offline) else {}
        # The variables are part of what Ray knows a worker by: one that has loaded torch gets no task with other ones.
        remote = self._compute.options(
            name=f"{task.label}, {task.what}",
            num_cpus=cpus,
            num_gpus=gpus,
            num_returns="streaming",
            max_retries=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": threads} | switches},
        )
        components = {cell.repeat: cell.components for cell in method.cells if cell.repeat in task.repeats}
        self.running[remote.remote(self._jobs["cuda:0" if gpus else "cpu"], task, components)] = running

    def _share(self, cls: type[Method]) -> tuple[float, float]:
        """CPUs and GPUs that a task of a method asks for: what no node has would be waited for in vain."""
        computes_on_gpu = self._plan.request.device != "cpu" and may_use_torch(cls)
        gpus = min(cls.num_gpus, self._largest("GPU")) if computes_on_gpu else 0
        return min(cls.num_cpus, self._largest("CPU") or cls.num_cpus), gpus

    def _largest(self, resource: str) -> float:
        return max((node.get(resource, 0) for node in self._nodes), default=0)

    def _set_deadline(self, running: _Running) -> None:
        if self._cell_timeout is not None:
            running.deadline = time.monotonic() + seconds_for(self._plan, running.task, self._cell_timeout)

    def _with_news(self, seconds: float | None) -> list[Any]:
        """The tasks that have something to say; waits for one, or at most so many seconds. Ends those that are late."""
        deadlines = [running.deadline for running in self.running.values() if running.deadline is not None]
        limits = [] if seconds is None else [seconds]
        limits += [max(0.0, deadline - time.monotonic()) for deadline in deadlines]
        limit = min(limits, default=None)
        if not self.running:
            time.sleep(limit or 0.0)
            return []
        heard, _ = self._ray.wait(list(self.running), num_returns=1, timeout=limit)
        for stream, running in self.running.items():
            is_over = running.deadline is not None and running.deadline <= time.monotonic()
            if is_over and stream not in heard:
                running.is_late, running.deadline = True, None
                self._ray.cancel(stream, force=True)
        return list(heard)

    def _news(self, stream: Any) -> Message | None:
        """What a task has to say; None if its worker is gone."""
        errors = self._ray.exceptions
        gone = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
            errors.TaskCancelledError,
        )
        try:
            told = next(stream, None)
            message: Message | None = None if told is None else self._ray.get(told)
        except gone:
            return None
        except errors.RayTaskError as error:
            cause = " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
            raise AgiqaError(f"a node of the cluster cannot compute what this machine can: {cause}") from error
        except errors.RayError as error:
            raise AgiqaError(f"Ray: {_first_line(error)}") from error
        if isinstance(message, AgiqaError):
            raise message
        return message

    def _after_loss(self, running: _Running, lost: deque[_Running]) -> Iterator[TaskResult]:
        stored, left = without_stored(self._plan, self._store, running.task)
        if stored is not None:
            yield stored
        if left is None:
            return
        if running.attempt < ATTEMPTS:
            lost.append(_Running(left, running.attempt + 1))
            return
        remedy = "try a smaller --batch-size, or larger num_cpus of the method, so that fewer share a node"
        line = f"its worker or node was lost {ATTEMPTS} times (out of memory?): {remedy}"
        yield failed(self._plan, self._store, left, "WorkerDied", line)

    def _wait_for_all(self, seconds: float | None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.running and (deadline is None or time.monotonic() < deadline):
            for stream in self._ray.wait(list(self.running), num_returns=1, timeout=PAUSE_SECONDS)[0]:
                message = None
                with suppress(AgiqaError):  # the run has ended already; what was stored is found by the next
                    message = self._news(stream)
                if message != "ready":
                    del self.running[stream]
        self.running.clear()


def _job(plan: Plan, store: Store, token: str, device: str) -> Job:
    request = plan.request
    plugins = [file.expanduser().resolve() for file in request.plugins]
    return Job(
        token=token,
        device=device,
        request=request,
        output=store.root.absolute(),
        folder=Path.cwd(),
        data_root=data_root(request.data_root),
        plugins=tuple((file, file.read_bytes()) for file in plugins),
        argv=tuple(sys.argv),
    )


def _ray() -> Any:
    """Ray, told not to report its use to its makers.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(f"--executor ray: {error}; install it with: pip install 'agiqa-bench[ray]'") from error


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Be part of a cluster in the block: the one of this process if it is in one, else the one at `address`.

    Raises:
        ConfigError: It cannot be joined, or Ray cannot be started.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    own = {} if address else {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES}
    try:
        with _handlers_kept():
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError, AssertionError) as error:
        ray.shutdown()
        where = "Ray cannot be started on this machine" if address is None else f"--ray-address {address}"
        raise ConfigError(f"{where}: {_first_line(error)}; see 'ray status'") from error
    try:
        with _without_bulletins():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM, in place of which Ray puts one that ends the process at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _termination() -> Iterator[Callable[[], bool]]:
    """Notice SIGTERM in the block: while Ray waits, it makes a plain KeyboardInterrupt of what a handler raises."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    told = threading.Event()
    before = signal.getsignal(signal.SIGTERM)

    def terminate(number: int, frame: FrameType | None) -> None:
        told.set()
        if callable(before):
            before(number, frame)
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield told.is_set
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def _without_bulletins() -> Iterator[None]:
    """Keep what Ray's daemons report of lost workers, a page each, out of the view; Ray has no switch for it."""
    internals: Any = importlib.import_module("ray._private.worker")
    shown = getattr(internals, "print_to_stdstream", None)
    if shown is None:
        yield
        return
    internals.print_to_stdstream = lambda *data, **options: None  # noqa: ARG005
    try:
        yield
    finally:
        internals.print_to_stdstream = shown


@contextmanager
def _token(store: Store) -> Iterator[str]:
    """Name of a file in the store by which a node knows that it sees this folder, and not another of the same name."""
    # The name of something half-written: if this process is killed, a later one clears it away.
    file = store.root / f".ray-{uuid.uuid4().hex}.tmp"
    atomic.write_bytes(file, b"")
    try:
        yield file.name
    finally:
        file.unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
