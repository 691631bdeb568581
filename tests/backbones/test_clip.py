from __future__ import annotations

import logging

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.data.resizing import Resizing
from agiqa_bench.errors import WeightsUnavailableError

TEXTS = ["a cat", "", "two dogs run over a green meadow in the evening light while it rains and rains", "a cat", "x"]


class FakeImages:
    def __init__(self, arrays):
        self.arrays = arrays

    def resized(self, size, *, resize="shorter", crop="center", interpolation="bicubic"):
        resizing = Resizing(size, resize, crop, interpolation)
        return np.stack([resizing.apply(array) for array in self.arrays])


@pytest.fixture
def pictures():
    draws = np.random.default_rng(0)
    shapes = [(48, 64), (100, 70), (64, 64), (33, 200), (32, 32)]
    colours = [draws.integers(0, 256, (2, 2, 3), dtype=np.uint8) for _ in shapes]
    return [np.asarray(Image.fromarray(c).resize(shape[::-1])) for c, shape in zip(colours, shapes, strict=True)]


@pytest.fixture
def saved(make_model, save_safetensors, tmp_path):
    def save(architecture):
        model = make_model(architecture)
        return model, resolve(f"{architecture}:{save_safetensors(model, tmp_path / f'{architecture}.safetensors')}")

    return save


def _open_clip_features(model, architecture, pictures, texts):
    size = model.visual.image_size
    transform = open_clip.image_transform(size if isinstance(size, int) else size[0], is_train=False)
    images = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    with torch.no_grad():
        image = model.encode_image(images, normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(architecture)(texts), normalize=True)
    return image.numpy(), text.numpy()


@pytest.mark.parametrize(
    "architecture", ["tiny-vit", "tiny-rn", "tiny-vit-quickgelu", "tiny-rn-quickgelu", "tiny-custom"]
)
def test_features_equal_open_clips(architecture, saved, pictures):
    model, resolved = saved(architecture)
    backbone = load(resolved)
    image, text = _open_clip_features(model, architecture, pictures, TEXTS)
    images = backbone.resized(FakeImages(pictures))
    assert images.dtype == np.uint8
    found_image, found_text = backbone.encode_image(images), backbone.encode_text(TEXTS)
    assert found_image.dtype == found_text.dtype == np.float32
    assert found_image.shape == found_text.shape == (5, backbone.width) == (5, 24)
    np.testing.assert_allclose(found_image, image, atol=1e-5)
    np.testing.assert_allclose(found_text, text, atol=1e-5)
    assert np.abs(image[0] - image[1]).max() > 1e-3
    assert np.abs(text[0] - text[2]).max() > 1e-3


@pytest.mark.parametrize("architecture", ["tiny-vit", "tiny-rn"])
def test_openai_archives_run_with_quick_gelu(architecture, make_model, save_openai, tmp_path, pictures):
    model = make_model(f"{architecture}-quickgelu")
    backbone = load(resolve(f"{architecture}:{save_openai(model, tmp_path / 'file.pt')}"))
    image, text = _open_clip_features(model, architecture, pictures, TEXTS)
    size = backbone.resolved.image_size
    np.testing.assert_allclose(backbone.encode_image(FakeImages(pictures).resized(size)), image, atol=1e-5)
    np.testing.assert_allclose(backbone.encode_text(TEXTS), text, atol=1e-5)
    plain = make_model(architecture)
    without = _open_clip_features(plain, architecture, pictures, TEXTS)[1]
    assert np.abs(without - text).max() > 2e-3


