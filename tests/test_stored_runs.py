"""The made-up runs that other tests read: they are what a run would have left behind."""

from __future__ import annotations

import time

import pytest
from scipy.stats import spearmanr

from agiqa_bench.evaluation.metrics import evaluate
from agiqa_bench.reporting.results import read_results


@pytest.fixture(scope="module")
def results(stored_runs, tmp_path_factory):
    store = stored_runs.make_store(
        tmp_path_factory.mktemp("run"),
        methods=5,
        repeats=3,
        images=120,
        targets=("quality", "alignment"),
        failed={"Method 01": "RuntimeError: boom"},
        skipped={"Real thing": "its weights are not here"},
        finished={"Method 02": 2},
        stand_ins=["Method 03"],
        constant=["Method 00"],
        pictures=True,
    )
    return read_results(store)


def test_rows_and_gaps(results):
    assert {method.display: len(method.cells) for method in results.methods} == {
        "Method 00": 3,
        "Method 01": 0,
        "Method 02": 2,
        "Method 03 (toy stand-in)": 3,
        "Method 04": 3,
    }
    assert results.left_out == [
        ("Method 01", "failed: RuntimeError: boom (repeat 0 and 2 more)"),
        ("Real thing", "skipped: its weights are not here"),
    ]
    assert [method.diagnostic for method in results.methods] == [False] * 4 + [True]


def test_metrics_are_those_of_the_stored_predictions(results):
    samples = results.samples()
    for method in results.methods:
        for cell in method.cells.values():
            table = cell.predictions()
            rows = samples.iloc[table["row"]]
            assert table["image"].tolist() == rows["image"].tolist()
            for target in results.targets:
                scores, mos = table[f"score_{target}"], table[f"mos_{target}"]
                assert mos.tolist() == rows[f"mos_{target}"].tolist()
                found = evaluate(scores, mos, rows["generator"].tolist(), rows["prompt"].tolist())
                assert cell.metrics[target] == found
                if method.display != "Method 00":
                    assert found["srcc"] == pytest.approx(spearmanr(scores, mos).statistic)
    assert results.methods[0].cells[0].metrics["quality"]["undefined"]["srcc"] == "the scores do not vary"


def test_images_prompts_and_epochs(results, stored_runs):
    samples = results.samples()
    assert samples["prompt"].nunique() == 12
    assert samples["prompt"][0] == stored_runs.HOSTILE_PROMPT
    assert samples["generator"].nunique() == 10
    from PIL import Image

    with Image.open(samples["path"][7]) as image:
        assert image.size == (24, 24)
    history = results.methods[0].cells[0].history()
    assert [entry["epoch"] for entry in history if not entry.get("refit")] == [1, 2, 3, 4, 5]
    # The second training ends behind the epoch that the first has chosen.
    (chosen,) = [entry["epoch"] for entry in history if entry.get("chosen") and not entry.get("refit")]
    assert [entry["epoch"] for entry in history if entry.get("refit")] == [*range(1, int(chosen) + 1)]
    assert results.methods[2].cells[0].history() == []


def test_a_second_call_on_a_folder_is_a_second_command(stored_runs, tmp_path):
    options = {"methods": 2, "repeats": 2, "images": 100}
    first = read_results(stored_runs.make_store(tmp_path, **options))
    store = stored_runs.make_store(tmp_path, select="last", **options)
    assert len(store.plans()) == 2
    assert read_results(store).protocol["select"] == "last"
    again = read_results(stored_runs.make_store(tmp_path, **options))
    assert [cell.metrics for cell in again.methods[0].cells.values()] == [
        cell.metrics for cell in first.methods[0].cells.values()
    ]


def test_splits_by_image_and_by_generator(stored_runs, tmp_path):
    by_image = read_results(stored_runs.make_store(tmp_path / "i", methods=1, repeats=2, images=100, split="image"))
    assert by_image.protocol["leaked_prompts"] > 0.5
    assert not by_image.methods[0].diagnostic
    by_generator = read_results(
        stored_runs.make_store(tmp_path / "g", methods=2, images=60, generators=6, split="generator")
    )
    assert by_generator.protocol["repeats"] == 3, "one per family"


def test_a_large_store_is_made_and_read_in_seconds(stored_runs, tmp_path):
    started = time.process_time()
    store = stored_runs.make_store(tmp_path, methods=20, repeats=5, images=3000, approximate=True)
    made = time.process_time()
    results = read_results(store)
    assert sum(len(method.cells) for method in results.methods) == 100
    assert all(sizes == (2400, 600) for sizes in results.sizes.values())
    assert time.process_time() - made < 2
    assert made - started < 30
