"""Several commands on one folder, and parts of a plan, through the installed command."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agiqa_bench.cli.app import start

PLUGIN = Path(__file__).parents[1] / "awkward_methods.py"


def table_of(printed: str) -> str:
    """The results, without costs: no two runs take the same time."""
    return printed[printed.index("Target: quality") : printed.rindex(": cost")]


@pytest.fixture
def arguments(rated_table: Path) -> list[object]:
    return ["run", "--plugin", PLUGIN, "--methods", "logged,generator_mean", "--dataset", rated_table,
            "--annotations-only", "--repeats", "6"]  # fmt: skip


@pytest.mark.slow
def test_two_commands_at_once_share_the_work_and_show_the_same(
    arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fresh_registries: None,
) -> None:  # fmt: skip
    output = tmp_path / "out"
    environment = {"AGIQA_CACHE": str(tmp_path / "cache"), "COLUMNS": "200", "EXAMPLE_FOLDER": str(tmp_path)}
    both = [
        subprocess.Popen(
            [Path(sys.executable).with_name("agiqa-bench"), *map(str, arguments), "--output", output, *more],
            env=os.environ | environment | {"EXAMPLE_SLEEP": "0.3"}, cwd=tmp_path, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for more in ([], ["--jobs", "2"])
    ]  # fmt: skip
    printed = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    log = (tmp_path / "log").read_text().splitlines()
    assert sorted(log) == sorted(f"logged {repeat}" for repeat in range(6)), "each cell exactly once"
    counts = [stderr[: stderr.rindex(" reused")].splitlines()[-1].split() for _, stderr in printed]
    assert sum(int(words[0]) for words in counts) == 12, printed
    assert [int(words[0]) + int(words[-1]) for words in counts] == [12, 12]
    one, other = (table_of(stdout) for stdout, _ in printed)
    assert "logged" in one
    assert one == other
    assert not list((output / "locks").iterdir())
    assert not list((output / "failures").glob("*"))

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert start([*map(str, arguments), "--output", str(tmp_path / "undisturbed")]) == 0, capsys.readouterr().err
    assert table_of(capsys.readouterr().out) == one
    assert (output / "table.csv").read_bytes() == (tmp_path / "undisturbed" / "table.csv").read_bytes()


@pytest.mark.slow
def test_a_shard_says_what_is_its_own_and_shows_what_is_there(
    arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fresh_registries: None,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXAMPLE_FOLDER", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*more: str) -> tuple[int, str, str]:
        code = start([*map(str, arguments[:-1]), "2", *more])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    shared, whole = tmp_path / "out", tmp_path / "whole"
    code, shown, told = run("--output", str(shared), "--shard", "2/5")
    assert code == 0, told
    assert "shard 2/5: 1 of 4 tasks are this command's, 1 of them to compute" in shown
    assert "1 cells computed, 0 reused" in told
    assert "logged" in table_of(shown)
    code, shown, told = run("--output", str(shared), "--shard", "5/5")
    assert code == 0, told
    assert "shard 5/5: 0 of 4 tasks are this command's, 0 of them to compute" in shown
    assert "0 cells computed, 1 reused" in told
    empty = tmp_path / "empty"
    code, shown, told = run("--output", str(empty), "--shard", "5/5")
    assert code == 0, told
    assert "0 cells computed, 0 reused" in told
    for number in (1, 3, 4):
        assert run("--output", str(shared), "--shard", f"{number}/5")[0] == 0
    code, _, told = run("--output", str(shared))
    assert code == 0
    assert "0 cells computed, 4 reused" in told
    assert run("--output", str(whole))[0] == 0
    assert (shared / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert run("--output", str(whole), "--shard", "6/5")[0] == 2


INVITING = """
import os, subprocess, sys
from pathlib import Path
from agiqa_bench import Method

class Inviting(Method):
    name = title = "inviting"
    targets = ("*",)
    uses_images = False

    def fit(self, train, validation=None):
        command = [Path(sys.executable).with_name("agiqa-bench"), *os.environ["EXAMPLE_COMMAND"].split("|")]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        return self

    def predict(self, samples):
        return [len(name) for name in samples.names]
"""


@pytest.mark.slow
def test_a_command_shows_its_own_table_though_another_one_began_on_the_folder_later(
    rated_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fresh_registries: None,
) -> None:  # fmt: skip
    plugin, output = tmp_path / "inviting.py", tmp_path / "out"
    plugin.write_text(INVITING)
    words = ["run", "--dataset", str(rated_table), "--annotations-only", "--repeats", "1", "--output", str(output)]
    monkeypatch.setenv("EXAMPLE_COMMAND", "|".join([*words, "--methods", "generator_mean", "--split", "image"]))
    monkeypatch.setenv("COLUMNS", "200")
    assert start([*words, "--methods", "inviting", "--plugin", str(plugin)]) == 0, capsys.readouterr().err
    shown = table_of(capsys.readouterr().out)
    assert "inviting" in shown
    assert "Generator mean" not in shown
    with (output / "table.csv").open() as file:
        assert {(row["method"], row["split"]) for row in csv.DictReader(file)} == {("inviting", "grouped")}
