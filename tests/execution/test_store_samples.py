"""The rows of the data set that a store keeps, and what of a cell is looked through before it is used."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from agiqa_bench.errors import StoreError
from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.execution.provenance import environment
from agiqa_bench.execution.store import Store
from agiqa_bench.sealed import read_sealed, seal, write_sealed

FINGERPRINT = "0123456789abcdef" * 4


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mos_quality": [1.5, 0.1 + 0.2, 4.0],
            "image": ["a.png", "b.png", "a.png"],
            "prompt": ["a cat", 'a "dog", é', ""],
            "path": ["/data/a.png", "/data/b.png", "/data/a.png"],
            "group": ["g0", "g1", "g0"],
            "generator": ["x-1", "x-2", "x-1"],
            "family": ["x", "x", "x"],
            "mos_alignment": [3.0, 2.0, 1.0],
            "of its own": [0, 0, 0],
        }
    )


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "run")


def test_the_rows_come_back_as_they_were(store, table):
    assert store.samples(FINGERPRINT) is None
    store.write_samples(table, FINGERPRINT)
    assert sorted(file.name for file in (store.root / "samples" / "0123456789abcdef").iterdir()) == [
        "samples.json",
        "samples.parquet",
    ]
    found = store.samples(FINGERPRINT)
    names = ["row", "image", "path", "prompt", "group", "generator", "family", "mos_quality", "mos_alignment"]
    assert list(found.columns) == names
    assert found["row"].tolist() == [0, 1, 2]
    for name in names[1:]:
        assert found[name].tolist() == table[name].tolist()
    assert store.samples(FINGERPRINT[::-1]) is None


def test_a_run_without_images_does_not_forget_where_they_are(store, table):
    store.write_samples(table.assign(path=""), FINGERPRINT)
    assert set(store.samples(FINGERPRINT)["path"]) == {""}
    store.write_samples(table, FINGERPRINT)
    store.write_samples(table.assign(path=""), FINGERPRINT)
    assert store.samples(FINGERPRINT)["path"].tolist() == table["path"].tolist()
    moved = table["path"].str.replace("/data", "/elsewhere").tolist()
    store.write_samples(table.assign(path=moved), FINGERPRINT)
    assert store.samples(FINGERPRINT)["path"].tolist() == moved


def test_the_same_rows_are_not_written_again(store, table):
    store.write_samples(table, FINGERPRINT)
    before = store.samples_folder(FINGERPRINT).stat().st_ino
    store.write_samples(table, FINGERPRINT)
    assert store.samples_folder(FINGERPRINT).stat().st_ino == before


@pytest.mark.parametrize("name", ["samples.parquet", "samples.json"])
def test_a_damaged_file_is_named_set_aside_and_not_used(store, table, name, caplog):
    store.write_samples(table, FINGERPRINT)
    file = store.samples_folder(FINGERPRINT) / name
    content = file.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{FINGERPRINT[:16]}/{name} .*; type the run's command again"):
            store.samples(FINGERPRINT)
    # Without paths they would not replace what is there; but nothing is there that can be used.
    store.write_samples(table.assign(path=""), FINGERPRINT)
    assert store.samples(FINGERPRINT)["path"].tolist() == ["", "", ""]
    (aside,) = store.root.glob(f"damaged/samples/*/{name}")
    assert aside.read_bytes() == damaged
    (line,) = caplog.messages
    assert line.startswith(f"samples/{FINGERPRINT[:16]}/{name} ")
    assert line.endswith(f"; set aside as damaged/samples/{FINGERPRINT[:16]}")


def test_a_run_stores_them(command, rated_table, tmp_path):
    done = command(
        "run", "-d", rated_table, "-m", "generator_mean", "--annotations-only", "--repeats", 1, "--output", "out"
    )
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "out")
    (plan,) = store.plans()
    found = store.samples(plan["protocol"]["annotations"])
    rated = pd.read_csv(rated_table)
    assert found["image"].tolist() == rated["image"].tolist()
    assert found["mos_quality"].tolist() == rated["mos_quality"].tolist()
    (cell,) = store.root.glob("cells/*/*/predictions.parquet")
    predicted = pd.read_parquet(cell)
    assert predicted["image"].tolist() == found["image"][predicted["row"]].tolist()


def a_record() -> dict:
    """What `cell.json` holds at least."""
    metrics = dict.fromkeys((metric.key for metric in METRICS), 0.5) | {"undefined": {}, "per_generator": {}}
    return {
        "metrics": {"quality": metrics},
        "costs": {"fit_seconds": 1.0, "predict_seconds": 0.5, "predicted": 3},
        "environment": environment("cpu"),
        "precision": "float32",
        "weights": [],
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:00:01+00:00",
    }


PREDICTIONS = pd.DataFrame({"row": [0], "image": ["a.png"], "score_quality": [1.0], "mos_quality": [2.0]})


def test_a_cell_says_what_is_wrong_with_it(store):
    assert store.cell_damage("m", 0, "key") == ""
    folder = store.write_cell("m", 0, "key", a_record(), PREDICTIONS, []).folder
    assert store.cell_damage("m", 0, "key") == ""
    assert store.has_cell("m", 0, "key")
    record = read_sealed(folder / "cell.json")
    costs = record | {"costs": {}}
    metrics = record | {"metrics": {"quality": record["metrics"]["quality"] | {"srcc": "x"}}}
    counts = {"within": {"prompt": {"labels": 3, "rows": -1}}}
    few = record | {"metrics": {"quality": record["metrics"]["quality"] | counts}}
    within = record | {"metrics": {"quality": record["metrics"]["quality"] | {"srcc_within_prompt": "x"}}}
    for content, why in (
        (b"{", "cell.json is not as it was written"),
        (b"[]", "cell.json is not as it was written"),
        (json.dumps(record).encode(), "cell.json has no seal: it is of another version, or damaged"),
        (seal(costs), "cell.json is of another version (costs.fit_seconds: not there)"),
        (seal(metrics), "cell.json is of another version (metrics.quality.srcc: not there)"),
        (seal(within), "cell.json is of another version (metrics.quality.srcc_within_prompt: not there)"),
        (
            seal(few),
            "cell.json is of another version (metrics.quality.within.prompt.rows: Input should be greater than or "
            "equal to 0)",
        ),
    ):
        (folder / "cell.json").write_bytes(content)
        assert store.cell_damage("m", 0, "key") == f"cells/m/00-key/{why}"
        assert store.find_cell("m", 0, "key") is None
    write_sealed(folder / "cell.json", record)
    assert store.find_cell("m", 0, "key") is not None
    (folder / "predictions.parquet").write_bytes(b"")
    assert store.cell_damage("m", 0, "key") == "cells/m/00-key/predictions.parquet is not as it was written"
    (folder / "predictions.parquet").unlink()
    assert store.cell_damage("m", 0, "key") == "cells/m/00-key/predictions.parquet is missing"


def test_a_report_does_not_read_models_and_still_no_damaged_cell(store):
    def save_model(folder):
        (folder / "model.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"large")
        return folder / "model.safetensors"

    folder = store.write_cell("m", 0, "key", a_record(), PREDICTIONS, [{"epoch": 1.0}], save_model).folder

    def found(**options) -> bool:
        return store.find_cell("m", 0, "key", **options) is not None

    assert found()
    assert found(with_model=False)
    (folder / "model.safetensors").write_bytes(b"LARGE")
    assert not found()
    assert found(with_model=False)
    (folder / "model.safetensors").unlink()
    assert not found(with_model=False)
    save_model(folder)
    assert found()
    for name in ("predictions.parquet", "history.json", "model.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + b"?")
        assert not found(with_model=False), name
        (folder / name).write_bytes(content)
    write_sealed(folder / "cell.json", read_sealed(folder / "cell.json") | {"key": "other"})
    assert not found(with_model=False)
