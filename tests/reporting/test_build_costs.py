"""The table of costs, on a stored run whose costs are set by hand."""

from __future__ import annotations

import csv
import json
from statistics import median

import pytest

from agiqa_bench.reporting.build.costs import cost_table
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.files import costs_csv, write_run_tables
from agiqa_bench.reporting.model import Number, Table
from agiqa_bench.reporting.results import RunResults, read_results


@pytest.fixture
def results(stored_runs, tmp_path) -> RunResults:
    store = stored_runs.make_store(tmp_path, methods=4, repeats=3, images=120, failed={"Method 03": "boom"})
    return read_results(store)


def shown(table: Table, label: str) -> dict[str, str]:
    """A row as it is written."""
    (row,) = (row for row in table.rows if row.key == label)
    written = {}
    for cell, column in zip(row.cells, table.columns, strict=True):
        if isinstance(cell, Number):
            parts = number_text(cell, column)
            cell = " ± ".join(filter(None, (parts.value, parts.std)))
        written[column.key] = cell
    return written


def set_costs(results: RunResults, label: str, *costs: dict[str, object]) -> None:
    (method,) = (method for method in results.methods if method.label == label)
    for cell, changed in zip(method.cells.values(), costs, strict=True):
        cell.record["costs"] |= changed


def test_what_a_trained_method_cost(results):
    seconds, scoring = [14.0, 10.0, 11.5], [0.25, 0.5, 0.6]
    set_costs(
        results,
        "Method 00",
        *(
            {
                "fit_seconds": fit,
                "predict_seconds": score,
                "predicted": images,
                "peak_device_bytes": device * 2**20,
                "peak_host_bytes": host * 2**20,
                "host_bytes_before": 900 * 2**20,
                "parameters": 14_410_752 + 151_277_313,
                "trainable_parameters": 14_410_752,
            }
            for fit, score, images, device, host in zip(
                seconds, scoring, [24, 24, 30], [700, 812, 650], [1000, 1500, 1200], strict=True
            )
        ),
    )
    table = cost_table(results, "1-")
    assert (table.key, table.title, table.head) == ("1-costs", "Toy: cost", "Method")
    row = shown(table, "Method 00")
    assert row["parameters"] == "165,688,065"
    assert row["trainable_parameters"] == "14,410,752"
    assert row["fit_seconds"] == f"{median(seconds):.2f}" == "11.50"
    assert row["fit_seconds_first"] == "14.00"
    assert row["milliseconds_per_image_features_kept"] == "-"
    assert row["milliseconds_per_image"] == f"{1000 * sum(scoring) / 78:.2f}" == "17.31"
    assert row["peak_device_mebibytes"] == "812"
    assert row["peak_host_mebibytes"] == "1,500"
    assert row["added_host_mebibytes"] == "600"
    assert row["weights"] == "weights-00"
    assert row["precision"] == "float32"


def test_what_is_not_there_is_a_dash(results):
    table = cost_table(results, "")
    handcrafted, zero_shot = shown(table, "Method 01"), shown(table, "Method 02")
    assert handcrafted["parameters"] == handcrafted["trainable_parameters"] == handcrafted["weights"] == "-"
    assert zero_shot["fit_seconds"] == zero_shot["fit_seconds_first"] == "-"
    assert handcrafted["milliseconds_per_image"] == "-", "its features are not computed in that time"
    assert handcrafted["milliseconds_per_image_features_kept"] == "2.00"
    assert zero_shot["milliseconds_per_image"] == "2.00"
    assert zero_shot["peak_device_mebibytes"] == "-"
    reasons = {row.key: row.cells[table.column("fit_seconds")].reason for row in table.rows}
    assert reasons == {"Method 00": "", "Method 01": "", "Method 02": "learns nothing"}
    assert "Method 03" not in reasons, "nothing is known of what has failed"


def test_a_store_of_an_older_version(results):
    for cell in results.methods[0].cells.values():
        for key in ("parameters", "trainable_parameters", "peak_host_bytes"):
            del cell.record["costs"][key]
    row = shown(cost_table(results, ""), "Method 00")
    assert row["parameters"] == row["trainable_parameters"] == row["peak_host_mebibytes"] == "-"
    assert row["added_host_mebibytes"] == "-"
    assert row["milliseconds_per_image"] == "2.00"


def test_cells_of_several_machines(results):
    for cell in list(results.methods[0].cells.values())[1:]:
        # Records share what describes the process that computed them.
        cell.record["environment"] = json.loads(json.dumps(cell.record["environment"]))
        cell.record["environment"]["device"]["name"] = "a GPU"
        cell.record["precision"] = "bf16"
    first = results.methods[0].cells[0].record["environment"]["device"]["name"]
    row = shown(cost_table(results, ""), "Method 00")
    assert (row["device"], row["precision"]) == (f"{first}, a GPU", "float32, bf16")


def test_notes_say_where_the_time_of_kept_features_is(results):
    found = cost_table(results, "").notes
    kept = [note for note in found if note.startswith("features are computed once")]
    assert len(kept) == 1
    assert kept[0].endswith("not in the time per image, which therefore has a column of its own: Method 01")
    assert any(note.startswith("host memory is the most that the whole process held") for note in found)


def test_notes_say_whose_repeats_were_trained_together(results):
    assert not any("trained together" in note for note in cost_table(results, "").notes)
    list(results.methods[1].cells.values())[1].record["costs"]["trained_together"] = 7
    (note,) = (note for note in cost_table(results, "").notes if "trained together" in note)
    assert note.startswith("up to 7 repeats are trained together: their seconds are the equal share of one")
    assert note.endswith("Method 01")


@pytest.mark.parametrize(("key", "while_what"), [("micro_batch", "trained"), ("scoring_batch", "encoded or scored")])
def test_a_note_says_who_was_short_of_memory(results, key, while_what):
    assert not any("memory was short" in note for note in cost_table(results, "").notes)
    for cell, size in zip(results.methods[1].cells.values(), (8, 3), strict=False):
        cell.record["costs"][key] = size
    (note,) = (note for note in cost_table(results, "").notes if note.startswith("memory was short"))
    assert while_what in note
    assert note.endswith("Method 01 (3 at a time)")


def test_no_finished_cell_no_table(results):
    for method in results.methods:
        method.cells.clear()
    assert cost_table(results, "") is None


def test_all_costs_in_one_table(results, stored_runs, tmp_path):
    other = read_results(
        stored_runs.make_store(tmp_path / "b", "other", methods=2, repeats=2, images=60, targets=("costs",))
    )
    rows = list(csv.DictReader(costs_csv([results, other]).splitlines()))
    assert [(row["method"], row["dataset"], row["split"], row["select"], row["seed"]) for row in rows] == [
        *((f"Method {number:02d}", "toy", "grouped", "refit", "0") for number in range(3)),
        *((f"Method {number:02d}", "other", "grouped", "refit", "0") for number in range(2)),
    ]
    for row, method in zip(rows, [*results.methods[:3], *other.methods], strict=True):
        if method.trainable:
            spent = [cell.record["costs"]["fit_seconds"] for cell in method.cells.values()]
            assert float(row["fit_seconds"]) == median(spent)
    assert list(rows[0])[:7] == ["method", "name", "dataset", "split", "select", "seed", "parameters"]
    alone = tmp_path / "alone"
    write_run_tables(other, alone)
    assert (alone / "costs.csv").read_text("utf-8") == costs_csv([other])
    assert {file.name for file in alone.iterdir()} == {"costs.csv", "table.csv", "table.md"}
