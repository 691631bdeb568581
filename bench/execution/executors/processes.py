"""Tasks in several processes of this machine, each of which may die, or hang, without harm to the others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial

from agiqa_bench.data.parallel import default_workers
from agiqa_bench.execution.executors.model import (
    ATTEMPTS,
    LAST_WORDS_SECONDS,
    Waiting,
    failed,
    seconds_for,
    too_slow,
    without_stored,
)
from agiqa_bench.execution.executors.worker import Worker
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, tasks_of
from agiqa_bench.stopping import Terminated


class Processes:
    """The executor of `--jobs N`, and of `--cell-timeout`: what hangs can only be ended with its process."""

    def __init__(self, jobs: int, cell_timeout: float | None = None) -> None:
        """Remember how.

        Args:
            jobs: Number of processes.
            cell_timeout: Seconds that a cell may take; None means as long as it likes.
        """
        self._jobs = jobs
        self._cell_timeout = cell_timeout

    def results(self, plan: Plan, store: Store, tasks: list[Task], watcher: Watcher) -> Generator[TaskResult]:
        """See `Executor`. Ctrl-C is passed on to the workers, and waited for; a second one ends them."""
        start = partial(Worker, plan.request, store.root, threads_of_each(plan, self._jobs))
        lost: list[Task] = []
        yield from self._in_workers(plan, store, tasks, watcher, start, self._jobs, lost)
        for task in lost:
            yield from self._again(plan, store, task, watcher, start)

    def _again(
        self, plan: Plan, store: Store, task: Task, watcher: Watcher, start: Callable[[str], Worker]
    ) -> Generator[TaskResult]:
        """What died may have died for want of memory: it is tried again with the machine to itself."""
        for attempt in range(1, ATTEMPTS + 1):
            stored, left = without_stored(plan, store, task)
            if stored is not None:
                yield stored
            if left is None:
                return
            if attempt < ATTEMPTS:
                lost: list[Task] = []
                yield from self._in_workers(plan, store, [left], watcher, start, 1, lost)
                if not lost:
                    return
                (task,) = lost
            else:
                remedy = "try a smaller --batch-size or fewer --jobs"
                line = f"its worker process died {ATTEMPTS} times (out of memory?): {remedy}"
                yield failed(plan, store, left, "WorkerDied", line)

    def _in_workers(
        self,
        plan: Plan,
        store: Store,
        tasks: list[Task],
        watcher: Watcher,
        start: Callable[[str], Worker],
        jobs: int,
        lost: list[Task],
    ) -> Generator[TaskResult]:
        """How each task ended; those whose process died are added to `lost`."""
        waiting, timeout = Waiting(tasks, watcher), self._cell_timeout
        crew: list[Worker] = []
        # Whatever ends a worker, its temporary files end with this folder.
        with tempfile.TemporaryDirectory(prefix="agiqa-workers-", ignore_cleanup_errors=True) as temporary:
            try:
                while waiting or any(worker.task for worker in crew):
                    while (task := waiting.next() if _has_place(crew, jobs) else None) is not None:
                        idle = next((worker for worker in crew if worker.task is None), None)
                        if idle is None:
                            idle = start(temporary)
                            crew.append(idle)
                        seconds = seconds_for(plan, task, timeout) if timeout is not None else None
                        idle.begin(task, seconds)
                    for worker in Worker.with_news(crew):
                        news, task = worker.news(), worker.task
                        if news == "begun":
                            if task is not None:
                                watcher.begin(task.label, task.what)
                            continue
                        if worker.is_well and news is None:
                            continue
                        if not worker.is_well:
                            # What is late hears of its end: a method may have started what it alone can end.
                            _end([worker], Worker.terminate if worker.is_late else Worker.kill)
                            crew.remove(worker)
                        worker.task = None
                        if task is None:
                            continue
                        if worker.is_late and timeout is not None:
                            yield too_slow(plan, store, task, timeout)
                        elif news is None:
                            lost.append(task)
                        elif news.taken:
                            waiting.again(task)
                        else:
                            yield news
            except KeyboardInterrupt as stop:
                if not isinstance(stop, Terminated):
                    if any(worker.task for worker in crew):
                        watcher.say("Ctrl-C: epochs under way are finished and written down first; again to stop now")
                    _end(crew, Worker.interrupt, None)
                raise
            finally:
                _end(crew, Worker.terminate)


def threads_of_each(plan: Plan, jobs: int) -> int | None:
    """Threads of each of the workers that can be busy at once; None for a single one, which sees the whole machine.

    Finished cells count: rounding may depend on the number, and a run that goes on must end as an undisturbed one.
    """
    workers = min(jobs, len(tasks_of(plan, finished=True)))
    return max(1, default_workers() // workers) if workers > 1 else None


def _has_place(crew: list[Worker], jobs: int) -> bool:
    return len(crew) < jobs or any(worker.task is None for worker in crew)


def _end(crew: Sequence[Worker], tell: Callable[[Worker], None], seconds: float | None = LAST_WORDS_SECONDS) -> None:
    """Tell workers to end, wait for them so many seconds in all, and end those that do not."""
    for worker in crew:
        tell(worker)
    deadline = None if seconds is None else time.monotonic() + seconds
    for worker in crew:
        worker.has_ended(None if deadline is None else max(0.0, deadline - time.monotonic()))
        worker.kill()
