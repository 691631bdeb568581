from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context
from agiqa_bench.methods.cnn import CNN, NOT_PUBLISHED, ResNet50, ResNet50Scratch
from agiqa_bench.training.recipe import Recipe

OFFLINE = Context(offline=True)


def test_the_score_is_a_linear_head_on_torchvisions_pooled_features(tmp_path, few):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    method = few.method(ResNet50, ["quality"], backbone=f"resnet50:{tmp_path}/resnet50.pth")
    network = method.build().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 23_510_081
    samples = few.samples(["quality"]).subset([4, 11])
    resized = torch.from_numpy(np.array(samples.images.resized(64, resize="exact", crop="none")))
    mean, std = (torch.tensor(each) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    theirs.fc.weight.data = network.head.weight.data.expand(1000, -1).clone()
    theirs.fc.bias.data = network.head.bias.data.expand(1000).clone()
    with torch.no_grad():
        wanted = theirs(((resized / 255 - mean) / std).permute(0, 3, 1, 2))[:, 0]
    np.testing.assert_allclose(method.score(network, samples), wanted, rtol=1e-5, atol=1e-5)


def test_the_rows_of_the_papers_table(few, recipe_of):
    samples = few.samples(["quality"])
    for cls, backbone, rate in ((ResNet50, "resnet50.tv_in1k", 1e-5), (ResNet50Scratch, "resnet50:none", 1e-4)):
        assert cls.Config().backbone == backbone
        small = cls.Config(backbone="demo-rn", resize=64)
        recipe, learner = recipe_of(cls(small, few.context(["quality"])), samples)
        assert recipe == Recipe(100, 32, rate, "adamw", drop_last=True)
        assert learner._criterion is F.mse_loss
        assert (cls.Config().resize, cls.Config().crop, cls.Config().head) == (512, None, "linear")
        assert cls.note(cls.Config(backbone="demo-rn"), OFFLINE).startswith(NOT_PUBLISHED + "IP-IQA's own recipe")
        assert cls.note(cls.Config(epochs=1), OFFLINE) == NOT_PUBLISHED + "nor are these IP-IQA's own"
    assert ResNet50Scratch.weights(ResNet50Scratch.Config(), OFFLINE) == ()


def test_tiers_recipe(few, recipe_of):
    settings = dict(ResNet50.ablations["TIER's recipe"])
    method = ResNet50(ResNet50.Config(**settings | {"backbone": "demo-rn"}), few.context(["quality"]))
    recipe, learner = recipe_of(method, few.samples(["quality"]))
    assert recipe == Recipe(100, 8, 1e-4, "adam", weight_decay=1e-5)
    assert [type(layer).__name__ for layer in learner.model.head] == ["Linear", "ReLU", "Linear"]
    assert learner.model.head[0].out_features == 384 // 2
    assert learner._inputs(np.arange(3), 0).shape == (3, 3, 224, 224)


def test_parts_to_learn_from_and_the_middle_that_is_scored(few, recipe_of):
    method = few.method(ResNet50, ["quality"], resize=96, crop=64)
    samples = few.samples(["quality"])
    _, learner = recipe_of(method, samples)
    image = torch.from_numpy(np.array(samples.images.resized(96, resize="exact", crop="none")[5])).permute(2, 0, 1)
    network = learner.model.eval()

    def window(top, left, mirror):
        part = image[:, top : top + 64, left : left + 64]
        return ((part.flip(-1) if mirror else part) / 255 - torch.tensor(network.backbone.mean)[:, None, None]) / (
            torch.tensor(network.backbone.std)[:, None, None]
        )

    places = set()
    for epoch in range(12):
        part = learner._inputs(np.array([2, 5]), epoch)[1]
        found = [
            (top, left, mirror)
            for top in range(33)
            for left in range(33)
            for mirror in (False, True)
            if torch.allclose(window(top, left, mirror)[:, :2, :2], part[:, :2, :2], atol=1e-6)
            and torch.allclose(window(top, left, mirror), part, atol=1e-6)
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 12
    assert {mirror for *_, mirror in places} == {False, True}
    with torch.no_grad():
        wanted = network(window(16, 16, False)[None]).item()
    assert method.score(network, samples.subset([5]))[0] == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(ValidationError, match=r"crop=96 is larger than the image, resize=64"):
        ResNet50.Config(resize=64, crop=96)


def test_training_learns_and_each_target_has_a_network(few):
    targets = ("quality", "authenticity")
    samples = few.samples(targets, mos_authenticity=5 - few.table["mos_alignment"])
    method = few.method(ResNet50, targets, epochs=4).fit(samples)
    scores = method.predict(samples)
    assert scores.shape == (40, 2)
    losses = [entry["loss"] for entry in method.history if entry["target"] == 0.0]
    assert losses[-1] < 0.5 * losses[0]
    start = few.method(ResNet50, targets).build().state_dict()
    changed = [name for name, tensor in method.networks["quality"].state_dict().items() if tensor.ne(start[name]).any()]
    assert {name.split(".")[0] for name in changed} == {"backbone", "head"}
    assert not torch.equal(*(network.head.weight for network in method.networks.values()))


def test_a_saved_model_needs_no_weights(few, monkeypatch):
    samples = few.samples(["quality"])
    fitted = few.method(ResNet50, ["quality"], epochs=1).fit(samples)
    monkeypatch.setattr("agiqa_bench.backbones.convnet.resolve_convnet", None)
    restored = few.method(ResNet50, ["quality"]).restore(fitted.state())
    assert np.array_equal(restored.predict(samples), fitted.predict(samples))
    assert ResNet50.weights_to_predict(ResNet50.Config(), OFFLINE) == ()


def test_without_a_backbone_there_is_no_method(few):
    assert CNN.skip(CNN.Config(), OFFLINE) == "names no backbone: e.g. cnn[backbone=convnext_tiny.fb_in1k]"
    assert CNN.weights(CNN.Config(), OFFLINE) == ()
    assert CNN.skip(CNN.Config(backbone="demo-rn"), OFFLINE) is None
    method = few.method(CNN, ["quality"], backbone="vit_tiny_patch16_224:none")
    with pytest.raises(ConfigError, match=r"^cnn: vit_tiny_patch16_224:none takes images of 224 x 224 pixels only"):
        method.build()


@pytest.mark.slow
def test_a_step_with_the_papers_settings(few):
    samples = few.samples(["quality"]).subset([0, 1])
    method = ResNet50(ResNet50.Config(backbone="resnet50:none", epochs=1), few.context(["quality"])).fit(samples)
    assert np.isfinite(method.predict(samples)).all()
    assert method.history[0]["loss"] > 0
