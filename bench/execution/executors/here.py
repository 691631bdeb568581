"""Tasks one after another in this process."""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial

from agiqa_bench.execution.executors.model import PAUSE_SECONDS, Waiting
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, execute


class Here:
    """The executor of `--jobs 1`: a method sees the whole machine, and a debugger sees the method."""

    def results(self, plan: Plan, store: Store, tasks: list[Task], watcher: Watcher) -> Generator[TaskResult]:
        """See `Executor`."""
        waiting = Waiting(tasks, watcher)
        while waiting:
            task = waiting.next()
            if task is None:
                time.sleep(PAUSE_SECONDS / 4)
                continue
            result = execute(plan, store, task, watcher.step, partial(watcher.begin, task.label, task.what))
            if result.taken:
                waiting.again(task)
            else:
                yield result
