"""A table of correlations in colours, with the numbers written in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agiqa_bench.figures.style import (
    INK,
    NORMAL,
    SMALL,
    WIDTH,
    axes_at,
    fitted,
    in_one_line,
    label_column,
    new_figure,
    signed,
    style,
    text_width,
)
from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS, _HEADS = 2.4, 1.3
_ROW, _NARROWEST, _WIDEST = 0.23, 0.36, 0.62
_BAR, _MARGIN = 0.62, 0.08
"""Longest row labels and column heads; height of a row, width of a column; width of the colour bar, in inches."""

_MAP = "cividis"
"""Nuñez et al. (PLOS ONE 13, 2018): one order of lightness for everybody, and in grey."""


def heat_map(
    values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], axis: str = "SRCC"
) -> Figure:
    """Draw a matrix in colours that go from the lowest value, or from 0, to the highest.

    Args:
        values: One row per name in `rows`, one value per name in `columns`; None, which is hatched, if not defined.
        rows: Names of the rows, from the top; at least one.
        columns: Names of the columns; at least one. The figure grows wider than a page's column if there are many.
        axis: What the values are: the label of the colour bar.

    Raises:
        ValueError: There is no row or column, or the shapes do not fit.
    """
    if not rows or not columns or len(values) != len(rows) or any(len(line) != len(columns) for line in values):
        raise ValueError("heat_map: give one line of values per row, and in it one value per column")
    matrix = np.array([[math.nan if value is None else value for value in line] for line in values])
    with style():
        texts, width = label_column(rows, _LABELS)
        left = width + 0.15
        wide = min(max((WIDTH - left - _BAR - _MARGIN) / len(columns), _NARROWEST), _WIDEST)
        heads = [fitted(name, _HEADS, SMALL) for name in columns]
        upright = any(text_width(head, SMALL) > wide - 0.05 for head in heads)
        top = 0.1 + (max(text_width(head, SMALL) for head in heads) if upright else 0.15)
        row = _ROW if in_one_line(texts) else 1.2 * _ROW
        tall, across = row * len(rows), wide * len(columns)
        figure = new_figure(top + max(tall, 0.9) + 0.12, left + across + _BAR + _MARGIN)
        axes = axes_at(figure, left, top, across, tall)
        low, high = scale(matrix)
        axes.set_facecolor("none")
        mesh = axes.pcolormesh(np.ma.masked_invalid(matrix), cmap=_MAP, vmin=low, vmax=high)
        _write(axes, matrix, low, high)
        axes.set_ylim(len(rows), 0)
        axes.set_yticks(np.arange(len(rows)) + 0.5, texts, fontsize=NORMAL if in_one_line(texts) else SMALL)
        axes.set_xticks(np.arange(len(columns)) + 0.5, heads, rotation=90 if upright else 0, va="bottom")
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        place = axes_at(figure, left + across + 0.12, top, 0.11, max(tall, 0.9))
        bar = figure.colorbar(mesh, cax=place)
        bar.set_label(one_line(axis), fontsize=SMALL, labelpad=2)
        bar.outline.set_visible(False)
    return figure


def scale(matrix: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the colour scale: tenths that hold all values, 0 and 0.1."""
    known = 10 * matrix[np.isfinite(matrix)]
    # Without the rounding 10 x 0.7 would be more than 7.
    low, high = (round(float(end), 9) for end in (known.min(initial=0.0), known.max(initial=1.0)))
    return math.floor(low) / 10, math.ceil(high) / 10


def _write(axes: Axes, matrix: npt.NDArray[np.float64], low: float, high: float) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colours = colormaps[_MAP]
    for (row, column), value in np.ndenumerate(matrix):
        if math.isnan(value):
            axes.add_patch(
                Rectangle((column, row), 1, 1, fill=False, hatch="////", edgecolor=INK, linewidth=0, alpha=0.4)
            )
            continue
        red, green, blue, _ = colours((value - low) / (high - low))
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
        text = signed(value, 2)
        axes.text(
            column + 0.5, row + 0.5, text, fontsize=SMALL, color="white" if dark else "black", ha="center", va="center"
        )
