"""The places of the scenes: backgrounds painted over the whole canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from agiqa_bench.synthetic import shapes
from agiqa_bench.synthetic.canvas import Colour
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.shapes import Field

SUN: Colour = (255.0, 226.0, 130.0)


class Backdrop:
    """A whole canvas in coordinates from 0 to 1, y pointing down."""

    def __init__(self, size: int) -> None:
        """Start with a black canvas of `size` x `size` pixels."""
        self.pixel = 1.0 / size
        line = (np.arange(size, dtype=np.float64) + 0.5) / size
        self.x: Field = line[None, :]
        self.y: Field = line[:, None]
        self.canvas: Field = np.zeros((size, size, 3))

    def gradient(self, top: Colour, bottom: Colour, start: float = 0.0, end: float = 1.0) -> None:
        """Paint rows from `start` down with colours from `top` to `bottom` (reached at `end`)."""
        share = np.clip((self.y - start) / (end - start), 0.0, 1.0)[..., None]
        colours = np.array(top) + share * (np.array(bottom) - np.array(top))
        cover = np.clip(0.5 + (self.y - start) / self.pixel, 0.0, 1.0)[..., None] if start > 0.0 else 1.0
        self.canvas += cover * (colours - self.canvas)

    def paint(self, distance: Field, colour: Colour, opacity: float = 1.0) -> None:
        """Paint a shape with smooth edges."""
        cover = opacity * np.clip(0.5 - distance / self.pixel, 0.0, 1.0)
        self.canvas += cover[..., None] * (np.array(colour) - self.canvas)

    def dot(self, cx: float, cy: float, radius: float, colour: Colour, opacity: float = 1.0) -> None:
        """Paint a small disc; only the pixels around it are touched, which is what makes many of them cheap."""
        size = self.canvas.shape[0]
        left, right = (max(0, min(size, int((cx + side * radius) * size + side + 0.5))) for side in (-1, 1))
        top, bottom = (max(0, min(size, int((cy + side * radius) * size + side + 0.5))) for side in (-1, 1))
        distance = shapes.circle(self.x[:, left:right], self.y[top:bottom], cx, cy, radius)
        cover = opacity * np.clip(0.5 - distance / self.pixel, 0.0, 1.0)
        view = self.canvas[top:bottom, left:right]
        view += cover[..., None] * (np.array(colour) - view)

    def glow(self, cx: float, cy: float, radius: float, colour: Colour, opacity: float) -> None:
        """Paint a soft light around a point."""
        u, v = (self.x - cx) / radius, (self.y - cy) / radius
        fade = np.clip(1.0 - (u * u + v * v), 0.0, 1.0)
        self.canvas += (opacity * fade * fade)[..., None] * (np.array(colour) - self.canvas)

    def ridge(self, base: float, bumps: list[tuple[float, float, float]], colour: Colour, lower: Colour) -> None:
        """Paint a hilly foreground from its crest down; `bumps` are (centre, half-width, height)."""
        crest = np.full_like(self.x, base)
        for centre, half_width, height in bumps:
            u = (self.x - centre) / half_width
            crest = crest - height / (1.0 + u * u)
        depth = self.y - crest
        share = np.clip(depth / 0.35, 0.0, 1.0)[..., None]
        colours = np.array(colour) + share * (np.array(lower) - np.array(colour))
        cover = np.clip(0.5 + depth / self.pixel, 0.0, 1.0)[..., None]
        self.canvas += cover * (colours - self.canvas)


def _cloud(b: Backdrop, cx: float, cy: float, size: float, opacity: float) -> None:
    lobes = [(-0.09, 0.01, 0.055), (-0.02, -0.025, 0.075), (0.07, 0.0, 0.06)]
    puffs = shapes.union(*(shapes.circle(b.x, b.y, cx + size * u, cy + size * v, size * r) for u, v, r in lobes))
    base = shapes.box(b.x, b.y, cx - 0.01 * size, cy + 0.03 * size, 0.135 * size, 0.034 * size, 0.034 * size)
    b.paint(shapes.union(puffs, base), (255.0, 255.0, 255.0), opacity)


def plain(b: Backdrop, draws: Draws) -> None:
    """A soft studio backdrop in one of a few pastel colours."""
    walls: list[tuple[Colour, Colour]] = [
        ((232.0, 240.0, 244.0), (196.0, 214.0, 224.0)),
        ((248.0, 236.0, 222.0), (232.0, 208.0, 186.0)),
        ((236.0, 242.0, 230.0), (202.0, 218.0, 196.0)),
        ((240.0, 234.0, 244.0), (212.0, 202.0, 224.0)),
    ]
    top, bottom = draws.choice(walls)
    b.gradient(top, bottom)
    b.gradient(bottom, top, 0.7, 1.0)
    b.glow(0.36, 0.34, 0.7, (255.0, 255.0, 255.0), 0.5)


def beach(b: Backdrop, draws: Draws) -> None:
    """Sky, sea and sand under the sun."""
    b.gradient((112.0, 196.0, 232.0), (214.0, 240.0, 240.0), 0.0, 0.5)
    sun = draws.uniform(0.14, 0.86)
    b.glow(sun, 0.17, 0.3, (255.0, 244.0, 196.0), 0.9)
    b.paint(shapes.circle(b.x, b.y, sun, 0.17, 0.075), SUN)
    _cloud(b, 1.0 - sun + draws.uniform(-0.1, 0.1), draws.uniform(0.16, 0.28), 1.1, 0.9)
    b.gradient((38.0, 148.0, 184.0), (104.0, 208.0, 208.0), 0.44, 0.66)
    for _ in range(5):
        u, v = draws.uniform(), draws.uniform(0.47, 0.58)
        b.paint(shapes.segment(b.x, b.y, (u, v), (u + 0.09, v), 0.005), (222.0, 246.0, 244.0), 0.7)
    tide = [(draws.uniform(0.1, 0.9), 0.25, 0.03), (draws.uniform(), 0.12, 0.02)]
    b.ridge(0.645, tide, (240.0, 252.0, 248.0), (240.0, 252.0, 248.0))
    b.ridge(0.665, tide, (250.0, 226.0, 172.0), (232.0, 194.0, 132.0))
    for _ in range(7):
        u, v = draws.uniform(), draws.uniform(0.74, 0.98)
        b.dot(u, v, 0.007, (206.0, 164.0, 110.0), 0.8)


def night(b: Backdrop, draws: Draws) -> None:
    """A starry sky with a moon over dark hills."""
    b.gradient((18.0, 20.0, 62.0), (86.0, 78.0, 150.0), 0.0, 0.72)
    for _ in range(26):
        u, v, r = draws.uniform(), draws.uniform(0.0, 0.6), draws.uniform(0.003, 0.008)
        b.dot(u, v, r, (255.0, 250.0, 224.0), 0.9)
    moon = draws.uniform(0.16, 0.84)
    b.glow(moon, 0.19, 0.26, (190.0, 186.0, 240.0), 0.55)
    disc = shapes.circle(b.x, b.y, moon, 0.19, 0.085)
    b.paint(shapes.without(disc, shapes.circle(b.x, b.y, moon + 0.05, 0.165, 0.078)), (255.0, 246.0, 206.0))
    far = [(draws.uniform(0.0, 0.4), 0.2, 0.08), (draws.uniform(0.6, 1.0), 0.26, 0.07)]
    b.ridge(0.68, far, (58.0, 62.0, 122.0), (44.0, 48.0, 100.0))
    b.ridge(0.74, [(draws.uniform(0.2, 0.8), 0.3, 0.05)], (38.0, 60.0, 92.0), (22.0, 34.0, 66.0))


def meadow(b: Backdrop, draws: Draws) -> None:
    """Rolling green hills under a blue sky."""
    b.gradient((116.0, 190.0, 240.0), (226.0, 244.0, 250.0), 0.0, 0.62)
    _cloud(b, draws.uniform(0.1, 0.45), draws.uniform(0.12, 0.2), 1.25, 0.95)
    _cloud(b, draws.uniform(0.6, 0.95), draws.uniform(0.2, 0.32), 0.95, 0.85)
    b.ridge(0.62, [(draws.uniform(0.0, 0.4), 0.2, 0.1), (0.9, 0.3, 0.06)], (156.0, 206.0, 134.0), (120.0, 186.0, 110.0))
    b.ridge(0.68, [(draws.uniform(0.5, 1.0), 0.26, 0.08)], (136.0, 202.0, 104.0), (92.0, 170.0, 80.0))
    b.ridge(0.76, [(draws.uniform(0.1, 0.6), 0.35, 0.04)], (118.0, 192.0, 84.0), (70.0, 148.0, 66.0))
    petals: list[Colour] = [(255.0, 250.0, 240.0), (255.0, 214.0, 96.0), (250.0, 170.0, 190.0)]
    for _ in range(14):
        u, v = draws.uniform(), draws.uniform(0.78, 0.99)
        b.dot(u, v, 0.01, draws.choice(petals))


def snow(b: Backdrop, draws: Draws) -> None:
    """Snowy ground before mountains, with falling flakes."""
    b.gradient((150.0, 188.0, 222.0), (232.0, 240.0, 246.0), 0.0, 0.6)
    for centre, peak, half in ((draws.uniform(0.1, 0.35), 0.24, 0.34), (draws.uniform(0.62, 0.9), 0.17, 0.4)):
        slope = [(centre, peak), (centre + half, 0.74), (centre - half, 0.74)]
        mountain = shapes.polygon(b.x, b.y, slope)
        b.paint(mountain, (128.0, 150.0, 184.0))
        b.paint(shapes.common(mountain, b.x - centre - 0.12 * (b.y - peak)), (158.0, 178.0, 206.0))
        zigzag = peak + 0.12 + 0.35 * np.abs(8.0 * (b.x - centre) - np.floor(8.0 * (b.x - centre) + 0.5)) / 4.0
        b.paint(shapes.common(mountain, b.y - zigzag), (250.0, 252.0, 255.0))
    b.ridge(0.66, [(draws.uniform(0.0, 0.5), 0.3, 0.05)], (232.0, 240.0, 250.0), (208.0, 222.0, 240.0))
    b.ridge(0.74, [(draws.uniform(0.4, 1.0), 0.3, 0.06)], (250.0, 252.0, 255.0), (214.0, 226.0, 244.0))
    for _ in range(22):
        u, v, r = draws.uniform(), draws.uniform(), draws.uniform(0.005, 0.011)
        b.dot(u, v, r, (255.0, 255.0, 255.0), 0.9)


def table(b: Backdrop, draws: Draws) -> None:
    """A wooden table before a papered wall with a window."""
    walls: list[Colour] = [(226.0, 208.0, 186.0), (196.0, 214.0, 204.0), (218.0, 198.0, 206.0)]
    wall = draws.choice(walls)
    pale = (wall[0] + 14.0, wall[1] + 14.0, wall[2] + 14.0)
    b.gradient(pale, wall, 0.0, 0.62)
    stripe = np.abs(9.0 * b.x - np.floor(9.0 * b.x) - 0.5) / 9.0 - 0.018 + 0.0 * b.y
    b.paint(stripe, pale, 0.7)
    cx = draws.choice([0.22, 0.5, 0.78])
    b.paint(shapes.box(b.x, b.y, cx, 0.24, 0.155, 0.175, 0.015), (250.0, 244.0, 232.0))
    b.paint(shapes.box(b.x, b.y, cx, 0.24, 0.135, 0.155), (172.0, 216.0, 236.0))
    b.paint(
        shapes.common(shapes.circle(b.x, b.y, cx - 0.06, 0.46, 0.16), shapes.box(b.x, b.y, cx, 0.24, 0.135, 0.155)),
        (150.0, 200.0, 134.0),
    )
    b.paint(
        shapes.union(shapes.box(b.x, b.y, cx, 0.24, 0.008, 0.16), shapes.box(b.x, b.y, cx, 0.22, 0.14, 0.008)),
        (250.0, 244.0, 232.0),
    )
    b.gradient((206.0, 148.0, 94.0), (170.0, 108.0, 66.0), 0.6, 1.0)
    for index in range(1, 5):
        depth = 0.6 + 0.028 * index * (index + 1)
        b.paint(np.abs(b.y - depth) - 0.003 + 0.0 * b.x, (138.0, 84.0, 52.0), 0.6)
    for _ in range(8):
        u, v = draws.uniform(-0.1, 1.0), draws.uniform(0.64, 0.98)
        b.paint(shapes.segment(b.x, b.y, (u, v), (u + draws.uniform(0.08, 0.24), v), 0.003), (148.0, 92.0, 58.0), 0.5)
    b.paint(shapes.box(b.x, b.y, 0.5, 0.605, 0.6, 0.012), (226.0, 174.0, 118.0))


def sea(b: Backdrop, draws: Draws) -> None:
    """Under water: light rays, bubbles, weed and sand."""
    b.gradient((88.0, 204.0, 214.0), (18.0, 84.0, 142.0))
    for _ in range(3):
        u = draws.uniform(0.05, 0.85)
        ray = [(u, -0.05), (u + 0.09, -0.05), (u + 0.02, 0.85), (u - 0.18, 0.85)]
        b.paint(shapes.polygon(b.x, b.y, ray), (226.0, 252.0, 244.0), 0.13)
    floor = [(draws.uniform(0.0, 0.4), 0.25, 0.05), (draws.uniform(0.6, 1.0), 0.2, 0.04)]
    b.ridge(0.85, floor, (216.0, 200.0, 152.0), (146.0, 146.0, 128.0))
    for side in (draws.uniform(0.03, 0.2), draws.uniform(0.8, 0.97)):
        for shift in (-0.04, 0.0, 0.045):
            u, height = side + shift, draws.uniform(0.16, 0.34)
            weed = [
                (u, 0.92),
                (u + 0.025, 0.92 - height / 3),
                (u - 0.02, 0.92 - height / 1.5),
                (u + 0.02, 0.92 - height),
            ]
            b.paint(shapes.polyline(b.x, b.y, weed, 0.011), draws.choice([(42.0, 142.0, 110.0), (76.0, 168.0, 108.0)]))
    for _ in range(11):
        u, v, r = draws.uniform(), draws.uniform(0.05, 0.8), draws.uniform(0.008, 0.02)
        b.dot(u, v, r, (236.0, 254.0, 254.0), 0.55)
        b.dot(u + 0.15 * r, v + 0.15 * r, 0.7 * r, (120.0, 206.0, 222.0), 0.6)


def desert(b: Backdrop, draws: Draws) -> None:
    """Dunes before a setting sun."""
    b.gradient((118.0, 82.0, 150.0), (252.0, 158.0, 108.0), 0.0, 0.52)
    b.gradient((252.0, 158.0, 108.0), (254.0, 206.0, 132.0), 0.46, 0.66)
    sun = draws.uniform(0.2, 0.8)
    b.glow(sun, 0.5, 0.42, (255.0, 220.0, 150.0), 0.85)
    b.paint(shapes.circle(b.x, b.y, sun, 0.5, 0.14), (255.0, 236.0, 170.0))
    b.ridge(
        0.64, [(draws.uniform(0.0, 0.4), 0.2, 0.07), (0.95, 0.25, 0.05)], (214.0, 122.0, 92.0), (198.0, 106.0, 84.0)
    )
    b.ridge(0.7, [(draws.uniform(0.5, 1.0), 0.24, 0.07)], (234.0, 152.0, 98.0), (208.0, 118.0, 80.0))
    b.ridge(0.8, [(draws.uniform(0.1, 0.6), 0.34, 0.06)], (248.0, 182.0, 116.0), (216.0, 134.0, 86.0))
    u = draws.choice([0.07, 0.93])
    cactus = shapes.union(
        shapes.segment(b.x, b.y, (u, 0.5), (u, 0.72), 0.018),
        shapes.polyline(b.x, b.y, [(u, 0.62), (u + 0.05, 0.61), (u + 0.05, 0.55)], 0.013),
        shapes.polyline(b.x, b.y, [(u, 0.65), (u - 0.045, 0.64), (u - 0.045, 0.59)], 0.013),
    )
    b.paint(cactus, (96.0, 92.0, 92.0))


SETTINGS: Mapping[str, Callable[[Backdrop, Draws], None]] = {
    "plain": plain,
    "beach": beach,
    "night": night,
    "meadow": meadow,
    "snow": snow,
    "table": table,
    "sea": sea,
    "desert": desert,
}
