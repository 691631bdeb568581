from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import uniform_filter
from scipy.signal import correlate
from scipy.stats import spearmanr

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, CheckpointError
from agiqa_bench.method import Context
from agiqa_bench.methods.cnniqa import CNNIQA, Patches, PatchNetwork, grey, normalized
from agiqa_bench.training.recipe import Recipe


def samples_of(folder, sizes):
    draws, paths = np.random.default_rng(1), []
    for number, (height, width) in enumerate(sizes):
        paths.append(folder / f"{number}.png")
        Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    table = pd.DataFrame({"image": [path.name for path in paths], "mos_quality": np.arange(len(paths)) * 1.0})
    return Samples(table, ["quality"], ImageCache(paths, folder / "cache"))


def naive_patches(image, window=7, normalise="image"):
    """All whole patches in turn: Pillow's grey, and a box filter of scipy on the image or inside each patch."""
    luma, found = np.asarray(Image.fromarray(image).convert("L")) / 255, []
    if normalise == "image":
        luma = locally_normalised(luma, window)
    for top in range(0, image.shape[0] - 31, 32):
        for left in range(0, image.shape[1] - 31, 32):
            patch = luma[top : top + 32, left : left + 32]
            found.append(patch if normalise == "image" else locally_normalised(patch, window))
    return np.stack(found)


def locally_normalised(luma, window):
    mean = uniform_filter(luma, window, mode="nearest")
    deviation = np.sqrt(np.maximum(uniform_filter(luma**2, window, mode="nearest") - mean**2, 0))
    return (luma - mean) / (deviation + 1)


def patches_of(samples, stride=32, window=7, normalise="image"):
    return Patches(samples, stride, "cpu", window, whole_image=normalise == "image")


def test_grey_is_pillows():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    found = grey(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert found.shape == (1, 1, 64, 96)
    wanted = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32) / np.float32(255)
    assert np.array_equal(found[0, 0].numpy(), wanted)


def test_flat_patches_become_zero():
    flat = normalized(torch.full((2, 1, 38, 38), 0.7), 7)
    assert flat.shape == (2, 1, 32, 32)
    assert flat.abs().max() < 1e-6


@pytest.mark.parametrize(("window", "normalise"), [(7, "image"), (3, "image"), (7, "patch"), (3, "patch")])
def test_patches_are_those_of_a_loop(window, normalise, tmp_path):
    samples = samples_of(tmp_path, [(64, 64), (32, 95), (70, 33), (128, 32)])
    patches = patches_of(samples, 32, window, normalise)
    assert patches.owners.tolist() == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 4
    wanted = np.concatenate([naive_patches(np.array(image), window, normalise) for image in samples.images])
    order = np.array([5, 0, 11, 3])
    np.testing.assert_allclose(patches(order)[:, 0], wanted[order], atol=1e-5)
    np.testing.assert_allclose(patches(np.arange(12))[:, 0], wanted, atol=1e-5)


@pytest.mark.parametrize(("size", "stride", "count"), [((512, 512), 32, 256), ((512, 512), 16, 961), ((63, 65), 32, 2)])
def test_all_whole_patches_are_counted(size, stride, count, tmp_path):
    assert len(patches_of(samples_of(tmp_path, [size]), stride).owners) == count


def test_an_image_is_normalised_as_a_whole_by_seven_pixels_and_as_the_port_by_three_in_each_patch():
    assert (CNNIQA.Config().normalise, CNNIQA.Config().window) == ("image", 7)  # P = Q = 3 to each side
    assert CNNIQA.ablations["port"] == {"normalise": "patch", "window": 3}


def test_the_network_is_its_layers():
    torch.manual_seed(3)
    network = PatchNetwork().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 724_901
    weights = [parameter.detach().double().numpy() for parameter in network.parameters()]
    patches = torch.randn(3, 1, 32, 32)
    wanted = []
    for patch in patches[:, 0].double().numpy():
        responses = [
            correlate(patch, kernel[0], mode="valid") + bias for kernel, bias in zip(*weights[:2], strict=True)
        ]
        hidden = np.array([each.max() for each in responses] + [each.min() for each in responses])
        for weight, bias in (weights[2:4], weights[4:6]):
            hidden = np.maximum(weight @ hidden + bias, 0)
        wanted.append((weights[6] @ hidden + weights[7]).item())
    with torch.no_grad():
        np.testing.assert_allclose(network(patches), wanted, atol=1e-5)
    # Dropout is on in training, behind the first hidden layer, and off for scores.
    assert not torch.equal(network.train()(patches), network(patches))


