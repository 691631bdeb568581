"""What a report says of stores that are damaged, of another version, or hold more than it shows."""

from __future__ import annotations

import shutil

import pytest

from agiqa_bench.errors import StoreError
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.build.leaderboard import read_leaderboard
from agiqa_bench.reporting.build.report import build_report
from agiqa_bench.reporting.results import join_comparable, read_protocols, read_results
from agiqa_bench.sealed import read_sealed, write_sealed

SMALL = {"methods": 4, "repeats": 3, "images": 60, "generators": 3, "history": False}


@pytest.fixture(scope="module")
def whole(stored_runs, tmp_path_factory):
    return stored_runs.make_store(tmp_path_factory.mktemp("runs") / "whole", **SMALL)


@pytest.fixture
def store(whole, tmp_path):
    shutil.copytree(whole.root, tmp_path / "run")
    return Store(tmp_path / "run")


def rewrite(file, change):
    write_sealed(file, change(read_sealed(file)))


def without(record, *path):
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return record


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda plan: without(plan, "methods", 0, "preset"), r"methods\.0\.preset: not there"),
        (lambda plan: without(plan, "protocol", "splits_digest"), r"protocol\.splits_digest: not there"),
        (lambda plan: without(plan, "environment", "argv"), r"environment\.argv: not there"),
        (lambda plan: plan | {"outcome": {"failures": [["a", "b"]]}}, r"outcome\.failures\.0"),
    ],
)
def test_a_plan_of_another_version_is_one_clear_line(store, change, why):
    (file,) = store.root.glob("plans/*.json")
    rewrite(file, change)
    for read in (read_results, read_protocols):
        with pytest.raises(StoreError, match=why) as caught:
            read(store)
        assert str(caught.value).startswith(f"{file}: is no plan of this version (")
        assert "move it away, or run again" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_cells_without_a_plan_are_told_from_no_run(store, tmp_path):
    shutil.rmtree(store.root / "plans")
    with pytest.raises(StoreError, match="no plan in plans/ tells what its cells are"):
        store.plans()
    with pytest.raises(StoreError, match="no such folder"):
        Store(tmp_path / "nothing").plans()


def test_a_damaged_cell_is_left_out_by_name_and_file(store):
    zero, one, *_ = sorted(store.root.glob("cells/Method_00*/*"))
    (zero / "predictions.parquet").write_bytes(b"PAR1")
    rewrite(one / "cell.json", lambda cell: without(cell, "metrics", "quality", "srcc_within_prompt"))
    broken = sorted(store.root.glob("cells/Method_01*/*/cell.json"))
    for file in broken:
        file.write_text("{", encoding="utf-8")
    results = read_results(store)
    assert [len(method.cells) for method in results.methods] == [1, 0, 3, 3]
    assert [name for name, _ in results.left_out] == ["Method 00"] * 2 + ["Method 01"] * 3
    first, second = (why for name, why in results.left_out if name == "Method 00")
    place = zero.relative_to(store.root).as_posix()
    ending = "; the run's command computes it again"
    assert first == f"damaged: repeat 0: {place}/predictions.parquet is not as it was written{ending}"
    assert second.endswith(f"cell.json is of another version (metrics.quality.srcc_within_prompt: not there){ending}")
    report = build_report([results], brief=True)
    (table,) = (table for table in report.tables() if table.key == "left-out")
    assert {row.cells[0] for row in table.rows} == {"damaged"}
    assert not any("not finished yet" in note for note in report.chapters[0].notes)


def test_a_cell_that_another_folder_holds_whole_is_not_damaged(store, whole):
    (broken, *_) = sorted(store.root.glob("cells/Method_00*/*/predictions.parquet"))
    broken.unlink()
    damaged = read_results(store)
    assert damaged.left_out
    (joined,) = join_comparable([damaged, read_results(whole)])
    assert joined.left_out == []
    assert joined.methods[0].damaged == {}
    assert len(joined.methods[0].cells) == 3


def test_the_other_protocols_of_a_folder_are_named(store, stored_runs):
    assert read_results(store).others == ()
    stored_runs.make_store(store.root, **SMALL | {"methods": 2}, split="image", finished={"Method 01": 1})
    stored_runs.make_store(store.root, **SMALL | {"methods": 1})
    results = read_results(store)
    assert results.others == (("image split, epoch by refit, seed 0, 3 repeats", 4),)
    (warning,) = build_report([results]).warnings
    assert warning.startswith("run also holds 4 cells under another protocol (image split, ")
    assert "--all-protocols" in warning
    assert not any("also holds" in line for line in build_report(read_protocols(store)).warnings)


@pytest.mark.parametrize("damage", ["damaged", "missing"])
def test_without_samples_there_are_still_tables(store, damage):
    (file,) = store.root.glob("samples/*/samples.parquet")
    tables = [table.key for table in build_report([read_results(store)]).tables()]
    if damage == "damaged":
        file.write_bytes(b"junk")
    else:
        shutil.rmtree(file.parent)
    report = build_report([read_results(store)])
    assert [table.key for table in report.tables()] == tables
    (warning,) = (line for line in report.chapters[0].warnings if line.startswith("no figure of the ratings"))
    place = f"samples/{file.parent.name}/samples.parquet is not as it was written"
    assert (place if damage == "damaged" else "no table of the samples") in warning
    assert str(store.root) not in warning


def test_nobody_learns_where_the_folders_are(store):
    (file,) = store.root.glob("plans/*.json")

    def at_home(plan):
        plan["faults"] = ["/home/jo/data: 2 images are missing"]
        plan["unusable"] = {"maniqa": "cannot be loaded: /Users/Jo/lib: no such file"}
        plan["methods"][0]["config"] = {"weights": "/home/jo/w.pt", "parts": ["/home/jo/x"]}
        plan["methods"][0]["display"] = "Method [weights=/home/jo/w.pt]"
        return plan

    rewrite(file, at_home)
    results = read_results(store)
    assert results.where == "run"
    assert results.methods[0].config == {"weights": "~/w.pt", "parts": ["~/x"]}
    assert results.methods[0].display == "Method [weights=~/w.pt]"
    assert ("maniqa", "cannot be used: cannot be loaded: ~/lib: no such file") in results.left_out
    report = build_report([results])
    cells = [cell for table in report.tables() for row in table.rows for cell in (row.name, *row.cells)]
    assert "~/data: 2 images are missing" in cells
    assert not any(isinstance(cell, str) and ("/home/jo" in cell or "/Users/Jo" in cell) for cell in cells)


def test_a_folder_that_cannot_be_looked_into_is_skipped_by_name(whole, monkeypatch):
    import os

    root = whole.root.parent
    (root / "closed").mkdir(exist_ok=True)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    board = read_leaderboard(root)
    assert board.skipped == (("closed", "cannot be read (Permission denied)"),)
    assert board.runs == 1
