"""Every row of the two tables of IP-IQA's paper (arXiv 2403.18714) is a registered method that runs or says why not."""

import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context
from agiqa_bench.registry import method_registry

TABLE_1 = {
    "CEIQ": "ceiq",
    "NIQE": "niqe",
    "DSIQA": "dsiqa",
    "SISBLIM": "sisblim",
    "GMLF": "gmlf",
    "HIGRADE": "higrade",
    "DBCNN": "dbcnn",
    "CNNIQA": "cnniqa",
    "CLIPIQA": "clipiqa",
    "HyperNet": "hypernet",
    "ResNet50": "resnet50_scratch",
    "ResNet50*": "resnet50",
    "IP-IQA": "ipiqa",
}
TABLE_2 = {
    "CLIPScore": "clipscore",
    "ImageReward": "imagereward",
    "HPS": "hps",
    "StairReward": "stairreward",
    "IP-IQA": "ipiqa",
}
REASONS = {
    "sisblim": "no readable specification: its noise and blur estimators",
    "stairreward": "no readable specification: how it cuts a prompt into segments",
    "imagereward": "image-reward",
    "hps": "hpsv2",
}


@pytest.mark.parametrize(("table", "target"), [(TABLE_1, "quality"), (TABLE_2, "alignment")])
def test_every_row_is_registered_and_predicts_what_the_table_is_about(table, target):
    facts = {name: method_registry().entry(name).facts for name in table.values()}
    assert {name for name, each in facts.items() if target not in each["targets"]} == set()


@pytest.mark.parametrize("name", sorted({*TABLE_1.values(), *TABLE_2.values()}))
def test_a_row_runs_or_is_skipped_with_its_exact_reason(name):
    cls = method_registry().load(name)
    reason = cls.skip(cls.Config(), Context(dataset="demo", targets=("quality", "alignment"), offline=True))
    if name in REASONS:
        assert REASONS[name] in reason
        assert "\n" not in reason
    else:
        assert reason is None


@pytest.mark.parametrize("name", ["sisblim", "stairreward"])
def test_what_nobody_can_compute_refuses_to_score(name):
    with pytest.raises(ConfigError, match=f"{name}: no readable specification"):
        method_registry().load(name)().predict(None)
