"""The page on speed: each measured figure is one that is stored beside it, and none stands anywhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agiqa_bench.benchmarks.table import shown

PAGE = Path(__file__).parents[2] / "results" / "reference" / "benchmarks" / "PERFORMANCE.md"
TEXT = PAGE.read_text("utf-8")
ROW = re.compile(r"^\| .* \| `(?P<part>\w+)`: `(?P<entry>[^`]+)` \|$", re.MULTILINE)
"""A row of figures: what it is about, its figures, its commit, and in the last column what it is stored as."""

FIGURE = re.compile(
    r"\d(?: to \d+)? ?(?:%|x\b(?! \d)|times\b|s\b|ms\b|seconds|minutes|[kMG]i?B\b|images (?:per|/)|G?FLOPS?\b)"
    r"|\b\d\.\d|\de-\d"
)
"""What a measured figure looks like."""


def tables() -> list[tuple[dict[str, Any], list[str]]]:
    """What is stored in the file that a section names, and the section's rows of figures."""
    found = []
    for section in TEXT.split("\n## "):
        rows = [row[0] for row in ROW.finditer(section)]
        if rows:
            (file,) = set(re.findall(r"\]\(([\w-]+\.json)\)", section))
            found.append((json.loads((PAGE.parent / file).read_text("utf-8")), rows))
    return found


def figures(stored: dict[str, Any], row: str) -> str:
    """The row as it is to be, behind its first cell."""
    match = ROW.fullmatch(row)
    assert match is not None
    part, name = match["part"], match["entry"]
    entries = stored["parts"][part]["entries"]
    results = [entries[key]["results"][-1] for key in keys(entries, name)]
    (commit,) = {result["commit"][:7] + (" with changes" if result["changed"] else "") for result in results}
    cells = []
    for key, result in zip(keys(entries, name), results, strict=True):
        limits = f" [{shown(result['lowest'])}, {shown(result['highest'])}]" if len(result["values"]) > 1 else ""
        cells.append(f"{shown(result['median'])}{limits} {entries[key]['unit']}".strip())
    return f" | {' | '.join(cells)} | {commit} | `{part}`: `{name}` |"


def keys(entries: dict[str, Any], name: str) -> list[str]:
    """An entry, or the plain path, the fast path and their ratio of a work."""
    return [name] if name in entries else [f"{name}, {way}" for way in ("plain", "fast", "plain / fast")]


def test_each_figure_is_the_stored_one() -> None:
    found = tables()
    assert len(found) == 3
    assert sum(len(rows) for _, rows in found) > 30
    for stored, rows in found:
        for row in rows:
            assert row.endswith(figures(stored, row)), row


def test_no_figure_stands_outside_of_the_tables() -> None:
    prose = ROW.sub("", TEXT)
    assert [line for line in prose.splitlines() if FIGURE.search(line)] == []


@pytest.mark.parametrize(
    "text", ["809 JPEG images per second", "0.74 of", "1.7 s", "78 % of", "21 GiB", "1.9 times", "2.2e-8", "15 to 18 s"]
)
def test_what_a_figure_looks_like(text: str) -> None:
    assert FIGURE.search(text) or FIGURE.search(text.replace("JPEG ", ""))
