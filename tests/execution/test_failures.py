"""Failures: what is said of short memory, and that the other cells go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.plugins import load_plugin

REMEDY = "try a smaller --batch-size, --precision bf16, or fewer --jobs"


def test_a_cell_without_memory_says_what_to_do_and_the_others_go_on(
    rated_table: Path, fresh_registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_FOLDER", str(tmp_path))
    load_plugin(Path(__file__).parents[1] / "awkward_methods.py")
    plan = make_plan(RunRequest(dataset=str(rated_table), methods=("short",), annotations_only=True, repeats=5))
    store = Store(tmp_path / "out")
    store.prepare()
    outcome = run(plan, store, Silent())
    expected = [
        f"out of memory (CUDA out of memory. Tried to allocate 2.00 GiB.): {REMEDY}",
        f"out of memory: {REMEDY}",
        f"out of memory ([enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate): {REMEDY}",
        "RuntimeError: shapes do not fit",
    ]
    assert outcome.failures == [("short", f"repeat {repeat}", line) for repeat, line in enumerate(expected)]
    assert outcome.computed == 1
    records = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("out/failures/*/*.json"))]
    assert [record["line"] for record in records] == expected
    assert [record["error"] for record in records] == [
        "OutOfMemoryError",
        "MemoryError",
        "RuntimeError",
        "RuntimeError",
    ]
    assert (tmp_path / "log").read_text() == "short 4\n"
    (finished,) = plan.methods[0].cells[4:]
    stored = store.find_cell("short", 4, finished.key)
    assert stored is not None
    assert stored.record["costs"]["micro_batch"] == 2
