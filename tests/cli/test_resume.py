"""A trained method that is killed within a cell, or a group of them, by the installed command."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agiqa_bench.cli.app import start
from agiqa_bench.training.continuation import Continuation

EPOCHS = 3


@pytest.mark.slow
def test_a_cell_that_was_killed_goes_on_from_its_last_epoch_and_ends_with_the_same_bytes(
    command, tmp_path, monkeypatch, capsys
):
    arguments = ["run", "--methods", f"ipiqa[epochs={EPOCHS}]", "--dataset", "demo", "--repeats", "1"]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    file = killed_within_a_cell([*arguments, "--output", str(killed)], killed, tmp_path)
    assert not list(killed.rglob("predictions.parquet"))

    # A mark in what the killed process has left, which counts for nothing but must be found in the end.
    state = Continuation(file.parent, file.stem).load()
    assert state is not None
    assert 1 <= state["epoch"] < EPOCHS
    assert len(state["history"]) == state["epoch"]
    state["history"][0]["mark"] = 17.0
    Continuation(file.parent, file.stem).save(state)

    resumed = command(*arguments, "--output", killed)
    assert resumed.returncode == 0, resumed.stderr
    assert "1 cells computed, 0 reused" in resumed.stderr
    # In this process, because a third start would take as long as all epochs.
    assert start([*arguments, "--output", str(undisturbed)]) == 0, capsys.readouterr().err

    history, expected = (json.loads(next(output.rglob("history.json")).read_text()) for output in (killed, undisturbed))
    assert history[0].pop("mark") == 17.0
    assert history == expected
    assert [entry["epoch"] for entry in history if "refit" not in entry] == list(range(1, EPOCHS + 1))
    (chosen,) = [entry["epoch"] for entry in history if entry.get("chosen") and "refit" not in entry]
    assert [entry["epoch"] for entry in history if "refit" in entry] == list(range(1, int(chosen) + 1))
    for name in ("table.csv", "predictions.parquet"):
        found, wanted = (next(output.rglob(name)).read_bytes() for output in (killed, undisturbed))
        assert found == wanted, name
    # What was kept for the continuation goes with the finished cell.
    assert not list(killed.rglob("*.pt"))


@pytest.mark.slow
def test_a_group_that_was_killed_goes_on_and_ends_with_the_same_bytes(command, tmp_path, monkeypatch, capsys):
    repeats, epochs = 4, 12
    arguments = [
        "run",
        "--methods",
        f"clip_agiqa_tang[epochs={epochs}]",
        "--dataset",
        "demo",
        "--repeats",
        f"{repeats}",
    ]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    file = killed_within_a_cell([*arguments, "--output", str(killed)], killed, tmp_path)
    assert not list(killed.rglob("predictions.parquet"))
    # Some may be an epoch ahead of others.
    scratch = sorted(file.parent.parent.glob("*/*.pt"))
    states = [Continuation(each.parent, each.stem).load() for each in scratch]
    reached = {state["epoch"] for state in states}
    assert 1 <= len(states) <= repeats
    assert 1 <= min(reached) <= max(reached) < epochs
    states[0]["history"][0]["mark"] = 17.0
    Continuation(scratch[0].parent, scratch[0].stem).save(states[0])

    resumed = command(*arguments, "--output", killed)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{repeats} cells computed, 0 reused" in resumed.stderr
    assert start([*arguments, "--output", str(undisturbed)]) == 0, capsys.readouterr().err

    found = {name: sorted(killed.rglob(name)) for name in ("table.csv", "predictions.parquet", "history.json")}
    assert [len(files) for files in found.values()] == [1, repeats, repeats]
    for name in ("table.csv", "predictions.parquet"):
        for each in found[name]:
            assert each.read_bytes() == (undisturbed / each.relative_to(killed)).read_bytes(), each
    histories = [json.loads(each.read_text()) for each in found["history.json"]]
    assert sum(history[0].pop("mark", 0.0) for history in histories) == 17.0
    expected = [json.loads((undisturbed / each.relative_to(killed)).read_text()) for each in found["history.json"]]
    assert histories == expected
    assert not list(killed.rglob("*.pt"))


def killed_within_a_cell(arguments: list[str], output: Path, folder: Path) -> Path:
    """Run the command, and kill it as soon as an epoch is written down; returns a file that holds it."""
    executable = shutil.which("agiqa-bench", path=str(Path(sys.executable).parent))
    assert executable is not None
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [executable, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
        deadline = time.monotonic() + 240
        while not (files := list(output.glob("scratch/**/*.pt"))):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return files[0]
