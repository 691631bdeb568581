"""Methods that hang, through the installed command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "awkward_methods.py"


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_hangs_is_ended_with_all_that_it_started_and_the_others_go_on(jobs, command, rated_table, tmp_path):
    ended = command(
        "run", "--plugin", PLUGIN, "--methods", "hangs", "--dataset", rated_table, "--annotations-only",
        "--repeats", 4, "--cell-timeout", 6, "--jobs", jobs, "--output", tmp_path / "out",
        EXAMPLE_FOLDER=str(tmp_path),
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    line = "took longer than --cell-timeout 6 seconds and was ended; give it more"
    assert f"failed: hangs, repeat 1 and 1 more: {line}" in " ".join(ended.stderr.split())
    assert "2 cells computed, 0 reused" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not is_running(int((tmp_path / "child").read_text()))
    assert sorted((tmp_path / "log").read_text().split()[1::2]) == ["0", "3"]
    records = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("out/failures/*/*.json"))]
    assert [(record["error"], record["what"], record["line"]) for record in records] == [
        ("CellTimeout", "repeat 1", line),
        ("CellTimeout", "repeat 2", line),
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_of_a_killed_command_end_with_all_that_they_started_and_leave_no_files(rated_table, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("agiqa-bench"), "run", "--plugin", PLUGIN, "--methods", "hangs", "--dataset",
         rated_table, "--annotations-only", "--repeats", "3", "--jobs", "2", "--output", tmp_path / "out"],
        env=os.environ | {"EXAMPLE_FOLDER": str(tmp_path), "TMPDIR": str(temporary)}, cwd=tmp_path,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    child = tmp_path / "child"
    eventually(lambda: child.exists() and child.read_text().endswith("\n"))
    workers = [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(workers) >= 2
    assert list(temporary.iterdir())
    process.kill()
    process.wait()
    eventually(lambda: not any(map(is_running, [*workers, int(child.read_text())])))
    assert not list(temporary.iterdir())


def eventually(what):
    """Wait until something is so; fails after five minutes."""
    deadline = time.monotonic() + 300
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)
