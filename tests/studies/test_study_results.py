"""What a study reads back from a store."""

import pytest

from agiqa_bench.errors import ConfigError, StoreError
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.studies.protocols import PROTOCOLS, Protocol, study_requests
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
    assert study.leaked("grouped") == 0
    assert study.leaked("image") > 0.9
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
    with pytest.raises(StoreError, match="holds no run"):
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
