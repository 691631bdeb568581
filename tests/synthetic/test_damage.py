import numpy as np
import pytest

from agiqa_bench.synthetic.damage import (
    IMAGE_DAMAGES,
    SCENE_DAMAGES,
    damage,
    damage_scene,
    possible_scene_damages,
    quality_words,
)
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.filters import blur, resample
from agiqa_bench.synthetic.scenes import Item, Scene, render

ASKED = Scene((Item("apple", "red", 2), Item("cup", "blue")), "table", "watercolour", layout=3)


def error(a, b):
    return float(((a.astype(float) - b.astype(float)) ** 2).mean())


@pytest.mark.parametrize("kind", sorted(IMAGE_DAMAGES))
@pytest.mark.parametrize("size", [64, 128])
def test_damage_grows_with_severity(kind, size):
    clean = render(ASKED, size)
    errors = [error(clean, damage(clean, kind, severity, Draws("d"))) for severity in (0.0, 0.1, 0.4, 1.0)]
    assert errors[0] == 0.0
    assert errors == sorted(errors)
    assert errors[1] < 0.5 * errors[3]
    assert errors[3] > 60.0


def test_blur_keeps_a_flat_picture_and_the_mean_of_a_point():
    flat = np.full((32, 32, 3), 77, dtype=np.uint8)
    np.testing.assert_array_equal(blur(flat, 2.6), flat)
    point = np.zeros((33, 33, 1), dtype=np.uint8)
    point[14:19, 14:19] = 200
    blurred = blur(point, 1.5)
    assert blurred.sum() == pytest.approx(point.sum(), rel=0.03)
    np.testing.assert_array_equal(blurred, blurred[::-1, ::-1])


def test_blur_of_one_pixel_equals_three_box_filters():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    expected = image.astype(float)
    for _ in range(3):
        for axis in (0, 1):
            padded = np.pad(expected, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
            slices = [np.take(padded, range(k, k + expected.shape[axis]), axis=axis) for k in range(3)]
            expected = sum(slices) / 3
    assert np.abs(blur(image, 1.0) - expected).max() <= 0.55


def test_resample_is_bilinear():
    image = np.array([[[0], [100]], [[50], [250]]], dtype=np.uint8)
    assert resample(image, np.array([[0.5]]), np.array([[0.5]])).item() == 100
    assert resample(image, np.array([[9.0]]), np.array([[-4.0]])).item() == 100
    np.testing.assert_array_equal(resample(image, np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]])), image)


def test_light_blocking_of_a_flat_picture_changes_nothing():
    flat = np.full((128, 128, 3), 90, dtype=np.uint8)
    assert np.abs(damage(flat, "blocking", 0.05, Draws("b")).astype(int) - 90).max() <= 1


@pytest.mark.parametrize("kind", SCENE_DAMAGES)
def test_a_scene_damage_changes_what_it_says_and_nothing_else(kind):
    for number in range(20):
        shown, fault = damage_scene(ASKED, kind, Draws("s", number))
        assert fault.kind == kind
        assert 0.0 < fault.severity <= 1.0
        assert shown.layout == ASKED.layout
        assert (shown.setting != ASKED.setting) == (kind == "wrong_setting")
        assert (shown.style != ASKED.style) == (kind == "wrong_style")
        assert len(shown.items) == 2 - (kind == "missing")
        if kind.startswith("wrong_") and kind not in ("wrong_setting", "wrong_style"):
            field = {"wrong_object": "kind", "wrong_colour": "colour", "wrong_count": "count"}[kind]
            (changed,) = [(a, b) for a, b in zip(ASKED.items, shown.items, strict=True) if a != b]
            differing = [
                f for f in ("kind", "colour", "count", "size") if getattr(changed[0], f) != getattr(changed[1], f)
            ]
            assert differing == [field]


def test_nothing_is_wrong_about_what_nobody_asked_for():
    assert possible_scene_damages(Scene(())) == ()
    assert possible_scene_damages(Scene((Item("cat", "white"),))) == SCENE_DAMAGES[:4]
    with pytest.raises(ValueError, match="wrong_setting"):
        damage_scene(Scene((Item("cat", "white"),)), "wrong_setting", Draws("s"))


def test_quality_words():
    assert quality_words() == quality_words("blur", 0.05) == "a clean crisp picture"
    assert quality_words("blur", 0.3) == "a slightly blurry picture"
    assert quality_words("noise", 0.8) == "a very noisy picture"
    assert len({quality_words(kind, 0.3) for kind in IMAGE_DAMAGES}) == len(IMAGE_DAMAGES)
