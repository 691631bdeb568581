from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from agiqa_bench.backbones.convnet import build_convnet, resolve_convnet
from agiqa_bench.errors import BadImageError, ConfigError
from agiqa_bench.method import Context
from agiqa_bench.methods.hypernet import HyperIQA, HyperNet, _grid
from agiqa_bench.training.recipe import Recipe, build_optimiser, set_rate


def _like_pyiqa(ours: HyperIQA) -> dict[str, torch.Tensor]:
    """Our weights under the names of pyiqa's class."""
    renamed = {
        "backbone.model.": "base_model.",
        "reduce.": "conv1.",
        "weights.4.": "fc_w_modules.4.2.",
        "weights.": "fc_w_modules.",
    }
    last = {f"distortions.{scale}.0.0.": f"lda_modules.{scale}.0." for scale in range(3)}
    last |= {f"distortions.{scale}.2.": f"lda_modules.{scale}.3." for scale in range(3)}
    last |= {"distortions.3.2.": "lda_modules.3.2."}
    last |= {f"biases.{layer}.": f"fc_b_modules.{layer}.2." for layer in range(5)}
    state = {}
    for name, tensor in ours.state_dict().items():
        old, new = next((old, new) for old, new in {**last, **renamed}.items() if name.startswith(old))
        state[new + name.removeprefix(old)] = tensor
    return state


@pytest.fixture
def pyiqas(monkeypatch):
    """pyiqa's class without its weights, which it would fetch even so."""
    pytest.importorskip("pyiqa")
    import timm
    from pyiqa.archs.hypernet_arch import HyperNet as PyIQAHyperNet

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **options | {"pretrained": False}))
    return PyIQAHyperNet(pretrained=False)


def test_the_forward_pass_equals_pyiqas_with_the_same_weights(pyiqas):
    torch.manual_seed(3)
    ours = HyperIQA(build_convnet(resolve_convnet("resnet50:none"), features_only=True), 224, 112, 224)
    for name, buffer in ours.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
    for name, parameter in ours.named_parameters():
        if name.endswith("bn3.weight"):  # zero to begin with, so that nothing of a block would show
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    pyiqas.load_state_dict(_like_pyiqa(ours))
    assert sum(parameter.numel() for parameter in ours.parameters()) == 27_375_369
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    ours.eval()
    pyiqas.eval()
    with torch.no_grad():
        wanted = pyiqas.forward_patch(images.float() / 255)[:, 0]
        found = ours(ours.normalized(images))
    assert (wanted[0] - wanted[1]).abs() > 1e-4
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_other_backbones(few):
    network = few.method(HyperNet).build()
    assert [module[0][0].out_channels for module in list(network.distortions)[:3]] == [3, 6, 12]
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2,)
    with pytest.raises(ConfigError, match=r"^hypernet: layers of \[64, 32, 16, 8, 4\] cannot be generated .* 3 x 3"):
        few.method(HyperNet, resize=96, crop=96).build()
    tower = build_convnet(resolve_convnet("demo-rn"))
    tower.channels = tower.channels[-3:]
    with pytest.raises(ConfigError, match=r"^hypernet: the backbone has 3 stages, and 4 are needed$"):
        HyperIQA(tower, 64, 32, 64)


def test_new_layers_begin_with_kaimings_normal():
    torch.manual_seed(0)
    network = HyperIQA(build_convnet(resolve_convnet("demo-rn")), 64, 32, 64)
    weight = network.weights[0].weight
    assert weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.02)
    assert network.distortions[3][2].weight.std().item() == pytest.approx((2 / 384) ** 0.5, rel=0.02)


def test_parts_of_a_test_image_reach_from_corner_to_corner():
    boxes = _grid(512, 300, 224, 5)
    assert sorted(set(boxes[:, 0])) == [0, 72, 144, 216, 288]
    assert sorted(set(boxes[:, 1])) == [0, 19, 38, 57, 76]
    assert boxes.shape == (25, 4)
    assert (boxes[:, 2:] == 224).all()
    assert _grid(224, 224, 224, 5).tolist() == [[0, 0, 224, 224]]


def _rates(recipe: Recipe, learner) -> tuple[list[float], list[float]]:
    """Learning rates of the backbone and of the hyper network in each epoch, as the optimiser has them."""
    optimiser = build_optimiser(recipe, learner.groups())
    found = []
    for epoch in range(recipe.epochs):
        set_rate(optimiser, recipe.rate(epoch), learner.factors(epoch))
        found.append([group["lr"] for group in optimiser.param_groups])
    backbone, hyper = zip(*found, strict=True)
    return list(backbone), list(hyper)


