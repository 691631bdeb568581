"""A run and its report are the same in every language, time zone, terminal and home folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
        files = [file for file in (tmp_path / place).rglob("*") if file.is_file()]
        told = command("report", "out", "--format", "markdown", **environment).stdout
        # The page says when, and by which command, it was made.
        contents = {
            str(file.relative_to(tmp_path / place)): re.sub(
                rb"Report(&#39;s command| made)</dt>.*", b"", file.read_bytes()
            )
            for file in files
        }
        shown.append((told, contents))
    assert len(shown[0][1]) > 10
    assert shown[0][0] == shown[1][0]
    assert shown[0][1].keys() == shown[1][1].keys()
    assert [name for name, content in shown[0][1].items() if shown[1][1][name] != content] == []


def tests_with(**variables: str) -> subprocess.CompletedProcess[str]:
    """Runs three files of this suite in surroundings that would let them fail."""
    files = ("datasets/test_agiqa3k.py", "figures/test_figure_files.py", "cli/test_console.py")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | ELSEWHERE | variables
    whole = [*words, *(f"tests/{file}" for file in files)]
    return subprocess.run(whole, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300)


def test_the_suite_has_surroundings_of_its_own_and_says_once_what_was_lacking(tmp_path):
    done = tests_with(MPLBACKEND="module://of.a.notebook", AGIQA_ANNOTATIONS=str(tmp_path), CI="")
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = (line for line in done.stdout.splitlines() if "skipped for want of the published annotation" in line)
    assert int(said.split()[0]) > 5
    assert said.endswith(": set AGIQA_ANNOTATIONS to the folder that holds them, see CONTRIBUTING.md")


def test_ci_fails_where_it_is_given_the_files_and_one_is_not_there(tmp_path):
    done = tests_with(AGIQA_ANNOTATIONS=str(tmp_path), CI="true")
    assert done.returncode == 1
    assert "Failed: for want of the published annotation files (agiqa1k/AIGC_MOS_Zscore.xlsx, " in done.stdout
