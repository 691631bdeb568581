"""The runner: works through a plan's tasks, in this process or in several, and keeps every finished cell."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from agiqa_bench.errors import AgiqaError
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.provenance import environment, now
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.stopping import EXIT_CODE, Terminated, sigterm_as_ctrl_c
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, execute, left_of, tasks_of


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        computed: Cells computed by this command.
        reused: Cells that were already in the store, or that another process has stored meanwhile.
        failures: (label, what, one line) of each failed task.
        interrupted: True after Ctrl-C or SIGTERM.
        terminated: True after SIGTERM.
    """

    computed: int = 0
    reused: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    interrupted: bool = False
    terminated: bool = False


def run(plan: Plan, store: Store, watcher: Watcher, jobs: int = 1) -> Outcome:
    """Compute every cell of `plan` that is not in `store`.

    Ctrl-C and a kill lose the running cells at most; the same plan goes on where it was.

    Args:
        plan: From `make_plan`, with `find_results` called.
        store: A prepared store.
        watcher: Told what happens.
        jobs: Number of processes; 1 means this one.

    Raises:
        StoreError: Results cannot be written (disk full, folder read-only); finished cells are kept.
    """
    outcome = Outcome(reused=sum(len(method.cells) - len(method.missing) for method in plan.methods))
    tasks = tasks_of(plan)
    plan_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:6]}"
    record = describe_plan(plan)
    store.write_plan(plan_id, record)
    watcher.start({method.label: len(method.missing) for method in plan.methods if method.missing})
    plan.step = watcher.step
    results = _in_this_process(plan, store, watcher, tasks) if jobs == 1 else _in_processes(plan, store, tasks, jobs)
    try:
        if any(method.cls.uses_images and method.missing for method in plan.methods):
            watcher.begin("images", "decoding")
            plan.decode_images()
        for result in results:
            task = result.task
            outcome.computed += result.computed
            outcome.reused += result.reused
            outcome.failures += [(task.label, what, line) for what, line in result.failures]
            what, line = result.failures[0] if result.failures else (task.what, None)
            watcher.finish(task.label, what, result.seconds, cells=len(task.repeats), error=line)
    except KeyboardInterrupt as stop:
        outcome.interrupted, outcome.terminated = True, isinstance(stop, Terminated)
    plan.find_results(store)
    ending = {"computed": outcome.computed, "failures": outcome.failures, "interrupted": outcome.interrupted}
    store.write_plan(plan_id, record | {"ended": now(), "outcome": ending})
    return outcome


def _in_this_process(plan: Plan, store: Store, watcher: Watcher, tasks: list[Task]) -> Iterator[TaskResult]:
    for task in tasks:
        watcher.begin(task.label, task.what)
        yield execute(plan, store, task, watcher.step)


def _in_processes(plan: Plan, store: Store, tasks: list[Task], jobs: int) -> Iterator[TaskResult]:
    if not tasks:
        return
    threads = _threads(plan, jobs)
    lost = yield from _in_workers(plan, store, tasks, jobs, threads)
    if len(tasks) > 1:
        # One dead worker takes the whole pool with it: those that did not get their turn get it now, one at a time.
        again, lost = lost, []
        for task in again:
            left = yield from _without_stored(plan, store, task)
            lost += yield from _in_workers(plan, store, left, 1, threads)
    for task in lost:
        for left_over in (yield from _without_stored(plan, store, task)):
            yield _died(plan, store, left_over)


