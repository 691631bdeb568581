from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from agiqa_bench.benchmarks.made_up import MadeUpLooking, MadeUpZeroShot, write_table
from agiqa_bench.benchmarks.made_up_runs import make_runs, planned, run_planned
from agiqa_bench.errors import BenchmarkError
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.results import read_results


@pytest.mark.usefixtures("fresh_registries")
def test_runs_are_finished_and_methods_go_from_good_to_poor(tmp_path: Path) -> None:
    folder = make_runs(tmp_path, 1, 3, 2, 200)[0]
    results = read_results(Store(folder))
    assert [(len(method.cells), method.trainable) for method in results.methods] == [(2, True), (2, True), (2, False)]
    srcc = [method.cells[0].metrics["quality"]["srcc"] for method in results.methods]
    assert 0.9 > srcc[0] > srcc[2] > 0.3


@pytest.mark.usefixtures("fresh_registries")
def test_methods_that_look_at_images_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    table = write_table(tmp_path / "made.csv", 40, ("quality", "alignment"), pictures=True)
    with Image.open(tmp_path / "made" / "0003-09.png") as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")
    plan, store = planned(table, [MadeUpLooking.name, MadeUpZeroShot.name], tmp_path / "run", repeats=2, device="cpu")
    run_planned(plan, store)
    looking, blind = read_results(store).methods
    assert len(looking.cells) == len(blind.cells) == 2
    assert set(looking.cells[0].metrics) == {"quality", "alignment"}


@pytest.mark.usefixtures("fresh_registries")
def test_a_method_that_is_skipped_is_not_measured_as_if_it_ran(tmp_path: Path) -> None:
    table = write_table(tmp_path / "made.csv", 40)
    with pytest.raises(BenchmarkError, match="'made_up_looking\\[0\\]' cannot run: needs images"):
        planned(table, [MadeUpLooking.name], tmp_path / "run", repeats=2, device="cpu")
