"""Tasks in several processes of this machine, each of which may die, or hang, without harm to the others."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator

from agiqa_bench.execution.executors.model import ATTEMPTS, PAUSE_SECONDS, Waiting, failed, without_stored
from agiqa_bench.execution.executors.worker import Worker
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, tasks_of
from agiqa_bench.stopping import Terminated

_LAST_WORDS_SECONDS = 10.0
"""How long processes that were told to end may clean up."""


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

    def results(self, plan: Plan, store: Store, tasks: list[Task], watcher: Watcher) -> Iterator[TaskResult]:
        """See `Executor`. Ctrl-C is passed on to the workers, and waited for; a second one ends them."""
        threads = threads_of_each(plan, self._jobs)
        lost: list[tuple[Task, int]] = []
        for task, result in self._in_workers(plan, store, tasks, self._jobs, threads, watcher):
            if result is not None:
                yield result
            else:
                lost.append((task, 1))
        # What died may have died for want of memory: it is tried again with the machine to itself.
        while lost:
            task, attempts = lost.pop(0)
            stored, left = without_stored(plan, store, task)
            if stored is not None:
                yield stored
            if left is None:
                continue
            if attempts == ATTEMPTS:
                line = f"its worker process died {ATTEMPTS} times (out of memory?): try fewer --jobs"
                yield failed(plan, store, left, "WorkerDied", line)
                continue
            for again, result in self._in_workers(plan, store, [left], 1, threads, watcher):
                if result is not None:
                    yield result
                else:
                    lost.append((again, attempts + 1))

    def _in_workers(
        self, plan: Plan, store: Store, tasks: list[Task], jobs: int, threads: int, watcher: Watcher
    ) -> Iterator[tuple[Task, TaskResult | None]]:
        """Each task and how it ended; None if its process died."""
        waiting = Waiting(tasks, watcher)
        crew: list[Worker] = []
        # Whatever ends a worker, its temporary files end with this folder.
        with tempfile.TemporaryDirectory(prefix="agiqa-workers-", ignore_cleanup_errors=True) as temporary:
            try:
                while waiting or any(worker.task for worker in crew):
                    while (task := waiting.next() if _has_place(crew, jobs) else None) is not None:
                        idle = next((worker for worker in crew if worker.task is None), None)
                        if idle is None:
                            idle = Worker(plan.request, store.root, threads, temporary)
                            crew.append(idle)
                        watcher.begin(task.label, task.what)
                        idle.begin(task, self._seconds(plan, task))
                    for worker in Worker.with_news(crew, PAUSE_SECONDS if waiting else None):
                        ended, task = worker.news(), worker.task
                        if not worker.is_well:
                            crew.remove(worker)
                            worker.kill()
                        elif ended is None:
                            continue
                        worker.task = None
                        if task is None:
                            continue
                        if worker.is_late:
                            yield task, self._too_slow(plan, store, task)
                        elif ended is not None and ended.taken:
                            waiting.again(task)
                        else:
                            yield task, ended
            except Terminated:
                _end(crew, Worker.terminate)
                raise
            except (KeyboardInterrupt, GeneratorExit):
                if any(worker.task for worker in crew):
                    watcher.say("Ctrl-C: epochs under way are finished and written down first; again to stop now")
                _end(crew, Worker.interrupt, None)
                raise
            finally:
                _end(crew, Worker.terminate)

    def _seconds(self, plan: Plan, task: Task) -> float | None:
        """How long a task may take: zero-shot scores are those of one cell, whatever their number."""
        if self._cell_timeout is None:
            return None
        method = next(method for method in plan.methods if method.label == task.label)
        return self._cell_timeout * (1 if method.score_key is not None else len(task.repeats))

    def _too_slow(self, plan: Plan, store: Store, task: Task) -> TaskResult:
        line = f"took longer than --cell-timeout {self._cell_timeout:g} seconds and was ended; give it more"
        stored, left = without_stored(plan, store, task)
        if left is None:
            return stored or TaskResult(task, 0, (), 0.0)
        ended = failed(plan, store, left, "CellTimeout", line)
        return TaskResult(task, stored.computed if stored else 0, ended.failures, self._seconds(plan, task) or 0.0)


def threads_of_each(plan: Plan, jobs: int) -> int:
    """Threads of each of the workers that can be busy at once.

    Finished cells count: rounding may depend on the number, and a run that goes on must end as an undisturbed one.
    """
    return max(1, (os.cpu_count() or 1) // max(1, min(jobs, len(tasks_of(plan, finished=True)))))


def _has_place(crew: list[Worker], jobs: int) -> bool:
    return len(crew) < jobs or any(worker.task is None for worker in crew)


def _end(crew: list[Worker], tell: Callable[[Worker], None], seconds: float | None = _LAST_WORDS_SECONDS) -> None:
    """Tell all workers to end, wait for them so many seconds, and end those that do not."""
    for worker in crew:
        tell(worker)
    for worker in crew:
        worker.has_ended(seconds)
        worker.kill()
    crew.clear()
