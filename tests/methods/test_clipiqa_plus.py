from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import open_clip
import packaging.version
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.errors import CheckpointError, ConfigError
from agiqa_bench.methods.clipiqa import CLIPIQA
from agiqa_bench.methods.clipiqa_plus import CLIPIQAPlus, PartOfCosine, PromptPair
from agiqa_bench.training import views

TARGETS = ("quality", "authenticity")
SHORT = CLIPIQAPlus.Config(**CLIPIQAPlus.presets["quick"] | {"iterations": 6})
TINY = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


@pytest.fixture(scope="module")
def ranges():
    return dict.fromkeys(TARGETS, (0.0, 5.0))


@pytest.fixture(scope="module")
def rated(few):
    """Samples with quality and authenticity."""
    return few.samples(TARGETS, mos_authenticity=5 - few.table["mos_alignment"])


@pytest.fixture(scope="module")
def fitted(ranges, few, rated):
    method = CLIPIQAPlus(SHORT, few.context(TARGETS, mos_ranges=ranges))
    before = {name: tensor.clone() for name, tensor in method.clip().model.state_dict().items()}
    return method.fit(rated), before


def test_the_text_features_are_those_of_the_official_prompt_learner(monkeypatch):
    """As pyiqa carries it, with the official CLIP, on weights of a seed."""
    # OpenAI's tokeniser asks for a module that setuptools has given up, and uses one name of it.
    monkeypatch.setitem(sys.modules, "pkg_resources", SimpleNamespace(packaging=packaging))
    arch = pytest.importorskip("pyiqa.archs.clipiqa_arch")
    clip_model = pytest.importorskip("pyiqa.archs.clip_model")
    torch.manual_seed(0)
    model = open_clip.CLIP(**TINY).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
        parameter.copy_(parameter.half())  # which is how the oracle keeps some of them
    theirs = clip_model.build_model(dict(model.state_dict())).float()
    resolved = SimpleNamespace(architecture="RN50", preprocess=SimpleNamespace(mean=(0.5,) * 3, std=(0.5,) * 3))
    pair = PromptPair(ClipBackbone(model, open_clip.get_tokenizer("RN50"), resolved, "cpu", "float32"), config())
    learner = arch.PromptLearner(theirs)
    learner.ctx = torch.nn.Parameter(pair.context.detach())
    images = F.normalize(torch.randn(5, 24), dim=-1)
    wanted = (theirs.logit_scale.exp() * images @ F.normalize(learner(theirs), dim=-1).T).softmax(dim=-1)[:, 0]
    with torch.no_grad():
        np.testing.assert_allclose(pair(images), wanted.detach(), atol=1e-5)


def config(**settings):
    return CLIPIQAPlus.Config(**settings)


def test_what_is_learnt_is_the_context_alone(fitted, few, rated):
    method, before = fitted
    assert {name: tuple(tensor.shape) for name, tensor in method.state().items()} == {
        "quality.context": (16, 64),
        "authenticity.context": (16, 64),
    }
    model = method.clip().model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    alone = few.method(CLIPIQAPlus, ["quality"], iterations=6).fit(few.samples(["quality"]))
    assert np.array_equal(alone.predict(rated)[:, 0], method.predict(rated)[:, 0])
    torch.manual_seed(0)
    drawn = torch.cat([method.build().context for _ in range(20)])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.03)


def test_images_are_encoded_once_as_they_are_and_once_mirrored(few, tmp_path, monkeypatch):
    from agiqa_bench.data.image_cache import ImageCache
    from agiqa_bench.data.samples import Samples

    samples = Samples(few.table, ["quality"], ImageCache(list(few.table["path"]), tmp_path))
    visual = few.method(CLIPIQAPlus).clip().model.visual
    calls, stem = [], visual.stem
    monkeypatch.setattr(visual, "stem", lambda images: calls.append(len(images)) or stem(images))
    scores = []
    for seed in (1, 2):
        method = CLIPIQAPlus(SHORT, few.context(["quality"], seed=seed))
        scores.append(method.fit(samples.subset(range(10 * seed, 40))).predict(samples.subset(range(10))))
        assert sum(calls) == 80
    assert not np.array_equal(*scores)


def test_half_of_the_images_are_mirrored_anew_in_each_epoch(few, recipe_of):
    samples = few.samples(["quality"]).subset(range(5, 40))
    method = few.method(CLIPIQAPlus, ["quality"])
    _, learner = recipe_of(method, samples)
    plain, mirrored = method._features(samples), method._features(samples, mirrored=True)
    positions = np.array([30, 2, 7, 7])
    shown = [learner._inputs(positions, epoch) for epoch in range(12)]
    chosen = [views.draws(0, epoch, samples.rows, 1)[positions, 0] < 0.5 for epoch in range(12)]
    for found, flips in zip(shown, chosen, strict=True):
        for row, (position, flipped) in enumerate(zip(positions, flips, strict=True)):
            assert torch.equal(found[row], (mirrored if flipped else plain)[position])
    assert 0.2 < np.mean(chosen) < 0.8
    _, still = recipe_of(few.method(CLIPIQAPlus, ["quality"], mirror=False), samples)
    assert torch.equal(still._inputs(positions, 3), plain[positions])


