"""What a study reads back from a store."""

import pytest

from agiqa_bench.errors import ConfigError, StoreError
from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.plugins import load_plugin
from agiqa_bench.sealed import read_sealed, write_sealed
from agiqa_bench.studies.protocols import DEFAULT, PROTOCOLS, Protocol, plan_study, shared_cells, study_requests
from agiqa_bench.studies.report import study_report
from agiqa_bench.studies.results import read_study


def write(stored_runs, folder, protocols=PROTOCOLS, **options):
    options = {"methods": 3, "repeats": 2, "images": 60, "history": False} | options
    for protocol in protocols:
        stored_runs.make_store(folder, split=protocol.split, select=protocol.select, **options)
    return Store(folder)


def test_each_protocol_has_its_results_and_what_chooses_no_epoch_shares_them(stored_runs, tmp_path):
    study = read_study(write(stored_runs, tmp_path))
    assert tuple(study.by_protocol) == PROTOCOLS
    assert study.targets == ("quality",)
    assert study.repeats == 2
    assert study.leaked("grouped", "prompts") == study.leaked("grouped", "groups") == 0
    assert study.leaked("image", "prompts") == study.leaked("image", "groups") > 0.9
    cells = {protocol: study.method(protocol, "Method 01").cells[0].folder for protocol in PROTOCOLS}
    assert len(set(cells.values())) == 2
    with_epochs = {protocol: study.method(protocol, "Method 00").cells[0].folder for protocol in PROTOCOLS}
    assert len(set(with_epochs.values())) == 6
    for protocol, results in study.by_protocol.items():
        stored = [cell.metrics["quality"]["srcc"] for cell in results.methods[0].cells.values()]
        assert list(study.values(protocol, "Method 00", "quality")) == stored
        assert list(study.values(protocol, "nobody", "quality")) == [None, None]


def test_the_latest_number_of_repeats_counts_and_other_splits_are_no_part_of_it(stored_runs, tmp_path):
    write(stored_runs, tmp_path)
    write(stored_runs, tmp_path, (PROTOCOLS[3], PROTOCOLS[0]), repeats=3)
    assert read_study(Store(tmp_path)).by_protocol.keys() == {PROTOCOLS[0], PROTOCOLS[3]}
    assert read_study(Store(tmp_path)).repeats == 3


def test_a_folder_without_these_protocols_is_refused_in_one_line(stored_runs, tmp_path):
    stored_runs.make_store(tmp_path / "run", methods=2, images=60, split="generator", generators=4, history=False)
    with pytest.raises(StoreError, match="holds no results under grouped and image splits"):
        read_study(Store(tmp_path / "run"))
    with pytest.raises(StoreError, match="no such folder"):
        read_study(Store(tmp_path / "nothing"))


def test_the_requests_differ_in_split_and_selection_alone():
    request = RunRequest(dataset="demo", repeats=3)
    found = study_requests(request)
    assert {(own.split, own.select) for own in found.values()} == {(p.split, p.select) for p in PROTOCOLS}
    assert found[Protocol("image", "test")].model_dump(exclude={"split", "select"}) == request.model_dump(
        exclude={"split", "select"}
    )


@pytest.mark.parametrize(("option", "value"), [("split", "grouped"), ("select", "last"), ("splits_file", "a.json")])
def test_a_request_that_says_how_to_split_or_to_choose_is_refused(option, value):
    request = RunRequest.model_validate({"dataset": "demo", option: value})
    with pytest.raises(ConfigError, match="leave out --"):
        study_requests(request)


def test_a_study_has_one_data_set():
    with pytest.raises(ConfigError, match="one data set"):
        study_requests(RunRequest(train_on="demo", test_on="agiqa1k"))


@pytest.fixture
def finish(rated_table, example_methods, fresh_registries, tmp_path):
    """Runs a plan into one folder; `request` is what all of them ask for."""
    load_plugin(example_methods)
    request = RunRequest(dataset=str(rated_table), methods=("epochs", "name_length"), annotations_only=True, repeats=2)

    def call(plan):
        store = Store(tmp_path / "study")
        plan.find_results(store)
        store.prepare()
        store_inputs(plan, store)
        run(plan, store, Silent())
        return store

    return call, request


def test_settings_are_never_mixed_over_the_protocols(finish):
    call, request = finish
    plans = plan_study(request)
    for plan in plans.values():
        store = call(plan)
    # What names no epoch has its 2 splits x 2 repeats once; 6 x 2 were planned.
    assert shared_cells(plans) == 12 - 4
    before = read_study(store)
    assert before.unlike == ()
    assert before.unchecked == []

    call(make_plan(request.model_copy(update={"methods": ("epochs",), "batch_size": 2})))
    study = read_study(store)
    assert study.method(DEFAULT, "epochs") is None
    assert study.values(DEFAULT, "epochs", "quality") == [None, None]
    assert study.method(DEFAULT, "name_length").cells
    assert study.method(PROTOCOLS[1], "epochs").cells
    ((name, why),) = study.unlike
    assert name == "Epochs"
    assert why.startswith("under grouped/refit it ran with other batch size than under the rest")
    assert f"left out: {name}, {why}" in study_report(study).chapters[0].notes

    call(plan_study(request)[DEFAULT])
    assert read_study(store).values(DEFAULT, "epochs", "quality") == before.values(DEFAULT, "epochs", "quality")


def test_of_as_many_protocols_with_one_setting_as_with_another_the_latest_count(stored_runs, tmp_path):
    store = write(stored_runs, tmp_path, (PROTOCOLS[0], PROTOCOLS[3]))
    plans = sorted((tmp_path / "plans").iterdir())
    first = read_sealed(plans[0])
    first["methods"][0]["config"]["rate"] = 7
    write_sealed(plans[0], first)
    study = read_study(store)
    assert study.method(PROTOCOLS[0], "Method 00") is None
    assert study.method(PROTOCOLS[3], "Method 00").cells
    assert [why.split(";")[0] for _, why in study.unlike] == [
        "under grouped/refit it ran with other settings (rate) than under the rest"
    ]
