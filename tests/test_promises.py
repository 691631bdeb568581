"""The page of promises: it names no test and no module that is not there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "bench" / "PROMISES.md"


def test_what_the_page_names_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text("utf-8"))
    assert len(links) > 30
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


def test_every_promise_names_its_test() -> None:
    promises = PAGE.read_text("utf-8").split("## Policies")[0]
    rows = re.findall(r"^\| (?!promise)(.+) \| (.+) \|$", promises, re.MULTILINE)
    assert len(rows) > 10
    assert [promise for promise, test in rows if ".py" not in test] == []
