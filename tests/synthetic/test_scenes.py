import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.objects import COLOURS, OBJECTS
from agiqa_bench.synthetic.scenes import SETTING_PHRASES, SIZES, Item, Scene, describe, random_scene, render
from agiqa_bench.synthetic.settings import SETTINGS
from agiqa_bench.synthetic.styles import STYLES

ITEMS = st.builds(
    Item, st.sampled_from(sorted(OBJECTS)), st.sampled_from(sorted(COLOURS)), st.integers(1, 4), st.sampled_from(SIZES)
)
SCENES = st.builds(
    Scene,
    st.lists(ITEMS, max_size=2).map(tuple),
    st.sampled_from(sorted(SETTINGS)),
    st.sampled_from(sorted(STYLES)),
    st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene((Item("umbrella", "orange"),)), "an orange umbrella"),
        (Scene((Item("bird", "blue", 3, "small"),), "snow"), "three small blue birds in the snow"),
        (Scene((Item("fish", "green", 2),), "sea", "neon"), "two green fish under the sea, neon lights"),
        (
            Scene((Item("apple", "red", 2), Item("cup", "blue", 1, "large")), "table", "poster"),
            "two red apples and a large blue cup on a wooden table, flat poster style",
        ),
        (Scene((), "beach"), "nothing on a sunny beach"),
    ],
)
def test_captions(scene, caption):
    assert describe(scene) == caption


def test_captions_can_leave_out_place_and_style():
    scene = Scene((Item("cat", "white"),), "night", "pencil")
    assert describe(scene, setting=False) == "a white cat, coloured pencil drawing"
    assert describe(scene, style=False) == "a white cat under a starry night sky"


def test_random_scenes_are_pinned_and_pixels_are_the_same_bytes_everywhere():
    scenes = [random_scene(Draws("pin", number)) for number in range(12)]
    assert [describe(scene) for scene in scenes[:3]] == [
        "a small yellow apple under the sea, pixel art",
        "two red apples on a sunny beach, flat poster style",
        "three green houses and a small blue umbrella in the snow, flat poster style",
    ]
    digest = hashlib.sha256(b"".join(render(scene, 64).tobytes() for scene in scenes)).hexdigest()
    assert digest == "9a479d88be8c138997ee899291e9e0c67cc4df4ed94e63493b0152e4b691b8c5"


def test_every_object_colour_setting_and_style_gives_another_picture():
    base = Scene((Item("apple", "red"),), "meadow", layout=5)
    variants = [replace(base, items=(Item(kind, "red"),)) for kind in OBJECTS]
    variants += [replace(base, items=(Item("apple", colour),)) for colour in COLOURS if colour != "red"]
    variants += [replace(base, setting=setting) for setting in SETTINGS if setting != "meadow"]
    variants += [replace(base, style=style) for style in STYLES if style != "soft"]
    variants += [replace(base, layout=6)]
    assert len({render(scene, 64).tobytes() for scene in variants}) == len(variants)
    assert set(SETTING_PHRASES) == set(SETTINGS)


@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_a_balloon_has_the_colour_that_its_caption_says(colour):
    image = render(Scene((Item("balloon", colour),), "plain", layout=1), 128).astype(float)
    distances = {name: np.abs(image - np.array(value)).sum(axis=-1).min(axis=None) for name, value in COLOURS.items()}
    assert min(distances, key=distances.__getitem__) == colour or distances[colour] < 12


@settings(max_examples=25, deadline=None)
@given(SCENES)
def test_any_scene_renders_the_same_twice(scene):
    image = render(scene, 32)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert image.std() > 1.0
    np.testing.assert_array_equal(image, render(scene, 32))


@pytest.mark.parametrize("size", [0, -32, 50])
def test_sizes_that_cannot_be_painted_are_refused(size):
    with pytest.raises(ValueError, match="multiple of 32"):
        render(Scene(()), size)
