"""Ctrl-C in the middle of an epoch: once, and the epoch is written down; twice, and the command ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agiqa_bench.cli.app import start
from agiqa_bench.training.continuation import Continuation

PLUGIN = Path(__file__).parents[1] / "slow_epochs.py"
EPOCHS = 4


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C to a process")
@pytest.mark.parametrize("jobs", [1, 2])
def test_once_the_epoch_is_finished_and_written_down_and_twice_it_is_not(
    jobs: int, rated_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fresh_registries: None,
) -> None:  # fmt: skip
    arguments = ["run", "--plugin", PLUGIN, "--methods", "slow_epochs", "--dataset", rated_table, "--annotations-only",
                 "--repeats", "2", "--jobs", str(jobs)]  # fmt: skip
    output, undisturbed, log, told, wait = (tmp_path / name for name in ("out", "undisturbed", "log", "told", "wait"))
    monkeypatch.delenv("AGIQA_CHECKPOINT_SECONDS", raising=False)
    monkeypatch.setenv("EXAMPLE_FOLDER", str(tmp_path))
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))

    def begin(seconds_of_a_step: float) -> subprocess.Popen[bytes]:
        with told.open("wb") as file:
            return subprocess.Popen(
                [Path(sys.executable).with_name("agiqa-bench"), *map(str, arguments), "--output", output],
                env=os.environ | {"EXAMPLE_SLEEP": str(seconds_of_a_step), "COLUMNS": "200"}, cwd=tmp_path,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True,
            )  # fmt: skip

    def wait_for(process: subprocess.Popen[bytes], what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not what():
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.02)

    def logged(line: str) -> Callable[[], bool]:
        return lambda: log.exists() and line in log.read_text().splitlines()

    # Twice, in the middle of an epoch that would never end.
    wait.touch()
    process = begin(0)
    for repeat in range(jobs):
        wait_for(process, logged(f"repeat {repeat} epoch 1"))
    process.send_signal(signal.SIGINT)
    wait_for(process, lambda: "Ctrl-C: " in told.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert "Traceback" not in told.read_text()
    assert not list(output.glob("scratch/**/*.pt"))
    log.unlink()

    # Once, to the whole group, as a terminal does.
    process = begin(0.2)
    for repeat in range(jobs):
        wait_for(process, logged(f"repeat {repeat} epoch 1"))
    os.killpg(process.pid, signal.SIGINT)
    wait_for(process, lambda: "Ctrl-C: " in told.read_text())
    wait.unlink()
    assert process.wait(timeout=300) == 130
    said = [line for line in told.read_text().splitlines() if line.startswith("Ctrl-C")]
    assert len(said) == 1
    assert ("epoch under way is" if jobs == 1 else "epochs under way are") in said[0]
    assert "0 cells computed, 0 reused; stopped by Ctrl-C: the same command goes on from here" in told.read_text()
    assert "Traceback" not in told.read_text()
    files = sorted(output.glob("scratch/**/*.pt"))
    states = [Continuation(file.parent, file.stem).load() for file in files]
    assert len(states) == jobs
    assert all(state is not None and 2 <= state["epoch"] <= EPOCHS for state in states)
    before = log.read_text().splitlines()
    assert len(before) == sum(state["epoch"] for state in states if state is not None)

    # The same command goes on from there, and ends as an undisturbed one.
    assert begin(0).wait(timeout=300) == 0, told.read_text()
    assert sorted(log.read_text().splitlines()) == sorted(
        f"repeat {repeat} epoch {epoch}" for repeat in range(2) for epoch in range(EPOCHS)
    )
    assert not list(output.glob("scratch/**/*.pt"))
    assert start([*map(str, arguments), "--jobs", "1", "--output", str(undisturbed)]) == 0, capsys.readouterr().err
    for name in ("table.csv", "predictions.parquet", "history.json"):
        found = sorted(output.rglob(name))
        assert len(found) == (1 if name == "table.csv" else 2)
        for each in found:
            assert each.read_bytes() == (undisturbed / each.relative_to(output)).read_bytes(), each
