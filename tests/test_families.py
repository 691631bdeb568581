"""Families: methods that are made by name, from this project and from others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agiqa_bench import registry as module
from agiqa_bench.errors import PluginError, UnknownNameError
from agiqa_bench.method import Method
from agiqa_bench.registry import Registry

SOURCE = """
import numpy as np
from agiqa_bench.families import Family
from agiqa_bench.method import Method

class Toys(Family):
    name = "toys"
    title = "Toys"
    summary = "methods made by name"

    def members(self):
        return ["one", "two+x", "odd", "broken"]

    def load(self, member):
        if member == "broken":
            raise RuntimeError("out of\\nparts")
        name = "something else" if member == "odd" else f"toys:{member}"
        score = lambda self, samples: np.arange(len(samples), dtype=float)
        body = {"name": name, "title": member, "trainable": False, "uses_images": False, "predict": score}
        return type(member, (Method,), {"__module__": __name__, **body})

    def describe(self, member):
        return {"Letters": str(len(member))}

class Nothing:
    pass
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Method]:
    """A registry with one plain method and the families `toys` and `gone`, which cannot be imported."""
    (tmp_path / "toy_family.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    groups = {
        "methods": [EntryPoint("generator_mean", "agiqa_bench.methods.generator_mean:GeneratorMean", "methods")],
        "families": [
            EntryPoint("toys", "toy_family:Toys", "families"),
            EntryPoint("gone", "no_such_module_anywhere:Family", "families"),
            EntryPoint("nothing", "toy_family:Nothing", "families"),
        ],
    }
    monkeypatch.setattr(module, "entry_points", lambda group: groups[group])
    families = Registry("family", "families", "agiqa_bench.families:Family")
    return Registry("method", "methods", "agiqa_bench.method:Method", families)


def test_a_family_answers_for_its_members_with_one_class_each(registry: Registry[Method]) -> None:
    assert registry.members("toys") == ["toys:one", "toys:two+x", "toys:odd", "toys:broken"]
    assert "toys:one" in registry
    assert "toys:none" not in registry
    assert "gone:one" not in registry
    assert "elsewhere:one" not in registry
    cls = registry.load("toys:one")
    assert cls.name == "toys:one"
    assert issubclass(cls, Method)
    assert registry.load("toys:one") is cls
    assert registry.load("toys:two+x") is not cls
    assert registry.describe("toys:one") == {"Letters": "3"}
    assert registry.entry("toys:one").facts["title"] == "one"


def test_plain_names_are_apart_from_members(registry: Registry[Method]) -> None:
    assert registry.names() == ["generator_mean"]
    assert [entry.name for entry in registry.entries()] == ["generator_mean"]
    assert registry.describe("generator_mean") == {}


def test_unknown_members_and_families_are_answered_with_near_ones(registry: Registry[Method]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown toys method 'tow\+x': did you mean two\+x\?"):
        registry.load("toys:tow+x")
    with pytest.raises(UnknownNameError, match=r"unknown family of methods 'toy': did you mean toys\?"):
        registry.load("toy:one")
    with pytest.raises(UnknownNameError, match=r"unknown family of methods 'zzz': known: gone, nothing, toys"):
        registry.members("zzz")


def test_a_broken_family_is_listed_with_its_reason_and_breaks_nothing(registry: Registry[Method]) -> None:
    assert registry.families is not None
    entries = {entry.name: entry for entry in registry.families.entries()}
    assert entries["toys"].error is None
    assert "No module named 'no_such_module_anywhere'" in str(entries["gone"].error)
    assert "is not a subclass of Family" in str(entries["nothing"].error)
    with pytest.raises(PluginError, match=r"family 'gone' of .* cannot be imported"):
        registry.load("gone:one")
    assert registry.load("generator_mean").name == "generator_mean"


def test_a_member_that_cannot_be_made_is_one_line(registry: Registry[Method]) -> None:
    with pytest.raises(PluginError, match=r"^method 'toys:broken' of .* cannot be made: RuntimeError: out of$"):
        registry.load("toys:broken")
    assert "cannot be made" in str(registry.entry("toys:broken").error)
    with pytest.raises(PluginError, match=r"'toys:odd' of .* the class calls itself 'something else'"):
        registry.load("toys:odd")


def test_without_families_a_colon_is_a_letter_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entry_points", lambda group: [])
    with pytest.raises(UnknownNameError, match="unknown method 'toys:one': known: none"):
        Registry("method", "methods", "agiqa_bench.method:Method").load("toys:one")


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Environment of a command that sees a distribution which registers `toys` and a broken family."""
    folder = tmp_path / "site"
    facts = folder / "toy_family-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "toy_family.py").write_text(SOURCE, encoding="utf-8")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-family\nVersion: 1.0\n", encoding="utf-8")
    points = "[agiqa_bench.method_families]\ntoys = toy_family:Toys\ngone = no_such_module_anywhere:Family\n"
    (facts / "entry_points.txt").write_text(points, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_third_partys_members_are_listed_run_and_reported(
    command: Command, installed: dict[str, str], rated_table: Path, tmp_path: Path
) -> None:
    lines = command("methods", "list", **installed).stdout.splitlines()
    assert any("toys:NAME" in line and "toy-family 1.0" in line for line in lines)
    assert any("gone:NAME" in line and "broken" in line for line in lines)
    assert command("methods", "list", "--family", "toys", **installed).stdout.split()[:6] == [
        "Name", "Letters", "toys:one", "3", "toys:two+x", "5",
    ]  # fmt: skip
    names = "generator_mean,toys:one,toys:two+x"
    arguments = ("run", "--dataset", rated_table, "--repeats", "2", "--output", tmp_path / "run")
    for jobs, words in ((2, "6 cells computed"), (1, "0 cells computed")):
        done = command(*arguments, "--methods", names, "--jobs", jobs, **installed)
        assert done.returncode == 0, done.stderr
        assert words in done.stderr
    folders = {folder.name.rpartition("-")[0] or folder.name for folder in (tmp_path / "run" / "cells").iterdir()}
    assert folders == {"generator_mean", "toys_one", "toys_two_x"}
    table = (tmp_path / "run" / "table.csv").read_text(encoding="utf-8")
    assert "toys:two+x" in table
    assert "two+x" in command("report", tmp_path / "run", **installed).stdout
