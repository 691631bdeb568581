"""Stores that were computed apart, joined: the same bytes as of one run, and one line for what cannot be joined."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agiqa_bench import Method, Samples
from agiqa_bench.cli.app import start
from agiqa_bench.errors import StoreError
from agiqa_bench.execution.claims import claim
from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.merging import merge_stores
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.runner import Outcome, run
from agiqa_bench.execution.store import Store
from agiqa_bench.registry import method_registry
from agiqa_bench.reporting.files import results_csv
from agiqa_bench.reporting.results import read_results

REPEATS = 7


class InPairs(Method):
    """Predicts generator means, two repeats at a time."""

    name = title = "in_pairs"
    targets = ("*",)
    uses_images = False
    trains_together = 2

    @classmethod
    def fit_together(cls, methods: Any, parts: Any) -> Any:
        for method, (train, _) in zip(methods, parts, strict=True):
            generators = np.array(train.generators)
            method.means = {name: train.mos[generators == name].mean() for name in set(train.generators)}
        return [None] * len(methods)

    def predict(self, samples: Samples) -> Any:
        lengths = np.array([len(name) for name in samples.names])
        return np.array([self.means[name] for name in samples.generators]) + 0.01 * lengths


class Numbered(Method):
    """Zero-shot: the number of the prompt, and a liking for long names."""

    name = title = "numbered"
    targets = ("*",)
    uses_images = False
    trainable = False

    def predict(self, samples: Samples) -> Any:
        return np.array([int(name[:-4].rpartition("_")[2]) % 20 + len(name) for name in samples.names], dtype=float)


class Red(Method):
    """Zero-shot: how red an image is."""

    name = title = "red"
    targets = ("*",)
    trainable = False

    def predict(self, samples: Samples) -> Any:
        return np.array([image[..., 0].mean() for image in samples.images])


class Green(Red):
    """Zero-shot: how green an image is."""

    name = title = "green"

    def predict(self, samples: Samples) -> Any:
        return np.array([image[..., 1].mean() for image in samples.images])


@pytest.fixture
def compute(plan_of: Any, tmp_path: Path) -> Any:
    """`compute("a", "epochs", shard=(1, 3))`: the store in the folder `a`, and how the run ended."""
    for cls in (InPairs, Numbered, Red, Green):
        method_registry().register(cls.name, cls, "a test")

    def go(name: str, *methods: str, **changes: Any) -> tuple[Store, Outcome]:
        plan, store = plan_of(*methods or ALL, **{"repeats": REPEATS} | changes), Store(tmp_path / name)
        plan.find_results(store)
        store.prepare()
        store_inputs(plan, store)
        return store, run(plan, store, Silent())

    return go


ALL = ("epochs", "numbered", "in_pairs")


def table(store: Store) -> str:
    return results_csv([read_results(store)])


def files_of(store: Store) -> dict[str, bytes]:
    return {str(file.relative_to(store.root)): file.read_bytes() for file in store.root.rglob("*") if file.is_file()}


def test_three_shards_merged_are_the_run_that_nobody_divided(
    compute: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = compute("whole")
    shards = [compute(f"shard {number}", shard=(number, 3)) for number in (1, 2, 3)]
    counts = [outcome.computed for _, outcome in shards]
    assert sum(counts) == 3 * REPEATS
    assert all(counts)
    folders = [str(store.root) for store, _ in shards]
    joined = Store(tmp_path / "joined")
    assert start(["merge", *folders, "--output", str(joined.root)]) == 0
    shown = capsys.readouterr()
    assert "21 cells copied, 0 there before. Tables:" in shown.err
    assert "Epochs" in shown.out
    assert table(joined) == table(whole)
    assert (joined.root / "table.csv").read_text() == table(whole)
    for name in ("table.md", "costs.csv"):
        assert (joined.root / name).is_file()
    kept = ("cells/", "scores/", "splits/", "samples/")
    for name, content in files_of(whole).items():
        if name.startswith(kept) and not name.endswith(("cell.json", "score.json")):
            assert files_of(joined)[name] == content, name

    before = files_of(joined)
    assert start(["merge", *folders, "--output", str(joined.root)]) == 0
    assert files_of(joined) == before
    assert "0 cells copied, 21 there before" in capsys.readouterr().err
    again, outcome = compute("joined")
    assert (outcome.computed, outcome.reused) == (0, 21)
    assert table(again) == table(whole)


def test_one_of_the_stores_may_be_where_they_are_joined(compute: Any) -> None:
    whole, _ = compute("whole")
    first, second = (compute(name, shard=(number, 2))[0] for number, name in enumerate("ab", start=1))
    merged = merge_stores([first, second], second)
    assert merged.cells == 21
    assert 0 < merged.copied < 21
    assert table(second) == table(whole)
    with pytest.raises(StoreError, match="no such folder"):
        merge_stores([first, Store(first.root / "nothing")], second)


def test_what_failed_on_one_machine_and_not_on_the_other_has_not_failed(
    compute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_FAIL", str(tmp_path / "fails"))
    (tmp_path / "fails").touch()
    failed, _ = compute("failed", "fails_sometimes", "returns_nan", repeats=2)
    assert len(list(failed.root.glob("failures/*/*.json"))) == 3
    only = Store(tmp_path / "only")
    merge_stores([failed], only)
    assert len(list(only.root.glob("failures/*/*.json"))) == 3
    (tmp_path / "fails").unlink()
    done, _ = compute("done", "fails_sometimes", "returns_nan", repeats=2)
    joined = Store(tmp_path / "joined")
    for sources in ([failed, done], [done, failed]):
        shutil.rmtree(joined.root, ignore_errors=True)
        merge_stores(sources, joined)
        assert [file.parent.name for file in joined.root.glob("failures/*/*.json")] == ["returns_nan"]
        assert table(joined) == table(done)


def test_damaged_cells_are_named_and_left_unless_another_store_has_them_whole(
    compute: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = compute("one", "epochs", repeats=3)
    shutil.copytree(one.root, tmp_path / "two")
    victim = sorted((tmp_path / "two").glob("cells/epochs/01-*/predictions.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    joined = tmp_path / "joined"
    assert start(["merge", str(tmp_path / "two"), "--output", str(joined)]) == 1
    told = capsys.readouterr().err
    assert f"damaged, not copied: {victim} is not as it was written" in told
    assert "2 cells copied, 0 there before, 1 damaged" in told
    assert not list(joined.glob("cells/epochs/01-*"))
    assert start(["merge", str(tmp_path / "two"), str(one.root), "--output", str(joined)]) == 0
    assert "1 cells copied, 2 there before." in capsys.readouterr().err
    assert table(Store(joined)) == table(one)


def test_other_scores_under_one_key_are_told_of_and_the_first_are_kept(compute: Any, tmp_path: Path) -> None:
    one, _ = compute("one", "epochs", repeats=3)
    two, _ = compute("two", "epochs", repeats=3)
    rounded, _ = compute("rounded", "epochs", repeats=3)
    for store, factor in ((two, 1 + 1e-3), (rounded, 1 + 1e-8)):
        cell = next(iter(read_results(store).methods[0].cells.values()))
        record = {name: value for name, value in cell.record.items() if name not in ("key", "files")}
        scores: pd.DataFrame = cell.predictions()
        scores["score_quality"] *= factor
        store.write_cell("epochs", 0, cell.record["key"], record, scores, cell.history())
    assert merge_stores([one, rounded], Store(tmp_path / "a")).differing == []
    merged = merge_stores([one, two], Store(tmp_path / "b"))
    (line,) = merged.differing
    assert line.startswith(f"{two.root}: 1 cell of 'epochs' with other scores than the same cells that were there")
    assert "by up to 1.0e-03 of the largest score" in line
    assert table(Store(tmp_path / "b")) == table(one)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 1}, "in its splits, seeds, and only parts of one comparison are merged"),
        ({"split": "image"}, "in its split rules, splits, and"),
        ({"repeats": 2}, "in its splits, and"),
        ({"select": "last"}, "in its ways to choose the epoch, and"),
        ({"batch_size": 3}, "'epochs' differs from that of {one} in batch_size: compute both with the same version"),
    ],
)
def test_what_is_no_part_of_the_same_comparison_is_refused_in_one_line(
    changes: dict[str, Any], what: str, compute: Any, tmp_path: Path
) -> None:
    one, _ = compute("one", "epochs", repeats=3)
    two, _ = compute("two", "epochs", "numbered", **{"repeats": 3} | changes)
    with pytest.raises(StoreError) as refused:
        merge_stores([one, two], Store(tmp_path / "joined"))
    told = str(refused.value)
    assert told.startswith(f"{two.root}: ")
    assert what.format(one=one.root) in told
    assert f"'agiqa-bench report {one.root} {two.root}' shows them beside each other" in told
    assert "\n" not in told
    assert not (tmp_path / "joined").exists()


def test_other_annotations_or_other_code_are_refused(
    compute: Any, rated_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = compute("one", "epochs", repeats=2, shard=(1, 2))
    from agiqa_bench.execution import planning

    digest = planning.code_digest

    def other(cls: type[Method]) -> Any:
        found = digest(cls)
        return type(found)("f" * 64, found.libraries | {"numpy": "0.1"}, found.modules)

    monkeypatch.setattr(planning, "code_digest", other)
    two, _ = compute("two", "epochs", repeats=2, shard=(2, 2))
    with pytest.raises(StoreError, match=r"'epochs' differs from that of .* in code, libraries: compute both"):
        merge_stores([one, two], Store(tmp_path / "joined"))
    # Before any cell is finished, the plans tell no more than that the keys are others.
    shutil.rmtree(two.root / "cells")
    with pytest.raises(StoreError, match="in its code, libraries or settings: compute both"):
        merge_stores([one, two], Store(tmp_path / "joined"))
    monkeypatch.undo()
    rated_table.write_text(rated_table.read_text().replace("4.", "3.9", 1))
    three, _ = compute("three", "epochs", repeats=2)
    with pytest.raises(StoreError, match=r"differs from .* in its annotations of the data set"):
        merge_stores([one, three], Store(tmp_path / "joined"))


@pytest.mark.parametrize("other", ["red", "green"])
def test_results_on_other_image_files_are_refused_in_one_line(
    other: str, compute: Any, rated_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same annotations, one pixel of one image changed; rows of the same name or of another."""
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    names = [line.partition(",")[0] for line in rated_table.read_text().splitlines()[1:]]
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (4 * number, 250 - 3 * number, 0)).save(rated_table.parent / name)
    one, _ = compute("one", "red", repeats=2, annotations_only=False)
    blind, _ = compute("blind", "epochs", repeats=2)
    with Image.open(rated_table.parent / names[-1]) as picture:
        picture.putpixel((3, 5), (1, 1, 1))
        picture.save(rated_table.parent / names[-1])
    two, _ = compute("two", other, repeats=2, annotations_only=False)
    compute("two", "epochs", repeats=2)  # looks at no image, and so says nothing about them
    for sources in ([one, two], [blind, one, two]):
        with pytest.raises(StoreError) as refused:
            merge_stores(sources, Store(tmp_path / "joined"))
        assert str(refused.value) == (
            f"{two.root}: differs from {one.root} in its image files, and only parts of one comparison are merged; "
            f"'agiqa-bench report {one.root} {two.root}' shows them beside each other"
        )
        assert not (tmp_path / "joined").exists()
    assert start(["merge", str(one.root), str(two.root), "--output", str(tmp_path / "joined")]) == 2
    assert merge_stores([one, blind], Store(tmp_path / "with blind")).cells == 4
    assert merge_stores([two, blind], Store(tmp_path / "with blind, too")).cells == 4


