"""Whole images through a frozen CLIP: at any size, mirrored, and kept on disk."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from agiqa_bench.backbones import frozen
from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.frozen import View, encode, stored_features
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.backbones.vision import encode_any_size
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.errors import BadImageError
from agiqa_bench.method import Context

SIZES = [(64, 64), (40, 100), (64, 64), (33, 32), (40, 100), (130, 70)]


def pictures(folder: Path, sizes=SIZES) -> ImageCache:
    draws, paths = np.random.default_rng(3), []
    for number, (height, width) in enumerate(sizes):
        paths.append(folder / f"{number}.png")
        Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return ImageCache(paths, folder / "cache")


@pytest.fixture
def cache(tmp_path):
    return pictures(tmp_path)


@pytest.fixture
def clip():
    return load(resolve("demo-rn"))


def alone(clip, image: Image.Image) -> np.ndarray:
    """The feature of one picture, normalised by hand."""
    preprocess = clip.resolved.preprocess
    pixels = (np.asarray(image) / 255 - preprocess.mean) / preprocess.std
    with torch.no_grad():
        found = encode_any_size(clip.model.visual, torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float())
    return F.normalize(found, dim=-1)[0].numpy()


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_images_of_many_sizes_at_their_own(batch_size, cache, clip):
    seen = []
    context = Context(batch_size=batch_size, progress=lambda done, total, what: seen.append((done, total)))
    images = cache.view([4, 0, 3, 5, 2, 1])
    found = encode(clip, images, View(any_size=True), context, "m")
    wanted = np.stack([alone(clip, Image.fromarray(np.array(image))) for image in images])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    mirrored = encode(clip, images, View(any_size=True, mirrored=True), context, "m")
    flipped = [alone(clip, Image.fromarray(np.array(image)[:, ::-1])) for image in images]
    np.testing.assert_allclose(mirrored, np.stack(flipped), atol=1e-5)


def test_the_shorter_side_is_brought_to_a_size(cache, clip):
    images = cache.view(range(6))
    found = encode(clip, images, View(any_size=True, side=48), Context(), "m")
    for row, image in enumerate(images):
        height, width = image.shape[:2]
        size = (48 * width // min(height, width), 48 * height // min(height, width))
        wanted = alone(clip, Image.fromarray(np.array(image)).resize(size, Image.Resampling.BICUBIC))
        np.testing.assert_allclose(found[row], wanted, atol=5e-3)  # Pillow and torchvision round differently


def test_as_the_clip_wants_its_input(cache, clip):
    images = cache.view(range(6))
    assert np.array_equal(encode(clip, images, View(), Context(), "m"), clip.encode_image(clip.resized(images)))
    flipped = clip.encode_image(np.array(clip.resized(images)[:, :, ::-1]))
    assert np.array_equal(encode(clip, images, View(mirrored=True), Context(), "m"), flipped)


def test_features_are_computed_once_for_the_whole_data_set(cache, clip, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "agiqa_bench.backbones.frozen.encode", lambda *given: calls.append(given[1:3]) or encode(*given)
    )
    view = View(any_size=True)
    first = stored_features(clip, cache.view([5, 1]), view, Context(seed=1), "m")
    again = stored_features(clip, cache.view([0]), view, Context(seed=2), "other")
    assert [(len(images), shown) for images, shown in calls] == [(6, view)]
    assert first.shape == (6, 96)
    assert np.array_equal(first, again)
    assert np.array_equal(first, encode(clip, cache.view(range(6)), view, Context(), "m"))
    for changed in (View(), View(any_size=True, mirrored=True), View(any_size=True, side=48)):
        assert not np.array_equal(stored_features(clip, cache.view([0]), changed, Context(), "m"), first)
    stored_features(load(resolve("demo-vit")), cache.view([0]), View(), Context(), "m")
    assert len(list((tmp_path / "cache" / "features").glob("clip-*.array"))) == len(calls) == 5


def test_the_name_of_stored_features_covers_what_can_change_them(clip, tmp_path, monkeypatch):
    """Features in bf16 are others than in float32, and so are those of another batch, device or library."""
    names: list[str] = []
    monkeypatch.setattr(frozen, "stored_array", lambda file, compute: names.append(file.name))
    (tmp_path / "others").mkdir()
    images, others = pictures(tmp_path).view([0]), pictures(tmp_path / "others", SIZES[:3]).view([0])

    def name(images=images, view=None, method="m", **context):
        stored_features(clip, images, view or View(), Context(**context), method)
        return names[-1]

    assert name() == name(method="other", seed=1, shared_seed=2, repeat=3)
    found = [
        name(),
        name(others),
        name(view=View(any_size=True)),
        name(precision="bf16"),
        name(batch_size=2),
        name(device="cuda:0"),
    ]
    assert name(device="cuda:1") == found[-1]
    for library in ("torch", "torchvision", "open_clip_torch", "Pillow"):
        monkeypatch.setattr(frozen, "version", lambda name, other=library: "0.1" if name == other else version(name))
        found.append(name())
    assert len(set(found)) == len(found) == 10


def test_an_image_without_a_cell_is_refused(tmp_path, clip):
    images = pictures(tmp_path, [(64, 64), (64, 31)]).view(range(2))
    with pytest.raises(BadImageError, match=r"clipiqa needs at least 32 x 32 pixels; image .*1\.png is 31 x 64"):
        encode(clip, images, View(any_size=True), Context(), "clipiqa")
    assert encode(clip, images, View(any_size=True, side=32), Context(), "clipiqa").shape == (2, 96)
