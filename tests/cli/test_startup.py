"""Help and lists answer without the heavy libraries."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "pyiqa", "pandas", "scipy", "sklearn", "open_clip", "matplotlib", "torchvision", "datasets", "jinja2"}

LOOK = """
import sys
from agiqa_bench.cli import app
try:
    app(args={arguments!r}, prog_name="agiqa-bench")
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *sorted(sys.modules))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["methods", "list"],
        ["datasets", "list"],
        ["run", "--help"],
        ["score", "--help"],
        ["attention", "--help"],
        ["tables", "list"],
        ["tables", "show", "--help"],
        ["report", "--help"],
        ["leaderboard", "--help"],
        ["protocol-study", "--help"],
        ["benchmark", "--help"],
        ["benchmark", "--list"],
    ],
)
def test_no_heavy_import(arguments):
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(arguments=arguments)], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = next(line for line in done.stdout.splitlines() if line.startswith("LOADED")).split()[1:]
    assert not HEAVY & set(loaded)
    assert "typer" in loaded


def test_published_tables_are_listed_without_numpy():
    arguments = ["tables", "list"]
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(arguments=arguments)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "LOADED" in done.stdout
    assert "numpy" not in done.stdout.split()


def test_methods_list_names_every_built_in_method(command):
    output = command("methods", "list").stdout
    for name in ("clipscore", "generator_mean", "generator_prompt", "niqe", "prompt_text"):
        assert name in output
    assert "broken" not in output


def test_unknown_names_are_one_line_with_a_suggestion(command):
    done = command("methods", "info", "clipscor")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: unknown method 'clipscor': did you mean clipscore or blipscore or pickscore? "
        "(see 'agiqa-bench methods list')"
    ]
    assert "Traceback" in command("methods", "info", "clipscor", "--debug").stderr
