"""Scenes: what a picture shows, how a caption says it, and the picture itself.

>>> scene = Scene((Item("apple", "red", 2), Item("cup", "blue")), "table", "poster")
>>> describe(scene)
'two red apples and a blue cup on a wooden table, flat poster style'
>>> render(scene, 64).shape
(64, 64, 3)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agiqa_bench.synthetic.canvas import Colour, Patch
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.filters import Image, to_uint8
from agiqa_bench.synthetic.objects import COLOURS, OBJECTS
from agiqa_bench.synthetic.settings import SETTINGS, Backdrop
from agiqa_bench.synthetic.styles import PIXELS, STYLES, enlarge

NUMBERS = ("no", "one", "two", "three", "four")
SIZES = ("", "small", "large")
SETTING_PHRASES = {
    "plain": "",
    "beach": "on a sunny beach",
    "night": "under a starry night sky",
    "meadow": "in a green meadow",
    "snow": "in the snow",
    "table": "on a wooden table",
    "sea": "under the sea",
    "desert": "in a desert at sunset",
}
FLOATING = {"sea": frozenset({"fish", "star", "balloon"})}
ALOFT = frozenset({"balloon", "star"})


@dataclass(frozen=True)
class Item:
    """One to four objects of a kind.

    Attributes:
        kind: Key of `OBJECTS`.
        colour: Key of `COLOURS`.
        count: How many, 1 to 4.
        size: One of `SIZES`; "" is ordinary.
    """

    kind: str
    colour: str
    count: int = 1
    size: str = ""


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        items: Up to two kinds of object; none for an empty place.
        setting: Key of `SETTINGS`.
        style: Key of `STYLES`.
        layout: Names one of the endless pictures of the same content: positions, clouds, brush strokes.
    """

    items: tuple[Item, ...]
    setting: str = "plain"
    style: str = "soft"
    layout: int = 0


def random_item(draws: Draws, *, max_count: int = 4) -> Item:
    """An item of any kind and colour; one object is more likely than several, an ordinary size than another."""
    count = draws.weighted((1, 2, 3, 4)[:max_count], (4, 3, 2, 2)[:max_count])
    return Item(draws.choice(tuple(OBJECTS)), draws.choice(tuple(COLOURS)), count, draws.weighted(SIZES, (6, 1, 1)))


def random_scene(draws: Draws) -> Scene:
    """A scene of one or two items in any setting and style, with a layout of its own."""
    first = random_item(draws)
    items: tuple[Item, ...] = (first,)
    if draws.chance(0.4):
        second = random_item(draws, max_count=2)
        if second.kind == first.kind:
            kinds = [kind for kind in OBJECTS if kind != first.kind]
            second = replace(second, kind=draws.choice(kinds))
        items = (replace(first, count=min(first.count, 3)), second)
    setting = draws.choice(tuple(SETTINGS))
    style = draws.weighted(tuple(STYLES), (3, *(1 for _ in range(len(STYLES) - 1))))
    return Scene(items, setting, style, layout=draws.integer(0, 1 << 32))


def plural(kind: str) -> str:
    """The plural of an object's name."""
    if kind == "fish":
        return kind
    return kind + ("es" if kind.endswith("x") else "s")


def describe_item(item: Item) -> str:
    """An item in words, e.g. "an orange umbrella" or "three small blue birds"."""
    words = [word for word in (item.size, item.colour) if word]
    if item.count == 1:
        phrase = " ".join([*words, item.kind])
        return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
    return " ".join([NUMBERS[item.count], *words, plural(item.kind)])


def describe(scene: Scene, *, setting: bool = True, style: bool = True) -> str:
    """A caption, e.g. "two red apples and a blue cup on a wooden table, flat poster style".

    Args:
        scene: The scene; an empty one is described by its place.
        setting: False leaves the place out.
        style: False leaves the style out. The soft style and the plain backdrop are never mentioned.
    """
    things = " and ".join(describe_item(item) for item in scene.items) or "nothing"
    place = SETTING_PHRASES[scene.setting] if setting else ""
    manner = STYLES[scene.style].phrase if style else ""
    caption = f"{things} {place}" if place else things
    return f"{caption}, {manner}" if manner else caption


@dataclass(frozen=True)
class _Place:
    """Where one object stands: centre and half-size as shares of the canvas."""

    kind: str
    colour: Colour
    x: float
    y: float
    radius: float
    mirrored: bool
    grounded: bool


# Rows of objects from back to front (how many, base line), and the half-size of an object, by number of objects.
_ROWS: dict[int, tuple[tuple[tuple[int, float], ...], float]] = {
    1: (((1, 0.88),), 0.315),
    2: (((2, 0.87),), 0.225),
    3: (((1, 0.63), (2, 0.92)), 0.172),
    4: (((2, 0.61), (2, 0.92)), 0.163),
    5: (((2, 0.61), (3, 0.92)), 0.152),
    6: (((3, 0.61), (3, 0.92)), 0.15),
    7: (((3, 0.61), (4, 0.92)), 0.118),
    8: (((4, 0.61), (4, 0.92)), 0.115),
}


def _arrange(scene: Scene, draws: Draws) -> list[_Place]:
    objects = [item for item in scene.items for _ in range(item.count)]
    if not objects:
        return []
    if draws.chance(0.5):
        objects.reverse()
    rows, radius = _ROWS[len(objects)]
    slots = [
        ((column + 0.5) / count * 0.92 + 0.04, base, 0.92 / count) for count, base in rows for column in range(count)
    ]
    # Two rows leave no room to fly.
    lift = draws.uniform(0.06, 0.13) if len(rows) == 1 else 0.03
    places = []
    for item, (x, base, width) in zip(objects, slots, strict=True):
        scale = {"": 1.0, "small": 0.62, "large": 1.22}[item.size] * draws.uniform(0.93, 1.05)
        half = radius * scale
        room = max(0.0, min(0.5 * width - half, 0.09))
        x += draws.uniform(-room, room)
        floats = item.kind in FLOATING.get(scene.setting, frozenset())
        aloft = item.kind in ALOFT or floats
        y = base - 0.95 * half + draws.uniform(-0.012, 0.012)
        if aloft:
            y = max(half + 0.05, y - lift)
        places.append(
            _Place(item.kind, COLOURS[item.colour], x, y, half, mirrored=draws.chance(0.5), grounded=not aloft)
        )
    return places


def render(scene: Scene, size: int = 128) -> Image:
    """Paint a scene.

    Args:
        scene: What to paint; the same scene gives the same bytes on every machine.
        size: Width and height in pixels, a multiple of 32.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        ValueError: `size` is not a positive multiple of 32.
    """
    if size <= 0 or size % PIXELS:
        raise ValueError(f"size must be a positive multiple of {PIXELS}, not {size}")
    draws = Draws("scene", scene.layout)
    style = STYLES[scene.style]
    small = PIXELS if style.look.hard else size
    backdrop = Backdrop(small)
    SETTINGS[scene.setting](backdrop, draws.child("setting"))
    canvas = style.background(backdrop.canvas, draws.child("background"))
    for place in _arrange(scene, draws.child("layout")):
        patch = Patch(canvas, (place.x, place.y), place.radius, style.look, mirrored=place.mirrored)
        if place.grounded:
            patch.shadow(0.12, 0.93, 0.95, 0.2)
        OBJECTS[place.kind](patch, place.colour)
    return enlarge(to_uint8(style.finish(canvas, draws.child("finish"))), size)
