"""The runner: has a plan's tasks computed, and keeps account of them."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from agiqa_bench.execution.executors.here import Here
from agiqa_bench.execution.executors.model import Executor
from agiqa_bench.execution.executors.processes import Processes
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Watcher
from agiqa_bench.execution.provenance import environment, now
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import TaskResult, tasks_of
from agiqa_bench.stopping import Terminated


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        computed: Cells computed by this command.
        reused: Cells that were already in the store, or that another process has stored meanwhile.
        failures: (label, what, one line) of each failed task.
        interrupted: True after Ctrl-C or SIGTERM.
        terminated: True after SIGTERM.
        plan_id: Name of the stored plan.
    """

    computed: int = 0
    reused: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    interrupted: bool = False
    terminated: bool = False
    plan_id: str = ""


def run(plan: Plan, store: Store, watcher: Watcher, executor: Executor | None = None) -> Outcome:
    """Compute every cell of `plan` that is not in `store`.

    Ctrl-C and a kill lose the running cells at most; the same plan goes on where it was.

    Args:
        plan: From `make_plan`, with `find_results` called.
        store: A prepared store.
        watcher: Told what happens.
        executor: Where; None means in this process.

    Raises:
        StoreError: Results cannot be written (disk full, folder read-only); finished cells are kept.
    """
    outcome = Outcome(reused=sum(len(method.cells) - len(method.missing) for method in plan.methods))
    tasks = tasks_of(plan)
    outcome.plan_id = store.new_plan_id()
    record = describe_plan(plan)
    store.write_plan(outcome.plan_id, record)
    cells: Counter[str] = Counter()
    for task in tasks:
        cells[task.label] += len(task.repeats)
    watcher.start(cells)
    plan.step = watcher.step
    with closing((executor or Here()).results(plan, store, tasks, watcher)) as results:
        try:
            if any(method.cls.uses_images and method.label in cells for method in plan.methods):
                watcher.begin("images", "decoding")
                plan.decode_images()
            for result in results:
                _account(outcome, result, watcher)
        except KeyboardInterrupt as stop:
            outcome.interrupted, outcome.terminated = True, isinstance(stop, Terminated)
            with suppress(KeyboardInterrupt):  # it comes back, unless another one ends what it lets be finished
                results.throw(stop)
    plan.find_results(store)
    ending = {"computed": outcome.computed, "failures": outcome.failures, "interrupted": outcome.interrupted}
    store.write_plan(outcome.plan_id, record | {"ended": now(), "outcome": ending})
    return outcome


def _account(outcome: Outcome, result: TaskResult, watcher: Watcher) -> None:
    task = result.task
    outcome.computed += result.computed
    outcome.reused += result.reused
    outcome.failures += [(task.label, what, line) for what, line in result.failures]
    what, line = result.failures[0] if result.failures else (task.what, None)
    watcher.finish(task.label, what, result.seconds, cells=len(task.repeats), error=line)


def executor_of(request: RunRequest) -> Executor:
    """The executor that a request asks for."""
    if request.executor == "ray":
        from agiqa_bench.execution.executors.cluster import Cluster

        return Cluster(request.ray_address, request.cell_timeout)
    if request.jobs > 1 or request.cell_timeout is not None:
        return Processes(request.jobs, request.cell_timeout)
    return Here()


def describe_plan(plan: Plan) -> dict[str, Any]:
    """A plan as it is stored: protocol, rows, keys and provenance, JSON-ready."""
    return {
        "protocol": plan.protocol,
        "request": plan.request.model_dump(mode="json"),
        "targets": [target.name for target in plan.dataset.targets],
        "dataset_title": plan.dataset.title,
        "dataset_citation": plan.dataset.citation,
        "dataset_licence": plan.dataset.licence,
        "mos_ranges": {target.name: target.mos_range and list(target.mos_range) for target in plan.dataset.learnt},
        "parts": [
            {"repeat": split.repeat, "fit": len(split.train) + len(split.validation), "test": len(split.test)}
            for split in plan.splits
        ],
        "images": plan.images_fingerprint,
        "faults": [fault.message for fault in plan.dataset.faults if not fault.warning],
        "warnings": [fault.message for fault in plan.dataset.faults if fault.warning],
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
                "selects_epoch": method.cls.chooses_epoch(method.config),
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
