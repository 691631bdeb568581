from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from agiqa_bench.benchmarks.painted import rated_pictures
from agiqa_bench.benchmarks.procedures import PublishedProcedure, published_procedures
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context
from agiqa_bench.methods.ipiqa import IPIQA
from agiqa_bench.registry import method_registry

SETTINGS = {
    "clip_agiqa_fu": {"backbone": "demo-vit", "n_ctx": 4, "stride": 32, "learning_rate": 0.001},
    "clip_agiqa_tang": {"backbone": "demo-vit", "n_ctx": 8, "hidden": 64},
    "ipiqa": {"backbone": "demo-rn", "resolution": 64},
}
TARGETS = {"ipiqa": ("quality", "alignment")}
"""Of a method; all others are for quality alone."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return rated_pictures(tmp_path_factory.mktemp("pictures"), 16, 96)


class Both:
    """A method and its published procedure with the same settings, before training."""

    def __init__(self, name, pictures, folder: Path, train=range(12), test=range(12, 16), **settings):
        from agiqa_bench.data.image_cache import ImageCache

        targets = TARGETS.get(name, ("quality",))
        samples = Samples(pictures, targets, ImageCache(list(pictures["path"]), folder))
        ranges = {"quality": (-1.0, 6.0), "alignment": (0.5, 5.0)}
        context = Context("demo", targets, ranges, seed=3, shared_seed=4, offline=True)
        cls = method_registry().load(name)
        self.method = cls(cls.Config(**SETTINGS[name] | settings), context)
        self.train, self.test = samples.subset(train), samples.subset(test)
        unfitted = cls(self.method.config, replace(context))
        self.plain: PublishedProcedure = published_procedures().load(name)(unfitted, self.train, self.test)

    def scores(self):
        return np.reshape(self.method.predict(self.test.hidden()), (len(self.test), -1)), self.plain.score(self.test)


@pytest.fixture(autouse=True)
def own_cache(one_thread, tmp_path, monkeypatch):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_first_steps_and_roughly_the_scores_after_them_agree(name, pictures, tmp_path):
    # An epoch of one step each, so that the history tells the loss of every step.
    both = Both(name, pictures, tmp_path, train=range(4), epochs=20, batch_size=4)
    fast = [entry["loss"] for entry in both.method.fit(both.train).history]
    plain = both.plain.losses(20)
    assert len(plain) == 20
    np.testing.assert_allclose(plain, fast, rtol=1e-4, atol=1e-5)
    # Batch norm makes rounding visible: a step of Adam turns a gradient of nearly nothing into one of full length.
    np.testing.assert_allclose(*both.scores(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_scores_of_the_same_weights_agree(name, pictures, tmp_path):
    both = Both(name, pictures, tmp_path, epochs=3, batch_size=4)
    both.plain.losses(3)
    both.method.restore(both.plain.state())
    np.testing.assert_allclose(*both.scores(), rtol=0, atol=1e-5)


def test_ipiqa_is_laid_out_as_open_clip_lays_it_out(pictures, tmp_path):
    both = Both("ipiqa", pictures, tmp_path, epochs=1, batch_size=4)
    inputs: list[torch.Tensor] = []
    both.plain.restart()
    network = both.plain.model
    network.visual.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    next(both.plain.epoch(0))
    convolutions = [weight for weight in network.parameters() if weight.ndim == 4 and max(weight.shape[2:]) > 1]
    assert len(convolutions) > 5
    for tensor in (*convolutions, *inputs):
        assert tensor.stride() == torch.empty(tensor.shape).stride()
    # The published code runs what open_clip has, and nothing that is ours.
    (clip,) = network._clip
    for mine, theirs in ((network.visual, clip.visual), (network.own_pool, clip.visual.attnpool)):
        assert type(mine) is type(theirs)
    assert {type(each).__module__.partition(".")[0] for each in network.visual.modules()} == {"open_clip", "torch"}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_complete_work_agrees(name, pictures, tmp_path):
    both = Both(name, pictures, tmp_path, epochs=2, batch_size=5)
    both.method.fit(both.train, both.test)
    means = both.plain.train(2)
    np.testing.assert_allclose(means, [entry["loss"] for entry in both.method.history], rtol=1e-5)
    np.testing.assert_allclose(*both.scores(), rtol=0, atol=1e-4)
    assert np.ptp(both.plain.score(both.test), axis=0).min() > 1e-3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("clip_agiqa_fu", {"variant": "official", "resize": 80}),
        ("clip_agiqa_fu", {"use_aux": False, "text_depth": 0, "vision_depth": 0}),
        ("clip_agiqa_tang", {"n_ctx": 0}),
        ("ipiqa", {"variant": "official"}),
    ],
)
def test_other_settings_agree(name, settings, pictures, tmp_path):
    both = Both(name, pictures, tmp_path, epochs=2, batch_size=6, **settings)
    both.method.fit(both.train)
    both.plain.losses(4)
    np.testing.assert_allclose(*both.scores(), rtol=0, atol=1e-4)


def test_what_the_procedure_does_not_do_is_refused(pictures, tmp_path):
    with pytest.raises(ConfigError, match=r"^ipiqa: the published procedure"):
        Both("ipiqa", pictures, tmp_path, integral_prompt=False)
    assert not issubclass(IPIQA, PublishedProcedure)
