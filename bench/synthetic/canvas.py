"""A canvas and the patches of it that objects are painted on, in the look of a style."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agiqa_bench.synthetic.shapes import Field, ring

Colour = tuple[float, float, float]
"""Red, green, blue in [0, 255]."""


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` of `b` in it."""
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """`colour` mixed with a warm white."""
    return mix(colour, (255.0, 252.0, 240.0), share)


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """`colour` mixed with a dark violet, which looks more alive than black."""
    return mix(colour, (38.0, 24.0, 58.0), share)


@dataclass(frozen=True)
class Look:
    """How a style paints the parts of an object.

    Attributes:
        shade: Strength of the light from the upper left, 0 for flat colours.
        outline: Half-width of the outline around main parts, in object units; 0 for none.
        outline_colour: Its colour; None means a darker tone of the part's own.
        glow: True for bright outlines on dark fillings, as of neon tubes.
        hard: True for hard edges: a pixel belongs to a shape or not.
        shadow: Strength of the shadow on the ground, in [0, 1].
        wash: How far fillings are mixed towards the paper, in [0, 1].
    """

    shade: float = 0.0
    outline: float = 0.0
    outline_colour: Colour | None = None
    glow: bool = False
    hard: bool = False
    shadow: float = 0.3
    wash: float = 0.0


PAPER: Colour = (250.0, 246.0, 236.0)


class Patch:
    """A window on a canvas with an object's own coordinates: the object lies in [-1, 1] x [-1, 1], y pointing down.

    Attributes:
        x: Column coordinates, float64 (1, width).
        y: Row coordinates, float64 (height, 1).
        pixel: Size of a pixel in object units.
    """

    def __init__(
        self, canvas: Field, centre: tuple[float, float], radius: float, look: Look, *, mirrored: bool = False
    ) -> None:
        """Open a window.

        Args:
            canvas: float64 (size, size, 3) in [0, 255], painted in place.
            centre: Position of the object's origin, as shares of the canvas.
            radius: Half the object's size, as a share of the canvas.
            look: How to paint.
            mirrored: Swap left and right.
        """
        size = canvas.shape[0]
        reach = radius * (1.5 if look.glow else 1.2)
        left, top = (max(0, int((c - reach) * size)) for c in centre)
        right, bottom = (max(0, min(size, int((c + reach) * size) + 1)) for c in centre)
        self._view = canvas[top:bottom, left:right]
        self.pixel = 1.0 / (radius * size)
        sign = -1.0 if mirrored else 1.0
        columns = (np.arange(left, right, dtype=np.float64) + 0.5) / size
        rows = (np.arange(top, bottom, dtype=np.float64) + 0.5) / size
        self.x: Field = (sign * (columns - centre[0]) / radius)[None, :]
        self.y: Field = ((rows - centre[1]) / radius)[:, None]
        self._light = 1.0 - look.shade * np.clip(0.45 * sign * self.x + 0.6 * self.y, -1.0, 1.0)
        self.look = look

    def _cover(self, distance: Field) -> Field:
        if self.look.hard:
            # A quarter of a pixel more keeps thin parts from falling between pixel centres.
            cover: Field = (distance < 0.25 * self.pixel).astype(np.float64)
        else:
            cover = np.clip(0.5 - distance / self.pixel, 0.0, 1.0)
        return cover

    def _paint(self, cover: Field, colour: Field) -> None:
        self._view += cover[..., None] * (colour - self._view)

    def fill(self, distance: Field, colour: Colour) -> None:
        """Paint a main part: shaded and outlined as the look says."""
        look = self.look
        tone = np.array(mix(colour, PAPER, look.wash))
        if look.glow:
            self._paint(self._cover(distance), 0.42 * tone)
            halo = np.clip(1.0 - np.abs(distance) / 0.34, 0.0, 1.0)
            self._view += (halo * halo * 0.45)[..., None] * tone
            self._paint(self._cover(ring(distance, max(0.04, 0.6 * self.pixel))), np.array(lighter(colour, 0.45)))
            return
        self._paint(self._cover(distance), tone * self._light[..., None] if look.shade else tone)
        if look.outline:
            half = max(look.outline, 0.45 * self.pixel)
            self._paint(self._cover(ring(distance, half)), np.array(look.outline_colour or darker(colour, 0.55)))

    def detail(self, distance: Field, colour: Colour, opacity: float = 1.0) -> None:
        """Paint a small part: no outline, no shading."""
        tone = mix(colour, PAPER, 0.5 * self.look.wash)
        if self.look.glow:
            tone = mix(tone, (20.0, 14.0, 44.0), 0.25)
        self._paint(opacity * self._cover(distance), np.array(tone))

    def shadow(self, cx: float, base: float, rx: float, ry: float) -> None:
        """Darken an elliptic patch of the ground, softly."""
        u, v = (self.x - cx) / rx, (self.y - base) / ry
        cover = np.clip(1.0 - (u * u + v * v), 0.0, 1.0)
        if self.look.hard:
            cover = (cover > 0.3).astype(np.float64)
        self._paint(self.look.shadow * cover, np.array((34.0, 26.0, 62.0)))