def test_every_file_format_gives_the_same_features(make_model, save_openai, save_safetensors, tmp_path):
    model = make_model("tiny-vit-quickgelu")
    state = model.state_dict()
    constants = {key: torch.tensor(1) for key in ("input_resolution", "context_length", "vocab_size")}
    save_openai(model, tmp_path / "archive.pt")
    save_safetensors(model, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "training.pt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({**state, **constants}, tmp_path / "openai_state.pt")
    files = sorted(tmp_path.glob("*.*t*"))
    assert len(files) == 6
    features = [load(resolve(f"tiny-vit-quickgelu:{file}")).encode_text(TEXTS) for file in files]
    for file, found in zip(files, features, strict=True):
        np.testing.assert_array_equal(found, features[0], err_msg=file.name)


def test_features_do_not_depend_on_company_order_or_batches(saved, pictures):
    backbone = load(saved("tiny-vit")[1])
    images = FakeImages(pictures).resized(32)
    image, text = backbone.encode_image(images), backbone.encode_text(TEXTS)
    order = [3, 0, 4, 1, 2]
    np.testing.assert_allclose(backbone.encode_image(images[order], batch_size=2), image[order], atol=1e-6)
    np.testing.assert_allclose(backbone.encode_text([TEXTS[i] for i in order], batch_size=1), text[order], atol=1e-6)
    np.testing.assert_array_equal(text[0], text[3])


def test_equal_texts_are_encoded_once(saved, monkeypatch):
    backbone = load(saved("tiny-vit")[1])
    seen = []
    encode = backbone._encode_tokens
    monkeypatch.setattr(
        backbone, "_encode_tokens", lambda tokens: (seen.append(tuple(tokens.shape)), encode(tokens))[1]
    )
    backbone.encode_text(["a cat"] * 50 + ["a dog"] * 50)
    assert seen == [(2, 4)], "two texts, cut behind their end token"


def test_long_texts_are_cut_at_the_context_length(saved):
    backbone = load(saved("tiny-vit")[1])
    words = "a dog and a cat sit on the wall and look at us with " * 3
    features = backbone.encode_text([words, words + " a red car"])
    np.testing.assert_array_equal(features[0], features[1])


def test_features_are_normalised_on_request(saved, pictures):
    backbone = load(saved("tiny-rn")[1])
    images = FakeImages(pictures).resized(64)
    raw, unit = backbone.encode_image(images, normalize=False), backbone.encode_image(images)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-6)
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).max() > 0.1
    texts = backbone.encode_text(TEXTS, normalize=False)
    np.testing.assert_allclose(
        texts / np.linalg.norm(texts, axis=1, keepdims=True), backbone.encode_text(TEXTS), atol=1e-6
    )


def test_nothing_in_gives_nothing_out(saved):
    backbone = load(saved("tiny-vit")[1])
    assert backbone.encode_text([]).shape == (0, 24)
    assert backbone.encode_image(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, 24)


def test_pictures_of_another_shape_or_type_are_refused(saved):
    backbone = load(saved("tiny-vit")[1])
    with pytest.raises(ValueError, match=r"uint8 \(2, 64, 64, 3\), and should be uint8 \(n, 32, 32, 3\)"):
        backbone.encode_image(np.zeros((2, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="images are float32"):
        backbone.encode_image(np.zeros((2, 32, 32, 3), np.float32))


def test_progress_counts_pictures(saved):
    backbone, seen = load(saved("tiny-vit")[1]), []
    images = np.zeros((5, 32, 32, 3), np.uint8)
    backbone.encode_image(images, batch_size=2, progress=lambda done, total, what: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_low_precision_is_near_float32(precision, tolerance, saved, pictures):
    resolved = saved("tiny-vit")[1]
    exact, rough = load(resolved), load(resolved, precision=precision)
    images = FakeImages(pictures).resized(32)
    for found, wanted in (
        (rough.encode_image(images), exact.encode_image(images)),
        (rough.encode_text(TEXTS), exact.encode_text(TEXTS)),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=tolerance)
        assert not np.array_equal(found, wanted)


def test_a_loaded_backbone_is_frozen_and_kept(saved):
    resolved = saved("tiny-vit")[1]
    backbone = load(resolved)
    assert load(resolved, "cpu", "float32") is backbone
    assert load(resolved, precision="bf16") is not backbone
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_exact_resizing_where_the_weights_want_it(saved, pictures):
    import dataclasses

    resolved = saved("tiny-vit")[1]
    squash = dataclasses.replace(resolved.preprocess, resize="exact", interpolation="bilinear")
    backbone = load(dataclasses.replace(resolved, preprocess=squash))
    expected = FakeImages(pictures).resized(32, resize="exact", crop="none", interpolation="bilinear")
    np.testing.assert_array_equal(backbone.resized(FakeImages(pictures)), expected)


def test_a_file_that_changed_after_it_was_resolved_is_one_clear_line(make_model, save_safetensors, tmp_path):
    path = save_safetensors(make_model("tiny-vit"), tmp_path / "file.safetensors")
    resolved = resolve(f"tiny-vit:{path}")
    save_safetensors(make_model("tiny-rn"), path)
    with pytest.raises(WeightsUnavailableError, match=r"file\.safetensors does not fit tiny-vit: .*") as caught:
        load(resolved)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_full_size_model_comes_back(make_model, save_openai, save_safetensors, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="agiqa_bench")
    model = make_model("ViT-B-32-quickgelu")
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    texts = ["A photo depicts a cat", "A photo depicts " + "a very long walk " * 40]
    image, text = _open_clip_features(model, "ViT-B-32", list(images), texts)
    for spec in (
        f"ViT-B-32:{save_openai(model, tmp_path / 'archive.pt')}",
        f"ViT-B-32-quickgelu:{save_safetensors(model, tmp_path / 'model.safetensors')}",
    ):
        backbone = load(resolve(spec))
        assert (backbone.width, backbone.resolved.image_size) == (512, 224)
        np.testing.assert_allclose(backbone.encode_image(images), image, atol=1e-5)
        np.testing.assert_allclose(backbone.encode_text(texts), text, atol=1e-5)
