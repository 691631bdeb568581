"""What a node of a cluster does: it makes the plan again, of the data that it has, and computes tasks.

Nothing here knows what brings the tasks and takes the results back.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from agiqa_bench.data.roots import data_root
from agiqa_bench.errors import AgiqaError, ConfigError, DataNotFoundError, StoreError
from agiqa_bench.execution.executors.model import nobody
from agiqa_bench.execution.keys import changed_components
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, execute
from agiqa_bench.plugins import load_plugin
from agiqa_bench.stopping import Terminated, stop_signals

Message = Literal["ready", "late"] | TaskResult | AgiqaError
"""What a node says: that it begins with a task, that it took too long, how it ended, or why no run can go on."""

_VISIBLE_SECONDS = 10.0
"""After so long at the latest, a network file system shows a new file to every node."""

_LOOK_SECONDS = 1.0
"""How often a node looks whether the command that it computes for is over."""


@dataclass(frozen=True)
class Job:
    """One command's work, as every node is told of it.

    Attributes:
        token: Name of a file in the output folder that this command alone has written, and removes to end what is
            under way; jobs are told apart by it.
        device: torch device string of the tasks.
        request: What the command was asked for.
        output: The output folder, absolute.
        folder: Where the command was given: paths in the request begin there.
        data_root: The folder with the data sets that it found.
        plugins: Each plugin file of the request, absolute, and its content.
        argv: Its words, for the cells' records.
    """

    token: str
    device: str
    request: RunRequest = field(compare=False)
    output: Path = field(compare=False)
    folder: Path = field(compare=False)
    data_root: Path = field(compare=False)
    plugins: tuple[tuple[Path, bytes], ...] = field(compare=False)
    argv: tuple[str, ...] = field(compare=False)


def compute(
    job: Job, task: Task, components: Mapping[int, Mapping[str, Any]], seconds: float | None = None
) -> Iterator[Message]:
    """Compute a task and store its cells; an interrupt lets the epoch under way be finished and written down.

    When the task's time or the command is over, it ends as on SIGTERM, so that the method ends what it has started.

    Args:
        job: What the task is part of.
        task: The task.
        components: Of each of its cells' keys, by repeat, as the command has them: data, code and libraries that
            differ here would give other results under the same name.
        seconds: How long it may take once the plan is made; None means as long as it likes.

    Yields:
        "ready" once the plan is made and the images are decoded, then how the task ended, "late" if that was for want
        of time, and nothing if the command is over; or, in place of either, an error that names this node.
    """
    end = _End(job.output / job.token, seconds)
    try:
        plan = _agreeing_plan(job, task, components)
        yield "ready"
        with stop_signals(), end.awaited():
            result = execute(plan, Store(job.output), task, nobody)
        yield result
    except Terminated:
        if end.reason is None:
            raise
        if end.reason == "late":
            yield "late"
    except AgiqaError as error:
        line = f"node {platform.node()}: {error}"
        yield StoreError(line) if isinstance(error, StoreError) else AgiqaError(line)


class _End:
    """The end of a task that is not its own.

    Whoever brought the task could only kill this process, and what a method has started in a session of its own would
    live on.

    Attributes:
        reason: "late" if its time is over, "over" if the command is, None while neither was found.
    """

    def __init__(self, token: Path, seconds: float | None) -> None:
        self._token, self._seconds = token, seconds
        self.reason: Literal["late", "over"] | None = None

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Send SIGTERM to the main thread, once, if the end comes while the block is computed."""
        main = threading.main_thread().ident
        if not hasattr(signal, "pthread_kill") or main is None:
            yield
            return
        done = threading.Event()

        def wait() -> None:
            deadline = None if self._seconds is None else time.monotonic() + self._seconds
            while self.reason is None:
                left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
                if done.wait(max(0.0, left)):
                    return
                self.reason = self._found(deadline)
            signal.pthread_kill(main, signal.SIGTERM)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        try:
            yield
        finally:
            done.set()
            waiting.join()  # whoever has SIGTERM after this block would take it for himself

    def _found(self, deadline: float | None) -> Literal["late", "over"] | None:
        if deadline is not None and time.monotonic() >= deadline:
            return "late"
        try:
            # Unlike a look at its name, opening a file asks a network's server whether it is still there.
            self._token.open("rb").close()
        except FileNotFoundError:
            return "over"
        except OSError:
            return None  # what is wrong with the folder is found by who writes there
        return None


def _agreeing_plan(job: Job, task: Task, components: Mapping[int, Mapping[str, Any]]) -> Plan:
    """The plan with which the task's cells have the keys that the command has, of the first data that give it.

    Data are looked for in the folder that `--data-root` names, in the node's own, and in the command's, which a shared
    file system may show here.

    Raises:
        AgiqaError: There is none; the first folder's reason.
    """
    _prepare(job)
    asked = job.request.data_root
    roots = [data_root(asked)] if asked is not None else []
    problems: list[AgiqaError] = []
    for root in dict.fromkeys([*roots, data_root(), job.data_root]):
        try:
            plan = _plan(job, root)
            _check(plan, task, components)
        except (DataNotFoundError, _DiffersError) as error:
            problems.append(error)
            continue
        if next(method for method in plan.methods if method.label == task.label).cls.uses_images:
            plan.decode_images()
        return plan
    raise problems[0]


class _DiffersError(ConfigError):
    """Here, results would be others."""


def _check(plan: Plan, task: Task, components: Mapping[int, Mapping[str, Any]]) -> None:
    method = next((method for method in plan.methods if method.label == task.label), None)
    if method is None:
        raise _DiffersError(f"has no method '{task.label}': install there what is installed here")
    if method.skip is not None:
        raise _DiffersError(f"cannot run '{task.label}', which this machine can: {method.skip}")
    own = {cell.repeat: cell.components for cell in method.cells}
    changed = {
        name
        for repeat, theirs in components.items()
        for name in changed_components(dict(theirs), own.get(repeat, {"split": None}))
    }
    if changed:
        names = ", ".join(sorted(changed))
        raise _DiffersError(
            f"differs from this machine in {names}: give both the same data, code and libraries, or leave it out"
        )


@lru_cache(maxsize=4)
def _plan(job: Job, root: Path) -> Plan:
    return make_plan(job.request.model_copy(update={"data_root": root, "device": job.device}))


@cache
def _prepare(job: Job) -> None:
    """Make of this process one in which the command could have been given."""
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while not (job.output / job.token).is_file():
        if time.monotonic() > deadline:
            raise StoreError(
                f"cannot see the output folder {job.output} as it is on this machine: put --output on a file system "
                "that all nodes share, or run --shard I/N on each of them and 'agiqa-bench merge' the results"
            )
        time.sleep(0.5)
    with suppress(OSError):  # it is not here, and need not be if no path begins there
        os.chdir(job.folder)
    sys.argv[:] = job.argv
    for number, (file, content) in enumerate(job.plugins):
        load_plugin(_file_with(file, content, number))


def _file_with(file: Path, content: bytes, number: int) -> Path:
    """The plugin file where the command has it, so that what lies beside it is found; else a copy of its content."""
    with suppress(OSError):
        if file.read_bytes() == content:
            return file
    folder = Path(_temporary_folder().name, str(number))
    folder.mkdir(exist_ok=True)
    copy = folder / file.name
    copy.write_bytes(content)
    return copy


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Goes with the process: code is read again to be digested."""
    return tempfile.TemporaryDirectory(prefix="agiqa-plugins-", ignore_cleanup_errors=True)
