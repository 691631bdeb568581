from __future__ import annotations

from pathlib import Path

import pytest

from agiqa_bench.benchmarks.clock import Took
from agiqa_bench.benchmarks.made_up import write_table
from agiqa_bench.benchmarks.model import Settings
from agiqa_bench.benchmarks.parts import scale
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import build_request
from agiqa_bench.plugins import load_plugin


def test_the_cells_are_computed_once_and_the_commands_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[tuple[str, bool, bool]] = []

    def command(folder: Path, words: list[str], round_: int = 0) -> Took:
        assert (folder / "made-up.csv").is_file()
        typed.append((words[0], "--dry-run" in words, str(folder / "none.toml") in words))
        return Took(float(len(typed)), 0.5, 100.0)

    monkeypatch.setattr(scale, "_command", command)
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
