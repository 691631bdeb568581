"""A run and its report are the same in every language, time zone, terminal and home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "COLUMNS": "40",
    "TERM": "dumb",
    "FORCE_COLOR": "1",
    "PYTHONIOENCODING": "utf-8",
}


def test_reports_do_not_depend_on_where_they_are_written(command, rated_table, tmp_path):
    run = ["run", "--methods", "generator_mean,prompt_text", "--dataset", rated_table, "--annotations-only"]
    done = command(*run, "--repeats", 3, "--output", "out")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "home"
    (home / ".config" / "matplotlib").mkdir(parents=True)
    (home / ".config" / "matplotlib" / "matplotlibrc").write_text("font.size: 20\nsvg.fonttype: path\n")
    shown = []
    for place, environment in {"here": {}, "elsewhere": ELSEWHERE | {"HOME": str(home)}}.items():
        assert command("report", "out", "--output", place, **environment).returncode == 0
        files = sorted(file for file in (tmp_path / place).rglob("*") if file.is_file())
        told = command("report", "out", "--format", "markdown", **environment).stdout
        shown.append((told, {file.relative_to(tmp_path / place): file.read_bytes() for file in files}))
    assert len(shown[0][1]) > 10
    assert shown[0][0] == shown[1][0]
    assert shown[0][1].keys() == shown[1][1].keys()
    assert [name for name, content in shown[0][1].items() if shown[1][1][name] != content] == []


@pytest.mark.parametrize(
    ("ci", "variable", "ends"),
    [
        ("", "nowhere", "skipped for want of the published annotation files ("),
        ("true", "nowhere", "error"),
    ],
)
def test_what_a_machine_lacks_is_said_once_at_the_end_and_fails_in_ci(tmp_path, ci, variable, ends):
    environment = os.environ | {"CI": ci, "AGIQA_ANNOTATIONS": str(tmp_path / variable)}
    pytest_on = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/datasets/test_agiqa3k.py"]
    done = subprocess.run(pytest_on, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    said = [line for line in lines if ends in line and "skipped for want of" in line]
    if ci:
        assert done.returncode == 1
        assert "Failed: for want of the published annotation files (" in done.stdout
    else:
        assert done.returncode == 0, done.stdout
        assert len(said) == 1
        assert said[0].endswith(": set AGIQA_ANNOTATIONS to the folder that holds them, see CONTRIBUTING.md")
        assert int(said[0].split()[0]) > 5
