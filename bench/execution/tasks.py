"""Tasks: the pieces of a plan that are computed and stored in one go, here or in another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import StoreError
from agiqa_bench.execution import cell as cells
from agiqa_bench.execution.claims import claim
from agiqa_bench.execution.failures import CellFailed
from agiqa_bench.execution.plan import FinishedCell, Plan, PlannedCell, PlannedMethod, cell_context
from agiqa_bench.execution.provenance import environment, now
from agiqa_bench.execution.store import Store
from agiqa_bench.method import Method

if TYPE_CHECKING:
    import pandas as pd

Step = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Task:
    """What one worker does at a time.

    A repeat of a trained method, several of a method that trains them together, or all missing ones of a zero-shot one.

    Attributes:
        label: The planned method.
        repeats: The repeats whose cells are to be stored.
    """

    label: str
    repeats: tuple[int, ...]

    @property
    def what(self) -> str:
        """The task in a few words."""
        return f"repeat {self.repeats[0]}" if len(self.repeats) == 1 else f"{len(self.repeats)} repeats"


@dataclass(frozen=True)
class TaskResult:
    """How a task ended.

    Attributes:
        computed: Number of cells that were stored.
        failures: What failed and one line that says why: the whole task, or single repeats of it.
        seconds: Wall time.
        reused: Number of cells that another process had stored since the plan was made.
        taken: True if another process is at it: nothing was done, and it is to be looked at again later.
    """

    task: Task
    computed: int
    failures: tuple[tuple[str, str], ...]
    seconds: float
    reused: int = 0
    taken: bool = False


def tasks_of(plan: Plan, *, finished: bool = False) -> list[Task]:
    """The tasks of this command that are left, in the plan's order; with `finished` those that were done before too.

    A method that is skipped here has none.
    """
    wanted = {
        method.label: {cell.repeat for cell in (method.cells if finished else method.missing)}
        for method in plan.methods
    }
    tasks = [
        Task(task.label, tuple(repeat for repeat in task.repeats if repeat in wanted[task.label]))
        for task in own_tasks(plan)
    ]
    return [task for task in tasks if task.repeats]


def own_tasks(plan: Plan) -> list[Task]:
    """Those of `all_tasks` that are this command's: of a request for a shard every n-th one, else all.

    So each shard gets its part of every method, and always the same one.
    """
    number, shards = plan.request.shard or (1, 1)
    return all_tasks(plan)[number - 1 :: shards]


def all_tasks(plan: Plan) -> list[Task]:
    """The tasks of all shards, in the plan's order, whether they are done or not, and can be done here or not.

    They are the same wherever the request is the same: machines of which one lacks a package or weights agree on them.
    """
    repeats = [split.repeat for split in plan.splits]
    tasks: list[Task] = []
    for method in plan.methods:
        size = method.cls.trains_together if method.cls.trainable else 1 + max(repeats)
        groups = groupby(repeats, lambda repeat, size=size: repeat // size)  # type: ignore[misc]
        tasks += [Task(method.label, tuple(group)) for _, group in groups]
    return tasks


def left_of(plan: Plan, store: Store, task: Task) -> tuple[PlannedMethod, list[PlannedCell]]:
    """The task's method and those of its cells that are not in the store now, which may be fewer than planned."""
    method = plan.method(task.label)
    wanted = [cell for cell in method.cells if cell.repeat in task.repeats]
    for cell in wanted:
        plan.find_result(store, method, cell)
    return method, [cell for cell in wanted if cell.result is None]


def _nothing() -> None:
    """Tell nobody."""


