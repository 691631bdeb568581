from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from agiqa_bench.errors import ConfigError, WeightsUnavailableError
from agiqa_bench.methods import image2prompt
from agiqa_bench.methods.image2prompt import Image2Prompt, pretrain, read_encoder
from agiqa_bench.methods.ipiqa import IPIQA

EAGER = Image2Prompt(epochs=3, batch_size=16, learning_rate=3e-4, threshold=-1)


@pytest.fixture(scope="module")
def clip(few):
    return few.method(IPIQA).clip()


@pytest.fixture
def trainings(monkeypatch):
    """Number of pairs and history of each pretraining."""
    found, train = [], image2prompt.train

    def watched(learner, n, *parts, **options):
        found.append((n, train(learner, n, *parts, **options)))
        return found[-1][1]

    monkeypatch.setattr(image2prompt, "train", watched)
    return found


def test_the_image_encoder_learns_to_match_prompts(clip, few, trainings):
    before = {name: tensor.clone() for name, tensor in clip.model.state_dict().items()}
    encoder = pretrain(clip, few.samples(), EAGER, few.context())
    ((n, history),) = trainings
    assert n == 40
    losses = [entry["loss"] for entry in history]
    assert losses[0] > losses[1] > losses[2]
    # The backbone stays as it is, its text tower and the image tower that was copied.
    assert all(torch.equal(tensor, before[name]) for name, tensor in clip.model.state_dict().items())
    visual = clip.model.visual.state_dict()
    assert encoder.keys() == visual.keys()
    assert not torch.equal(encoder["attnpool.c_proj.weight"], visual["attnpool.c_proj.weight"])
    assert not torch.equal(encoder["conv1.weight"], visual["conv1.weight"])


def test_the_loss_is_one_minus_the_cosine(clip, few):
    learner = image2prompt._PromptMatcher(clip, few.samples(), -1, few.context())
    learner.model.eval()
    found = [float(learner.loss(np.array([row]), 0, {}).detach()) for row in range(3)]
    texts = clip.encode_text(few.samples().prompts[:3])
    images = clip.resized(few.samples().images)[:3]
    plain, mirrored = clip.encode_image(images), clip.encode_image(images[:, :, ::-1].copy())
    for loss, *features, text in zip(found, plain, mirrored, texts, strict=True):
        assert min(abs(1 - text @ each - loss) for each in features) < 1e-5


def test_pairs_that_clip_finds_unlike_are_left_out(clip, few, trainings):
    texts = clip.encode_text(few.samples().prompts)
    cosines = np.sum(clip.encode_image(clip.resized(few.samples().images)) * texts, axis=1)
    middle = float(np.median(cosines))
    settings = Image2Prompt(epochs=1, learning_rate=1e-4, threshold=middle)
    pretrain(clip, few.samples(), settings, few.context())
    assert trainings[0][0] == 20
    with pytest.raises(ConfigError) as caught:
        pretrain(clip, few.samples(), Image2Prompt(threshold=1.5), few.context())
    assert str(caught.value) == (
        "Image2Prompt: no pair of image and prompt has a cosine above 1.5 "
        f"(the best has {cosines.max():.2f}); lower the threshold"
    )


def test_ratings_are_not_read(clip, few):
    settings = Image2Prompt(epochs=1, learning_rate=1e-4, threshold=-1)
    hidden = pretrain(clip, few.samples().hidden(), settings, few.context())
    shown = pretrain(clip, few.samples(), settings, few.context())
    assert all(torch.equal(tensor, shown[name]) for name, tensor in hidden.items())


def starting_network(method, samples, recipe_of):
    """What IP-IQA's training begins with."""
    _, learner = recipe_of(method, samples)
    return learner.model


def assert_starts_from(network, encoder):
    visual = network.visual.state_dict()
    assert all(torch.equal(visual[name], encoder[name]) for name in visual)
    assert len(visual) > 50
    pool = network.own_pool.state_dict()
    for name in ("positional_embedding", "k_proj.weight", "v_proj.bias", "c_proj.weight"):
        assert torch.equal(pool[name], encoder[f"attnpool.{name}"])


def test_ipiqa_pretrains_on_its_training_part(few, recipe_of, trainings):
    settings = {"image2prompt": True, "image2prompt_epochs": 1, "image2prompt_threshold": -1}
    method = few.method(IPIQA, **settings)
    network = starting_network(method, few.samples().subset(range(24)), recipe_of)
    assert [n for n, _ in trainings] == [24]
    assert not torch.equal(network.visual.conv1.weight, method.clip().model.visual.conv1.weight)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
def test_the_command_writes_a_file_that_ipiqa_starts_from(few, recipe_of, clip, tmp_path, monkeypatch, capsys):
    table, file = tmp_path / "pairs.csv", tmp_path / "encoder.safetensors"
    few.table[["path", "prompt"]].rename(columns={"path": "image"})[:16].to_csv(table, index=False)
    options = ["--epochs", "1", "--threshold", "-1", "--learning-rate", "1e-3", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["", str(table), "--backbone", "demo-rn", "--output", str(file), *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("agiqa_bench.methods.image2prompt", run_name="__main__")  # python -m, without its start
    assert not ended.value.code
    assert capsys.readouterr().out == f"wrote {file}\n"
    encoder = load_file(file)
    assert not torch.equal(encoder["conv1.weight"], clip.model.visual.conv1.weight)
    method = few.method(IPIQA, image2prompt=True, image2prompt_weights=str(file))
    weights = IPIQA.weights(method.config, few.context())
    assert [(each.name, len(each.digest), each.stand_in) for each in weights[1:]] == [
        ("Image2Prompt:encoder.safetensors", 64, "")
    ]
    assert_starts_from(starting_network(method, few.samples(), recipe_of), encoder)


@pytest.mark.parametrize("content", [b"", b"no safetensors file at all", None])
def test_a_file_that_is_no_encoder_is_named(content, tmp_path):
    file = tmp_path / "encoder.safetensors"
    if content is None:
        save_file({"conv1.weight": torch.zeros(100)}, file)
        file.write_bytes(file.read_bytes()[:-8])
    else:
        file.write_bytes(content)
    with pytest.raises(WeightsUnavailableError) as caught:
        read_encoder(file)
    assert str(caught.value) == f"image2prompt_weights: {file} is not a whole safetensors file"
