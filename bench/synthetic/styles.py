"""The styles of the scenes: how objects are painted, and what is done to the finished picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from agiqa_bench.synthetic.canvas import PAPER, Look
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.filters import Image, blur, resample, smooth_noise, to_uint8, white_noise
from agiqa_bench.synthetic.shapes import Field

PIXELS = 32
"""Width of a pixel-art picture in its own pixels."""


def unchanged(canvas: Field, draws: Draws) -> Field:  # noqa: ARG001
    """The picture as it was painted."""
    return canvas


def _luminance(canvas: Field) -> Field:
    luminance: Field = 0.3 * canvas[..., 0] + 0.59 * canvas[..., 1] + 0.11 * canvas[..., 2]
    return luminance


def dusk(canvas: Field, draws: Draws) -> Field:  # noqa: ARG001
    """A background darkened for neon light."""
    luminance = _luminance(canvas)[..., None]
    dark: Field = np.array((14.0, 8.0, 36.0)) + 0.24 * canvas + luminance * np.array((0.05, 0.02, 0.14))
    return dark


def faded(canvas: Field, draws: Draws) -> Field:  # noqa: ARG001
    """A background drawn with little pressure."""
    return canvas + 0.35 * (np.array(PAPER) - canvas)


def _stepped(canvas: Field, step: float) -> Field:
    """The picture with its brightness in steps; rounding each channel by itself would shift pale colours."""
    luminance = _luminance(canvas)
    levels = np.floor(luminance / step + 0.5) * step
    return canvas * ((levels + 4.0) / (luminance + 4.0))[..., None]


def flattened(canvas: Field, draws: Draws) -> Field:  # noqa: ARG001
    """A background in few flat tones, as printed."""
    return _stepped(canvas, 26.0)


def framed(canvas: Field, draws: Draws) -> Field:  # noqa: ARG001
    """A poster with a paper margin."""
    size = canvas.shape[0]
    line = np.abs((np.arange(size, dtype=np.float64) + 0.5) / size - 0.5)
    edge = np.maximum(line[None, :], line[:, None])
    cover = np.clip(0.5 + (edge - 0.453) * size, 0.0, 1.0)[..., None]
    poster: Field = canvas + cover * (np.array(PAPER) - canvas)
    return poster


def pixelated(canvas: Field, draws: Draws) -> Field:  # noqa: ARG001
    """Few colours in large pixels; the canvas is painted small and enlarged afterwards."""
    return _stepped(canvas, 20.0)


def washed(canvas: Field, draws: Draws) -> Field:
    """Watercolour: wandering edges, pigment that gathers at them, granulation and paper."""
    size = canvas.shape[0]
    line = np.arange(size, dtype=np.float64)
    reach = 0.011 * size
    shift_x = reach * smooth_noise(draws.child("x"), size, 11)
    shift_y = reach * smooth_noise(draws.child("y"), size, 11)
    wet = resample(to_uint8(canvas), line[None, :] + shift_x, line[:, None] + shift_y)
    soft = blur(wet, 0.014 * size).astype(np.float64)
    edge = np.clip(_luminance(soft - wet) / 30.0, 0.0, 1.0)[..., None]
    pigment = 0.86 + 0.16 * smooth_noise(draws.child("pigment"), size, 5)
    pigment = pigment + 0.07 * smooth_noise(draws.child("bloom"), size, 17)
    pigment = pigment + 0.03 * white_noise(draws.child("grain"), size)
    paint = 0.8 * wet + 0.2 * soft
    paper = np.array(PAPER)
    result: Field = paper + np.clip(pigment, 0.0, 1.0)[..., None] * (paint - paper)
    result = result * (1.0 - 0.2 * edge)
    margin = np.maximum(np.abs(line - 0.5 * (size - 1))[None, :], np.abs(line - 0.5 * (size - 1))[:, None]) / size
    torn = margin + 0.016 * smooth_noise(draws.child("margin"), size, 9) - 0.465
    cover = np.clip(0.5 + torn * size * 0.5, 0.0, 1.0)[..., None]
    result += cover * (paper - result)
    return result


def hatched(canvas: Field, draws: Draws) -> Field:
    """Coloured pencil: hatching that lets the paper through."""
    size = canvas.shape[0]
    line = (np.arange(size, dtype=np.float64) + 0.5) / size
    wander = 0.02 * smooth_noise(draws.child("hand"), size, 6)
    phase = 26.0 * (line[None, :] + 0.7 * line[:, None] + wander)
    stroke = np.abs(2.0 * (phase - np.floor(phase)) - 1.0)
    pressure = 0.9 - 0.36 * stroke * stroke + 0.1 * smooth_noise(draws.child("pressure"), size, 5)
    pressure = pressure + 0.1 * white_noise(draws.child("grain"), size)
    darkness = np.clip((150.0 - _luminance(canvas)) / 100.0, 0.0, 1.0)
    pressure = np.clip(pressure + 0.28 * darkness, 0.0, 1.0)[..., None]
    paper = np.array(PAPER)
    drawing: Field = paper + pressure * (canvas - paper)
    return drawing


@dataclass(frozen=True)
class Style:
    """A style.

    Attributes:
        phrase: How captions name it; empty for the plain way of painting, which needs no name.
        look: How objects are painted.
        background: Applied to the background before objects are painted.
        finish: Applied to the finished picture.
    """

    phrase: str
    look: Look
    background: Callable[[Field, Draws], Field] = unchanged
    finish: Callable[[Field, Draws], Field] = unchanged


STYLES: Mapping[str, Style] = {
    "soft": Style("", Look(shade=0.24)),
    "poster": Style("flat poster style", Look(shadow=0.22), background=flattened, finish=framed),
    "pixel": Style("pixel art", Look(hard=True, shade=0.12, shadow=0.35), finish=pixelated),
    "watercolour": Style("watercolour painting", Look(shade=0.16, shadow=0.2), finish=washed),
    "neon": Style("neon lights", Look(glow=True, shadow=0.0), background=dusk),
    "pencil": Style(
        "coloured pencil drawing",
        Look(outline=0.035, outline_colour=(74.0, 66.0, 84.0), shadow=0.25),
        background=faded,
        finish=hatched,
    ),
}


def enlarge(image: Image, size: int) -> Image:
    """Repeat pixels until the picture is `size` wide."""
    factor = size // image.shape[0]
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
