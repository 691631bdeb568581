"""A published table's runs: one per data set, with the methods of its rows."""

from pathlib import Path

import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.papers.published import published_table
from agiqa_bench.papers.requests import requests_for


def test_one_run_per_data_set_under_the_protocol_of_the_project():
    one, other = requests_for(published_table("ipiqa-table1"), {"repeats": 3})
    assert (one.dataset, other.dataset) == ("agiqa1k", "agiqa3k")
    assert one.methods == (
        "ceiq", "niqe", "dsiqa", "sisblim", "gmlf", "higrade", "dbcnn", "cnniqa", "clipiqa", "hypernet",
        "resnet50_scratch", "resnet50", "ipiqa[variant=official]",
    )  # fmt: skip
    assert (one.split, one.select, one.repeats, one.targets) == ("grouped", "refit", 3, ())
    assert one.output == Path("results/runs/agiqa1k")


def test_rows_without_a_method_are_left_out():
    (request,) = requests_for(published_table("tang-agiqa3k"), {})
    assert request.methods == ("ceiq", "niqe", "gmlf", "cnniqa", "dbcnn", "clipiqa", "clip_agiqa_tang")
    (request,) = requests_for(published_table("ipiqa-table2"), {})
    assert request.methods == ("clipscore", "imagereward", "stairreward", "ipiqa[variant=official]")


def test_as_published_takes_over_split_and_selection():
    (request,) = requests_for(published_table("tang-agiqa3k"), {"output": "out"}, as_published=True)
    assert (request.split, request.select) == ("image", "test")
    assert request.output == Path("out/agiqa3k-image")
    (request,) = requests_for(published_table("ipiqa-table2"), {}, as_published=True)
    assert (request.split, request.select) == ("grouped", "test")


def test_an_option_that_is_not_valid_is_one_line():
    with pytest.raises(ConfigError, match="repeats"):
        requests_for(published_table("second-hand"), {"repeats": 0})
