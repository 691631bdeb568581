"""What is no record of a cell, however well it is sealed."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from agiqa_bench.execution.cell_files import read_cell
from agiqa_bench.execution.records import cell_fault
from agiqa_bench.sealed import SEAL, seal


@pytest.fixture(scope="module")
def cell(stored_runs, tmp_path_factory):
    """The file of a finished cell."""
    store = stored_runs.make_store(tmp_path_factory.mktemp("run"), methods=2, repeats=1, images=40, generators=4)
    return next(store.root.glob("cells/Method_00-*/00-*/cell.json"))


@pytest.fixture
def record(cell):
    content = json.loads(cell.read_bytes())
    del content[SEAL]
    assert cell_fault(content) == ""
    return content


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("srcc", 5),
        ("srcc", -1.000001),
        ("plcc", 1.000001),
        ("plcc_fitted", 5.0),
        ("krcc", math.nan),
        ("srcc_within_generator", 10**400),
        ("srcc_within_prompt", -math.inf),
        ("rmse_fitted", -0.5),
        ("rmse_fitted", 1e101),
    ],
)
def test_a_metric_out_of_its_range_is_no_record(record, metric, value):
    record["metrics"]["quality"][metric] = value
    assert cell_fault(record) == f"metrics.quality.{metric}: {value} is no such metric"


@pytest.mark.parametrize("value", ["0.5", True, [0.5], {}])
def test_a_metric_that_is_no_number_is_no_record(record, value):
    record["metrics"]["quality"]["srcc"] = value
    assert cell_fault(record) == "metrics.quality.srcc: not there"


@pytest.mark.parametrize(
    ("metric", "value"),
    [("srcc", 1), ("srcc", -1.0), ("srcc", 1 + 1e-12), ("srcc", None), ("rmse_fitted", 0), ("rmse_fitted", 3000.0)],
)
def test_the_ends_of_the_range_are_in_it(record, metric, value):
    record["metrics"]["quality"][metric] = value
    assert cell_fault(record) == ""


def test_a_cell_with_a_correlation_of_5_is_not_read(cell, record, tmp_path):
    shutil.copytree(cell.parent, tmp_path / "cell")
    assert read_cell(tmp_path / "cell", record["key"], with_model=False)[1] == ""
    record["metrics"]["quality"]["srcc"] = 5.0
    (tmp_path / "cell" / cell.name).write_bytes(seal(record))
    found, fault = read_cell(tmp_path / "cell", record["key"], with_model=False)
    assert found is None
    assert "metrics.quality.srcc: 5.0 is no such metric" in fault
