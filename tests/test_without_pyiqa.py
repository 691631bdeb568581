"""pyiqa is an extra as far as its licence goes: without it everything else works."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyiqa":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""

NEEDED = "needs pyiqa: pip install pyiqa; its licence is PolyForm Noncommercial"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """Environment of a command that cannot import pyiqa."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKED, encoding="utf-8")
    return {"PYTHONPATH": str(folder), "AGIQA_OFFLINE": "1"}


def test_lists_work(command: Command, without: dict[str, str]) -> None:
    done = command("methods", "list", **without)
    assert done.returncode == 0
    assert "niqe" in done.stdout
    members = command("methods", "list", "--pyiqa", **without)
    assert members.returncode == 0
    assert "pyiqa:musiq" in members.stdout


def test_a_run_skips_what_needs_it_and_does_the_rest(command: Command, without: dict[str, str], tmp_path: Path) -> None:
    names = "niqe,generator_mean,pyiqa:piqe"
    done = command(
        "run", "--methods", names, "--dataset", "demo", "--repeats", "1", "--output", tmp_path / "run", **without
    )
    assert done.returncode == 0, done.stderr
    for title in ("NIQE", "pyiqa piqe"):
        assert f"{title}: skipped: {NEEDED}" in done.stdout
    assert "Generator mean" in done.stdout
    manifests = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "run" / "cells").rglob("cell.json")]
    assert len(manifests) == 1
