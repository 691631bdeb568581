from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as transforms
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from agiqa_bench.training import views

LARGEST = 1.0 - 2.0**-53
"""The largest uniform number below 1."""


def test_draws_depend_on_seed_epoch_and_row_alone() -> None:
    rows = np.array([7, 2, 40, 2])
    first = views.draws(3, 5, rows, 4)
    assert first.shape == (4, 4)
    assert ((first >= 0) & (first < 1)).all()
    np.random.random(10)
    torch.manual_seed(0)
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(views.draws(3, 5, np.array([row]), 4)[0], first[number])
    np.testing.assert_array_equal(views.draws(3, 5, np.arange(1000), 4)[rows], first)
    others = [views.draws(4, 5, rows, 4), views.draws(3, 6, rows, 4), views.draws(3, 5, rows + 1, 4)]
    assert not any(np.isin(other, first).any() for other in others[:2])
    assert not (others[2] == first).any()


def test_draws_are_uniform() -> None:
    numbers = views.draws(0, 0, np.arange(20_000), 1)[:, 0]
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.9)


@given(st.integers(1, 600), st.integers(0, 600), st.integers(0, 600), st.floats(0, LARGEST), st.floats(0, LARGEST))
@settings(max_examples=200, deadline=None)
def test_random_crops_lie_inside(size: int, more_height: int, more_width: int, u: float, v: float) -> None:
    sizes = np.array([[size + more_height, size + more_width]])
    ((top, left, height, width),) = views.random_crops(np.array([[u, v]]), sizes, size)
    assert (height, width) == (size, size)
    assert 0 <= top <= more_height
    assert 0 <= left <= more_width
    ends = views.random_crops(np.array([[0.0, LARGEST]]), sizes, size)[0]
    assert ends.tolist() == [0, more_width, size, size]


def test_random_crops_cover_all_places_alike() -> None:
    n = 24_000
    boxes = views.random_crops(views.draws(0, 0, np.arange(n), 2), np.tile([6, 7], (n, 1)), 4)
    places, counts = np.unique(boxes, axis=0, return_counts=True)
    assert places.tolist() == [[top, left, 4, 4] for top in range(3) for left in range(4)]
    assert np.abs(counts - n / 12).max() < 5 * np.sqrt(n / 12)


@given(st.integers(1, 700), st.integers(1, 700), st.floats(0.01, 1.0), st.floats(1.0, 3.0), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_resized_crops_lie_inside(height: int, width: int, smallest: float, skew: float, seed: int) -> None:
    uniform = np.random.default_rng(seed).random((20, 22))
    uniform[0] = LARGEST
    boxes = views.random_resized_crops(uniform, np.tile([height, width], (20, 1)), (smallest, 1.0), (1 / skew, skew))
    assert boxes.dtype == np.int64
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [height, width]).all()


def test_area_shape_and_place_of_resized_crops_are_distributed_as_torchvisions() -> None:
    n, height, width, scale, ratio = 20_000, 400, 500, (0.2, 0.9), (0.5, 1.5)
    boxes = views.random_resized_crops(
        views.draws(1, 0, np.arange(n), 22), np.tile([height, width], (n, 1)), scale, ratio
    )
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    m = n // 4
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(m)])
    limits = {"area": scale, "shape": ratio}
    for name, of in {
        "area": lambda b: b[:, 2] * b[:, 3] / (height * width),
        "shape": lambda b: b[:, 3] / b[:, 2],
        "log shape": lambda b: np.log(b[:, 3] / b[:, 2]),
        "middle down": lambda b: b[:, 0] + b[:, 2] / 2,
        "middle across": lambda b: b[:, 1] + b[:, 3] / 2,
        "area times shape": lambda b: b[:, 3] ** 2,
        "spread of area": lambda b: (b[:, 2] * b[:, 3] / (height * width)) ** 2,
    }.items():
        mine, other = of(boxes), of(theirs)
        error = np.sqrt(mine.var() / n + other.var() / m)
        assert abs(mine.mean() - other.mean()) < 4 * error, name
        if name in limits:  # sides are whole pixels
            assert mine.min() > limits[name][0] * 0.98
            assert mine.max() < limits[name][1] * 1.02
    # Any corner of the image can be part of a view.
    assert boxes[:, :2].min(axis=0).tolist() == [0, 0]
    assert (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist() == [height, width]


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000), (1, 1), (1, 300), (500, 333), (224, 224)])
def test_where_no_try_fits_the_middle_is_taken_as_by_torchvision(size: tuple[int, int]) -> None:
    # Areas above the image's own never fit.
    expected = RandomResizedCrop.get_params(torch.empty(1, *size), [2.0, 3.0], [3 / 4, 4 / 3])
    boxes = views.random_resized_crops(np.full((1, 22), 0.5), np.array([size]), (2.0, 3.0))
    assert boxes[0].tolist() == list(expected)


def test_the_first_try_that_fits_is_taken() -> None:
    uniform = np.zeros((1, 22))
    uniform[0, :10] = [1.0, 1.0, 0.25, *[0.0] * 7]  # share of the area
    uniform[0, 10:20] = [0.0, 1.0, 0.5, *[0.5] * 7]  # shapes 3/4, 4/3 and 1
    uniform[0, 20:] = [0.0, 0.999]
    # A whole square image has no part of its own area in another shape; the third try is a square of 0.25 its area.
    boxes = views.random_resized_crops(uniform, np.array([[100, 100]]), (0.0, 1.0))
    assert boxes.tolist() == [[0, 50, 50, 50]]


