"""Small multiples: many panels with scales of their own, drawn in one pair of axes.

A pair of matplotlib's axes takes 20 ms to make and to draw, and a report has hundreds of panels. What a panel needs is
little: two scales, their ticks, and a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agiqa_bench.figures.style import GRID, INK, SMALL, WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = npt.NDArray[np.float64]

_TICK, _GAP = 0.035, 0.06
"""Length of a tick, and from the frame to its label, in inches."""


@dataclass(frozen=True)
class Panel:
    """A box on a sheet, in inches from its upper left corner, and the ranges of values that it shows."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def points(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Points:
        """Where values (n,) lie on the sheet, in inches, float64 (n, 2); NaN where y is out of range."""
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        inside = (ys >= self.y_range[0]) & (ys <= self.y_range[1])
        right, up = _share(xs, self.x_range), _share(np.where(inside, ys, np.nan), self.y_range)
        return np.stack([self.left + right * self.width, self.top + (1 - up) * self.height], axis=-1)


def _share(values: Points, limits: tuple[float, float]) -> Points:
    return (values - limits[0]) / (limits[1] - limits[0])


def padded(values: npt.ArrayLike, margin: float = 0.05) -> tuple[float, float]:
    """A range that holds all finite ones of some values, and a `margin` of it on either side.

    >>> padded([0.0, 2.0, float("nan")])
    (-0.1, 2.1)
    """
    array = np.asarray(values, dtype=np.float64)
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    # What differs by rounding alone, or by less than floats can be divided by, is one value.
    apart = high - low > max(1e-12 * max(abs(low), abs(high)), 1e-300)
    more = margin * (high - low) if apart else max(abs(low), 1.0) * 0.5
    return low - more, high + more


class Sheet:
    """A figure that is one pair of axes, which measures inches from the upper left corner."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        """Begin an empty one."""
        self.figure: Figure = new_figure(height, width)
        self.axes: Axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        """Write in small letters at a place in inches."""
        self.axes.text(x, y, text, **{"fontsize": SMALL} | look)

    def lines(self, lines: Sequence[Points], **look: Any) -> None:
        """Draw lines through points in inches, each (n, 2), all of one look; they break at NaN."""
        from matplotlib.collections import LineCollection

        self.axes.add_collection(LineCollection(lines, **look), autolim=False)

    def dots(self, points: Points, marker: str = "o", **look: Any) -> None:
        """Draw dots at points in inches, (n, 2), all of one look."""
        self.axes.plot(points[:, 0], points[:, 1], marker, **{"markeredgewidth": 0.0} | look)

    def frame(
        self,
        panel: Panel,
        ticks: tuple[int, int],
        *,
        labels_left: bool = True,
        whole_numbers: bool = False,
        grid: bool = False,
    ) -> None:
        """Draw the two axes of a panel with their ticks.

        Args:
            panel: Where.
            ticks: About how many there are below, and on the left.
            labels_left: Whether those on the left have labels.
            whole_numbers: Whether there are ticks below at whole numbers only.
            grid: Whether lines lead from the ticks on the left across the panel.
        """
        left, right, top, bottom = panel.left, panel.left + panel.width, panel.top, panel.top + panel.height
        segments = [np.array([(left, top), (left, bottom), (right, bottom)])]
        across = []
        for value in ticks_within(panel.x_range, ticks[0], whole_numbers=whole_numbers):
            x = panel.points([value], [panel.y_range[0]])[0, 0]
            segments.append(np.array([(x, bottom), (x, bottom + _TICK)]))
            self.text(x, bottom + _GAP, _number(value), ha="center", va="top")
        for value in ticks_within(panel.y_range, ticks[1]):
            y = panel.points([panel.x_range[0]], [value])[0, 1]
            segments.append(np.array([(left - _TICK, y), (left, y)]))
            across.append(np.array([(left, y), (right, y)]))
            if labels_left:
                self.text(left - _GAP, y, _number(value), ha="right", va="center_baseline")
        self.lines(segments, color=INK, linewidth=0.6)
        if grid:
            self.lines(across, color=INK, linewidth=0.6, alpha=GRID, zorder=0.5)


def ticks_within(limits: tuple[float, float], count: int, *, whole_numbers: bool = False) -> list[float]:
    """Round numbers within a range, about `count` of them at most; at least two, unless they are whole.

    >>> ticks_within((-0.1, 2.1), 4)
    [0.0, 1.0, 2.0]
    """
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], integer=whole_numbers, min_n_ticks=1 if whole_numbers else 2)
    found = locator.tick_values(*limits)
    return [float(value) for value in found if limits[0] <= value <= limits[1]]


def _number(value: float) -> str:
    """A tick's label.

    >>> _number(-2.5), _number(0.30000000000000004)
    ('−2.5', '0.3')
    """
    return f"{round(value, 12):g}".replace("-", "−")