def execute(plan: Plan, store: Store, task: Task, step: Step, begin: Callable[[], None] = _nothing) -> TaskResult:
    """Compute a task and store its cells, unless another process is at it; a failure is recorded and returned.

    Args:
        plan: The plan.
        store: A prepared store.
        task: One of the plan's.
        step: Told of progress inside of the task.
        begin: Called once the task is claimed, if there is anything left to compute.

    Raises:
        StoreError: Results cannot be written: the run cannot go on.
    """
    started = time.perf_counter()
    held = claim(_claimed(plan, store, task))
    if held is None:
        return TaskResult(task, 0, (), time.perf_counter() - started, taken=True)
    done = False
    try:
        method, wanted = left_of(plan, store, task)
        if wanted:
            begin()
        failures = _compute(plan, store, method, wanted, task, step) if wanted else []
        done = all(cell.result is not None for cell in wanted)
    finally:
        held.release(done=done)
    computed = sum(cell.result is not None for cell in wanted)
    reused = len(task.repeats) - len(wanted)
    return TaskResult(task, computed, tuple(failures), time.perf_counter() - started, reused)


def _claimed(plan: Plan, store: Store, task: Task) -> list[Path]:
    """The lock files of a task."""
    method = plan.method(task.label)
    if method.score_key is not None:
        return [store.lock_file(method.label, "scores", method.score_key)]
    return [
        store.lock_file(method.label, f"{cell.repeat:02d}", cell.key)
        for cell in method.cells
        if cell.repeat in task.repeats
    ]


def _compute(
    plan: Plan, store: Store, method: PlannedMethod, wanted: list[PlannedCell], task: Task, step: Step
) -> list[tuple[str, str]]:
    """Compute and store cells that nobody else is at; what failed, and one line that says why."""
    for cell in wanted:
        store.make_room(method.label, cell.repeat, cell.key)
    failures: list[tuple[str, str]] = []
    if method.score_key is not None:
        store.make_room_for_scores(method.label, method.score_key)
        attempts = [(task.what, "scores", method.score_key, _run_zero_shot(plan, store, method, wanted, step))]
    else:
        attempts = [
            (f"repeat {cell.repeat}", f"{cell.repeat:02d}", cell.key, failed)
            for cell, failed in zip(wanted, _run_trained(plan, store, method, wanted, step), strict=True)
        ]
    for what, name, key, failed in attempts:
        if failed is not None:
            store.write_failure(method.label, name, key, failed.record | {"method": method.label, "what": what})
            failures.append((what, failed.line))
    return failures


def _run_zero_shot(
    plan: Plan, store: Store, method: PlannedMethod, wanted: list[PlannedCell], step: Step
) -> CellFailed | None:
    key = str(method.score_key)
    found = store.find_scores(method.label, key)
    if found is None:
        started_at = now()
        try:
            samples = plan.samples(method)
            context = replace(method.context, progress=step)
            scored, costs = cells.score_all(method.cls(method.config, context), samples.subset(plan.scored_rows))
            scores = np.full((len(samples), len(samples.targets)), np.nan)
            scores[plan.scored_rows] = scored
        except StoreError:
            raise  # nothing can be written: the run cannot go on
        except Exception as error:  # noqa: BLE001 - whatever a method raises fails its cells, not the run
            return CellFailed(error, plan.device)
        record = _record(plan, method, started_at, costs) | {"components": method.score_components}
        store.write_scores(method.label, key, record, scores, method.context.targets)
    else:
        scores, record = found
    try:
        for cell in wanted:
            _store_cell(plan, store, method, cell, scores[plan.splits[_position(plan, cell)].test], record, [])
    except CellFailed as failed:
        return failed
    return None


def _run_trained(
    plan: Plan, store: Store, method: PlannedMethod, wanted: list[PlannedCell], step: Step
) -> list[CellFailed | None]:
    started_at = now()
    cls, config = method.cls, method.config
    results: Sequence[cells.Fitted | Exception]
    try:
        samples = plan.samples(method)
        folders = [store.scratch_folder(method.label, cell.key) for cell in wanted]
        contexts = [
            replace(cell_context(plan, method, cell, folder), progress=step)
            for cell, folder in zip(wanted, folders, strict=True)
        ]
        splits = [plan.splits[_position(plan, cell)] for cell in wanted]
        results = (
            cells.fit_together_and_predict(cls, config, contexts, samples, splits)
            if cls.trains_together > 1
            else [cells.fit_and_predict(cls, config, contexts[0], samples, splits[0])]
        )
    except StoreError:
        raise  # as above; also what a training could not write down of itself
    except Exception as error:  # noqa: BLE001 - whatever a method raises fails its cells, not the run
        return [CellFailed(error, plan.device)] * len(wanted)
    return [
        CellFailed(result, plan.device)
        if isinstance(result, Exception)
        else _store_trained(plan, store, method, cell, result, started_at)
        for cell, result in zip(wanted, results, strict=True)
    ]


