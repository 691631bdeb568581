"""Training curves: the loss, and the value by which the epoch is chosen, over the epochs of each repeat."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.figures.panels import Panel, Sheet, padded
from agiqa_bench.figures.style import INK, NORMAL, SMALL, WIDTH, Series, fitted, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT, _RIGHT, _TOP, _BOTTOM = 0.48, 0.08, 0.06, 0.4
_TITLE, _PANEL, _TICKS, _GAP, _MIDDLE = 0.36, 0.95, 0.24, 0.42, 0.55
"""In inches: margins; height of titles, of a panel and of the ticks below; space between two panels and two methods."""


@dataclass(frozen=True)
class Curve:
    """One training: one entry per epoch, over all its stages.

    Attributes:
        loss: Mean loss (n,); NaN where it was not finite.
        validation: The value by which the epoch is chosen (n,), higher is better; empty if nothing was chosen.
        chosen: Positions from 0 of the epochs whose state was kept: one for each stage.
        starts: Positions from 0 of the epochs with which a later stage begins.
        refit: Mean loss of the second training, of the same epochs as `loss` or of fewer, NaN where it has none; empty
            if there was one training alone.
    """

    loss: tuple[float, ...]
    validation: tuple[float, ...] = ()
    chosen: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    refit: tuple[float, ...] = ()


@dataclass(frozen=True)
class CurvesPanel:
    """One method, or one target of a method that trains for each apart: one curve per repeat."""

    name: str
    curves: tuple[Curve, ...]


def curves(panels: Sequence[CurvesPanel], judged: str = "validation") -> Figure:
    """Draw loss and validation of each method side by side: thin lines are repeats, the thick one is their mean.

    The mean ends where the first of the repeats ends, so that no line leaps when one drops out. Rings mark the epochs
    that were chosen, dotted lines the beginning of a later stage, thin dashed ones the loss of a second training.

    Args:
        panels: At least one, with at least one curve of at least one epoch each; two stand side by side.
        judged: The part of the data on which the score is taken by which the epoch is chosen.

    Raises:
        ValueError: There is no panel, or one without an epoch.
    """
    if not panels or not all(panel.curves and all(curve.loss for curve in panel.curves) for panel in panels):
        raise ValueError("curves: give at least one panel, each with a curve of at least one epoch")
    columns = min(2, len(panels))
    step = _TITLE + _PANEL + _TICKS
    wide = (WIDTH - _LEFT - _RIGHT - 2 * _GAP - _MIDDLE) / 4
    whole = WIDTH if columns == 2 else _LEFT + 2 * wide + _GAP + _RIGHT
    height = _TOP + -(-len(panels) // columns) * step + _BOTTOM - _TICKS
    with style():
        sheet = Sheet(height, whole)
        for place, panel in enumerate(panels):
            row, column = divmod(place, columns)
            left, top = _LEFT + column * (2 * wide + _GAP + _MIDDLE), _TOP + row * step + _TITLE
            name = fitted(panel.name, 1.9 * wide + _GAP, SMALL)
            sheet.text(left, top - 0.2, name, fontweight="bold", va="bottom")
            starts = {start for curve in panel.curves for start in curve.starts}
            losses, again = [curve.loss for curve in panel.curves], [curve.refit for curve in panel.curves]
            _draw(sheet, (left, top, wide, _PANEL), "loss", series(1), losses, starts=starts, dashed=again)
            values, chosen = [curve.validation for curve in panel.curves], [curve.chosen for curve in panel.curves]
            _draw(sheet, (left + wide + _GAP, top, wide, _PANEL), f"{judged} score", series(0), values, chosen)
        sheet.text((whole + _LEFT - _RIGHT) / 2, height - 0.04, "epoch", fontsize=NORMAL, ha="center", va="bottom")
    return sheet.figure


def _draw(
    sheet: Sheet,
    box: tuple[float, float, float, float],
    title: str,
    look: Series,
    lines: Sequence[tuple[float, ...]],
    chosen: Sequence[tuple[int, ...]] = (),
    starts: Collection[int] = (),
    dashed: Sequence[tuple[float, ...]] = (),
) -> None:
    """Draw the values of each repeat by epoch, and their mean; positions in `chosen` get a ring.

    What is `dashed` has no part in the mean.
    """
    left, top, width, height = box
    sheet.text(left, top - 0.04, title, va="bottom")
    values = np.concatenate([np.empty(0), *lines, *dashed])
    if not np.isfinite(values).any():
        sheet.text(left + width / 2, top + height / 2, "not recorded", ha="center", va="center")
        return
    epochs = np.arange(1, max(map(len, [*lines, *dashed])) + 1)
    panel = Panel(*box, padded(epochs, 0.04), padded(values))
    sheet.frame(panel, (4, 4), whole_numbers=True, grid=True)
    repeats = [panel.points(epochs[: len(line)], line) for line in lines if line]
    sheet.lines(repeats, color=look.colour, linewidth=0.6, alpha=0.45)
    second = [panel.points(epochs[: len(line)], line) for line in dashed if line]
    if second:
        sheet.lines(second, color=look.colour, linewidth=0.6, alpha=0.45, linestyle="--")
    if len(epochs) == 1:
        sheet.dots(np.concatenate(repeats), color=look.colour, markersize=3)
    mean = mean_curve(lines)
    sheet.lines([panel.points(epochs[: len(mean)], mean)], color=look.colour, linewidth=1.8, linestyle=look.dashes)
    rings = [
        panel.points(epochs[list(kept)], np.array(line)[list(kept)])
        for line, kept in zip(lines, chosen, strict=bool(chosen))
        if line and kept
    ]
    if rings:
        sheet.dots(
            np.concatenate(rings), color=INK, markerfacecolor="none", markersize=3.5, markeredgewidth=0.7, zorder=3
        )
    for start in starts:
        sheet.lines([panel.points([start + 0.5] * 2, panel.y_range)], color=INK, linewidth=0.6, linestyle=":")


def mean_curve(lines: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    """The mean of curves over the epochs that all of them have, float64; curves without any epoch do not count.

    >>> mean_curve([(1.0, 2.0, 9.0), (3.0, 4.0), ()]).tolist()
    [2.0, 3.0]
    """
    present = [line for line in lines if len(line)]
    shared = min(map(len, present), default=0)
    return np.mean([line[:shared] for line in present], axis=0) if present else np.empty(0)
