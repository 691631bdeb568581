from __future__ import annotations

import numpy as np
import open_clip.factory
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import spearmanr

from agiqa_bench.backbones import clip as clip_module
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, ConfigError, WeightsUnavailableError
from agiqa_bench.method import Context
from agiqa_bench.methods.clipiqa import CLIPIQA

CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
SIZES = [(64, 64), (96, 130), (64, 64), (33, 200)]


def samples_of(folder, sizes):
    draws, paths = np.random.default_rng(1), []
    for number, (height, width) in enumerate(sizes):
        paths.append(folder / f"{number}.png")
        Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    table = pd.DataFrame({"image": [path.name for path in paths], "prompt": "a cat", "mos_quality": 0.0})
    return Samples(table, ["quality"], ImageCache(paths, folder / "cache"), mos_hidden=True)


@pytest.fixture
def samples(tmp_path):
    return samples_of(tmp_path, SIZES)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A CLIP of random weights with a residual network: (state, spec of its file)."""
    configs = {**open_clip.factory._MODEL_CONFIGS, "tiny-rn": CONFIG}
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
            parameter.copy_(parameter.half())  # which is how the oracle keeps some of them
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    yield model.state_dict(), f"tiny-rn:{tmp_path / 'tiny.safetensors'}"
    clip_module._load.cache_clear()


def test_equals_the_clip_that_pyiqa_took_from_the_official_code(tiny, samples):
    clip_model = pytest.importorskip("pyiqa.archs.clip_model")
    state, spec = tiny
    theirs = clip_model.build_model(dict(state)).float()
    tokens = open_clip.get_tokenizer("RN50")(["Good photo.", "Bad photo."])
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    wanted = []
    for image in samples.images:
        pixels = (torch.from_numpy(np.array(image)) / 255 - mean) / std
        with torch.no_grad():
            logits, _ = theirs(pixels.permute(2, 0, 1)[None], tokens, pos_embedding=False)
        wanted.append(float(logits.softmax(dim=-1)[0, 0]))
    scores = CLIPIQA(CLIPIQA.Config(backbone=spec), Context(offline=True)).predict(samples)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert np.ptp(wanted) > 1e-3


def test_a_score_depends_on_its_own_image_alone(tiny, samples):
    method = CLIPIQA(CLIPIQA.Config(backbone=tiny[1]), Context(offline=True, batch_size=2))
    scores = method.predict(samples)
    np.testing.assert_allclose(method.predict(samples.subset([3, 0])), scores[[3, 0]], atol=1e-6)


def test_the_prompts_change_places(few):
    samples = few.samples(["quality"])
    scores = few.method(CLIPIQA, ["quality"]).predict(samples)
    turned = few.method(CLIPIQA, ["quality"], positive="Bad photo.", negative="Good photo.").predict(samples)
    np.testing.assert_allclose(scores + turned, 1, atol=1e-9)
    assert ((scores > 0) & (scores < 1)).all()


def test_positions_are_kept_only_where_they_must_be(few):
    samples = few.samples(["quality"])

    def scored(**settings):
        config = CLIPIQA.Config(**settings)
        return CLIPIQA(config, few.context()).predict(samples), CLIPIQA.note(config, few.context())

    # The demo CLIPs want 64 x 64 pixels, which is half of the images' side.
    without, nothing = scored(backbone="demo-rn", side=64)
    kept, note = scored(backbone="demo-rn", side=64, positions=True)
    vit, same = scored(backbone="demo-vit")
    assert (nothing, note) == ("", "with CLIP's position embedding and its own input size")
    assert same == note
    assert np.abs(without - kept).max() > 0.01
    clip = CLIPIQA(CLIPIQA.Config(backbone="demo-vit"), few.context()).clip()
    images, texts = clip.encode_image(clip.resized(samples.images)), clip.encode_text(["Good photo.", "Bad photo."])
    odds = np.exp(clip.model.logit_scale.exp().item() * images @ texts.T)
    np.testing.assert_allclose(vit, odds[:, 0] / odds.sum(axis=1), atol=1e-5)
    with pytest.raises(ConfigError, match=r"needs a CLIP with a residual network, .*leave out clipiqa\.positions"):
        scored(backbone="demo-vit", positions=False)


def test_it_agrees_with_the_ratings_of_the_demo(demo):
    samples = demo.samples(["quality"])
    scores = demo.method(CLIPIQA, ["quality"]).predict(samples)
    assert spearmanr(scores, samples.mos[:, 0]).statistic == pytest.approx(0.756, abs=0.01)


def test_small_images_are_refused_in_one_line(tmp_path, tiny):
    samples = samples_of(tmp_path, [(64, 64), (31, 64)])
    with pytest.raises(BadImageError, match=r"^clipiqa needs at least 32 x 32 pixels; image .*1\.png is 64 x 31$"):
        CLIPIQA(CLIPIQA.Config(backbone=tiny[1]), Context(offline=True)).predict(samples)


def test_settings_are_the_papers():
    assert CLIPIQA.Config().model_dump() == {
        "backbone": "RN50:openai",
        "positive": "Good photo.",
        "negative": "Bad photo.",
        "positions": None,
        "side": 0,
    }


def test_weights_that_cannot_be_had_are_said_with_a_stand_in(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsUnavailableError, match=r"no weights RN50:openai") as caught:
        CLIPIQA.weights(CLIPIQA.Config(), Context(offline=True))
    assert caught.value.stand_in == {"backbone": "demo-rn"}
    (weights,) = CLIPIQA.weights(CLIPIQA.Config(**CLIPIQA.presets["quick"]), Context(offline=True))
    assert (weights.name, weights.stand_in) == ("demo-rn", "demo CLIP RN")