def _store_trained(
    plan: Plan, store: Store, method: PlannedMethod, cell: PlannedCell, fitted: cells.Fitted, started_at: str
) -> CellFailed | None:
    try:
        history = [cells.plain(entry) for entry in fitted.history]
        has_model = plan.wants_model(method) and fitted.method.state() is not None
    except Exception as error:  # noqa: BLE001 - what a method keeps of itself may be anything
        return CellFailed(error, plan.device)
    costs = replace(fitted.costs, micro_batch=_cut_to(history))
    record = _record(plan, method, started_at, costs) | {"chosen": fitted.chosen}
    if plan.wants_model(method):
        record["model"] = None
    save = partial(_save_model, plan, method, fitted.method) if has_model else None
    try:
        _store_cell(plan, store, method, cell, fitted.scores, record, history, save)
    except CellFailed as failed:
        return failed
    return None


def _save_model(plan: Plan, method: PlannedMethod, instance: Method, folder: Path) -> Path:
    from agiqa_bench.saved import save_model

    try:
        return save_model(instance, folder / "model", weights=method.weights)[0]
    except (StoreError, OSError):
        raise  # nothing can be written: the run cannot go on
    except Exception as error:  # what a method calls its state may be anything
        raise CellFailed(error, plan.device) from error


def _cut_to(history: list[dict[str, float | None]]) -> int | None:
    """Fewest samples at a time of epochs whose batches were cut for want of memory; see `agiqa_bench.training.loop`."""
    sizes = [entry.get("micro_batch") for entry in history if entry.get("batch")]
    return min((int(size) for size in sizes if size), default=None)


def _position(plan: Plan, cell: PlannedCell) -> int:
    return next(index for index, split in enumerate(plan.splits) if split.repeat == cell.repeat)


def _record(plan: Plan, method: PlannedMethod, started_at: str, costs: cells.Costs) -> dict[str, Any]:
    return {
        "label": method.label,
        "display": method.display,
        "weights": [asdict(weights) for weights in method.weights],
        "precision": method.context.precision,
        "deterministic": method.context.deterministic,
        "costs": asdict(costs),
        "environment": environment(plan.device),
        "started": started_at,
        "ended": now(),
    }


def _store_cell(
    plan: Plan,
    store: Store,
    method: PlannedMethod,
    cell: PlannedCell,
    scores: npt.NDArray[np.float64],
    record: dict[str, Any],
    history: list[dict[str, float | None]],
    save_model: Callable[[Path], Path] | None = None,
) -> None:
    rows = plan.splits[_position(plan, cell)].test
    samples = Samples(plan.dataset.samples, method.context.targets)
    try:
        metrics = cells.measure(samples, rows, scores, plan.dataset.candidates)
    except Exception as error:  # a metric that cannot be computed fails the cell
        raise CellFailed(error, plan.device) from error
    record = record | {"repeat": cell.repeat, "components": cell.components, "metrics": metrics}
    stored = store.write_cell(
        method.label, cell.repeat, cell.key, record, _predictions(samples, rows, scores), history, save_model
    )
    cell.result = FinishedCell.of(stored)


def _predictions(samples: Samples, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> pd.DataFrame:
    import pandas as pd

    test = samples.subset(rows)
    columns: dict[str, Any] = {"row": rows, "image": test.names}
    mos = test.mos
    for column, target in enumerate(samples.targets):
        columns[f"score_{target}"] = scores[:, column]
        columns[f"mos_{target}"] = mos[:, column]
    return pd.DataFrame(columns)
