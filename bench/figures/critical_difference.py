"""The critical-difference diagram of Demsar ("Statistical comparisons of classifiers", JMLR 7, 2006, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agiqa_bench.figures.panels import Sheet
from agiqa_bench.figures.style import INK, SMALL, WIDTH, fitted, series, style, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES, _NUMBER = 1.75, 0.45
_ROW, _LINE, _BAR = 0.09, 0.11, 0.09
_RULER, _AXIS, _MARGIN = 0.3, 0.42, 0.08
_OVERHANG, _APART = 0.04, 0.14
"""In inches: widest name, width of the rank beside it; space between names, height of a line of one and of a bar;
height of the ruler and the axis; how far a bar reaches beyond its methods, and the least space between two in line."""


def critical_difference(
    ranks: Mapping[str, float],
    cliques: Sequence[Collection[str]] = (),
    *,
    critical: float | None = None,
    hollow: Collection[str] = (),
) -> Figure:
    """Draw mean ranks on an axis, the best on the left, with the names in two columns and bars below the axis.

    Args:
        ranks: Mean rank of each method, finite, 1 is best; at least one.
        cliques: Sets of methods that are not told apart; a bar joins those of each. Fewer than two have no bar.
        critical: The critical difference, drawn as a ruler; None draws none.
        hollow: Methods whose dot is hollow and orange: baselines that see no pixel.

    Raises:
        ValueError: There is no rank, one is not finite, or a clique names a method that has none.
    """
    _check(ranks, cliques)
    ordered = sorted(ranks, key=lambda name: ranks[name])
    half = -(-len(ordered) // 2)
    with style():
        labels = {name: fitted(name, _NAMES, SMALL, lines=2) for name in ordered}
        left, right = (
            _NUMBER + _MARGIN + _widest(labels[name] for name in side) for side in (ordered[:half], ordered[half:])
        )
        scale = _Scale(max(2, math.ceil(max(ranks.values()))), left + 0.15, WIDTH - right - 0.15)
        spans = [_span(clique, ranks, scale) for clique in cliques if len(clique) > 1]
        levels = _levels(spans)
        top = _MARGIN + (_RULER if critical is not None else 0.0) + _AXIS
        row = _ROW + _LINE * max(label.count("\n") + 1 for label in labels.values())
        first = top + _BAR * (max(levels, default=-1) + 1) + 0.12
        height = first + (half - 1) * row + 0.15
        sheet = Sheet(height)
        axes = sheet.axes
        _axis(axes, scale, top)
        if critical is not None:
            _ruler(axes, scale, critical)
        for span, level in zip(spans, levels, strict=True):
            _bar(axes, span, top + _BAR * (level + 0.8))
        for place, name in enumerate(ordered):
            on_left = place < half
            y = first + row * (place if on_left else len(ordered) - 1 - place)
            _leader(axes, scale(ranks[name]), top, left if on_left else WIDTH - right, y)
            _dot(axes, scale(ranks[name]), top, name in hollow)
            _name(axes, left if on_left else WIDTH - right, y, labels[name], ranks[name], on_left)
    return sheet.figure


def _check(ranks: Mapping[str, float], cliques: Sequence[Collection[str]]) -> None:
    if not ranks or not all(map(math.isfinite, ranks.values())):
        raise ValueError("critical_difference: give at least one mean rank, all of them finite")
    strangers = {name for clique in cliques for name in clique} - ranks.keys()
    if strangers:
        raise ValueError(f"critical_difference: no mean rank of {', '.join(sorted(strangers))}")


def _widest(labels: Iterable[str]) -> float:
    return max((text_width(line, SMALL) for label in labels for line in label.split("\n")), default=0.0)


@dataclass(frozen=True)
class _Scale:
    """From a rank, 1 to `last`, to inches from the left edge, `left` to `right`."""

    last: int
    left: float
    right: float

    def __call__(self, rank: float) -> float:
        return self.left + (rank - 1) / (self.last - 1) * (self.right - self.left)


def _span(clique: Collection[str], ranks: Mapping[str, float], scale: _Scale) -> tuple[float, float]:
    """The ends of a bar."""
    found = [scale(ranks[name]) for name in clique]
    return min(found) - _OVERHANG, max(found) + _OVERHANG


def _levels(spans: Sequence[tuple[float, float]]) -> list[int]:
    """The level of each bar, from 0 downwards: the highest on which it keeps its distance from those before it."""
    ends: list[float] = []
    levels = [0] * len(spans)
    for place in sorted(range(len(spans)), key=lambda place: spans[place]):
        low, high = spans[place]
        level = next((level for level, end in enumerate(ends) if end + _APART < low), len(ends))
        ends[level : level + 1] = [high]
        levels[place] = level
    return levels


def _axis(axes: Axes, scale: _Scale, y: float) -> None:
    axes.plot([scale.left, scale.right], [y, y], color=INK, linewidth=0.9)
    step = max(1, math.ceil(0.2 * scale.last / (scale.right - scale.left)))
    for rank in range(1, scale.last + 1):
        labelled = (rank - 1) % step == 0
        axes.plot([scale(rank)] * 2, [y, y - (0.07 if labelled else 0.04)], color=INK, linewidth=0.7)
        if labelled:
            axes.text(scale(rank), y - 0.1, str(rank), fontsize=SMALL, ha="center", va="bottom")
    axes.text((scale.left + scale.right) / 2, y - 0.26, "mean rank (1 is best)", ha="center", va="bottom")


def _ruler(axes: Axes, scale: _Scale, critical: float) -> None:
    ends, y = [scale.left, scale(1 + critical)], _MARGIN + 0.18
    axes.plot(ends, [y, y], "|-", color=INK, linewidth=0.9, markersize=5, markeredgewidth=0.9)
    axes.text(scale.left, y - 0.05, f"critical difference {critical:.2f}", fontsize=SMALL, va="bottom")


def _bar(axes: Axes, span: tuple[float, float], y: float) -> None:
    axes.plot(span, [y, y], color=INK, linewidth=3, solid_capstyle="butt", zorder=3)


def _leader(axes: Axes, x: float, top: float, end: float, y: float) -> None:
    """The line from a dot down, and to its name."""
    axes.plot([x, x, end], [top, y, y], color=INK, linewidth=0.6)


def _dot(axes: Axes, x: float, y: float, hollow: bool) -> None:
    look = series(1 if hollow else 0)
    face = "none" if hollow else look.colour
    axes.plot([x], [y], look.marker, color=look.colour, markerfacecolor=face, markersize=4, zorder=4)


def _name(axes: Axes, end: float, y: float, label: str, rank: float, on_left: bool) -> None:
    side, sign = ("right", -1) if on_left else ("left", 1)
    axes.text(end + sign * 0.05, y, f"{rank:.2f}", fontsize=SMALL, ha=side, va="center")
    axes.text(end + sign * _NUMBER, y, label, fontsize=SMALL, ha=side, va="center", linespacing=1.0)
