"""Faults around a store: a full disk, links, odd names, clocks that jump. Nothing is lost, and one line says it."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from agiqa_bench import Method, atomic, reading
from agiqa_bench.atomic import write_bytes
from agiqa_bench.errors import StoreError
from agiqa_bench.execution import stored_plans
from agiqa_bench.execution.claims import claim
from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry
from agiqa_bench.reporting.files import results_csv, write_run_tables
from agiqa_bench.reporting.results import read_results

DAYS = 24 * 3600


@pytest.fixture
def plan(plan_of):
    """A trained method and a zero-shot one."""
    return plan_of("epochs", "name_length", repeats=2)


def command(plan, root):
    """What `agiqa-bench run` does with a plan; the number of cells that it computes."""
    for method in plan.methods:
        for cell in method.cells:
            cell.result = None
    store = Store(root)
    plan.find_results(store)
    store.prepare()
    store_inputs(plan, store)
    computed = run(plan, store, Silent()).computed
    write_run_tables(read_results(store), root)
    return computed


def one_line(caught):
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line


class FillsTheDisk(Method):
    """Keeps features in a file, as those do that compute them once."""

    name = title = "fills_the_disk"
    targets = ("*",)
    uses_images = trainable = False

    def predict(self, samples):
        write_bytes(Path(os.environ["EXAMPLE_FOLDER"]) / "features", b"0" * 999)
        return [len(name) for name in samples.names]


# A disk that is full, or refuses


def test_a_disk_that_fills_up_at_any_moment_leaves_nothing_half_written(plan, tmp_path, monkeypatch):
    command(plan, tmp_path / "whole")
    table = (tmp_path / "whole" / "table.csv").read_bytes()
    left, found = [0], []

    def flush(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", flush)
    for room in range(0, 200, 4):
        root = tmp_path / f"room for {room}"
        left[0] = room
        with suppress(StoreError):
            command(plan, root)
            break
        assert list(root.rglob("*.tmp")) == []
        left[0] = 10_000
        stored = [
            Store(root).find_cell(method.label, cell.repeat, cell.key) is not None
            for method in plan.methods
            for cell in method.cells
        ]
        found.append(sum(stored))
        assert command(plan, root) == 4 - found[-1]
        assert (root / "table.csv").read_bytes() == table
        shutil.rmtree(root)
    assert found == sorted(found)
    assert set(found) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("folder", "written"), [("cells", "to_parquet"), ("scores", "to_parquet"), ("cells", "write_bytes")]
)
def test_a_disk_that_is_full_while_a_file_is_written(plan, tmp_path, monkeypatch, folder, written):
    owner = {"to_parquet": pd.DataFrame, "write_bytes": Path}[written]
    whole = getattr(owner, written)

    def full(self, *arguments, **options):
        file = self if owner is Path else next(iter(arguments), None)
        if isinstance(file, Path) and folder in file.parts:
            file.touch()  # it has begun
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return whole(self, *arguments, **options)

    monkeypatch.setattr(owner, written, full)
    with pytest.raises(StoreError, match="the disk quota is used up") as caught:
        command(plan, tmp_path)
    one_line(caught)
    assert not list(tmp_path.rglob(f"{folder}/**/*.parquet"))
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    assert command(plan, tmp_path) > 0


@pytest.mark.parametrize("methods", [("slow_epochs",), ("fills_the_disk",)], ids=["trained", "zero-shot"])
def test_a_disk_that_is_full_for_what_a_method_keeps_ends_the_run_too(plan_of, tmp_path, monkeypatch, methods):
    """A checkpoint may be too large where the record of a failure still fits: yet no method has failed."""
    load_plugin(Path(__file__).parents[1] / "slow_epochs.py")
    method_registry().register("fills_the_disk", FillsTheDisk, "this test")
    monkeypatch.setenv("EXAMPLE_FOLDER", str(tmp_path))
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    real = atomic.open_beside

    def full(path):
        if "scratch" in path.parts or path.name == "features":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path)

    plan = plan_of(*methods, repeats=2)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "open_beside", full)
        with pytest.raises(StoreError, match="no space left on the device") as caught:
            command(plan, tmp_path / "run")
    one_line(caught)
    assert not list((tmp_path / "run").rglob("failures/*"))
    assert command(plan, tmp_path / "run") == 2


@pytest.mark.parametrize(("number", "why"), [(errno.EROFS, "the file system is read-only"), (errno.EACCES, "permiss")])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_computed(tmp_path, monkeypatch, number, why):
    real = os.open

    def refuse(path, flags, *arguments, **options):
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match=rf"cannot write .*: {why}.*: free or choose another place") as caught:
        Store(tmp_path / "run").prepare()
    one_line(caught)


def test_a_file_where_a_folder_should_be(plan, tmp_path):
    for path in ("run", "run/below", "other/cells", "third/plans"):
        file = tmp_path / path.partition("/")[0] if path == "run/below" else tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.touch()
        with pytest.raises(StoreError) as caught:
            command(plan, tmp_path / ("run/below" if path == "run/below" else path.partition("/")[0]))
        assert str(file) in one_line(caught)
        assert file.read_bytes() == b""


# Names and links


@pytest.mark.parametrize("name", ["with spaces", "Ergebnisse für Zoë", "结果", "a\u202eb", "100%", "[x]*?"])
def test_folders_of_any_name(plan, tmp_path, name):
    assert command(plan, tmp_path / name) == 4
    assert command(plan, tmp_path / name) == 0
    assert read_results(Store(tmp_path / name)).where == name


def test_a_link_to_a_folder_is_that_folder(plan, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk", target_is_directory=True)
    (tmp_path / "disk" / "elsewhere").mkdir()
    (tmp_path / "disk" / "cells").symlink_to("elsewhere", target_is_directory=True)
    assert command(plan, tmp_path / "link") == 4
    assert command(plan, tmp_path / "disk") == 0
    assert len(list((tmp_path / "disk" / "elsewhere").glob("*/*/cell.json"))) == 4


def test_links_that_lead_nowhere_are_one_line(tmp_path):
    (tmp_path / "broken").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    for name, aim in (("broken", "nothing"), ("loop", "loop")):
        with pytest.raises(StoreError, match=rf"output .*{name}: a link to {aim}, which is not there") as caught:
            Store(tmp_path / name).prepare()
        one_line(caught)
    assert not (tmp_path / "nothing").exists()


# Clocks


def left_half_written(root, name, age):
    place = root / name
    place.mkdir(parents=True)
    (place / "half").touch()
    # By the clock of the file system, which may be another one.
    written = place.stat().st_mtime - age
    os.utime(place, times=(written, written))
    return place


def test_leftovers_are_as_old_as_the_file_system_says(tmp_path, monkeypatch):
    store = Store(tmp_path)
    old = left_half_written(tmp_path, "cells/m/.00-key.0123456789abcdef.tmp", 2 * DAYS)
    young = left_half_written(tmp_path, "cells/m/.01-key.0123456789abcdef.tmp", 60)
    file = tmp_path / "plans" / ".x.json.0123456789abcdef.tmp"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setattr(time, "time", lambda: 4e9)  # the machine's own clock has jumped
    store.prepare()
    assert not old.exists()
    assert young.exists()
    assert file.exists()
    os.utime(file, times=(0, 0))
    store.prepare()
    assert not file.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_others_keep_in_the_folder_is_left_alone(tmp_path):
    """`--output .` is allowed: hidden temporary files of editors and of other programs are not ours to delete."""
    theirs = [
        left_half_written(tmp_path, name, 9 * DAYS)
        for name in (".important.tmp", "photos/.album.0123456789abcdef.tmp", "cells/.x.tmp", ".x.0123456789ABCDEF.tmp")
    ]
    ours = left_half_written(tmp_path, ".table.csv.0123456789abcdef.tmp", 9 * DAYS)
    Store(tmp_path).prepare()
    assert all((place / "half").is_file() for place in theirs)
    assert not ours.exists()


@pytest.mark.parametrize("kind", ["cells", "scores"])
def test_nothing_is_removed_while_somebody_is_at_the_row(tmp_path, kind):
    store = Store(tmp_path)
    old = left_half_written(tmp_path, f"{kind}/m/.00-key.0123456789abcdef.tmp", 2 * DAYS)
    held = claim([store.lock_file("m", "07", "another")])
    assert held is not None
    store.prepare()
    assert old.exists()
    held.release(done=True)
    store.prepare()
    assert not old.exists()


def test_who_holds_a_claim_removes_what_was_half_written(tmp_path):
    store = Store(tmp_path)
    cell = left_half_written(tmp_path, "cells/m/.00-key.0123456789abcdef.tmp", 0)
    other = left_half_written(tmp_path, "cells/m/.01-key.0123456789abcdef.tmp", 0)
    scores = left_half_written(tmp_path, "scores/m/.key.0123456789abcdef.tmp", 0)
    store.make_room("m", 0, "key")
    assert (cell.exists(), other.exists(), scores.exists()) == (False, True, True)
    store.make_room_for_scores("m", "key")
    assert (other.exists(), scores.exists()) == (True, False)


def test_the_latest_plan_is_the_one_made_last_whatever_the_clock_says(plan, plan_of, tmp_path, monkeypatch):
    class Clock:
        year = 2031

        @classmethod
        def now(cls, zone):
            from datetime import datetime

            cls.year -= 1
            return datetime(cls.year, 1, 1, tzinfo=zone)

    monkeypatch.setattr(stored_plans, "datetime", Clock)
    for seed in range(12):
        run(plan_of("epochs", repeats=1, seed=seed), Store(tmp_path), Silent())
    names = [file.name for file in sorted((tmp_path / "plans").iterdir())]
    assert names[0].startswith("000001-20300101T")
    assert names[-1].startswith("000012-20190101T")
    assert [each["protocol"]["seed"] for each in Store(tmp_path).plans()] == list(range(12))
    # Names of older versions are a time and nothing else: they come first.
    (tmp_path / "plans" / names[-1]).rename(tmp_path / "plans" / "20401231T000000000000-abcdef.json")
    assert [each["protocol"]["seed"] for each in Store(tmp_path).plans()] == [11, *range(11)]
    assert Store(tmp_path).new_plan_id().startswith("000012-")


# What cannot be read, and what is damaged


def test_what_a_server_does_not_give_is_not_computed_again(plan, tmp_path, monkeypatch):
    command(plan, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("cell.json")}
    monkeypatch.setattr(reading, "_PAUSES", (0, 0))
    whole = Path.read_bytes

    def stale(file):
        if file.name == "cell.json":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return whole(file)

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(StoreError, match=r"cannot read .*cell\.json: Stale file handle; it is neither") as caught:
        command(plan, tmp_path)
    one_line(caught)
    with pytest.raises(StoreError, match=r"cannot read .*cell\.json"):
        read_results(Store(tmp_path))
    monkeypatch.undo()
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("cell.json")} == before
    assert command(plan, tmp_path) == 0


def test_what_is_set_aside_overwrites_nothing(plan, tmp_path, caplog):
    command(plan, tmp_path)
    table = results_csv([read_results(Store(tmp_path))])
    (file,) = tmp_path.glob("cells/epochs/00-*/cell.json")
    place = file.parent.relative_to(tmp_path).as_posix()
    for turn in range(3):
        file.write_text(f"turn {turn}")
        assert command(plan, tmp_path) == 1
        assert results_csv([read_results(Store(tmp_path))]) == table
    aside = sorted(tmp_path.glob("damaged/cells/epochs/*/cell.json"))
    assert [each.read_text() for each in aside] == ["turn 0", "turn 1", "turn 2"]
    why = f"{place}/cell.json is not as it was written; set aside as damaged/{place}"
    assert caplog.messages == [why, f"{why}-1", f"{why}-2"]


def test_scores_without_which_nothing_is_missing_are_left_to_who_is_at_them(plan, tmp_path):
    command(plan, tmp_path)
    (file,) = tmp_path.glob("scores/name_length/*/scores.parquet")
    file.write_bytes(b"")
    method = plan.methods[1]
    held = claim([Store(tmp_path).lock_file(method.label, "scores", method.score_key)])
    assert held is not None
    assert command(plan, tmp_path) == 0
    assert file.exists()
    held.release(done=True)
    assert command(plan, tmp_path) == 0
    assert not file.exists()
    assert (tmp_path / "damaged" / file.relative_to(tmp_path)).exists()
