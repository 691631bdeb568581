"""Dots with intervals around zero: what a change is worth, for several rows and several changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from agiqa_bench.figures.style import (
    INK,
    NORMAL,
    SMALL,
    WIDTH,
    axes_at,
    fitted,
    label_column,
    new_figure,
    series,
    style,
)
from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = 2.4
_STEP = 0.15
_GAP = 0.12
_AXIS = 0.45
"""Widest row labels, height of one dot, space between rows and below the last one, in inches."""

_LINE = 0.16
"""Height of a line of a label, in inches."""


@dataclass(frozen=True)
class Effect:
    """One dot: what one change is worth in one row.

    Attributes:
        label: Its row, e.g. a method's name; the rows stand in the order in which their labels first appear.
        series: The change, e.g. `image-level split`; has its own colour and marker, and stands in the legend.
        value: The effect in the axis' units; None if it is not defined, which the row then says.
        low: Lower end of its 95 % interval; None draws no interval.
        high: Upper end of it.
    """

    label: str
    series: str
    value: float | None
    low: float | None = None
    high: float | None = None


def effects(rows: Sequence[Effect], axis: str = "difference in SRCC") -> Figure:
    """Draw effects as dots with intervals, one row per label, the series of a row below each other, and a line at 0.

    Args:
        rows: The effects, at least one; (label, series) is unique. A row may lack some of the series.
        axis: What the effects are, with their unit: the label of the horizontal axis.

    Raises:
        ValueError: There are none, or two of one label and series.
    """
    labels = list(dict.fromkeys(row.label for row in rows))
    names = list(dict.fromkeys(row.series for row in rows))
    present = {(row.label, row.series) for row in rows}
    if not rows or len(present) < len(rows):
        raise ValueError("effects: give at least one, and not two of one label and series")
    with style():
        texts, width = label_column(labels, _LABELS)
        left = width + 0.15
        own = [[name for name in names if (label, name) in present] for label in labels]
        bands = [
            max(_STEP * len(there), _LINE * (text.count("\n") + 1)) + _GAP
            for there, text in zip(own, texts, strict=True)
        ]
        ends = [0.0, *accumulate(bands)]
        middles = [(low + high) / 2 for low, high in pairwise(ends)]
        legend = 0.12 + 0.155 * len(names) if len(names) > 1 else 0.05
        figure = new_figure(legend + ends[-1] + _AXIS)
        axes = axes_at(figure, left, legend, WIDTH - left - 0.15, ends[-1])
        for position, name in enumerate(names):
            chosen = [row for row in rows if row.series == name]
            _draw(axes, chosen, [_height(row, labels, own, middles) for row in chosen], position)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        axes.set_ylim(ends[-1], 0)
        axes.set_yticks(middles, texts, fontsize=NORMAL)
        axes.set_yticks(ends[1:-1], minor=True)
        axes.tick_params(axis="y", which="both", length=0)
        axes.grid(axis="x")
        axes.grid(axis="y", which="minor")
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel(one_line(axis))
        if len(names) > 1:
            handles, _ = axes.get_legend_handles_labels()
            figure.legend(handles, [fitted(name, WIDTH - 1, SMALL) for name in names], loc="upper left", borderpad=0.2)
    return figure


def _height(row: Effect, labels: Sequence[str], own: Sequence[Sequence[str]], middles: Sequence[float]) -> float:
    """Where a dot stands, in inches from the top: those that a row has stand around the middle of its band."""
    place = labels.index(row.label)
    series_there = own[place]
    return middles[place] + (series_there.index(row.series) - (len(series_there) - 1) / 2) * _STEP


def _draw(axes: Axes, rows: Sequence[Effect], heights: Sequence[float], position: int) -> None:
    look = series(position)
    defined = [(row, height) for row, height in zip(rows, heights, strict=True) if row.value is not None]
    for row, height in defined:
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [height, height], color=look.colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot(
        [row.value for row, _ in defined if row.value is not None],
        [height for _, height in defined],
        look.marker,
        color=look.colour,
        markersize=4.5,
        label=rows[0].series,
    )
    for row, height in zip(rows, heights, strict=True):
        if row.value is None:
            axes.text(0.01, height, "not defined", fontsize=SMALL, va="center", transform=axes.get_yaxis_transform())