def test_the_papers_recipe(few, recipe_of):
    method = CLIPIQAPlus(config(backbone="demo-rn"), few.context(["quality"], batch_size=16))
    samples = few.samples(["quality"])
    recipe, learner = recipe_of(method, samples)
    # 40 images are two whole batches of 16.
    assert recipe == PartOfCosine(40_000, 128, 0.002, "sgd", momentum=0.0, drop_last=True, period=150_000)
    assert recipe.rate(0) == 0.002
    assert recipe.rate(75_000) == pytest.approx((0.002 + 1e-7) / 2)
    assert recipe.rate(40_000) == pytest.approx(1e-7 + 0.5 * (0.002 - 1e-7) * (1 + math.cos(math.pi * 80 / 300)))
    assert recipe.rate(150_000) == recipe.rate(200_000) == pytest.approx(1e-7)
    positions = np.array([3, 9, 20])
    with torch.no_grad():
        probability = learner.model(learner._inputs(positions, 0)).numpy()
        wanted = np.mean((probability - samples.mos[positions, 0] / 5) ** 2)
        assert learner.loss(positions, 0, {}).item() == pytest.approx(wanted, rel=1e-5)
    assert "80,000 steps" in CLIPIQAPlus.note(config(backbone="demo-rn"), few.context())
    assert CLIPIQAPlus.note(config(backbone="demo-vit"), few.context()).endswith("its own input size")
    unstated = few.context(["quality"], mos_ranges={"quality": None, "alignment": None})
    assert CLIPIQAPlus.note(config(backbone="demo-rn"), unstated).endswith(
        "; scaled by the range of quality MOS in each repeat's training part: none is stated (--mos-range)"
    )


def test_a_score_is_a_probability_on_the_scale_of_the_mos(few, recipe_of):
    samples = few.samples(["quality"])
    wide = {"quality": (1.0, 11.0)}
    _, learner = recipe_of(CLIPIQAPlus(SHORT, few.context(["quality"], mos_ranges=wide)), samples)
    with torch.no_grad():
        probability = learner.model(learner._inputs(np.arange(40), 0)).numpy()
    wanted = np.mean((probability - (samples.mos[:, 0] - 1) / 10) ** 2)
    assert learner.loss(np.arange(40), 0, {}).item() == pytest.approx(wanted, rel=1e-5)
    method = CLIPIQAPlus(SHORT, few.context(["quality"], mos_ranges=wide)).fit(samples)
    scores = method.predict(samples)[:, 0]
    network = method.networks["quality"]
    with torch.no_grad():
        np.testing.assert_allclose(scores, 1 + 10 * network(method._features(samples)).double().numpy())
    with pytest.raises(ConfigError, match="the range of the quality MOS is not known"):
        CLIPIQAPlus(SHORT, few.context(["quality"], mos_ranges={})).fit(samples)


def test_it_is_better_than_the_words_alone(demo):
    samples = demo.samples(["quality"])
    in_test = np.isin(samples.groups, sorted(set(samples.groups))[::4])
    train, test = (samples.subset(np.flatnonzero(rows)) for rows in (~in_test, in_test))
    method = demo.method(CLIPIQAPlus, ["quality"]).fit(train)
    assert method.history[-1]["epoch"] == 50  # 200 steps, four to an epoch
    learnt = method.predict(test.hidden())[:, 0]
    words = 5 * demo.method(CLIPIQA, ["quality"]).predict(test.hidden())
    mos = test.mos[:, 0]
    assert np.mean((learnt - mos) ** 2) < 0.7 * np.mean((words - mos) ** 2)
    assert spearmanr(learnt, mos).statistic > 0.65


def test_a_restored_model_gives_the_same_scores(fitted, ranges, few, rated):
    method, _ = fitted
    state = {name: tensor.clone() for name, tensor in method.state().items()}
    again = CLIPIQAPlus(SHORT, few.context(TARGETS, mos_ranges=ranges)).restore(state)
    assert np.array_equal(again.predict(rated), method.predict(rated))
    with pytest.raises(CheckpointError, match=r"^clipiqa_plus: the saved tensors do not fit"):
        few.method(CLIPIQAPlus, TARGETS, n_ctx=8).restore(state)
