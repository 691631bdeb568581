from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agiqa_bench.benchmarks.clock import Took
from agiqa_bench.benchmarks.made_up import write_table
from agiqa_bench.benchmarks.model import Settings
from agiqa_bench.benchmarks.parts import scale
from agiqa_bench.benchmarks.watched import Look, watched_command
from agiqa_bench.errors import BenchmarkError
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import build_request
from agiqa_bench.plugins import load_plugin


def test_the_cells_are_computed_once_and_the_commands_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[tuple[str, bool, bool]] = []

    def command(folder: Path, words: list[str], round_: int = 0) -> Took:
        assert (folder / "made-up.csv").is_file()
        typed.append((words[0], "--dry-run" in words, str(folder / "none.toml") in words))
        return Took(float(len(typed)), 0.5, 100.0)

    def watched(
        words: list[str], done: Callable[[], int], looked: Callable[[int], None], environment: dict[str, str]
    ) -> tuple[float, list[Look]]:
        assert words[-3:-1] == ["run", "--config"]
        assert environment["PYTHONPYCACHEPREFIX"]
        assert done() == 0
        looked(0)
        typed.append(("run", False, False))
        sizes = {4: (90.0, 9), 5: (100.0, 4), 40: (101.0, 5), 99: (103.0, 4), 100: (150.0, 3)}
        return 2.0, [Look(cells, *size) for cells, size in sizes.items()]

    monkeypatch.setattr(scale, "_command", command)
    monkeypatch.setattr(scale, "watched_command", watched)
    found = scale.measure(Settings(scale="tiny", rounds=2), lambda line: None)
    empty, stored, idle, report = (
        ("run", True, True),
        ("run", True, False),
        ("run", False, False),
        ("report", *[False] * 2),
    )
    assert typed == [empty, idle, *[empty, stored, idle, report] * 2]
    values = {entry.name: entry.values for entry in found.entries}
    assert values["run, whole cells"] == (20.0,)  # 2 s for 100 cells
    assert values["plan, nothing stored"] == (3.0, 7.0)
    assert values["run, growth of memory"] == (3.0,)
    assert values["run, open files"] == (5.0,)
    assert values["report"] == (6.0, 10.0)
    assert values["report: memory"] == (100.0, 100.0)


@pytest.mark.usefixtures("fresh_registries")
def test_the_request_plans_as_many_cells_as_the_title_says(tmp_path: Path) -> None:
    write_table(tmp_path / "made-up.csv", scale.IMAGES)
    (tmp_path / "scaled.py").write_text(scale.PLUGIN)
    request = build_request(scale._request(tmp_path, "full", 3, 4), {})
    load_plugin(request.plugins[0])
    plan = make_plan(request)
    assert [(method.skip, len(method.cells)) for method in plan.methods] == [(None, 4)] * 3
    assert len({cell.key for method in plan.methods for cell in method.cells}) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_watched_command_is_seen_with_its_files_and_its_failure_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    code = f"import time; held = [open('{tmp_path / 'held'}', 'w') for _ in range(50)]; time.sleep(1.5)"
    seconds, looks = watched_command([sys.executable, "-c", code], lambda: 7, told.append)
    assert seconds >= 1.5
    assert [look.done for look in looks] == told == [7] * len(looks)
    assert looks[-1].files >= 50
    assert looks[-1].mebibytes > 1
    with pytest.raises(BenchmarkError, match=r"ended with exit status 1: ZeroDivisionError"):
        watched_command([sys.executable, "-c", "1 / 0"], lambda: 0, told.append)


def test_a_store_that_is_read_while_it_is_written_has_all_that_was_counted(stored_runs, tmp_path: Path) -> None:
    stored_runs.make_store(tmp_path / "run", methods=2, repeats=4, images=100)
    reader = scale.Reader(tmp_path / "run", 16, lambda line: None)
    assert reader.count() == 8
    reader.read(3)
    assert reader.seconds == []
    reader.read(8)
    reader.read(8)
    assert len(reader.seconds) == 1
    with pytest.raises(BenchmarkError, match="8 of 13 cells found"):
        reader.read(13)
