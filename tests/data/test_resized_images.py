"""Images at one size, resized once for all repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision.transforms.v2 as transforms
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agiqa_bench.data import image_cache
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.errors import ConfigError


def torchvision_resized(image: np.ndarray, size: int, resize: str, interpolation: str) -> np.ndarray:
    mode = {"bicubic": transforms.InterpolationMode.BICUBIC, "bilinear": transforms.InterpolationMode.BILINEAR}
    steps = [transforms.Resize(size if resize == "shorter" else (size, size), mode[interpolation], antialias=True)]
    if resize == "shorter":
        steps.append(transforms.CenterCrop(size))
    return np.asarray(transforms.Compose(steps)(Image.fromarray(image)))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shorter", "exact"])
@pytest.mark.parametrize("size", [16, 31, 64])
def test_resized_equals_torchvision(
    paths: list[Path], folder: Path, size: int, resize: str, interpolation: str
) -> None:
    view = ImageCache(paths, folder).view([4, 1, 2, 0])
    resized = view.resized(size, resize=resize, interpolation=interpolation)  # type: ignore[arg-type]
    assert resized.shape == (4, size, size, 3)
    for got, image in zip(resized, view, strict=True):
        np.testing.assert_array_equal(got, torchvision_resized(image, size, resize, interpolation))
    assert not resized.flags.writeable


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70))
def test_rounding_of_sizes_and_offsets_equals_torchvision(height: int, width: int, size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    got = image_cache.Resizing(size).apply(image)
    np.testing.assert_array_equal(got, torchvision_resized(image, size, "shorter", "bicubic"))


def test_resized_is_computed_once_for_all_rows(
    paths: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ImageCache(paths, folder).view([0]).resized(16)
    monkeypatch.setattr(image_cache.Resizing, "apply", None)
    cache = ImageCache(paths, folder)
    np.testing.assert_array_equal(cache.view([3, 0]).resized(16)[1:], first)


def test_images_at_a_size_are_a_sequence_like_any_other(paths: list[Path], folder: Path) -> None:
    cache = ImageCache(paths, folder)
    view = cache.view([4, 0, 4])
    small = view.at(16)
    assert not (folder / "images").exists()  # nothing is read before it is needed
    assert small.uniform_size == (16, 16)
    np.testing.assert_array_equal(small.sizes, [(16, 16)] * 3)
    for got, image in zip(small, view, strict=True):
        np.testing.assert_array_equal(got, torchvision_resized(image, 16, "shorter", "bicubic"))
        assert not got.flags.writeable
    np.testing.assert_array_equal(small[1:][0], small[1])
    np.testing.assert_array_equal(small.resized(8), view.resized(8))
    with pytest.raises(ConfigError, match="not positive"):
        view.at(0)
    with pytest.raises(ConfigError, match="not square"):
        view.at(16, crop="none")[0]


def test_stacked_images_at_a_size_come_from_all_rows(paths: list[Path], folder: Path) -> None:
    view = ImageCache(paths, folder).view([4, 1])
    array, places = view.at(8).stacked
    assert array.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(array[places], view.resized(8))


def test_resizing_refuses_what_has_no_meaning(paths: list[Path], folder: Path) -> None:
    view = ImageCache(paths, folder).view([0])
    with pytest.raises(ConfigError, match="not square"):
        view.resized(16, crop="none")
    with pytest.raises(ConfigError, match="not positive"):
        view.resized(0)
    with pytest.raises(ConfigError, match="interpolation='nearest'"):
        view.resized(16, interpolation="nearest")  # type: ignore[arg-type]


def test_resized_images_of_neighbouring_rows_are_not_copied(paths: list[Path], folder: Path) -> None:
    cache = ImageCache(paths, folder)
    whole, mixed = cache.view([1, 2, 3]).resized(8), cache.view([3, 1, 1]).resized(8)
    np.testing.assert_array_equal(mixed, whole[[2, 0, 0]])
    assert np.shares_memory(whole, cache.view(range(5)).at(8).stacked[0])
    for array in (whole, mixed):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