@pytest.mark.parametrize("box", [(0, 0, 60, 80), (5, 9, 40, 30), (20, 50, 7, 11), (0, 0, 1, 1), (59, 0, 1, 80)])
@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("content", ["noise", "smooth"])
def test_resized_equals_torchvision_on_pil_images(box: tuple[int, ...], size: int, content: str) -> None:
    draws = np.random.default_rng(0)
    image = draws.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    if content == "smooth":
        image = np.asarray(Image.fromarray(image[:6, :8]).resize((80, 60), Image.Resampling.BICUBIC))
    top, left, height, width = box
    expected = functional.resized_crop(
        Image.fromarray(image), top, left, height, width, [size, size], transforms.InterpolationMode.BICUBIC
    )
    # As `Pixels` hands them out: channels first by a permutation.
    got = views.resized(torch.from_numpy(image.copy()).permute(2, 0, 1), np.array(box), size)
    assert got.dtype == torch.uint8
    assert got.shape == (3, size, size)
    difference = got.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int)
    # Both round in between; only noise shows it, here and there.
    assert np.abs(difference).max() <= (2 if content == "noise" else 1)
    assert (np.abs(difference) > 1).mean() < 1e-3


def boxes_of_all_kinds(height: int, width: int, count: int) -> views.Boxes:
    uniform = np.random.default_rng(1).random((count, 22))
    drawn = views.random_resized_crops(uniform, np.tile([height, width], (count, 1)), (0.001, 1.0), (0.3, 3.0))
    edges = [(0, 0, height, width), (height - 1, width - 1, 1, 1), (5, 7, 1, width - 7), (3, 4, 16, 16)]
    return np.concatenate([drawn, edges])


def levels_apart(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    assert found.dtype == wanted.dtype == torch.uint8
    return (found.int() - wanted.int()).abs()


@pytest.mark.parametrize("size", [16, 50, 224])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_batch_is_resized_as_torchs_float_path_does_it(
    size: int, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = 90, 71
    boxes = boxes_of_all_kinds(height, width, 30)
    noise = np.random.default_rng(0).integers(0, 256, (len(boxes), height, width, 3), dtype=np.uint8)
    pixels = torch.from_numpy(noise).permute(0, 3, 1, 2)
    parts = [image[:, t : t + h, left : left + w] for image, (t, left, h, w) in zip(pixels, boxes, strict=True)]
    resized = [
        torch.nn.functional.interpolate(part[None].float(), (size, size), mode="bicubic", antialias=True)
        for part in parts
    ]
    expected = torch.cat(resized).round().clamp(0, 255).to(torch.uint8)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = views.resized_batch(pixels, boxes, size)
    apart = levels_apart(found, expected)
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 1e-3  # where the exact value lies in the middle of two
    monkeypatch.setattr(views, "_ROOM", 1)  # an image at a time
    assert levels_apart(views.resized_batch(pixels.contiguous(), boxes, size), found).max() <= 1


def test_so_many_images_are_resized_at_once_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 an image of 20 x 30 takes 4 * 3 * 600 bytes, and between the axes twice 8 rows of 30."""
    sizes: list[int] = []
    resize = views._resized
    monkeypatch.setattr(views, "_resized", lambda images, *rest: sizes.append(len(images)) or resize(images, *rest))
    pixels = torch.zeros((7, 3, 20, 30), dtype=torch.uint8)
    boxes = np.tile([0, 0, 20, 30], (7, 1))
    monkeypatch.setattr(views, "_ROOM", 3 * 4 * 3 * (20 * 30 + 2 * 8 * 30))
    assert views.resized_batch(pixels, boxes, 8).shape == (7, 3, 8, 8)
    assert sizes == [3, 3, 1]


def test_a_batch_is_resized_as_one_image_at_a_time() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (20, 9, 12, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(each).resize((96, 72), Image.Resampling.BICUBIC)) for each in coarse]
    pixels = torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)
    boxes = views.random_resized_crops(np.random.default_rng(2).random((20, 22)), np.tile([72, 96], (20, 1)))
    expected = torch.stack([views.resized(image, box, 32) for image, box in zip(pixels, boxes, strict=True)])
    # That path rounds between the axes.
    assert levels_apart(views.resized_batch(pixels, boxes, 32), expected).max() <= 2


def test_the_grid_of_a_paper_image_has_25_crops() -> None:
    boxes = views.crop_grid(512, 512, 224, 64)
    steps = [0, 64, 128, 192, 256]
    assert boxes.tolist() == [[top, left, 224, 224] for top in steps for left in steps]


def test_grids_of_other_sizes() -> None:
    assert views.crop_grid(5, 7, 4, 2).tolist() == [[0, 0, 4, 4], [0, 2, 4, 4]]
    assert views.crop_grid(4, 4, 4, 100).tolist() == [[0, 0, 4, 4]]
    assert views.crop_grid(3, 9, 4, 1).shape == (0, 4)


def test_chosen_images_are_mirrored_left_to_right() -> None:
    images = torch.arange(12, dtype=torch.uint8).view(2, 1, 2, 3)
    got = views.mirrored(images, np.array([False, True]))
    assert got.dtype == torch.uint8
    assert got.tolist() == [[[[0, 1, 2], [3, 4, 5]]], [[[8, 7, 6], [11, 10, 9]]]]


def test_normalized_by_hand() -> None:
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    got = views.normalized(images, views.IMAGENET_MEAN, views.IMAGENET_STD)
    assert got.dtype == torch.float32
    # (0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225
    assert got.flatten().tolist() == pytest.approx([-2.1179039, 2.4285714, -0.9155556], rel=1e-6)
