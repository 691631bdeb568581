"""Images of the data set as thumbnails, with prompt, MOS and score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.data.images import decode
from agiqa_bench.errors import BadImageError
from agiqa_bench.figures.style import SMALL, WIDTH, axes_at, fitted, new_figure, style
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.render.layout import PICTURE_NUMBERS, picture_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agiqa_bench.reporting.model import Picture

SIDE = 320
"""Longest side of a thumbnail in pixels: twice what a card of a page is wide, for fine screens."""

_COLUMNS, _MARGIN, _GAP = 4, 0.08, 0.14
_LINES, _LINE = 3, 0.125
_WIDTH = (WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
_TEXT = (_LINES + 2) * _LINE + 0.12
"""Lines of a prompt; height of a line, width of an image, height of what stands below it, in inches."""


def gallery(pictures: Sequence[Picture]) -> Figure:
    """Draw images in rows of four, each with its prompt, what people say and what the method says.

    An image that is not there or cannot be decoded is an empty box that says so.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError("gallery: give at least one picture")
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    step = _WIDTH + _TEXT + _GAP
    with style():
        high, wide = 2 * _MARGIN + rows * step - _GAP, 2 * _MARGIN + columns * (_WIDTH + _GAP) - _GAP
        figure = new_figure(high, wide)
        for place, picture in enumerate(pictures):
            row, column = divmod(place, columns)
            left, top = _MARGIN + column * (_WIDTH + _GAP), _MARGIN + row * step
            _draw(axes_at(figure, left, top, _WIDTH, _WIDTH), picture)
            words = left / wide, 1 - (top + _WIDTH + 0.05) / high
            figure.text(*words, _words(picture), fontsize=SMALL, va="top", linespacing=1.15)
    return figure


def thumbnail(path: Path, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Decode an image and make it smaller, uint8 (height, width, 3); its longest side has at most `side` pixels.

    Raises:
        BadImageError: It is not there or cannot be decoded.
    """
    from PIL import Image

    small = Image.fromarray(decode(path))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _draw(axes: Axes, picture: Picture) -> None:
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    try:
        if not picture.path:
            raise BadImageError(f"{picture.name}: where it lies is not known")
        axes.imshow(thumbnail(Path(picture.path)), interpolation="antialiased")
        axes.set_anchor("S")
    except BadImageError:
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#80808020"))
        axes.text(0.5, 0.5, "image not at hand", fontsize=SMALL, ha="center", va="center", transform=axes.transAxes)


def _numbers(picture: Picture) -> list[str]:
    pairs = zip(PICTURE_NUMBERS, picture_numbers(picture), strict=True)
    return [f"{column.title} {number_text(number, column).value}" for column, number in pairs]


def _words(picture: Picture) -> str:
    lines = [
        "   ".join(_numbers(picture)),
        fitted(picture.generator, _WIDTH, SMALL),
        fitted(picture.prompt or picture.name, _WIDTH, SMALL, lines=_LINES),
    ]
    return "\n".join(filter(None, lines))
