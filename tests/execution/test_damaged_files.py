"""One bit is flipped in every file of a store: it is reported, set aside and made again, and never used."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from agiqa_bench.errors import StoreError
from agiqa_bench.execution import cell_files
from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.plugins import load_plugin
from agiqa_bench.reporting.files import results_csv, write_run_tables
from agiqa_bench.reporting.results import read_results

WRITTEN_ONLY = {"table.csv", "table.md", "costs.csv"}
"""What nobody reads back, and the next command writes anew."""

RECOMPUTED_ONLY = "failures"
"""What failed is tried again by the next command anyway."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.fixture
def plan(folder, rated_table, example_methods, fresh_registries, monkeypatch, one_thread):
    """A trained method that saves its models, one with epochs, one that fails, and a zero-shot one."""
    (folder / "fail").touch()
    monkeypatch.setenv("EXAMPLE_FAIL", str(folder / "fail"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is cut here
    for file in (example_methods, example_methods.with_name("example_savable.py")):
        load_plugin(file)
    methods = ("savable", "epochs", "fails_sometimes", "name_length")
    return make_plan(
        RunRequest(dataset=str(rated_table), methods=methods, annotations_only=True, repeats=2, save_models=True)
    )


def command(plan: Plan, root: Path) -> list[str]:
    """What `agiqa-bench run` does with a plan; the lines that it shows before it begins."""
    cell_files._sha256.cache_clear()  # as in a process that has just begun
    for method in plan.methods:
        for cell in method.cells:
            cell.result = None
    store = Store(root)
    plan.find_results(store)
    lines = [line for method in plan.methods for line in method.damaged]
    store.prepare()
    store_inputs(plan, store)
    run(plan, store, Silent())
    write_run_tables(read_results(store), root)
    return lines


def flipped(content: bytes, draw: random.Random) -> dict[str, bytes]:
    """The content with one bit flipped in the first byte, the middle, the last one and one more place."""
    places = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}
    places["random"] = draw.randrange(len(content))
    changed = {}
    for name, place in places.items():
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        changed[name] = bytes(damaged)
    return changed


def check_report(store: Store, name: str, before: str) -> None:
    """No number comes from a damaged file, and the report says which it is."""
    kind = name.split("/")[0]
    if kind == "plans":
        with pytest.raises(StoreError, match=rf"{name}: (is not as it was written|has no seal)"):
            read_results(store)
        return
    results = read_results(store)
    if kind == "samples":
        with pytest.raises(StoreError, match=rf"{name} (is not as it was written|has no seal)"):
            results.samples()
    if kind == "cells" and not name.endswith("model.safetensors"):  # reports read no models
        (damaged,) = [method for method in results.methods if method.damaged]
        ((repeat, why),) = damaged.damaged.items()
        assert why.startswith(f"{name} ")
        assert repeat not in damaged.cells
        assert any(name in line for _, line in results.left_out)
    else:
        assert not any(method.damaged for method in results.methods)
        assert results_csv([results]) == before


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_reported_and_what_it_was_in_is_made_again(plan, folder, caplog):
    whole, root = folder / "whole", folder / "run"
    command(plan, whole)
    table = (whole / "table.csv").read_bytes()
    assert len(table.splitlines()) == 1 + 3, "three methods have results"
    draw, tried = random.Random(7), []
    for file in sorted(file for file in whole.rglob("*") if file.is_file()):
        name = file.relative_to(whole).as_posix()
        content = file.read_bytes()
        if name.startswith("locks/"):
            assert content == b""
            continue
        for place, damaged in flipped(content, draw).items():
            shutil.copytree(whole, root)
            (root / name).write_bytes(damaged)
            cell_files._sha256.cache_clear()
            check_report(Store(root), name, table.decode())
            caplog.clear()
            reported = [*command(plan, root), *caplog.messages]
            assert (root / "table.csv").read_bytes() == table, (name, place)
            if name not in WRITTEN_ONLY and not name.startswith(RECOMPUTED_ONLY):
                assert any(line.startswith(f"{name} ") for line in reported), (name, place)
                aside = [each for each in root.glob("damaged/**/*") if each.is_file() and each.read_bytes() == damaged]
                assert [each.relative_to(root / "damaged").as_posix() for each in aside] == [name]
            else:
                assert not (root / "damaged").exists()
            if place == "first":  # now all is whole
                caplog.clear()
                assert [*command(plan, root), *caplog.messages] == [], name
            shutil.rmtree(root)
        tried.append(name)
    kinds = {name.split("/")[0] for name in tried}
    assert kinds == {"cells", "scores", "failures", "plans", "splits", "samples"} | WRITTEN_ONLY
    assert len(tried) == 2 * 4 + 2 * 3 + 2 * 2 + 2 + 2 + 1 + 1 + 2 + 3
