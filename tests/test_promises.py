"""The page of promises: it names no file that is not there, and each promise the test functions that show it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "bench" / "PROMISES.md"
TEXT = PAGE.read_text("utf-8")

NAMED = re.compile(r"\[(?P<shown>[^\]]+)\]\((?P<file>[^)]+)\)(?P<tests>(?:[:,] `test_\w+`)*)")
"""A link, and the test functions that are named behind it."""


def named(text: str) -> list[tuple[str, str]]:
    """(file, function) of each test function that a text names."""
    return [(link["file"], name) for link in NAMED.finditer(text) for name in re.findall(r"`(\w+)`", link["tests"])]


def rows(text: str) -> list[list[str]]:
    """Cells of the rows of all tables whose last column names tests."""
    tables = re.findall(r"^\|.*\| test \|\n\|[-:| ]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for table in tables for line in table.splitlines()]


def collected(source: str) -> set[str]:
    """Functions that pytest finds in a module of tests, by name, less those that are never run."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = {ast.unparse(mark.func if isinstance(mark, ast.Call) else mark) for mark in node.decorator_list}
            if not marks & {"pytest.mark.skip", "pytest.mark.xfail"}:
                found.add(node.name)
    return found


def test_what_the_page_names_is_there() -> None:
    links = [link["file"] for link in NAMED.finditer(TEXT)]
    assert len(links) > 30
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


def test_every_promise_names_test_functions() -> None:
    found = rows(TEXT)
    assert len(found) >= 36
    assert [cells[0] for cells in found if not named(cells[-1])] == []
    # A function is named beside its file, not left behind somewhere.
    assert len(re.findall(r"`test_\w+`", TEXT)) == len(named(TEXT)) > 60


def test_the_named_functions_are_there_and_are_run() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in named(TEXT)
        if not Path(file).name.startswith("test_") or name not in collected((PAGE.parent / file).read_text("utf-8"))
    ]
    assert missing == []


def test_what_pytest_would_not_run_is_not_collected() -> None:
    source = """
import pytest
def test_one(): ...
@pytest.mark.slow
@pytest.mark.parametrize("x", [1])
def test_two(x): ...
@pytest.mark.skip(reason="later")
def test_three(): ...
@pytest.mark.xfail
def test_four(): ...
def helper():
    def test_five(): ...
"""
    assert collected(source) == {"test_one", "test_two"}


@pytest.mark.parametrize("line", ["| a promise | [test_x.py](test_x.py) |", "| a promise | the same |"])
def test_a_file_alone_is_no_test(line: str) -> None:
    (cells,) = rows(f"| promise | test |\n|---|---|\n{line}\n")
    assert named(cells[-1]) == []
