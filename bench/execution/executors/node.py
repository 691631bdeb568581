"""What a node of a cluster does: it makes the plan again, of the data that it has, and computes tasks.

Nothing here knows what brings the tasks and takes the results back.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from agiqa_bench.data.roots import data_root
from agiqa_bench.errors import AgiqaError, ConfigError, DataNotFoundError, StoreError
from agiqa_bench.execution.keys import changed_components
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, execute
from agiqa_bench.plugins import load_plugin
from agiqa_bench.stopping import stop_signals

Message = Literal["ready"] | TaskResult | AgiqaError
"""What a node says: that it begins with a task, how that ended, or why no run can go on."""

_VISIBLE_SECONDS = 10.0
"""After so long at the latest, a network file system shows a new file to every node."""


@dataclass(frozen=True)
class Job:
    """One command's work, as every node is told of it.

    Attributes:
        token: Name of a file in the output folder that this command alone has written; jobs are told apart by it.
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


def compute(job: Job, task: Task, components: Mapping[int, Mapping[str, Any]]) -> Iterator[Message]:
    """Compute a task and store its cells; an interrupt lets the epoch under way be finished and written down.

    Args:
        job: What the task is part of.
        task: The task.
        components: Of each of its cells' keys, by repeat, as the command has them: data, code and libraries that
            differ here would give other results under the same name.

    Yields:
        "ready" once the plan is made and the images are decoded, then how the task ended; or, in place of either, an
        error that names this node.
    """
    try:
        plan = _agreeing_plan(job, task, components)
        yield "ready"
        with stop_signals():
            result = execute(plan, Store(job.output), task, _nobody)
        yield result
    except AgiqaError as error:
        line = f"node {platform.node()}: {error}"
        yield StoreError(line) if isinstance(error, StoreError) else AgiqaError(line)


def _nobody(done: int, total: int, what: str) -> None:
    """Nobody can see the steps of several tasks at once."""


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
    problem: AgiqaError | None = None
    for root in dict.fromkeys([*roots, data_root(), job.data_root]):
        try:
            plan = _plan(job, root)
            _check(plan, task, components)
        except (DataNotFoundError, _DiffersError) as error:
            problem = problem or error
            continue
        if next(method for method in plan.methods if method.label == task.label).cls.uses_images:
            plan.decode_images()
        return plan
    assert problem is not None
    raise problem


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