def test_a_run_that_is_going_on_is_not_merged(compute: Any, tmp_path: Path) -> None:
    store, _ = compute("one", "epochs", repeats=2)
    held = claim([store.lock_file("epochs", "00", "0" * 64)])
    assert held is not None
    with pytest.raises(StoreError, match="a run is at work there; merge it when that has ended"):
        merge_stores([store], Store(tmp_path / "joined"))
    held.release(done=False)
    assert merge_stores([store], Store(tmp_path / "joined")).copied == 2


def test_of_two_merges_into_one_folder_the_second_waits_and_finds_that_all_is_there(
    compute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = compute("whole")
    shards = [compute(f"shard {number}", shard=(number, 2))[0] for number in (1, 2)]
    joined, real = Store(tmp_path / "joined"), shutil.copyfile
    under_way, waits = threading.Event(), threading.Event()

    def slow(source: Path, target: Path) -> None:
        real(source, target)
        if not under_way.is_set():
            under_way.set()
            assert waits.wait(30)

    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        waits.set()

    monkeypatch.setattr(shutil, "copyfile", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(merge_stores, shards, joined)
        assert under_way.wait(30)
        second = merge_stores(shards, joined, say, lambda: told.append(table(joined)))
    assert (first.result().copied, second.copied, second.cells) == (21, 0, 21)
    assert told == [f"{joined.root}: another merge is at work there; waiting until it has ended", table(whole)]
    assert not (joined.root / "locks").exists()


def test_a_run_that_begins_where_stores_are_being_merged_is_harmed_by_nothing(
    compute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = compute("whole")
    part, _ = compute("part", shard=(1, 2))
    joined, real = Store(tmp_path / "joined"), shutil.copyfile
    under_way = threading.Event()

    def slow(source: Path, target: Path) -> None:
        real(source, target)
        if not under_way.is_set():
            under_way.set()
            while not list(joined.root.glob("cells/epochs/01-*")):  # the run's, which waits for nobody
                assert not running.done(), running.result()
                time.sleep(0.01)

    monkeypatch.setattr(shutil, "copyfile", slow)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: under_way.wait(30) and compute("joined"))
        merged = merge_stores([part], joined)
        _, outcome = running.result()
    assert outcome.failures == []
    assert outcome.computed + merged.copied == outcome.computed + outcome.reused == 21
    assert merged.copied > 0
    assert table(joined) == table(whole)
    assert not list(joined.root.rglob(".*.tmp"))


@pytest.mark.parametrize("label", ["epochs", "numbered"])
def test_what_a_run_computes_meanwhile_is_left_to_it(
    label: str, compute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, _ = compute("part", "epochs", "numbered", repeats=2)
    joined, real, held = Store(tmp_path / "joined"), shutil.copyfile, []
    method = next(row for row in part.plans()[-1]["methods"] if row["label"] == label)
    scores = next(part.root.glob("scores/numbered/*")).name
    lock = joined.lock_file(label, *(("01", method["keys"]["1"]) if label == "epochs" else ("scores", scores)))
    half = joined.cell_folder(label, 1, method["keys"]["1"])
    half = half.with_name(f".{half.name}.0123456789abcdef.tmp")

    def begin(source: Path, target: Path) -> None:
        real(source, target)
        if not held:
            half.mkdir(parents=True)
            held.append(claim([lock]))

    monkeypatch.setattr(shutil, "copyfile", begin)
    merged = merge_stores([part], joined)
    assert half.is_dir()
    assert merged.unfinished == ({"epochs": [1]} if label == "epochs" else {"numbered": [0, 1]})
    held[0].release(done=False)
    monkeypatch.undo()
    assert merge_stores([part], joined).unfinished == {}
    assert not half.exists()


def test_cells_that_nobody_has_computed_are_told_of(
    compute: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [compute(f"shard {number}", shard=(number, 3))[0] for number in (1, 3)]
    joined = tmp_path / "joined"
    assert start(["merge", *(str(store.root) for store in shards), "--output", str(joined)]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        "11 of 21 planned cells are finished in none of these runs: epochs repeats 1, 4; "
        "numbered repeats 0, 1, 2, 3, 4, 5, 6; in_pairs repeats 4, 5; "
        f"the run's command without --shard, with --output {joined}, computes them"
    )
    _, outcome = compute("joined")
    assert (outcome.computed, outcome.reused) == (11, 10)
    assert start(["merge", str(shards[0].root), "--output", str(joined)]) == 0
    assert "planned cells" not in capsys.readouterr().err


def test_what_was_planned_with_older_code_is_not_waited_for(
    compute: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agiqa_bench.execution import planning

    digest = planning.code_digest
    with monkeypatch.context() as older:
        older.setattr(planning, "code_digest", lambda cls: replace(digest(cls), sources="f" * 64))
        compute("one", "epochs", repeats=3, shard=(1, 3))
    one, _ = compute("one", "epochs", repeats=3)
    merged = merge_stores([one], Store(tmp_path / "joined"))
    assert (merged.cells, merged.planned, merged.unfinished) == (4, 3, {})
