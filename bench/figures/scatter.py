"""Small multiples of score against MOS, with the fitted logistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.figures.panels import Panel, Points, Sheet, padded
from agiqa_bench.figures.style import NORMAL, SMALL, WIDTH, fitted, series, style
from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vector = npt.NDArray[np.float64]

_COLUMNS = 4
_LEFT, _TOP, _BOTTOM, _RIGHT = 0.5, 0.05, 0.42, 0.08
_TITLE, _PANEL, _TICKS, _GAP = 0.52, 1.08, 0.22, 0.2
"""Margins; height of a title, of a panel, of the ticks below it, and the space between panels, in inches."""

_NO_PIXEL = "#7f7f7f"
_FIT_POINTS = 100


@dataclass(frozen=True)
class ScatterPanel:
    """One panel: what a method scores and what people say.

    Attributes:
        name: The method's name.
        scores: Finite scores (n,).
        mos: Finite MOS (n,).
        fit: Maps scores (m,) to the scale of MOS; None draws no line.
        lines: What is written below the name, at most two lines, e.g. `SRCC 0.801`.
        diagnostic: True for a baseline that sees no pixel; its dots are grey.
    """

    name: str
    scores: Vector
    mos: Vector
    fit: Callable[[Vector], Vector] | None = None
    lines: tuple[str, ...] = ()
    diagnostic: bool = False


def scatter(panels: Sequence[ScatterPanel], axis: str = "MOS") -> Figure:
    """Draw each panel's images as dots, MOS upwards on one scale for all, scores to the right on its own.

    Args:
        panels: At least one; four stand side by side.
        axis: Label of the vertical axis.

    Raises:
        ValueError: There is no panel.
    """
    if not panels:
        raise ValueError("scatter: give at least one panel")
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    step = _TITLE + _PANEL + _TICKS
    wide = (WIDTH - _LEFT - _RIGHT - (_COLUMNS - 1) * _GAP) / _COLUMNS
    whole = _LEFT + columns * (wide + _GAP) - _GAP + _RIGHT
    height = _TOP + rows * step + _BOTTOM - _TICKS
    y_range = padded(np.concatenate([panel.mos for panel in panels]))
    size = 2.6 if max(len(panel.scores) for panel in panels) < 300 else 1.9
    with style():
        sheet = Sheet(height, whole)
        dots: dict[str, list[Points]] = {}
        lines = []
        for place, panel in enumerate(panels):
            row, column = divmod(place, columns)
            left, top = _LEFT + column * (wide + _GAP), _TOP + row * step + _TITLE
            box = Panel(left, top, wide, _PANEL, padded(panel.scores), y_range)
            sheet.frame(box, (3, 5), labels_left=column == 0)
            sheet.text(left, top - 0.05, _title(panel, wide), va="bottom", linespacing=1.15)
            colour = _NO_PIXEL if panel.diagnostic else series(0).colour
            dots.setdefault(colour, []).append(box.points(panel.scores, panel.mos))
            if panel.fit is not None:
                x = np.linspace(panel.scores.min(), panel.scores.max(), _FIT_POINTS)
                lines.append(box.points(x, panel.fit(x)))
        # Thousands of dots become one picture, in vector files too.
        sheet.axes.set_rasterization_zorder(0.5)
        for colour, points in dots.items():
            sheet.dots(np.concatenate(points), color=colour, markersize=size, alpha=0.5, zorder=0.4)
        sheet.lines(lines, color=series(1).colour, linewidth=1.3, zorder=3)
        sheet.text((_LEFT + whole - _RIGHT) / 2, height - 0.04, "score", fontsize=NORMAL, ha="center", va="bottom")
        sheet.text(0.06, height / 2, one_line(axis), fontsize=NORMAL, rotation=90, va="center")
    return sheet.figure


def _title(panel: ScatterPanel, width: float) -> str:
    return "\n".join([fitted(panel.name, width, SMALL, lines=2), *(fitted(line, width, SMALL) for line in panel.lines)])
