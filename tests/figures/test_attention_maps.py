"""Attention maps: geometry, colours and the files."""

import numpy as np
import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.figures.attention_maps import draw_maps, upsampled, write_maps

IMAGE = np.full((40, 60, 3), 100, dtype=np.uint8)


def titles(figure):
    return [axes.texts[0].get_text() for axes in figure.axes if axes.texts]


def picture(figure, title):
    return next(axes for axes in figure.axes if axes.texts and axes.texts[0].get_text() == title).images[0].get_array()


def maps(heads, side=4):
    return np.random.default_rng(0).random((heads, side, side)).astype(np.float32)


def test_a_grid_is_stretched_bilinearly_with_the_centres_of_its_cells_in_place():
    grid = np.array([[0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(upsampled(grid, 2, 4), [[0, 0.25, 0.75, 1]] * 2, atol=1e-6)
    assert upsampled(maps(1)[0], 40, 60).shape == (40, 60)


def test_image_mean_and_every_head_are_there_in_order():
    figure = draw_maps(IMAGE, maps(6), "a prompt")
    assert titles(figure) == ["image", "mean of all heads", *(f"head {n}" for n in range(6))]
    assert titles(draw_maps(IMAGE, maps(6), heads=[4, 1]))[2:] == ["head 4", "head 1"]
    np.testing.assert_array_equal(picture(figure, "image"), IMAGE)
    assert figure.axes[-1].get_ylabel() == "attention weight"
    assert figure.texts[0].get_text() == "a prompt"


@pytest.mark.parametrize(("heads", "columns"), [(1, None), (2, None), (6, None), (12, 5), (32, None), (32, 3), (7, 9)])
@pytest.mark.parametrize("shape", [(40, 60, 3), (200, 20, 3), (20, 200, 3)])
def test_panels_lie_within_the_figure_and_apart(heads, columns, shape):
    figure = draw_maps(np.zeros(shape, dtype=np.uint8), maps(heads), "prompt " * 100, columns=columns)
    boxes = np.array([axes.get_position().extents for axes in figure.axes])
    assert boxes.min() > 0
    assert boxes.max() < 1
    for number, (left, bottom, right, top) in enumerate(boxes):
        others = np.delete(boxes, number, axis=0)
        apart = (others[:, 2] <= left) | (others[:, 0] >= right) | (others[:, 3] <= bottom) | (others[:, 1] >= top)
        assert apart.all()


def test_heat_is_where_the_weights_are_and_one_scale_serves_all():
    attention = np.zeros((2, 4, 4), dtype=np.float32)
    attention[0, :, 0] = 0.5
    attention[1, :, 3] = 0.25
    figure = draw_maps(IMAGE, attention, "")
    grey = round(255 * (0.15 + 0.85 * 100 / 255))
    strong, weak = picture(figure, "head 0"), picture(figure, "head 1")
    assert strong[20, 59].tolist() == weak[20, 0].tolist() == [grey] * 3
    # inferno ends in (252, 255, 164); of the strongest weight 15 % of the grey shines through.
    expected = 0.85 * np.array([252, 255, 164]) + 0.15 * grey
    np.testing.assert_allclose(strong[20, 0], expected, atol=2)
    assert np.abs(weak[20, 59].astype(int) - expected).max() > 50
    assert figure.axes[-1].get_ylim() == (0, 0.5)


def test_maps_without_any_weight_and_large_images_are_drawn():
    figure = draw_maps(np.zeros((2000, 1000, 3), dtype=np.uint8), np.zeros((2, 4, 4), dtype=np.float32), "")
    assert picture(figure, "head 0").shape == (768, 384, 3)


def test_the_same_maps_give_the_same_picture(tmp_path):
    for name in ("a.png", "b.png"):
        write_maps(tmp_path / name, IMAGE, maps(3), "a $ prompt, 猫")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_raw_weights_and_unknown_heads(tmp_path):
    attention = maps(3)
    write_maps(tmp_path / "maps.npz", IMAGE, attention)
    with np.load(tmp_path / "maps.npz") as found:
        np.testing.assert_array_equal(found["attention"], attention)
    with pytest.raises(ConfigError, match="--heads 3: the method has heads 0 to 2"):
        draw_maps(IMAGE, attention, heads=[3])