def _threads(plan: Plan, jobs: int) -> int:
    """Threads of each of the workers that can be busy at once.

    Finished cells count: rounding may depend on the number, and a run that goes on must end as an undisturbed one.
    """
    return max(1, (os.cpu_count() or 1) // min(jobs, len(tasks_of(plan, finished=True))))


def _in_workers(
    plan: Plan, store: Store, tasks: list[Task], jobs: int, threads: int
) -> Generator[TaskResult, None, list[Task]]:
    """Do tasks in processes of their own; returns those that were lost because a process died."""
    lost: list[Task] = []
    if not tasks:
        return lost
    # Whatever ends a worker, its temporary files end with this folder.
    with tempfile.TemporaryDirectory(prefix="agiqa-workers-", ignore_cleanup_errors=True) as temporary:
        # spawn: a forked child would inherit torch's threads and locks in an unknown state.
        pool = ProcessPoolExecutor(
            min(jobs, len(tasks)),
            get_context("spawn"),
            initializer=_start_worker,
            initargs=(plan.request, threads, temporary),
        )
        try:
            waiting: dict[Future[TaskResult], Task] = {pool.submit(_work, store.root, task): task for task in tasks}
            for future in as_completed(waiting):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(waiting[future])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return lost


def _without_stored(plan: Plan, store: Store, task: Task) -> Generator[TaskResult, None, list[Task]]:
    """Count what a worker stored before it died; returns what is left of its task, if anything is."""
    _, cells = left_of(plan, store, task)
    left = tuple(cell.repeat for cell in cells)
    stored = tuple(repeat for repeat in task.repeats if repeat not in left)
    if stored:
        yield TaskResult(Task(task.label, stored), len(stored), (), 0.0)
    return [Task(task.label, left)] if left else []


def _died(plan: Plan, store: Store, task: Task) -> TaskResult:
    """Record that a worker process died over a task, which it could not do itself."""
    line = "its worker process died (out of memory?): try fewer --jobs"
    method = next(method for method in plan.methods if method.label == task.label)
    keys = {f"{cell.repeat:02d}": cell.key for cell in method.cells if cell.repeat in task.repeats}
    for what, key in {"scores": method.score_key}.items() if method.score_key else keys.items():
        store.write_failure(task.label, what, key, {"error": "WorkerDied", "line": line, "time": now()})
    return TaskResult(task, 0, ((task.what, line),), 0.0)


_worker_plan: Plan | None = None


def _start_worker(request: RunRequest, threads: int, temporary: str) -> None:
    """Make the same plan again in a worker: the store is the only state that processes share."""
    global _worker_plan
    tempfile.tempdir = temporary
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when a method imports it
    from agiqa_bench.plugins import load_plugin

    for plugin in request.plugins:
        load_plugin(plugin)
    _worker_plan = make_plan(request)


def _work(root: Path, task: Task) -> TaskResult:
    if _worker_plan is None:
        raise AgiqaError("the worker has no plan")
    try:
        with sigterm_as_ctrl_c():
            return execute(_worker_plan, Store(root), task, lambda done, total, what: None)  # noqa: ARG005
    except Terminated:
        os._exit(EXIT_CODE)  # an exception would be handed to the pool, which would give this process the next task


def describe_plan(plan: Plan) -> dict[str, Any]:
    """A plan as it is stored: protocol, rows, keys and provenance, JSON-ready."""
    return {
        "protocol": plan.protocol,
        "request": plan.request.model_dump(mode="json"),
        "targets": [target.name for target in plan.dataset.targets],
        "dataset_title": plan.dataset.title,
        "dataset_citation": plan.dataset.citation,
        "dataset_licence": plan.dataset.licence,
        "mos_ranges": {target.name: list(target.mos_range) for target in plan.dataset.targets},
        "parts": [
            {"repeat": split.repeat, "fit": len(split.train) + len(split.validation), "test": len(split.test)}
            for split in plan.splits
        ],
        "images": plan.images_fingerprint,
        "faults": [fault.message for fault in plan.dataset.faults],
        "methods": [
            {
                "label": method.label,
                "display": method.display,
                "name": method.cls.name,
                "config": method.config.model_dump(mode="json"),
                "targets": list(method.context.targets),
                "weights": [asdict(weights) for weights in method.weights],
                "diagnostic": method.cls.diagnostic,
                "trainable": method.cls.trainable,
                "selects_epoch": method.cls.selects_epoch,
                "citation": method.cls.citation,
                "keeps_features": method.cls.keeps_features,
                "preset": method.preset,
                "note": method.note,
                "skip": method.skip,
                "keys": {str(cell.repeat): cell.key for cell in method.cells},
            }
            for method in plan.methods
        ],
        "unusable": plan.unusable,
        "environment": environment(plan.device),
        "started": now(),
    }
