"""A metric over the repeats: every repeat a dot, the mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agiqa_bench.figures.style import (
    INK,
    NORMAL,
    SMALL,
    WIDTH,
    axes_at,
    in_one_line,
    label_column,
    new_figure,
    series,
    style,
)
from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS, _ROW, _AXIS, _LEGEND = 2.4, 0.26, 0.42, 0.24
"""Widest row labels, height of a row (of one or two lines), of the axis below, of the legend above, in inches."""

_SPREAD = 0.22
"""Farthest that a dot is moved up or down so that equal values can be told apart; a row's height is 1."""


@dataclass(frozen=True)
class StripRow:
    """One method.

    Attributes:
        name: Its name.
        values: The metric in each repeat; None where it is not defined.
        mean: Its mean; None if it is defined nowhere.
        low: Lower end of the 95 % interval of the mean; None draws no interval.
        high: Upper end of it.
        diagnostic: True for a baseline that sees no pixel; its dots are hollow.
    """

    name: str
    values: tuple[float | None, ...]
    mean: float | None
    low: float | None = None
    high: float | None = None
    diagnostic: bool = False


def strip(rows: Sequence[StripRow], axis: str = "SRCC") -> Figure:
    """Draw one row per method, in the order given from the top.

    Args:
        rows: At least one.
        axis: Label of the horizontal axis.

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError("strip: give at least one row")
    with style():
        texts, width = label_column([row.name for row in rows], _LABELS)
        left = width + 0.15
        height = _ROW * len(rows)
        figure = new_figure(_LEGEND + height + _AXIS)
        axes = axes_at(figure, left, _LEGEND, WIDTH - left - 0.12, height)
        for diagnostic in (False, True):
            _draw_repeats(axes, rows, diagnostic=diagnostic)
        _draw_means(axes, rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), texts, fontsize=NORMAL if in_one_line(texts) else SMALL, linespacing=0.95)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="both")
        axes.margins(x=0.03)
        axes.set_xlabel(one_line(axis))
        _legend(figure, any(row.diagnostic for row in rows))
    return figure


def _draw_repeats(axes: Axes, rows: Sequence[StripRow], *, diagnostic: bool) -> None:
    look = series(1 if diagnostic else 0)
    points = [
        (value, place + lift)
        for place, row in enumerate(rows)
        if row.diagnostic is diagnostic
        # Spread by repeat, not by chance: a repeat stands at one height in all rows.
        for value, lift in zip(row.values, np.linspace(-_SPREAD, _SPREAD, len(row.values)), strict=True)
        if value is not None
    ]
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        look.marker,
        color=look.colour,
        markerfacecolor="none" if diagnostic else look.colour,
        markeredgewidth=0.7 if diagnostic else 0,
        markersize=3.2,
        alpha=0.65,
    )


def _draw_means(axes: Axes, rows: Sequence[StripRow]) -> None:
    known = [(row.mean, place) for place, row in enumerate(rows) if row.mean is not None]
    spans = [
        (row.low, row.high, place) for place, row in enumerate(rows) if row.low is not None and row.high is not None
    ]
    axes.hlines([y for *_, y in spans], [low for low, *_ in spans], [high for _, high, _ in spans], INK, linewidth=1.1)
    axes.plot([x for x, _ in known], [y for _, y in known], "|", color=INK, markersize=9, markeredgewidth=1.8)
    for place, row in enumerate(rows):
        if row.mean is None:
            axes.text(0.01, place, "not defined", fontsize=SMALL, va="center", transform=axes.get_yaxis_transform())


def _legend(figure: Figure, diagnostic: bool) -> None:
    from matplotlib.lines import Line2D

    dot, hollow = series(0), series(1)
    handles = [Line2D([], [], ls="", marker=dot.marker, ms=3.6, color=dot.colour, label="one repeat")]
    if diagnostic:
        label = "one repeat, sees no pixel"
        handles.append(
            Line2D([], [], ls="", marker=hollow.marker, ms=3.6, mfc="none", mew=0.7, color=hollow.colour, label=label)
        )
    handles.append(Line2D([], [], color=INK, lw=1.1, label="95 % interval of the mean"))
    handles.append(Line2D([], [], ls="", marker="|", mew=1.8, color=INK, label="mean"))
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), borderaxespad=0.2, columnspacing=1.2)
