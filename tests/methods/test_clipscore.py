from __future__ import annotations

import subprocess
import sys

import numpy as np
import open_clip.factory
import pandas as pd
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from scipy.stats import spearmanr

from agiqa_bench.backbones import clip as clip_module
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.method import Context
from agiqa_bench.methods.clipscore import CLIPScore

CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PROMPTS = ["a red apple on a table", "two cats", "", "a long road " * 60, "two cats", "snow"]


@pytest.fixture
def samples(tmp_path):
    draws, rows = np.random.default_rng(1), []
    for number, prompt in enumerate(PROMPTS):
        pixels = draws.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).resize((40 + 8 * number, 64)).save(path)
        rows.append({"image": path.name, "path": str(path), "prompt": prompt, "mos_alignment": float(number)})
    table = pd.DataFrame(rows)
    return Samples(table, ["alignment"], ImageCache(list(table["path"]), tmp_path / "cache"), mos_hidden=True)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A CLIP of random weights: (model, spec of its file)."""
    configs = {**open_clip.factory._MODEL_CONFIGS, "tiny-vit": CONFIG}
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG).eval()
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    yield model, f"tiny-vit:{tmp_path / 'tiny.safetensors'}"
    clip_module._load.cache_clear()


def test_formula_and_prefix(samples, monkeypatch):
    asked = []

    class Backbone:
        def resized(self, images):
            return np.arange(len(images))

        def encode_image(self, images, **options):
            return np.stack([np.cos(images), np.sin(images)], axis=1).astype(np.float32)

        def encode_text(self, texts):
            asked.extend(texts)
            return np.tile(np.float32([1, 0]), (len(texts), 1))

    monkeypatch.setattr(clip_module, "load", lambda *_: Backbone())
    monkeypatch.setattr("agiqa_bench.backbones.method.resolve", lambda *_: None)
    scores = CLIPScore().predict(samples)
    expected = [2.5 * max(np.cos(number), 0) for number in range(6)]
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert (scores == 0).sum() == 3
    assert asked == [f"A photo depicts {prompt}" for prompt in PROMPTS]
    asked.clear()
    CLIPScore(CLIPScore.Config(prefix="")).predict(samples)
    assert asked == PROMPTS


def test_equals_open_clip(tiny, samples):
    model, spec = tiny
    transform = open_clip.image_transform(32, is_train=False)
    images = torch.stack([transform(Image.fromarray(np.array(image))) for image in samples.images])
    tokens = open_clip.get_tokenizer("ViT-B-32")([f"A photo depicts {prompt}" for prompt in PROMPTS])
    with torch.no_grad():
        cosine = (model.encode_image(images, normalize=True) * model.encode_text(tokens, normalize=True)).sum(1)
    expected = 2.5 * cosine.clamp(min=0).numpy()
    scores = CLIPScore(CLIPScore.Config(backbone=spec)).predict(samples)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(expected) > 0.01


def test_a_score_depends_on_its_own_sample_alone(tiny, samples):
    method = CLIPScore(CLIPScore.Config(backbone=tiny[1]), Context(batch_size=4))
    scores = method.predict(samples)
    order = [5, 2, 0, 3, 1, 4]
    np.testing.assert_allclose(method.predict(samples.subset(order)), scores[order], atol=1e-6)
    np.testing.assert_allclose(method.predict(samples.subset([3])), scores[[3]], atol=1e-6)


def test_progress_reaches_the_end(tiny, samples):
    seen = []
    context = Context(batch_size=4, progress=lambda done, total, what: seen.append((done, total, what)))
    CLIPScore(CLIPScore.Config(backbone=tiny[1]), context).predict(samples)
    assert seen == [(4, 6, "encoding images"), (6, 6, "encoding images")]


def test_weights_name_the_file_and_its_digest(tiny):
    (weights,) = CLIPScore.weights(CLIPScore.Config(backbone=tiny[1]), Context(offline=True))
    assert (weights.name, weights.stand_in) == ("tiny-vit:tiny.safetensors", "")
    assert len(weights.digest) == 64


def test_weights_that_cannot_be_had_are_said_with_a_stand_in(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(
        WeightsUnavailableError, match=r"no weights ViT-B-32:openai: .*ViT-B-32:/path/to/file"
    ) as caught:
        CLIPScore.weights(CLIPScore.Config(), Context(offline=True))
    assert caught.value.stand_in == {"backbone": "demo-vit"}


def test_settings_are_the_papers_and_unknown_ones_are_refused():
    assert CLIPScore.Config().model_dump() == {"backbone": "ViT-B-32:openai", "prefix": "A photo depicts "}
    assert CLIPScore.Config(**CLIPScore.presets["quick"]).backbone == "demo-vit"
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        CLIPScore.Config(suffix=".")


def test_importing_the_method_imports_no_torch():
    code = "import sys, agiqa_bench.methods.clipscore; assert not {'torch', 'open_clip', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


@pytest.mark.parametrize("backbone", ["demo-vit", "demo-rn"])
def test_demo_clip_ranks_the_demo_data_set_by_alignment(backbone, tmp_path, monkeypatch):
    from agiqa_bench.datasets.demo import Demo

    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path))
    table = Demo().samples
    cache = ImageCache(list(table["path"]), tmp_path / "images")
    method = CLIPScore(CLIPScore.Config(backbone=backbone))
    assert CLIPScore.weights(method.config, method.context)[0].stand_in.startswith("demo CLIP")
    alignment = table["mos_alignment"].to_numpy()
    srcc = spearmanr(method.predict(Samples(table, ["alignment"], cache)), alignment).statistic
    assert srcc >= 0.4
    shuffled = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(table))
        mixed = table.assign(prompt=table["prompt"].to_numpy()[order])
        shuffled.append(spearmanr(method.predict(Samples(mixed, ["alignment"], cache)), alignment).statistic)
    assert -0.12 < np.mean(shuffled) < 0.12, shuffled


def test_every_setting_has_a_meaning():
    assert all(field.description for field in CLIPScore.Config.model_fields.values())
