"""Runs of made-up methods, or of others on made-up data: planned, run and stored by the harness itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agiqa_bench.benchmarks.made_up import MadeUp, MadeUpLooking, MadeUpZeroShot, write_table
from agiqa_bench.errors import BenchmarkError
from agiqa_bench.registry import method_registry

if TYPE_CHECKING:
    from agiqa_bench.execution.plan import Plan
    from agiqa_bench.execution.store import Store


def planned(table: Path, methods: Sequence[str], output: Path, **options: Any) -> tuple[Plan, Store]:
    """Plan a run on a table, offline, into a new folder.

    Args:
        table: A table data set.
        methods: As for `--methods`; those of `agiqa_bench.benchmarks.made_up` among them.
        output: Folder of the store.
        options: Further keys of `RunRequest`.

    Raises:
        BenchmarkError: A method would be skipped.
    """
    from agiqa_bench.execution.inputs import store_inputs
    from agiqa_bench.execution.planning import make_plan
    from agiqa_bench.execution.request import RunRequest
    from agiqa_bench.execution.store import Store

    for cls in (MadeUp, MadeUpLooking, MadeUpZeroShot):
        method_registry().register(cls.name, cls, origin="the benchmark")
    request = RunRequest(dataset=str(table), methods=tuple(methods), output=output, offline=True, **options)
    plan, store = make_plan(request), Store(output)
    for method in plan.methods:
        if method.skip is not None:
            raise BenchmarkError(f"'{method.label}' cannot run: {method.skip}")
    plan.find_results(store)
    store.prepare()
    store_inputs(plan, store)
    return plan, store


def run_planned(plan: Plan, store: Store) -> None:
    """Run a plan in this process.

    Raises:
        BenchmarkError: A cell fails.
    """
    from agiqa_bench.execution.progress import Silent
    from agiqa_bench.execution.runner import run

    outcome = run(plan, store, Silent())
    if outcome.failures:
        label, what, why = outcome.failures[0]
        raise BenchmarkError(f"{label}, {what}: {why}")


def make_runs(folder: Path, sets: int, methods: int, repeats: int, images: int) -> list[Path]:
    """Write finished runs, one per data set, with methods from good to poor, every third of them zero-shot.

    Args:
        folder: Where tables and runs go.
        sets: Number of data sets.
        methods: Rows of each.
        repeats: Splits of each.
        images: Rows of each data set.

    Returns:
        The folders of the runs.
    """
    runs = []
    names = [
        f"{(MadeUpZeroShot if number % 3 == 2 else MadeUp).name}[number={number},noise={0.4 + 0.2 * number:.1f}]"
        for number in range(methods)
    ]
    for number in range(sets):
        runs.append(folder / f"run-{number}")
        table = write_table(folder / f"set-{number}.csv", images)
        run_planned(*planned(table, names, runs[-1], repeats=repeats, device="cpu"))
    return runs