def test_gradients_are_those_of_max_pooling():
    torch.manual_seed(0)
    network, patches = PatchNetwork(4, 8, 0.0), torch.randn(2, 1, 32, 32)
    network(patches).sum().backward()
    found = network.convolution.weight.grad.clone()
    network.zero_grad()
    responses = network.convolution(patches)
    pool = torch.nn.functional.max_pool2d
    pooled = torch.cat([pool(responses, 26), -pool(-responses, 26)], dim=1).flatten(1)
    network.regressor(pooled).sum().backward()
    torch.testing.assert_close(found, network.convolution.weight.grad)


@pytest.mark.parametrize("ablation", ["paper", "port"])
def test_a_score_is_the_mean_over_the_patches(ablation, few, tmp_path):
    settings = CNNIQA.ablations[ablation]
    method = few.method(CNNIQA, ["quality"], epochs=1, **settings).fit(few.samples(["quality"]).subset(range(4)))
    samples = samples_of(tmp_path, [(64, 96), (32, 32), (100, 40)])
    network = method.networks["quality"]
    assert not network.training  # or dropout would have a part in the scores
    with torch.no_grad():
        wanted = [
            network(torch.from_numpy(naive_patches(np.array(image), **settings)[:, None]).float()).mean().item()
            for image in samples.images
        ]
    np.testing.assert_allclose(method.predict(samples)[:, 0], wanted, atol=1e-5)


def test_every_patch_learns_the_mos_of_its_image(few, recipe_of):
    samples = few.samples(["quality"])
    recipe, learner = recipe_of(CNNIQA(CNNIQA.Config(), few.context(["quality"])), samples)
    assert recipe == Recipe(500, 128, 0.001, "adam", weight_decay=0.0, schedule="constant")
    positions = np.array([0, 15, 16, 16 * 40 - 1])
    wanted = torch.from_numpy(samples.mos[[0, 0, 1, 39], 0]).float()
    network = learner.model.eval()
    with torch.no_grad():
        found = network(patches_of(samples)(positions))
        assert learner.loss(positions, 0, {}).item() == pytest.approx((found - wanted).abs().mean().item())


def test_a_step_with_the_papers_settings_on_large_images(tmp_path):
    samples = samples_of(tmp_path, [(512, 512), (512, 512)])
    method = CNNIQA(CNNIQA.Config(epochs=1), Context(offline=True)).fit(samples)
    assert method.history[0]["micro_batch"] == 128
    assert method.predict(samples).shape == (2, 1)


def test_it_learns_the_ratings_of_the_demo(demo):
    samples = demo.samples(["quality"])
    in_test = np.isin(samples.groups, sorted(set(samples.groups))[::4])
    test = samples.subset(np.flatnonzero(in_test))
    method = demo.method(CNNIQA, ["quality"], epochs=4).fit(samples.subset(np.flatnonzero(~in_test)))
    losses = [entry["loss"] for entry in method.history]
    assert losses[-1] < losses[0]
    assert spearmanr(method.predict(test.hidden())[:, 0], test.mos[:, 0]).statistic > 0.4


def test_the_best_epoch_is_kept_and_a_restored_model_gives_the_same_scores(few):
    samples = few.samples(["quality"])
    train, validation = samples.subset(range(30)), samples.subset(range(30, 40))
    method = few.method(CNNIQA, ["quality"], epochs=3).fit(train, validation)
    chosen = max(method.history, key=lambda entry: entry["validation"])
    assert chosen["chosen"] == 1
    scores = method.predict(validation)
    assert spearmanr(scores[:, 0], validation.mos[:, 0]).statistic == pytest.approx(chosen["validation"])
    state = {name: tensor.clone() for name, tensor in method.state().items()}
    assert np.array_equal(few.method(CNNIQA, ["quality"]).restore(state).predict(validation), scores)
    with pytest.raises(CheckpointError, match=r"^cnniqa: the saved tensors do not fit"):
        few.method(CNNIQA, ["quality"], kernels=8).restore(state)
    assert CNNIQA.weights_to_predict(CNNIQA.Config(), Context()) == ()


def test_small_images_are_refused_in_one_line(tmp_path):
    samples = samples_of(tmp_path, [(64, 64), (31, 64), (64, 8)])
    message = r"^cnniqa needs at least 32 x 32 pixels; image 1\.png is 64 x 31 \(1 more are too small\)$"
    with pytest.raises(BadImageError, match=message):
        CNNIQA(CNNIQA.Config(epochs=1), Context(offline=True)).fit(samples)
