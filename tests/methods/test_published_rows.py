"""Every row of the two tables of IP-IQA's paper (arXiv 2403.18714) is a registered method that runs or says why not."""

import numpy as np
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

SHORT = {name: {"epochs": 1} for name in ("cnniqa", "hypernet", "ipiqa", "resnet50", "resnet50_scratch")}
"""Settings beside the quick preset with which a method runs here, in seconds."""


@pytest.mark.parametrize(("table", "target"), [(TABLE_1, "quality"), (TABLE_2, "alignment")])
def test_every_row_is_registered_and_predicts_what_the_table_is_about(table, target):
    facts = {name: method_registry().entry(name).facts for name in table.values()}
    assert {name for name, each in facts.items() if target not in each["targets"]} == set()


ROWS = {**dict.fromkeys(TABLE_1.values(), "quality"), **dict.fromkeys(TABLE_2.values(), "alignment")}
"""Each method with a target of a table that it stands in; IP-IQA with that of the second."""


@pytest.mark.parametrize("name", sorted(set(ROWS) - set(REASONS)))
def test_a_row_runs_and_its_scores_rank_the_images(name, few):
    samples = few.samples([ROWS[name]])
    method = few.method(method_registry().load(name), [ROWS[name]], **SHORT.get(name, {}))
    assert method.skip(method.config, method.context) is None
    if method.trainable:
        method.fit(samples.subset(range(30)))
    scores = np.reshape(method.predict(samples.subset(range(30, 40)).hidden()), (10, -1))
    assert scores.shape == (10, 1)
    assert np.isfinite(scores).all()
    # Each of these looks at the image: no two of ten pictures look alike to it.
    assert len(np.unique(scores)) == 10
    if method.trainable:
        lowest, highest = samples.mos.min(), samples.mos.max()
        assert lowest - 5 < scores.mean() < highest + 5


@pytest.mark.parametrize("name", sorted(REASONS))
def test_a_row_that_cannot_run_is_skipped_with_its_exact_reason(name):
    cls = method_registry().load(name)
    reason = cls.skip(cls.Config(), Context(dataset="demo", targets=("quality", "alignment"), offline=True))
    assert REASONS[name] in reason
    assert "\n" not in reason


@pytest.mark.parametrize("name", ["sisblim", "stairreward"])
def test_what_nobody_can_compute_refuses_to_score(name):
    with pytest.raises(ConfigError, match=f"{name}: no readable specification"):
        method_registry().load(name)().predict(None)
