"""What an executor is, and the line in which tasks wait for their turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from typing import Protocol

from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.provenance import now
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, left_of

ATTEMPTS = 3
"""Times that a task is begun whose worker dies over it."""

PAUSE_SECONDS = 1.0
"""Time after which a task that another command is at is looked at again."""

LAST_WORDS_SECONDS = 10.0
"""How long a process that was told to end may clean up."""


def nobody(done: int, total: int, what: str) -> None:
    """A `Step` for workers: nobody can see the steps of several tasks at once."""


class Executor(Protocol):
    """Computes tasks somewhere."""

    def results(self, plan: Plan, store: Store, tasks: list[Task], watcher: Watcher) -> Generator[TaskResult]:
        """Compute and store tasks, and tell how each ended, as soon as it has.

        A task may end in several results, e.g. of what a worker stored before it died and of what was left. Closing the
        generator, or an error of this process in between, stops what is under way. KeyboardInterrupt, raised in here or
        thrown in, lets epochs under way be finished first; `Terminated` does not.

        Args:
            plan: The plan; its cells need not know their results afterwards.
            store: A prepared store.
            tasks: In the order in which they are begun.
            watcher: Told what begins, once it is claimed.

        Raises:
            StoreError: Results cannot be written.
        """


class Waiting:
    """Tasks in their order; one that another command is at goes to the end, and has to wait a moment."""

    def __init__(self, tasks: Iterable[Task], watcher: Watcher) -> None:
        """Begin with `tasks`; `watcher` is told, once, that another command is waited for."""
        self._tasks = deque((task, 0.0) for task in tasks)
        self._watcher = watcher
        self._told = False

    def __len__(self) -> int:
        return len(self._tasks)

    def next(self) -> Task | None:
        """The next one that need not wait; None if there is none now."""
        for _ in range(len(self._tasks)):
            task, begin = self._tasks.popleft()
            if begin <= time.monotonic():
                return task
            self._tasks.append((task, begin))
        return None

    def again(self, task: Task) -> None:
        """Somebody else is at `task`."""
        self._tasks.append((task, time.monotonic() + PAUSE_SECONDS))
        if not self._told:
            self._told = True
            self._watcher.say("another command is at work in this folder: its cells are waited for, not computed twice")


def without_stored(plan: Plan, store: Store, task: Task) -> tuple[TaskResult | None, Task | None]:
    """What a worker stored of a task before it was lost, and what is left of the task; None where there is nothing."""
    _, cells = left_of(plan, store, task)
    left = tuple(cell.repeat for cell in cells)
    stored = tuple(repeat for repeat in task.repeats if repeat not in left)
    result = TaskResult(Task(task.label, stored), len(stored), (), 0.0) if stored else None
    return result, Task(task.label, left) if left else None


def failed(plan: Plan, store: Store, task: Task, error: str, line: str) -> TaskResult:
    """Record that a task failed, which its worker could not do itself.

    Args:
        plan: The plan.
        store: The store.
        task: The task.
        error: Name of what happened, as an exception's.
        line: What happened, and what to do.
    """
    method = next(method for method in plan.methods if method.label == task.label)
    keys = {f"{cell.repeat:02d}": cell.key for cell in method.cells if cell.repeat in task.repeats}
    for what, key in {"scores": method.score_key}.items() if method.score_key else keys.items():
        record = {"error": error, "line": line, "time": now(), "method": task.label, "what": task.what}
        store.write_failure(task.label, what, key, record)
    return TaskResult(task, 0, ((task.what, line),), 0.0)


def seconds_for(plan: Plan, task: Task, cell_timeout: float) -> float:
    """How long a task may take: zero-shot scores are those of one cell, whatever their number."""
    method = next(method for method in plan.methods if method.label == task.label)
    return cell_timeout * (1 if method.score_key is not None else len(task.repeats))


def too_slow(plan: Plan, store: Store, task: Task, cell_timeout: float) -> TaskResult:
    """What becomes of a task that was ended because it took longer than `seconds_for`: what it stored counts."""
    stored, left = without_stored(plan, store, task)
    if left is None:
        return stored or TaskResult(task, 0, (), 0.0)
    line = f"took longer than --cell-timeout {cell_timeout:g} seconds and was ended; give it more"
    ended = failed(plan, store, left, "CellTimeout", line)
    return TaskResult(task, stored.computed if stored else 0, ended.failures, seconds_for(plan, task, cell_timeout))