def _as_the_code_says(lr: float = 2e-5, ratio: float = 10, epochs: int = 16) -> tuple[list[float], list[float]]:
    """The same by the arithmetic of HyerIQASolver.py, which sets the rates of an epoch at the end of the one before."""
    backbone, hyper = [lr], [lr * ratio]
    for ended in range(epochs - 1):
        if ended > 8:
            ratio = 1
        backbone.append(lr)
        hyper.append(lr / 10 ** (ended // 6) * ratio)
    return backbone, hyper


def test_the_codes_recipe_and_both_schedules(few, recipe_of):
    def caught(**settings):
        # All but the crop, which the demo's small images and network are too small for.
        config = HyperNet.Config(backbone="demo-rn", resize=None, crop=64, **settings)
        return recipe_of(HyperNet(config, few.context(["quality"])), few.samples(["quality"]))

    recipe, learner = caught()
    assert recipe == Recipe(16, 96, 2e-5, "adam", weight_decay=5e-4, schedule="constant", renew=True)
    assert learner._criterion is F.l1_loss
    assert len(learner._mos) == 25 * 40
    (_, seeing), (_, generating) = learner.groups()
    names = {id(parameter): name.split(".")[0] for name, parameter in learner.model.named_parameters()}
    assert {names[id(each)] for each in seeing} == {"backbone", "distortions"}
    assert {names[id(each)] for each in generating} == {"reduce", "weights", "biases"}
    assert len(seeing) + len(generating) == len(names)
    backbone, hyper = _rates(recipe, learner)
    assert backbone == [2e-5] * 16
    assert hyper == pytest.approx([2e-4] * 7 + [2e-5] * 3 + [2e-6] * 3 + [2e-7] * 3, rel=1e-12)
    assert hyper == pytest.approx(_as_the_code_says()[1], rel=1e-12)

    recipe, learner = caught(schedule="official")
    assert recipe == Recipe(16, 96, 2e-5, "adam", weight_decay=5e-4, schedule="constant", renew=True)
    assert _rates(recipe, learner) == ([2e-5] * 16, [2e-4] + [0.0] * 15)


def test_other_rates_fall_by_the_same_arithmetic(few, recipe_of):
    settings = {"learning_rate": 1e-3, "hyper_factor": 3.0, "epochs": 30}
    method = few.method(HyperNet, ["quality"], resize=None, **settings)
    recipe, learner = recipe_of(method, few.samples(["quality"]))
    backbone, hyper = _rates(recipe, learner)
    assert backbone == [1e-3] * 30
    assert hyper == pytest.approx(_as_the_code_says(1e-3, 3.0, 30)[1], rel=1e-12)


def test_each_part_is_drawn_for_itself_and_has_its_images_mos(few, recipe_of):
    method = few.method(HyperNet, ["quality"], resize=None, crops=3)
    samples = few.samples(["quality"])
    _, learner = recipe_of(method, samples)
    parts = learner._inputs(np.arange(6), 0)
    assert parts.shape == (6, 3, 64, 64)
    assert len({part.numpy().tobytes() for part in parts}) == 6
    torch.testing.assert_close(learner._inputs(np.array([4]), 0)[0], parts[4], rtol=0, atol=0)
    assert not torch.equal(learner._inputs(np.array([4]), 1)[0], parts[4])
    np.testing.assert_allclose(learner._mos[[0, 2, 3]], samples.mos[[0, 0, 1], 0], rtol=1e-6)
    # Somewhere in its image, or in its mirror image.
    image = learner.model.normalized(torch.from_numpy(np.array(samples.images[1])).permute(2, 0, 1)[None])[0]
    windows = torch.cat([image, image.flip(-1)]).unfold(1, 64, 1).unfold(2, 64, 1)[:, :, :, 0, 0]
    corner = parts[4][:, 0, 0]
    assert any((windows[k : k + 3] - corner[:, None, None]).abs().sum(0).min() < 1e-6 for k in (0, 3))


@pytest.mark.parametrize("schedule", ["intended", "official"])
def test_officially_the_hyper_network_stops_after_the_first_epoch(few, monkeypatch, schedule):
    samples = few.samples(["quality"])
    states = []
    method = few.method(HyperNet, ["quality"], epochs=3, schedule=schedule)
    validate = method.score
    monkeypatch.setattr(
        method,
        "score",
        lambda network, rows: (
            states.append({name: each.detach().clone() for name, each in network.named_parameters()})
            or validate(network, rows)
        ),
    )
    method.fit(samples.subset(range(30)), samples.subset(range(30, 40)))
    frozen = {
        name.split(".")[0]
        for name in states[0]
        if torch.equal(states[0][name], states[1][name]) and torch.equal(states[1][name], states[2][name])
    }
    assert frozen == ({"reduce", "weights", "biases"} if schedule == "official" else set())


def test_the_score_is_the_mean_over_the_grid(few):
    samples = few.samples(["quality"])
    method = few.method(HyperNet, ["quality"], epochs=1, resize=None, grid=2).fit(samples)
    network, row = method.networks["quality"], samples.subset([7])
    image = torch.from_numpy(np.array(row.images[0])).permute(2, 0, 1)[None]
    parts = torch.cat([image[..., top : top + 64, left : left + 64] for top in (0, 64) for left in (0, 64)])
    with torch.no_grad():
        wanted = network(network.normalized(parts)).mean().item()
    assert method.predict(row)[0, 0] == pytest.approx(wanted, abs=1e-5)
    assert method.predict(samples)[7, 0] == pytest.approx(wanted, abs=1e-5)


def test_images_smaller_than_a_part_are_refused(few):
    method = few.method(HyperNet, ["quality"], resize=None, crop=256, target_width=256)
    with pytest.raises(BadImageError, match=r"^hypernet needs at least 256 x 256 pixels; image .* is 128 x 128"):
        method.fit(few.samples(["quality"]))


def test_a_saved_model_needs_no_weights(few, monkeypatch):
    samples = few.samples(["quality"])
    fitted = few.method(HyperNet, ["quality"], epochs=1).fit(samples)
    monkeypatch.setattr("agiqa_bench.backbones.convnet.resolve_convnet", None)
    restored = few.method(HyperNet, ["quality"]).restore(fitted.state())
    assert np.array_equal(restored.predict(samples), fitted.predict(samples))
    assert HyperNet.weights_to_predict(HyperNet.Config(), Context(offline=True)) == ()


@pytest.mark.slow
def test_a_step_with_the_papers_settings(few):
    samples = few.samples(["quality"]).subset([0, 1])
    config = HyperNet.Config(backbone="resnet50:none", crops=2, epochs=1)
    method = HyperNet(config, few.context(["quality"])).fit(samples)
    assert np.isfinite(method.predict(samples)).all()
    assert method.history[0]["loss"] > 0
