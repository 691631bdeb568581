from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from agiqa_bench.data.image_cache import ImageCache, Images
from agiqa_bench.training import pixels
from agiqa_bench.training.pixels import Pixels, _Resident, open_pixels

UNIFORM = [(20, 30)] * 4
RAGGED = [(20, 30), (25, 18), (20, 30), (40, 33)]
ROWS = [3, 0, 2]


def images_of(folder: Path, sizes: list[tuple[int, int]], rows: list[int]) -> Images:
    paths = []
    for number, size in enumerate(sizes):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(noise).save(paths[-1])
    # The second row is the first image once more: a store holds it once.
    return ImageCache([paths[0], *paths], folder / "cache").view([0 if row == 0 else row + 1 for row in rows])


def resident(images: Images) -> Pixels:
    array, rows = images.stacked
    return _Resident(torch.from_numpy(np.array(array)), rows)


def assert_same(opened: Pixels, images: Images) -> None:
    """Sizes, whole images and parts are those of the decoded arrays."""
    np.testing.assert_array_equal(opened.sizes, images.sizes)
    for position, image in enumerate(images):
        got = opened.image(position)
        assert got.dtype == torch.uint8
        np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), image)
    positions = np.array([2, 0, 1, 2])
    bottom, right = images.sizes[positions].T - [[7], [9]]
    boxes = np.array(
        [[top, left, 7, 9] for top, left in zip(bottom // [1, 2, 3, 4], right // [4, 3, 2, 1], strict=True)]
    )
    got = opened.crops(positions, boxes)
    assert got.shape == (4, 3, 7, 9)
    assert got.dtype == torch.uint8
    for part, position, (top, left, height, width) in zip(got, positions, boxes, strict=True):
        expected = images[int(position)][top : top + height, left : left + width]
        np.testing.assert_array_equal(part.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("sizes", [UNIFORM, RAGGED], ids=["uniform", "ragged"])
def test_parts_and_images_are_those_of_the_decoded_arrays(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    images = images_of(tmp_path, sizes, ROWS)
    opened = open_pixels(images, "cpu")
    assert_same(opened, images)
    before = np.array(images[0])
    opened.image(0).zero_()
    opened.crops(np.array([0]), np.array([[0, 0, 2, 2]])).zero_()
    np.testing.assert_array_equal(images[0], before)


def test_resident_images_give_the_same_parts(tmp_path: Path) -> None:
    images = images_of(tmp_path, UNIFORM, ROWS)
    assert_same(resident(images), images)


@pytest.mark.parametrize("open_them", [lambda images: open_pixels(images, "cpu"), resident], ids=["mapped", "resident"])
def test_beyond_the_border_its_pixels_are_repeated(open_them: Any, tmp_path: Path) -> None:
    images = images_of(tmp_path, UNIFORM, ROWS)
    boxes = np.array([[-3, -2, 7, 9], [15, 25, 7, 9], [-1, 4, 7, 9], [4, 9, 7, 9]])
    got = open_them(images).crops(np.array([0, 1, 2, 1]), boxes)
    for part, image, (top, left, _, _) in zip(got, [images[0], images[1], images[2], images[1]], boxes, strict=True):
        framed = np.pad(np.array(image), [(8, 8), (8, 8), (0, 0)], mode="edge")
        np.testing.assert_array_equal(part.permute(1, 2, 0).numpy(), framed[top + 8 : top + 15, left + 8 : left + 17])


def test_resized_images_are_of_one_size_whatever_they_were(tmp_path: Path) -> None:
    images = images_of(tmp_path, RAGGED, ROWS).at(16)
    assert images.uniform_size == (16, 16)
    assert_same(open_pixels(images, "cpu"), images)
    assert_same(resident(images), images)


def test_whole_images_are_given_at_once_to_a_cuda_device_alone(tmp_path: Path) -> None:
    images = images_of(tmp_path, UNIFORM, ROWS)
    positions = np.array([2, 0, 2])
    found = resident(images).at_once(positions)
    assert found is not None
    assert found.shape == (3, 3, 20, 30)
    for image, position in zip(found, positions, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), images[int(position)])
    assert open_pixels(images, "cpu").at_once(positions) is None
    sent = pixels._Mapped(images, "cpu")
    sent._device = _Cuda("cpu")
    assert torch.equal(sent.at_once(positions), found)
    (tmp_path / "ragged").mkdir()
    ragged = pixels._Mapped(images_of(tmp_path / "ragged", RAGGED, [0, 1]), "cpu")
    ragged._device = _Cuda("cpu")
    assert ragged.at_once(np.array([0, 1])) is None


class _Cuda(str):
    """The processor, which says that it is a CUDA device."""

    def startswith(self, *start: Any) -> bool:
        return start == ("cuda",)


def test_images_become_resident_only_if_all_of_the_store_have_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one size in a ragged data set: what lies in the store as one array is not cut by their size."""
    seen: list[tuple[int, ...]] = []

    def on_device(source: pixels._Array, device: str) -> torch.Tensor:
        seen.append(source.array.shape)
        return torch.from_numpy(np.array(source.array))

    monkeypatch.setattr(pixels, "_on_device", on_device)
    monkeypatch.setattr(pixels._Mapped, "__init__", lambda self, images, device: None)
    ragged = images_of(tmp_path, RAGGED, [0, 2])
    assert ragged.uniform_size == (20, 30)
    assert isinstance(open_pixels(ragged, "cuda:0"), pixels._Mapped)
    (tmp_path / "other").mkdir()
    uniform = images_of(tmp_path / "other", UNIFORM, ROWS)
    assert_same(open_pixels(uniform, "cuda:0"), uniform)
    assert seen == [(4, 20, 30, 3)]


def test_repeats_find_the_copy_that_is_on_the_device(tmp_path: Path) -> None:
    images = images_of(tmp_path, UNIFORM, ROWS)
    one, again = (pixels._Array(part.stacked[0]) for part in (images, images[1:]))
    other = pixels._Array(images.at(8).stacked[0])
    assert one == again
    assert hash(one) == hash(again)
    assert one != other


def test_images_become_resident_only_where_they_leave_most_of_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array, _ = images_of(tmp_path, UNIFORM, ROWS).stacked
    free = 5 * array.nbytes
    monkeypatch.setattr(pixels, "_held", {})
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    held = pixels._on_device(pixels._Array(array), "cpu")
    assert held is not None
    assert np.array_equal(held, array)
    # What is there already is not measured again, and the images of another data set take its place.
    free = 0
    assert pixels._on_device(pixels._Array(array), "cpu") is held
    (tmp_path / "other").mkdir()
    other, _ = images_of(tmp_path / "other", UNIFORM, ROWS).stacked
    free = 5 * other.nbytes - 1
    assert pixels._on_device(pixels._Array(other), "cpu") is None
    assert pixels._held == {}


def test_images_of_several_sizes_are_never_taken_at_once(tmp_path: Path) -> None:
    largest_first = images_of(tmp_path, RAGGED, ROWS)
    assert largest_first.sizes.tolist() == [[40, 33], [20, 30], [20, 30]]
    assert pixels._Mapped(largest_first, "cuda:0").at_once(np.array([0, 1])) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_images_on_a_cuda_device_give_the_same_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(tmp_path, UNIFORM, ROWS)
    positions, boxes = np.array([2, 0]), np.array([[1, 2, 7, 9], [0, 4, 7, 9]])
    expected = open_pixels(images, "cpu").crops(positions, boxes)
    held = open_pixels(images, "cuda:0")
    assert isinstance(held, _Resident)
    monkeypatch.setattr(pixels, "_SHARE", 0.0)
    pixels._held.clear()
    sent = open_pixels(images, "cuda:0")
    assert isinstance(sent, pixels._Mapped)
    for opened in (held, sent):
        assert torch.equal(opened.crops(positions, boxes).cpu(), expected)
        assert opened.crops(positions, boxes).device.type == "cuda"
        assert torch.equal(opened.image(1).cpu(), open_pixels(images, "cpu").image(1))
