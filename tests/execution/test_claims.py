"""Claims: one process at a time has a cell, whatever happens to the process."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agiqa_bench.errors import StoreError
from agiqa_bench.execution.claims import claim
from agiqa_bench.execution.executors.here import Here
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store

HOLDER = """
import sys
from pathlib import Path

from agiqa_bench.execution.claims import claim

held = claim(map(Path, sys.argv[1:]))
print(held is not None, flush=True)
sys.stdin.readline()
held.release(done=True)
"""


@pytest.fixture
def holder() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`holder(*files)`: another process that holds them until it gets a line, or is killed."""
    started = []

    def hold(*files: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *map(str, files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_process_holds_nothing_and_one_that_has_done_leaves_nothing(holder, tmp_path: Path) -> None:
    first, second, third = files = [tmp_path / "locks" / "row" / f"{number}.lock" for number in range(3)]
    other = holder(first, second)
    assert claim([first]) is None
    assert claim([third, second]) is None, "all or none"
    alone = claim([third])
    assert alone is not None, "what was taken before the refusal was given back"
    alone.release(done=False)
    other.kill()
    other.wait()
    mine = claim(files)
    assert mine is not None
    mine.release(done=False)
    assert all(file.exists() for file in files), "what is not done is tried again"

    other = holder(*files)
    assert claim(files) is None
    other.communicate("done\n", timeout=60)
    assert other.returncode == 0
    assert not first.parent.exists()
    again = claim(files)
    assert again is not None
    again.release(done=True)
    assert not first.parent.exists()


def test_the_folder_of_a_row_stays_while_others_are_at_work(tmp_path: Path) -> None:
    one, other = claim([tmp_path / "row" / "0.lock"]), claim([tmp_path / "row" / "1.lock"])
    assert one is not None
    assert other is not None
    one.release(done=True)
    assert [file.name for file in (tmp_path / "row").iterdir()] == ["1.lock"]
    other.release(done=True)
    assert not (tmp_path / "row").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_everybody_gets_every_claim_and_no_file_stands_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    file = tmp_path / "row" / "0.lock"
    one, other = claim([file]), claim([file])
    assert one is not None
    assert other is not None
    for each in (one, other):
        each.release(done=True)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "row").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*0\.lock: .*; what was finished before is kept"):
        claim([tmp_path / "row" / "0.lock"])


class Kills(Silent):
    """Kills the other command as soon as it hears of it."""

    def __init__(self, other: subprocess.Popen[str]) -> None:
        self.other, self.told, self.begun = other, [], []

    def say(self, line: str) -> None:
        self.told.append(line)
        self.other.kill()

    def begin(self, label: str, what: str) -> None:
        self.begun.append(what)


def test_the_cell_of_a_command_that_died_is_waited_for_and_then_computed_here(
    holder, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, store = plan_of("odd_history", repeats=3), Store(tmp_path / "out")
    store.prepare()
    cell = plan.methods[0].cells[0]
    watcher = Kills(holder(store.lock_file("odd_history", "00", cell.key)))
    outcome = run(plan, store, watcher, Here())
    assert (outcome.computed, outcome.reused, outcome.failures) == (3, 0, [])
    assert watcher.told == ["another command is at work in this folder: its cells are waited for, not computed twice"]
    assert watcher.begun == ["repeat 1", "repeat 2", "repeat 0"]
    assert not list((tmp_path / "out" / "locks").iterdir())
