from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agiqa_bench.errors import SplitError, StoreError
from agiqa_bench.evaluation import split_file
from agiqa_bench.evaluation.split_file import export_splits, import_splits
from agiqa_bench.evaluation.splits import make_splits, splits_digest

FINGERPRINT = "f" * 64


def write(path: Path, table: pd.DataFrame, rule: str = "grouped", repeats: int = 2) -> str:
    splits = make_splits(table, "t", rule, repeats)
    export_splits(path, splits, table, dataset="t", fingerprint=FINGERPRINT, rule=rule, seed=0, test_share=0.2)
    return splits_digest(splits)


def read(path: Path, table: pd.DataFrame) -> Any:
    return import_splits(path, table, dataset="t", fingerprint=FINGERPRINT)


@pytest.mark.parametrize("rule", ["grouped", "image", "generator"])
def test_round_trip(rule: str, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    digest = write(path, table, rule)
    found = read(path, table)
    made = make_splits(table, "t", rule, 2)
    assert (found.rule, found.seed, splits_digest(found.splits)) == (rule, 0, digest)
    assert [s.leakage for s in found.splits] == [s.leakage for s in made]
    assert [(s.repeat, s.held_out) for s in found.splits] == [(s.repeat, s.held_out) for s in made]


def test_the_file_is_readable_and_has_one_line_per_split(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    write(path, table)
    content = json.loads(path.read_text())
    assert list(content) == ["format", "dataset", "fingerprint", "rule", "seed", "test_share", "digest", "splits"]
    split = make_splits(table, "t", repeats=1)[0]
    assert content["splits"][0]["test"] == sorted(set(table["group"].iloc[split.test]))
    assert sum('"repeat"' in line for line in path.read_text().splitlines()) == 2


def test_foreign_letters_stay_readable_in_the_file(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    table["group"] = "Größe " + table["group"]
    digest = write(path, table)
    assert '"Größe p00"' in path.read_text("utf-8")
    assert splits_digest(read(path, table).splits) == digest


def test_a_file_written_by_hand_needs_no_digest(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    groups = sorted(set(table["group"]))
    document = {
        "format": "agiqa-bench splits 1",
        "dataset": "t",
        "fingerprint": FINGERPRINT,
        "rule": "grouped",
        "splits": [{"repeat": 0, "test": groups[:4], "validation": [], "train": groups[4:]}],
    }
    path.write_text(json.dumps(document))
    found = read(path, table)
    assert found.seed is None
    assert found.splits[0].test.tolist() == list(range(24))


Document = dict[str, Any]


def move_group(document: Document) -> None:
    document["splits"][0]["train"].append(document["splits"][0]["test"][0])


def drop_group(document: Document) -> None:
    document["splits"][1]["train"].pop()


def swap_groups(document: Document) -> None:
    first = document["splits"][0]
    first["train"][0], first["test"][0] = first["test"][0], first["train"][0]


def swap_groups_without_digest(document: Document) -> None:
    swap_groups(document)
    del document["splits"][0]["digest"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(dataset="u"), "holds splits of 'u', not of 't'"),
        (lambda d: d.update(fingerprint="0" * 64), "other annotations of 't' .fingerprint 000000000000, here ffff"),
        (lambda d: d.update(note="hello"), "note: Extra inputs are not permitted"),
        (lambda d: d.update(format="agiqa-bench splits 9"), "format: Input should be"),
        (lambda d: d.update(rule="random"), "rule: Input should be"),
        (lambda d: d.pop("rule"), "rule: Field required"),
        (lambda d: d.update(splits=[]), "numbered 0, 1, 2"),
        (lambda d: d["splits"].reverse(), "numbered 0, 1, 2"),
        (lambda d: d["splits"][0].update(colour="red"), "splits.0.colour: Extra inputs"),
        (lambda d: d["splits"][0].update(test=[0.5]), "splits.0.test"),
        (lambda d: d["splits"][0].update(test=[1, 2]), "split 0: the parts of a 'grouped' split are lists of group"),
        (lambda d: d["splits"][0].update(test=["p99"]), "split 0: the data set has no group 'p99'"),
        (move_group, "split 0: group 'p.*' is in train and again in test|is in test and again in train"),
        (drop_group, r"split 1: 1 group\(s\) are in no part"),
        (swap_groups, "split 0 does not have the digest that the file gives"),
        (swap_groups_without_digest, "the splits do not have the digest that the file gives"),
    ],
)
def test_a_changed_file_is_refused(
    change: Callable[[Document], object], message: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "splits.json"
    write(path, table)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(SplitError, match=message) as caught:
        read(path, table)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "rows", "message"),
    [
        ("image", [500], "there is no row 500"),
        ("image", [-1], "splits.0.test"),
        ("image", [True, False], "splits.0.test"),
        ("image", [[0]], "splits.0.test"),
        ("image", [float("nan")], "splits.0.test"),
        ("grouped", ["p00", "p00"], "group 'p00' is in train and again in test"),
        ("image", [10**30], "splits.0.test"),
        ("image", [0, 0], "more than once"),
        ("image", ["p00"], "lists of row numbers"),
        ("image", [], "the test part is empty"),
        ("generator", [0], "more than once|in no part"),
    ],
)
def test_wrong_row_numbers_are_refused(
    rule: str, rows: list[object], message: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "splits.json"
    write(path, table, rule)
    document = json.loads(path.read_text())
    document["splits"][0]["test"] = rows
    path.write_text(json.dumps(document))
    with pytest.raises(SplitError, match=message):
        read(path, table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON .line 1"),
        (b'{"format": ', "not valid JSON"),
        (b"[1, 2]", "the whole file: Input should be"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[" * 100_000, "is not a split file"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "is not a split file"),
        (b'{"' + b"x" * 10_000 + b'": 1}', "is not a split file"),
    ],
)
def test_a_file_that_is_no_split_file_is_refused(
    content: bytes, message: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "splits.json"
    path.write_bytes(content)
    with pytest.raises(SplitError, match=message):
        read(path, table)


@pytest.mark.parametrize("repeat", [-1, 2**40, 10**400, True, "0"])
def test_a_repeat_is_a_number(repeat: object, table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    write(path, table)
    document = json.loads(path.read_text())
    document["splits"][0]["repeat"] = repeat
    path.write_text(json.dumps(document))
    with pytest.raises(SplitError, match=r"splits\.0\.repeat"):
        read(path, table)


@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "a folder"), (os.mkfifo, "a device or a pipe")])
def test_what_is_no_file_is_refused(
    make: Callable[[Path], None], kind: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    make(tmp_path / "splits.json")
    with pytest.raises(SplitError, match=f"is {kind}, not a file"):
        read(tmp_path / "splits.json", table)


def test_a_file_of_a_gigabyte_is_not_read(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.touch()
    os.truncate(path, 2**30)
    with pytest.raises(SplitError, match="has 1,073,741,824 bytes where 33,554,432 are the most"):
        read(path, table)


def test_what_could_not_be_read_back_is_not_written(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_file, "MOST_BYTES", 500)
    with pytest.raises(SplitError, match="where 500 are the most; use fewer"):
        write(tmp_path / "splits.json", table)
    assert not (tmp_path / "splits.json").exists()


def test_a_missing_file_and_an_impossible_output(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"split file .*none.json: no such file"):
        read(tmp_path / "none.json", table)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write(tmp_path / "file" / "splits.json", table)
