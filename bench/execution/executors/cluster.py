"""Tasks on a Ray cluster, whose nodes may be lost: the output folder is all that they share."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agiqa_bench import atomic
from agiqa_bench.data.roots import data_root
from agiqa_bench.errors import AgiqaError, ConfigError
from agiqa_bench.execution.code_digest import may_use_torch
from agiqa_bench.execution.executors.model import (
    ATTEMPTS,
    LAST_WORDS_SECONDS,
    PAUSE_SECONDS,
    Waiting,
    failed,
    seconds_for,
    too_slow,
    without_stored,
)
from agiqa_bench.execution.executors.node import Job, Message, compute
from agiqa_bench.execution.executors.ray_session import connected, first_line, import_ray
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult
from agiqa_bench.method import Method
from agiqa_bench.offline import SWITCHES, is_offline
from agiqa_bench.stopping import Terminated, was_terminated

_AHEAD = 256
"""So many tasks Ray is given at once: an autoscaler sees that nodes are wanted, and to wait for them stays cheap."""

_REFRESH_SECONDS = 300.0
"""How often the token is refreshed."""


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
        import_ray()
        self._address, self._cell_timeout = address, cell_timeout

    def results(self, plan: Plan, store: Store, tasks: list[Task], watcher: Watcher) -> Generator[TaskResult]:
        """See `Executor`. Ctrl-C is passed on to the nodes, and waited for; a second one ends their workers.

        The watcher is told that a task begins when its node is ready for it.

        Raises:
            AgiqaError: The cluster cannot be joined, or a node cannot compute what this machine would.
            StoreError: A node cannot see or write the output folder.
        """
        with connected(self._address), _token(store) as token:
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
    """A task that Ray has; it is ready once its node has made the plan."""

    task: Task
    is_ready: bool = False
    deadline: float | None = None
    is_late: bool = False


class _Work:
    """One command's tasks on the cluster that this process has joined."""

    def __init__(self, plan: Plan, store: Store, token: _Token, cell_timeout: float | None) -> None:
        self._plan, self._store, self._token, self._cell_timeout = plan, store, token, cell_timeout
        self._ray = import_ray()
        self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self.running: dict[Any, _Running] = {}
        self._losses: Counter[Task] = Counter()
        self._methods = {method.label: method for method in plan.methods}
        self._jobs = {device: _job(plan, store, token.name, device) for device in ("cpu", "cuda:0")}
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
        lost: deque[Task] = deque()
        while waiting or lost or self.running:
            while len(self.running) < _AHEAD:
                if (task := waiting.next()) is not None:
                    self._begin(task)
                elif lost:
                    self._begin(lost.popleft())
                else:
                    break
            for stream in self._with_news(PAUSE_SECONDS if waiting else _REFRESH_SECONDS):
                running = self.running[stream]
                message = self._news(stream)
                if message == "ready":
                    self._is_ready(running)
                    watcher.begin(running.task.label, running.task.what)
                    continue
                del self.running[stream]
                if isinstance(message, TaskResult):
                    if message.taken:
                        waiting.again(running.task)
                    else:
                        yield message
                elif self._cell_timeout is not None and (message == "late" or running.is_late):
                    yield too_slow(self._plan, self._store, running.task, self._cell_timeout)
                else:
                    yield from self._after_loss(running.task, lost)

    def interrupt(self) -> None:
        """Let workers finish the epoch that they are at, if they are at one, and wait for that."""
        for stream in self.running:
            self._ray.cancel(stream)
        self._wait_for_all(None)

    def end(self) -> None:
        """End what is not finished. Nodes see that the token is gone and clean up; who does not is ended by force."""
        self._token.remove()
        for stream, running in self.running.items():
            if not running.is_ready:
                self._ray.cancel(stream, force=True)
        self._wait_for_all(LAST_WORDS_SECONDS)
        for stream in self.running:
            self._ray.cancel(stream, force=True)
        self._wait_for_all(LAST_WORDS_SECONDS)

    def _begin(self, task: Task) -> None:
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
        job = self._jobs["cuda:0" if gpus else "cpu"]
        self.running[remote.remote(job, task, components, self._seconds(task))] = _Running(task)

    def _share(self, cls: type[Method]) -> tuple[float, float]:
        """CPUs and GPUs that a task of a method asks for: what no node has would be waited for in vain."""
        computes_on_gpu = self._plan.request.device != "cpu" and may_use_torch(cls)
        gpus = min(cls.num_gpus, self._largest("GPU")) if computes_on_gpu else 0
        return min(cls.num_cpus, self._largest("CPU") or cls.num_cpus), gpus

    def _largest(self, resource: str) -> float:
        return max((node.get(resource, 0) for node in self._nodes), default=0)

    def _seconds(self, task: Task) -> float | None:
        return None if self._cell_timeout is None else seconds_for(self._plan, task, self._cell_timeout)

    def _is_ready(self, running: _Running) -> None:
        running.is_ready = True
        seconds = self._seconds(running.task)
        if seconds is not None:  # its node ends it then; if it cannot, it is ended from here
            running.deadline = time.monotonic() + seconds + LAST_WORDS_SECONDS

    def _with_news(self, seconds: float) -> list[Any]:
        """The tasks that have something to say; waits for one, or at most so many seconds. Ends those that are late."""
        self._token.refresh()
        deadlines = [running.deadline for running in self.running.values() if running.deadline is not None]
        limit = min([seconds, *(max(0.0, deadline - time.monotonic()) for deadline in deadlines)])
        if not self.running:
            time.sleep(limit)
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
            raise AgiqaError(f"Ray: {first_line(error)}") from error
        if isinstance(message, AgiqaError):
            raise message
        return message

    def _after_loss(self, task: Task, lost: deque[Task]) -> Iterator[TaskResult]:
        losses = self._losses.pop(task, 0) + 1
        stored, left = without_stored(self._plan, self._store, task)
        if stored is not None:
            yield stored
        if left is None:
            return
        if losses < ATTEMPTS:
            self._losses[left] = losses
            lost.append(left)
            return
        remedy = "try a smaller --batch-size, or larger num_cpus of the method, so that fewer share a node"
        line = f"its worker or node was lost {ATTEMPTS} times (out of memory?): {remedy}"
        yield failed(self._plan, self._store, left, "WorkerDied", line)

    def _wait_for_all(self, seconds: float | None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.running and (deadline is None or time.monotonic() < deadline):
            self._token.refresh()
            for stream in self._ray.wait(list(self.running), num_returns=1, timeout=PAUSE_SECONDS)[0]:
                message = None
                with suppress(AgiqaError):  # the run has ended already; what was stored is found by the next
                    message = self._news(stream)
                if message != "ready":
                    del self.running[stream]


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


class _Token:
    """A file in the store that tells nodes that they see this folder, and that the command is not over."""

    def __init__(self, store: Store) -> None:
        """Write it.

        Raises:
            StoreError: The file system refuses.
        """
        path = store.root / "ray"
        try:
            # The name of something half-written: if this process is killed, a later one clears it away.
            descriptor, self._file = atomic.open_beside(path)
        except OSError as error:
            raise atomic.explain(error, path) from error
        os.close(descriptor)
        self._refreshed = time.monotonic()

    @property
    def name(self) -> str:
        """Of the file."""
        return self._file.name

    def refresh(self) -> None:
        """Keep it young: what looks half-written and is old is cleared away by other commands."""
        if time.monotonic() - self._refreshed >= _REFRESH_SECONDS:
            with suppress(OSError):  # what is wrong with the folder is found by who writes there
                self._file.touch()
            self._refreshed = time.monotonic()

    def remove(self) -> None:
        """Tell nodes that the command is over."""
        self._refreshed = math.inf
        with suppress(OSError):  # they are ended by force then
            self._file.unlink(missing_ok=True)


@contextmanager
def _token(store: Store) -> Iterator[_Token]:
    """A token that is there for the block, at most."""
    token = _Token(store)
    try:
        yield token
    finally:
        token.remove()
