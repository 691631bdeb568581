"""The objects of the scenes: each is painted from a few shapes inside [-1, 1] x [-1, 1], standing on y = 0.95."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agiqa_bench.synthetic import shapes
from agiqa_bench.synthetic.canvas import Colour, Patch, darker, lighter, mix

CREAM: Colour = (252.0, 244.0, 224.0)
INK: Colour = (48.0, 40.0, 66.0)
BARK: Colour = (134.0, 92.0, 66.0)
LEAF: Colour = (88.0, 160.0, 92.0)
GLASS: Colour = (190.0, 228.0, 242.0)
GOLD: Colour = (252.0, 204.0, 92.0)
ORANGE: Colour = (244.0, 152.0, 66.0)
WHITE: Colour = (255.0, 255.0, 252.0)

# Unit vectors as exact fractions (Pythagorean triples), because a sine may differ between machines.
TURN_37 = (0.8, 0.6)
TURN_53 = (0.6, 0.8)
TURN_16 = (0.96, 0.28)


def _eyes(p: Patch, left: float, right: float, y: float, radius: float) -> None:
    for cx in (left, right):
        p.detail(shapes.circle(p.x, p.y, cx, y, radius), INK)
        p.detail(shapes.circle(p.x, p.y, cx - 0.3 * radius, y - 0.35 * radius, 0.36 * radius), WHITE)


def apple(p: Patch, c: Colour) -> None:
    """A round apple with stem and leaf."""
    x, y = p.x, p.y
    p.detail(shapes.polyline(x, y, [(0.0, -0.3), (0.03, -0.6), (0.14, -0.86)], 0.06), BARK)
    p.fill(shapes.leaf(x, y, 0.42, -0.68, 0.3, 0.14, (0.8, -0.6)), LEAF)
    flesh = shapes.blend(shapes.circle(x, y, -0.28, 0.22, 0.6), shapes.circle(x, y, 0.28, 0.22, 0.6), 0.25)
    p.fill(shapes.blend(flesh, shapes.ellipse(x, y, 0.0, 0.6, 0.42, 0.34), 0.2), c)
    p.detail(shapes.ellipse(x, y, 0.0, -0.28, 0.16, 0.06), darker(c, 0.4))
    p.detail(shapes.leaf(x, y, -0.5, 0.0, 0.1, 0.22, TURN_37), WHITE, 0.6)


def balloon(p: Patch, c: Colour) -> None:
    """A balloon on a string."""
    x, y = p.x, p.y
    p.detail(
        shapes.polyline(x, y, [(0.0, 0.4), (0.07, 0.58), (-0.05, 0.76), (0.04, 0.95)], 0.03), (196.0, 172.0, 164.0)
    )
    p.fill(shapes.polygon(x, y, [(0.0, 0.3), (-0.1, 0.47), (0.1, 0.47)], 0.02), darker(c, 0.15))
    p.fill(shapes.ellipse(x, y, 0.0, -0.3, 0.58, 0.67), c)
    p.detail(shapes.leaf(x, y, -0.24, -0.54, 0.09, 0.2, TURN_37), WHITE, 0.65)


def bird(p: Patch, c: Colour) -> None:
    """A plump bird that looks to the right."""
    x, y = p.x, p.y
    for foot in (-0.12, 0.14):
        p.detail(shapes.polyline(x, y, [(foot, 0.6), (foot, 0.9), (foot + 0.14, 0.92)], 0.04), ORANGE)
    p.fill(shapes.polygon(x, y, [(-0.4, 0.1), (-0.98, -0.22), (-0.9, 0.2)], 0.03), darker(c, 0.25))
    p.fill(shapes.polygon(x, y, [(0.62, -0.42), (0.97, -0.26), (0.62, -0.14)], 0.02), ORANGE)
    body = shapes.blend(shapes.ellipse(x, y, -0.05, 0.22, 0.62, 0.52), shapes.circle(x, y, 0.34, -0.3, 0.4), 0.3)
    p.fill(body, c)
    p.detail(shapes.common(body + 0.06, shapes.ellipse(x, y, 0.2, 0.46, 0.42, 0.34)), lighter(c, 0.6))
    p.fill(shapes.leaf(x, y, -0.26, 0.16, 0.42, 0.22, (0.96, 0.28)), darker(c, 0.22))
    p.detail(shapes.circle(x, y, 0.46, -0.36, 0.09), INK)
    p.detail(shapes.circle(x, y, 0.43, -0.39, 0.035), WHITE)


def boat(p: Patch, c: Colour) -> None:
    """A sailing boat."""
    x, y = p.x, p.y
    p.detail(shapes.segment(x, y, (0.0, -0.9), (0.0, 0.5), 0.045), BARK)
    p.fill(shapes.polygon(x, y, [(0.1, -0.86), (0.1, 0.3), (0.78, 0.3)], 0.02), c)
    p.fill(shapes.polygon(x, y, [(-0.1, -0.6), (-0.1, 0.3), (-0.64, 0.3)], 0.02), CREAM)
    hull = shapes.polygon(x, y, [(-0.92, 0.46), (0.92, 0.46), (0.6, 0.88), (-0.6, 0.88)], 0.05)
    p.fill(hull, c)
    p.detail(shapes.common(hull + 0.03, shapes.box(x, y, 0.0, 0.58, 1.0, 0.05)), CREAM)


def car(p: Patch, c: Colour) -> None:
    """A small round car seen from the side."""
    x, y = p.x, p.y
    cabin = shapes.polygon(x, y, [(-0.5, 0.1), (-0.34, -0.34), (0.24, -0.34), (0.5, 0.1)], 0.12)
    body = shapes.box(x, y, 0.0, 0.36, 0.96, 0.34, 0.22)
    p.fill(shapes.union(cabin, body), c)
    glass = shapes.polygon(x, y, [(-0.44, 0.05), (-0.3, -0.3), (0.2, -0.3), (0.42, 0.05)], 0.05)
    p.detail(shapes.without(glass, shapes.box(x, y, -0.05, -0.1, 0.05, 0.5)), GLASS)
    p.detail(shapes.box(x, y, 0.0, 0.28, 0.88, 0.03), lighter(c, 0.5))
    p.detail(shapes.circle(x, y, 0.84, 0.34, 0.1), GOLD)
    for wheel in (-0.52, 0.52):
        p.fill(shapes.circle(x, y, wheel, 0.68, 0.26), INK)
        p.detail(shapes.circle(x, y, wheel, 0.68, 0.12), CREAM)


def cat(p: Patch, c: Colour) -> None:
    """A sitting cat."""
    x, y = p.x, p.y
    p.fill(shapes.polyline(x, y, [(0.4, 0.8), (0.78, 0.72), (0.86, 0.4), (0.74, 0.18)], 0.1), darker(c, 0.12))
    p.fill(
        shapes.blend(shapes.ellipse(x, y, 0.0, 0.56, 0.44, 0.42), shapes.box(x, y, 0.0, 0.84, 0.42, 0.1, 0.1), 0.2), c
    )
    p.detail(shapes.ellipse(x, y, 0.0, 0.66, 0.22, 0.26), lighter(c, 0.6))
    ears = [
        shapes.polygon(x, y, [(side * 0.54, -0.88), (side * 0.1, -0.6), (side * 0.54, -0.3)], 0.05) for side in (-1, 1)
    ]
    p.fill(shapes.union(shapes.ellipse(x, y, 0.0, -0.24, 0.62, 0.5), *ears), c)
    for side in (-1.0, 1.0):
        inner = [(side * 0.48, -0.74), (side * 0.26, -0.6), (side * 0.48, -0.46)]
        p.detail(shapes.polygon(x, y, inner, 0.02), (246.0, 170.0, 176.0))
        p.detail(shapes.segment(x, y, (side * 0.3, -0.04), (side * 0.72, -0.1), 0.02), darker(c, 0.5))
        p.detail(shapes.segment(x, y, (side * 0.3, 0.04), (side * 0.7, 0.1), 0.02), darker(c, 0.5))
    _eyes(p, -0.26, 0.26, -0.24, 0.12)
    p.detail(shapes.polygon(x, y, [(-0.06, -0.06), (0.06, -0.06), (0.0, 0.02)], 0.03), (240.0, 130.0, 146.0))


def cup(p: Patch, c: Colour) -> None:
    """A steaming cup with a handle."""
    x, y = p.x, p.y
    for cx in (-0.3, 0.1):
        steam = [(cx, -0.5), (cx + 0.09, -0.62), (cx - 0.04, -0.76), (cx + 0.06, -0.92)]
        p.detail(shapes.polyline(x, y, steam, 0.045), WHITE, 0.6)
    p.fill(shapes.ring(shapes.ellipse(x, y, 0.56, 0.22, 0.3, 0.32), 0.08), darker(c, 0.1))
    p.fill(shapes.polygon(x, y, [(-0.6, -0.22), (0.5, -0.22), (0.38, 0.8), (-0.48, 0.8)], 0.12), c)
    p.detail(shapes.ellipse(x, y, -0.05, -0.24, 0.58, 0.14), lighter(c, 0.55))
    p.detail(shapes.ellipse(x, y, -0.05, -0.21, 0.48, 0.09), (112.0, 70.0, 52.0))
    p.detail(shapes.segment(x, y, (-0.46, 0.1), (-0.38, 0.66), 0.05), WHITE, 0.45)


def fish(p: Patch, c: Colour) -> None:
    """A fish that swims to the right."""
    x, y = p.x, p.y
    p.fill(shapes.polygon(x, y, [(-0.4, 0.0), (-0.92, -0.5), (-0.78, 0.0), (-0.92, 0.5)], 0.04), darker(c, 0.2))
    p.fill(shapes.polygon(x, y, [(-0.2, -0.4), (0.05, -0.76), (0.36, -0.4)], 0.04), darker(c, 0.2))
    body = shapes.ellipse(x, y, 0.14, 0.0, 0.74, 0.54)
    p.fill(body, c)
    for band in (-0.28, 0.04):
        curve = shapes.ring(shapes.circle(x, y, band - 0.9, 0.0, 0.9), 0.06)
        p.detail(shapes.common(body + 0.05, curve), lighter(c, 0.6))
    p.fill(shapes.leaf(x, y, 0.1, 0.2, 0.2, 0.1, TURN_37), darker(c, 0.18))
    p.detail(shapes.circle(x, y, 0.54, -0.12, 0.13), WHITE)
    p.detail(shapes.circle(x, y, 0.57, -0.12, 0.075), INK)
    p.detail(shapes.segment(x, y, (0.7, 0.14), (0.82, 0.1), 0.025), darker(c, 0.5))


def flower(p: Patch, c: Colour) -> None:
    """A flower with eight petals, stem and two leaves."""
    x, y = p.x, p.y
    p.fill(shapes.polyline(x, y, [(0.0, -0.1), (0.04, 0.5), (0.0, 0.95)], 0.05), LEAF)
    p.fill(shapes.leaf(x, y, 0.32, 0.62, 0.3, 0.12, (0.8, -0.6)), LEAF)
    p.fill(shapes.leaf(x, y, -0.28, 0.72, 0.28, 0.11, TURN_37), darker(LEAF, 0.15))
    d = 0.70710678
    petals = [
        shapes.leaf(x, y, 0.42 * u, -0.34 + 0.42 * v, 0.24, 0.15, (u, v))
        for u, v in ((1.0, 0.0), (d, d), (0.0, 1.0), (-d, d), (-1.0, 0.0), (-d, -d), (0.0, -1.0), (d, -d))
    ]
    p.fill(shapes.union(*petals), c)
    p.fill(shapes.circle(x, y, 0.0, -0.34, 0.22), ORANGE if c[0] > 240 and c[1] > 180 and c[2] < 120 else GOLD)


def house(p: Patch, c: Colour) -> None:
    """A small house with a pitched roof and a lit window."""
    x, y = p.x, p.y
    slate: Colour = (98.0, 86.0, 112.0)
    p.fill(shapes.box(x, y, 0.44, -0.52, 0.1, 0.3), darker(slate, 0.1))
    p.fill(shapes.box(x, y, 0.0, 0.42, 0.68, 0.52), c)
    p.fill(shapes.polygon(x, y, [(-0.86, -0.08), (0.0, -0.8), (0.86, -0.08)], 0.06), slate)
    p.fill(shapes.box(x, y, 0.26, 0.62, 0.18, 0.32, 0.05), mix(BARK, c, 0.15))
    p.detail(shapes.circle(x, y, 0.37, 0.64, 0.035), GOLD)
    p.detail(shapes.box(x, y, -0.3, 0.38, 0.24, 0.22, 0.03), CREAM)
    p.detail(shapes.box(x, y, -0.41, 0.38, 0.09, 0.16), GOLD)
    p.detail(shapes.box(x, y, -0.19, 0.38, 0.09, 0.16), GOLD)


def mushroom(p: Patch, c: Colour) -> None:
    """A toadstool with a dotted cap."""
    x, y = p.x, p.y
    p.fill(shapes.polygon(x, y, [(-0.16, -0.05), (0.16, -0.05), (0.26, 0.8), (-0.26, 0.8)], 0.13), CREAM)
    p.detail(shapes.ellipse(x, y, 0.0, 0.06, 0.6, 0.14), (222.0, 204.0, 184.0))
    cap = shapes.common(shapes.ellipse(x, y, 0.0, 0.0, 0.92, 0.88), y - 0.04) - 0.03
    p.fill(cap, c)
    dots = [(-0.5, -0.26, 0.13), (0.0, -0.54, 0.16), (0.48, -0.28, 0.14), (0.1, -0.16, 0.1), (-0.28, -0.6, 0.07)]
    spots = shapes.union(*(shapes.circle(x, y, *dot) for dot in dots))
    # White dots would vanish on a white cap.
    p.detail(shapes.common(cap + 0.03, spots), WHITE if min(c) < 220 else (226.0, 150.0, 140.0))


def star(p: Patch, c: Colour) -> None:
    """A five-pointed star with a smile."""
    x, y = p.x, p.y
    outer = [(0.0, -0.88), (0.837, -0.272), (0.517, 0.712), (-0.517, 0.712), (-0.837, -0.272)]
    inner = [(0.258, -0.356), (0.418, 0.136), (0.0, 0.44), (-0.418, 0.136), (-0.258, -0.356)]
    p.fill(shapes.polygon(x, y, [q for pair in zip(outer, inner, strict=True) for q in pair], 0.08), c)
    _eyes(p, -0.17, 0.17, -0.08, 0.075)
    p.detail(shapes.polyline(x, y, [(-0.12, 0.12), (0.0, 0.18), (0.12, 0.12)], 0.028), INK)


def tree(p: Patch, c: Colour) -> None:
    """A tree with a round crown."""
    x, y = p.x, p.y
    p.fill(shapes.polygon(x, y, [(-0.08, 0.1), (0.08, 0.1), (0.15, 0.92), (-0.15, 0.92)], 0.03), BARK)
    lobes = [(0.0, -0.44, 0.5), (-0.42, -0.08, 0.42), (0.42, -0.08, 0.42), (0.0, 0.06, 0.42)]
    crown = shapes.union(*(shapes.circle(x, y, *lobe) for lobe in lobes))
    p.fill(crown, c)
    light = shapes.union(shapes.circle(x, y, -0.1, -0.52, 0.34), shapes.circle(x, y, -0.5, -0.14, 0.24))
    p.detail(shapes.common(crown + 0.05, light), lighter(c, 0.4), 0.55)
    shade = shapes.union(shapes.circle(x, y, 0.5, 0.08, 0.26), shapes.circle(x, y, 0.08, 0.24, 0.2))
    p.detail(shapes.common(crown + 0.04, shade), darker(c, 0.35), 0.5)


def umbrella(p: Patch, c: Colour) -> None:
    """An open umbrella."""
    x, y = p.x, p.y
    p.detail(shapes.polyline(x, y, [(0.0, -0.9), (0.0, 0.72), (0.08, 0.86), (0.22, 0.86), (0.28, 0.74)], 0.05), BARK)
    dome = shapes.common(shapes.circle(x, y, 0.0, 0.08, 0.92), y - 0.12)
    dome = shapes.without(dome, *(shapes.ellipse(x, y, cx, 0.14, 0.3, 0.14) for cx in (-0.62, 0.0, 0.62)))
    p.fill(dome, c)
    rib = shapes.common(dome + 0.02, shapes.ellipse(x, y, 0.0, 0.12, 0.32, 0.98))
    p.detail(rib, lighter(c, 0.55), 0.8)


OBJECTS: Mapping[str, Callable[[Patch, Colour], None]] = {
    "apple": apple,
    "balloon": balloon,
    "bird": bird,
    "boat": boat,
    "car": car,
    "cat": cat,
    "cup": cup,
    "fish": fish,
    "flower": flower,
    "house": house,
    "mushroom": mushroom,
    "star": star,
    "tree": tree,
    "umbrella": umbrella,
}

COLOURS: Mapping[str, Colour] = {
    "red": (222.0, 66.0, 62.0),
    "orange": (246.0, 140.0, 48.0),
    "yellow": (252.0, 206.0, 66.0),
    "green": (82.0, 170.0, 92.0),
    "blue": (62.0, 122.0, 212.0),
    "purple": (138.0, 90.0, 190.0),
    "pink": (246.0, 142.0, 178.0),
    "white": (250.0, 248.0, 242.0),
}
