from __future__ import annotations

import math
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from agiqa_bench.backbones.bilinear import BilinearCNN, bilinear_pool
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, WeightsUnavailableError
from agiqa_bench.methods import dbcnn
from agiqa_bench.methods.dbcnn import DBCNN
from agiqa_bench.training.recipe import Recipe

TARGETS = ("quality",)
FAST: dict[str, Any] = {"head_epochs": 2, "epochs": 1, "crop": 48, "scnn": "demo"}


def naive_pool(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """Loops over places and channels, with a bilinear interpolation written out."""
    _, height, width = first.shape
    channels, rows, columns = second.shape
    products = np.zeros((len(first), channels))
    for y in range(height):
        for x in range(width):
            v = y * (rows - 1) / (height - 1)
            u = x * (columns - 1) / (width - 1)
            top, left = min(int(v), rows - 2), min(int(u), columns - 2)
            b, a = v - top, u - left
            for j in range(channels):
                map_ = second[j].double().numpy()
                there = (1 - b) * ((1 - a) * map_[top, left] + a * map_[top, left + 1])
                there += b * ((1 - a) * map_[top + 1, left] + a * map_[top + 1, left + 1])
                for i in range(len(first)):
                    products[i, j] += float(first[i, y, x]) * there / (height * width)
    root = np.sqrt(products.ravel() + 1e-8)
    return root / math.sqrt(sum(root**2))


@pytest.mark.parametrize("shape", [(5, 4), (3, 2), (4, 7)])
def test_pooling_is_that_of_a_naive_loop(shape) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(2, 3, 5, 4, generator=generator)
    second = torch.rand(2, 2, *shape, generator=generator)
    found = bilinear_pool(first, second)
    assert found.shape == (2, 6)
    for row in range(2):
        np.testing.assert_allclose(found[row].numpy(), naive_pool(first[row], second[row]), atol=1e-6)


@pytest.fixture(scope="module")
def paper(demo) -> BilinearCNN:
    """The network of full size, drawn at random."""
    method = DBCNN(DBCNN.Config(backbone="vgg16:none", scnn="none"), demo.context(TARGETS))
    torch.manual_seed(5)
    return method.build().eval()


def test_scores_are_those_of_pyiqas_network(paper, monkeypatch) -> None:
    arch = pytest.importorskip("pyiqa.archs.dbcnn_arch")
    vgg = pytest.importorskip("torchvision.models.vgg")
    layers = vgg.make_layers(vgg.cfgs["D"])
    layers.load_state_dict(paper.convnet.model.features.state_dict())
    monkeypatch.setattr(arch.torchvision.models, "vgg16", lambda weights: SimpleNamespace(features=layers))
    monkeypatch.setattr(arch, "load_pretrained_network", lambda network, *rest: None)
    theirs = arch.DBCNN(pretrained=False).eval()
    assert len(theirs.features1) == 30
    theirs.features2.load_state_dict(paper.scnn.state_dict())
    theirs.fc.load_state_dict(paper.head.state_dict())
    images = torch.randint(0, 256, (2, 3, 75, 98), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(images.float() / 255)[:, 0]
        torch.testing.assert_close(paper(images), expected, atol=1e-5, rtol=0)
    assert expected.abs().max() > 1e-3


def test_the_paper_network_has_its_parameters(paper) -> None:
    # VGG16's thirteen convolutions, the S-CNN's nine with batch norm, and the head.
    assert sum(value.numel() for value in paper.convnet.parameters()) == 14_714_688
    assert sum(value.numel() for value in paper.scnn.parameters()) == 531_120
    assert paper.head.weight.shape == (1, 512 * 128)
    # He et al.: variance 2 / fan in.
    assert float(paper.head.weight.detach().std()) == pytest.approx(math.sqrt(2 / 65536), rel=0.02)
    assert float(paper.head.bias.detach()) == 0


@pytest.fixture(scope="module")
def rated(few) -> Samples:
    return few.samples(TARGETS)


def test_training_keeps_both_stages_and_a_saved_model_predicts_the_same(few, rated, monkeypatch) -> None:
    method = few.method(DBCNN, TARGETS, **FAST)
    train, validation = rated.subset(np.arange(24)), rated.subset(np.arange(24, 32))
    method.fit(train, validation)
    assert [(entry["stage"], entry["epoch"]) for entry in method.history] == [(1, 1), (1, 2), (2, 1)]
    assert [sum(entry["chosen"] for entry in method.history if entry["stage"] == stage) for stage in (1, 2)] == [1, 1]
    before = method.build()
    after = method.networks["quality"]
    for part in ("convnet.model.conv1.weight", "scnn.0.weight", "scnn.1.running_mean", "head.weight"):
        assert not torch.equal(before.state_dict()[part], after.state_dict()[part]), part
    scores = method.predict(rated.hidden())
    assert scores.shape == (40, 1)
    assert np.all(np.isfinite(scores))
    restored = few.method(DBCNN, TARGETS, **FAST)
    # What is saved is enough: no weight file is looked at.
    monkeypatch.setattr(dbcnn, "resolve_convnet", None)
    monkeypatch.setattr(dbcnn, "resolve_scnn", None)
    restored.restore(method.state())
    assert np.array_equal(restored.predict(rated.hidden()), scores)


def caught_trainings(method: DBCNN, monkeypatch, *samples: Samples) -> list[tuple[Any, Recipe, bool, str]]:
    """Learner, recipe, whether to validate, and name of each training that `fit` asks for; none is done."""
    caught: list[tuple[Any, Recipe, bool, str]] = []

    def run_training(learner, n, recipe, context, *, validate, name):
        caught.append((learner, recipe, validate, name))
        return []

    with monkeypatch.context() as patch:
        patch.setattr(dbcnn, "run_training", run_training)
        method.fit(*samples)
    return caught


def test_recipes_are_the_published_codes(few, rated, monkeypatch) -> None:
    config = DBCNN.Config(backbone="demo-rn", scnn="demo")
    method = DBCNN(config, few.context(TARGETS))
    head, everything = caught_trainings(method, monkeypatch, rated)
    assert head[1:] == (Recipe(50, 8, 1e-3, "sgd", weight_decay=5e-4, momentum=0.9), False, "quality-head")
    assert everything[1:] == (Recipe(50, 8, 1e-5, "adam", weight_decay=5e-4), False, "quality")
    network = method.networks["quality"]
    assert head[0].model is network.head
    assert everything[0].model is network
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert (config.backbone, DBCNN.Config().backbone, DBCNN.Config().scnn) == ("demo-rn", "vgg16.tv_in1k", "official")
    assert DBCNN.Config().crop == 448


def test_the_head_learns_from_features_of_frozen_networks(few, rated, monkeypatch) -> None:
    train, validation = rated.subset(np.arange(24)), rated.subset(np.arange(24, 32))
    method = few.method(DBCNN, TARGETS, **FAST, views=2)
    (learner, *_), _ = caught_trainings(method, monkeypatch, train, validation)
    network = method.networks["quality"].eval()
    positions = np.array([3, 17, 5])
    seed = method.context.shared_seed
    for epoch in range(3):
        crops = dbcnn._Crops(train.images, train.rows, 48, seed, "cpu")
        with torch.inference_mode():
            wanted = network(crops(positions, 1 + epoch % 2))
            # The number that the loss compares with the MOS, got back from losses to two references.
            learner._mos = torch.zeros(len(train))
            square = learner.loss(positions, epoch, {})
        assert float(square) == pytest.approx(float((wanted**2).mean()), rel=1e-4)
    scores, mos = learner._held_back
    np.testing.assert_allclose(scores(), method.score(network, validation), atol=1e-5)
    assert np.array_equal(mos, validation.mos_of("quality"))


def test_repeats_share_the_features(few, rated, monkeypatch) -> None:
    def computed(seed: int, shared_seed: int) -> list[str]:
        said: list[str] = []
        context = few.context(
            TARGETS, seed=seed, shared_seed=shared_seed, progress=lambda done, total, what: said.append(what)
        )
        method = DBCNN(dbcnn.DBCNN.Config(**{**DBCNN.presets["quick"], **FAST, "crop": 40, "views": 2}), context)
        method.fit(rated.subset(np.arange(8)), rated.subset(np.arange(8, 12)))
        return sorted({what for what in said if "feature" in what})

    views = [f"computing the features of view {view}/2" for view in (1, 2)]
    assert computed(1, 7) == ["computing features", *views]
    assert computed(2, 7) == []
    # Whole images are the same whatever the seed, but are kept beside the views.
    assert computed(2, 8) == ["computing features", *views]


def test_the_name_of_stored_features_covers_what_can_change_them(few, rated, monkeypatch) -> None:
    """Features in bf16 are others than in float32; the seed of a repeat has no part in them."""

    def name(samples: Samples = rated, settings: Any = (), **context: Any) -> str:
        config = DBCNN.Config(**{**DBCNN.presets["quick"], **FAST, "crop": 40, **dict(settings)})
        method = DBCNN(config, few.context(TARGETS, **context))
        return method._view_features(method.build(), samples.images.everything).folder.name

    assert name() == name(seed=5, repeat=2, settings={"head_epochs": 1}) == name(rated.subset(range(3)))
    found = [name(), name(settings={"crop": 48}), name(precision="bf16"), name(shared_seed=1)]
    for library in ("torch", "timm", "open_clip_torch", "Pillow"):
        monkeypatch.setattr(dbcnn, "version", lambda name, other=library: "0.1" if name == other else version(name))
        found.append(name())
    assert len(set(found)) == len(found) == 8


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Samples:
    """Six images of three sizes, one of them smaller than the crop."""
    folder = tmp_path_factory.mktemp("mixed")
    random = np.random.default_rng(4)
    sizes = [(64, 80), (40, 72), (64, 80), (64, 64), (40, 72), (64, 80)]
    paths = []
    for number, size in enumerate(sizes):
        paths.append(folder / f"{number}.png")
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(paths[-1])
    table = pd.DataFrame({"image": [path.name for path in paths], "mos_quality": random.uniform(1, 5, len(paths))})
    return Samples(table, TARGETS, ImageCache(paths, folder / "cache"))


def test_images_of_different_sizes(few, mixed, monkeypatch) -> None:
    method = few.method(DBCNN, TARGETS, **FAST)
    _, (learner, *_) = caught_trainings(method, monkeypatch, mixed)
    network = method.networks["quality"].eval()
    everyone = np.arange(6)
    with torch.inference_mode():
        together = learner.loss(everyone, 0, {})
        alone = [learner.loss(np.array([one]), 0, {}) for one in everyone]
    assert float(together) == pytest.approx(float(torch.stack(alone).mean()), rel=1e-5)
    scores = method.score(network, mixed)
    for one in everyone:
        np.testing.assert_allclose(method.score(network, mixed.subset([one])), scores[one], atol=1e-5)
    assert len(np.unique(scores)) == 6
    method.fit(mixed)
    assert np.all(np.isfinite(method.predict(mixed.hidden())))


def test_crops_depend_on_seed_epoch_and_row_alone(mixed) -> None:
    crops = dbcnn._Crops(mixed.images, mixed.rows, 48, 3, "cpu")
    assert crops.sizes.tolist() == [[48, 48], [40, 48], [48, 48], [48, 48], [40, 48], [48, 48]]
    part = crops(np.array([0, 2]), 1)
    assert part.shape == (2, 3, 48, 48)
    later = mixed.subset([5, 2])
    assert torch.equal(dbcnn._Crops(later.images, later.rows, 48, 3, "cpu")(np.array([1]), 1)[0], part[1])
    image = torch.from_numpy(np.array(mixed.images[0])).permute(2, 0, 1)
    seen = {"plain": 0, "mirrored": 0}
    for epoch in range(12):
        found = crops(np.array([0]), epoch)[0]
        windows = image.unfold(1, 48, 1).unfold(2, 48, 1)
        for name, view in (("plain", found), ("mirrored", found.flip(-1))):
            seen[name] += int((windows == view[:, None, None]).all(-1).all(-1).all(0).any())
    assert min(seen.values()) > 0
    assert sum(seen.values()) == 12


def test_an_image_that_is_too_small_is_named(few, tmp_path) -> None:
    path = tmp_path / "dot.png"
    Image.fromarray(np.zeros((12, 40, 3), np.uint8)).save(path)
    samples = Samples(
        pd.DataFrame({"image": ["dot.png"], "mos_quality": [1.0]}), TARGETS, ImageCache([path], tmp_path / "cache")
    )
    with pytest.raises(BadImageError, match=r"dbcnn needs at least 16 x 16 pixels; image dot\.png is 40 x 12"):
        few.method(DBCNN, TARGETS, **FAST).fit(samples)


def test_each_row_names_both_weights(few, monkeypatch) -> None:
    quick = few.method(DBCNN, TARGETS, **FAST)
    marks = [(each.name, each.stand_in) for each in DBCNN.weights(quick.config, quick.context)]
    assert marks == [("demo-rn", "demo CLIP RN"), ("S-CNN:demo", "demo S-CNN")]
    assert DBCNN.weights_to_predict(quick.config, quick.context) == DBCNN.weights(quick.config, quick.context)
    assert DBCNN.weights_to_predict(DBCNN.Config(), quick.context) == ()


def test_missing_weights_name_stand_ins_for_all_that_is_missing(few, monkeypatch, tmp_path) -> None:
    def missing(name, stand_in):
        def resolve(spec, offline):
            raise WeightsUnavailableError(f"no {name}", stand_in)

        return resolve

    context = few.context(TARGETS)
    monkeypatch.setattr(dbcnn, "resolve_scnn", missing("S-CNN", {"scnn": "demo"}))
    with pytest.raises(WeightsUnavailableError, match=r"^no S-CNN$") as caught:
        DBCNN.weights(DBCNN.Config(backbone="demo-rn"), context)
    assert caught.value.stand_in == {"scnn": "demo"}
    monkeypatch.setattr(dbcnn, "resolve_convnet", missing("VGG16", {"backbone": "demo-rn"}))
    with pytest.raises(WeightsUnavailableError, match=r"^no VGG16; no S-CNN$") as caught:
        DBCNN.weights(DBCNN.Config(), context)
    assert caught.value.stand_in == {"backbone": "demo-rn", "scnn": "demo"}
    # A file that was asked for by name has no stand-in.
    monkeypatch.setattr(dbcnn, "resolve_convnet", missing("file", None))
    with pytest.raises(WeightsUnavailableError, match="no file; no S-CNN") as caught:
        DBCNN.weights(DBCNN.Config(), context)
    assert caught.value.stand_in == {}


def test_untrained_networks_are_the_same_in_all_repeats(few) -> None:
    config = DBCNN.Config(backbone="demo-rn:none", scnn="demo")
    first, second, other = (
        DBCNN(config, few.context(TARGETS, seed=seed, shared_seed=shared)).build()
        for seed, shared in ((1, 1), (2, 1), (2, 2))
    )
    name = "model.conv1.weight"
    assert torch.equal(first.convnet.state_dict()[name], second.convnet.state_dict()[name])
    assert not torch.equal(second.convnet.state_dict()[name], other.convnet.state_dict()[name])
    assert not torch.equal(first.head.weight, second.head.weight)


@pytest.mark.slow
def test_one_step_of_both_stages_with_the_papers_settings(few, tmp_path) -> None:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(path)
    table = pd.DataFrame({"image": [path.name for path in paths], "mos_quality": [1.0, 4.0]})
    samples = Samples(table, TARGETS, ImageCache(paths, tmp_path / "cache"))
    config = DBCNN.Config(backbone="vgg16:none", scnn="none", views=1, head_epochs=1, epochs=1, crop=224)
    method = DBCNN(config, few.context(TARGETS)).fit(samples)
    assert [(entry["stage"], entry["micro_batch"]) for entry in method.history] == [(1, 8), (2, 8)]
    assert all(math.isfinite(entry["loss"]) for entry in method.history)
    assert np.all(np.isfinite(method.predict(samples.hidden())))


def test_maps_with_values_below_zero_keep_their_sign_in_the_pooling():
    maps = torch.tensor([[-4.0, 9.0, 0.0]]).reshape(1, 3, 1, 1).requires_grad_()
    found = bilinear_pool(maps, torch.ones(1, 1, 1, 1))
    expected = torch.tensor([[-2.0, 3.0, 1e-4]]) / 13**0.5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    found.sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_maps_without_them_are_pooled_to_the_last_digit_as_published():
    torch.manual_seed(0)
    first, second = (torch.rand(2, width, 3, 3).relu_().requires_grad_() for width in (5, 4))
    with torch.no_grad():
        first[:, 2] = 0  # a channel that is off, where the root is steepest
    means = (first.flatten(2) @ second.flatten(2).transpose(1, 2) / 9).flatten(1)
    published = torch.nn.functional.normalize(torch.sqrt(means + 1e-8))
    found = bilinear_pool(first, second)
    assert found.equal(published)
    weights = torch.rand(found.shape)
    gradients = [torch.autograd.grad((each * weights).sum(), (first, second)) for each in (found, published)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
