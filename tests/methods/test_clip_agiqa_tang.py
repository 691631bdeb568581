from __future__ import annotations

import math
import re
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import CheckpointError
from agiqa_bench.methods import clip_agiqa_tang
from agiqa_bench.methods.clip_agiqa_tang import CLIPAGIQATang
from agiqa_bench.training.pixels import _Resident
from agiqa_bench.training.recipe import Recipe

QUICK = dict(CLIPAGIQATang.presets["quick"])
TARGETS = ("quality", "authenticity")


@pytest.fixture(scope="module")
def rated(few):
    """Samples with quality and authenticity."""
    return few.samples(TARGETS, mos_authenticity=5 - few.table["mos_alignment"])


@pytest.fixture(scope="module")
def fitted(few, rated):
    method = few.method(CLIPAGIQATang, TARGETS, epochs=3)
    before = {name: tensor.clone() for name, tensor in method.clip().model.state_dict().items()}
    return method.fit(rated), before


@pytest.fixture
def encoded(fitted, monkeypatch):
    """Number of images of each call of the image encoder."""
    clip, calls = fitted[0].clip(), []
    encode = clip.features
    monkeypatch.setattr(clip, "features", lambda images: calls.append(len(images)) or encode(images))
    return calls


def test_features_of_views_are_computed_once_for_all_repeats(few, rated, encoded, tmp_path, monkeypatch):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path))

    def fit(samples=rated, **context):
        encoded.clear()
        config = CLIPAGIQATang.Config(**QUICK | {"epochs": 2})
        method = CLIPAGIQATang(config, few.context(TARGETS, **context)).fit(samples)
        return method.predict(samples.subset(range(4))), sum(encoded)

    first, views = fit(seed=1, shared_seed=7)
    assert views == 2 * 40 + 40  # for both targets, one view per image and epoch, and the whole image
    second, views = fit(seed=2, shared_seed=7)
    assert views == 0
    assert not np.array_equal(first, second)
    # A repeat learns from some of the rows, and needs no views of its own.
    assert fit(rated.subset(range(0, 40, 2)), seed=3, shared_seed=7)[1] == 0
    assert fit(seed=1, shared_seed=8)[1] == 80
    again, views = fit(seed=1, shared_seed=7)
    assert views == 0
    assert np.array_equal(again, first)


def test_the_name_of_stored_views_covers_what_can_change_them(few, rated, monkeypatch):
    """Features in bf16 are others than in float32; the seed of a repeat has no part in them."""
    monkeypatch.setattr(clip_agiqa_tang, "open_pixels", lambda images, device: None)

    def name(samples=rated, settings=(), **context):
        config = CLIPAGIQATang.Config(**{**QUICK, **dict(settings)})
        return CLIPAGIQATang(config, few.context(TARGETS, **context))._view_features(samples).folder.name

    assert name() == name(seed=5, repeat=2, settings={"epochs": 1}) == name(rated.subset(range(3)))
    found = [
        name(),
        name(settings={"scale": (0.4, 1.0)}),
        name(settings={"backbone": "demo-rn"}),
        name(precision="bf16"),
        name(batch_size=3),
        name(shared_seed=1),
    ]
    for library in ("torch", "torchvision", "open_clip_torch", "Pillow"):
        monkeypatch.setattr(
            clip_agiqa_tang, "version", lambda name, other=library: "0.1" if name == other else version(name)
        )
        found.append(name())
    assert len(set(found)) == len(found) == 10


def test_views_differ_between_epochs(tmp_path, monkeypatch, few, rated):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path))
    features = few.method(CLIPAGIQATang, TARGETS)._view_features(rated)
    first = np.array(features.epoch(0))
    second = features.epoch(1)
    assert first.shape == (40, 96)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    assert (np.abs(first - second).max(axis=1) > 1e-3).all()


def test_repeats_that_are_trained_together_are_those_that_are_trained_alone(few, rated):
    repeats = {0: range(30), 3: range(5, 38), 9: range(10, 40)}

    def method(repeat):
        config = CLIPAGIQATang.Config(**QUICK | {"epochs": 2})
        return CLIPAGIQATang(config, few.context(TARGETS, seed=repeat, repeat=repeat, shared_seed=7))

    def part(repeat):
        return rated.subset(repeats[repeat]), rated.subset(range(8))

    together = [method(repeat) for repeat in repeats]
    assert CLIPAGIQATang.fit_together(together, [part(repeat) for repeat in repeats]) == [None, None, None]
    alone = method(9).fit(*part(9))
    assert np.array_equal(alone.predict(rated), together[2].predict(rated))
    assert repr(alone.history) == repr(together[2].history)
    assert not np.array_equal(alone.predict(rated), together[0].predict(rated))


def test_a_repeat_that_fails_fails_alone(few, rated):
    wild = Samples(few.table.iloc[:20].assign(mos_authenticity=1e30), TARGETS, few.images)
    methods = [
        CLIPAGIQATang(CLIPAGIQATang.Config(**QUICK | {"epochs": 2}), few.context(TARGETS, seed=seed, repeat=seed))
        for seed in (0, 1)
    ]
    failures = CLIPAGIQATang.fit_together(methods, [(wild, None), (rated, None)])
    assert re.match(r"the loss became (inf|nan) in epoch 1, step \d: lower the learning rate", str(failures[0]))
    assert failures[1] is None
    assert np.isfinite(methods[1].predict(rated)).all()


def test_views_of_resident_images_are_the_same_but_for_rounding(tmp_path, monkeypatch, few, rated):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "one"))
    expected = few.method(CLIPAGIQATang, TARGETS)._view_features(rated).epoch(0)
    array, rows = rated.images.everything.stacked
    held = _Resident(torch.from_numpy(np.array(array)), rows)
    monkeypatch.setattr("agiqa_bench.methods.clip_agiqa_tang.open_pixels", lambda images, device: held)
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "other"))
    found = few.method(CLIPAGIQATang, TARGETS)._view_features(rated).epoch(0)
    # A grey level here and there, where one path rounds between its two axes and the other does not.
    assert np.abs(found - expected).max() < 0.02
    assert (found * expected).sum(axis=1).min() > 0.999


def test_each_target_has_a_model_of_its_own(fitted, few, rated):
    method, _ = fitted
    scores = method.predict(rated)
    assert scores.shape == (40, 2)
    parts = {"context", "regressor.1.weight", "regressor.1.bias", "regressor.4.weight", "regressor.4.bias"}
    assert method.state().keys() == {f"{target}.{part}" for target in TARGETS for part in parts}
    assert [entry["target"] for entry in method.history] == [0.0] * 3 + [1.0] * 3
    assert [entry["epoch"] for entry in method.history] == [1, 2, 3, 1, 2, 3]
    alone = few.method(CLIPAGIQATang, ["quality"], epochs=3).fit(few.samples(["quality"]))
    assert np.array_equal(alone.predict(rated)[:, 0], scores[:, 0])
    assert not torch.equal(method.state()["quality.context"], method.state()["authenticity.context"])
    with pytest.raises(CheckpointError, match=r"^clip_agiqa_tang: the saved tensors do not fit"):
        few.method(CLIPAGIQATang, TARGETS).restore(alone.state())


def test_clip_stays_as_it_is(fitted):
    method, before = fitted
    model = method.clip().model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_the_words_alone(few):
    method = few.method(CLIPAGIQATang, ["quality"], epochs=1, **CLIPAGIQATang.ablations["without learnt context"])
    samples = few.samples(["quality"])
    scores = method.fit(samples).predict(samples)
    assert scores.shape == (40, 1)
    assert np.isfinite(scores).all()
    assert not any("context" in name for name in method.state())
    network = method.networks["quality"]
    clip = method.clip()
    words = clip.encode_text([f"{word}." for word in ("terrible", "bad", "poor", "average", "good", "perfect")])
    with torch.no_grad():
        np.testing.assert_allclose(network.texts().numpy(), words.reshape(-1), atol=1e-5)


def test_the_score_is_the_regressors_on_seven_features(fitted, rated):
    method, _ = fitted
    rows = rated.subset([3, 8])
    clip, network = method.clip(), method.networks["authenticity"]
    images = torch.from_numpy(clip.encode_image(clip.resized(rows.images)))
    with torch.no_grad():
        texts = network.texts()
        hidden = torch.relu(network.regressor[1](torch.cat([images, texts.expand(2, -1)], dim=1)))
        wanted = network.regressor[4](hidden)[:, 0]
    assert texts.view(6, 96).norm(dim=1).numpy() == pytest.approx(np.ones(6), rel=1e-5)
    np.testing.assert_allclose(method.predict(rows)[:, 1], wanted, rtol=1e-5)


def test_the_papers_recipe(few, recipe_of):
    config = CLIPAGIQATang.Config(backbone="demo-vit")
    recipe, learner = recipe_of(CLIPAGIQATang(config, few.context(["quality"])), few.samples(["quality"]))
    sgd = Recipe(100, 32, 0.002, "sgd", weight_decay=5e-4, momentum=0.9, schedule="cosine", drop_last=True)
    assert recipe == replace(sgd, warm_up_epochs=1, warm_up_rate=1e-5)
    parts = {name.partition(".")[0] for name, _ in learner.model.named_parameters()}
    assert parts == {"context", "regressor"}


def test_the_first_epoch_warms_up_and_the_rate_falls_as_a_cosine(few):
    config = CLIPAGIQATang.Config(backbone="demo-vit", epochs=3, batch_size=8)  # of 40 images none is left out
    method = CLIPAGIQATang(config, few.context(["quality"])).fit(few.samples(["quality"]))
    rates = [entry["learning_rate"] for entry in method.history]
    assert rates == pytest.approx([1e-5, 0.002, 0.001 * (1 + math.cos(math.pi / 3))])
    losses = [entry["loss"] for entry in method.history]
    assert losses[2] < losses[0]
