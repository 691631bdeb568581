"""How the MOS are spread, for each target, by generator family where there are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.figures.style import INK, WIDTH, axes_at, fitted, new_figure, series, style
from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Parts = Mapping[str, npt.NDArray[np.float64]]
"""MOS (n,) by generator family; a single one without a name if they are not told apart."""

BINS = 24
_LEFT, _GAP, _TOP, _PANEL, _AXIS = 0.55, 0.5, 0.3, 1.6, 0.42
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "++++")
MOST_FAMILIES = len(_HATCHES)
"""More families than this are not told apart by the eye; the caller draws them as one."""


def histogram(targets: Mapping[str, Parts]) -> Figure:
    """Draw one panel per target: the number of images per bin of MOS, the families on top of each other.

    Args:
        targets: By target, the finite MOS of each family; every target has the same families, at most `MOST_FAMILIES`.

    Raises:
        ValueError: There is no target or no image, or too many families.
    """
    families = list(dict.fromkeys(name for parts in targets.values() for name in parts))
    if not families or len(families) > MOST_FAMILIES or not all(_all(parts).size for parts in targets.values()):
        raise ValueError(f"histogram: give at least one target and image, and at most {MOST_FAMILIES} families")
    columns = min(2, len(targets))
    rows = -(-len(targets) // columns)
    wide = (WIDTH - _LEFT - 0.1 - _GAP) / 2
    whole = WIDTH if columns == 2 else _LEFT + 1.3 * wide + 0.1
    named = any(families)
    beside = columns + 1
    legend = 0.2 * -(-len(families) // beside) if named else 0.0
    step = _TOP + _PANEL + _AXIS
    with style():
        figure = new_figure(legend + rows * step, whole)
        for place, (target, parts) in enumerate(targets.items()):
            row, column = divmod(place, columns)
            width = wide if columns == 2 else 1.3 * wide
            axes = axes_at(figure, _LEFT + column * (wide + _GAP), legend + row * step + _TOP, width, _PANEL)
            _draw(axes, parts, families)
            axes.set_title(fitted(target, width), loc="left")
            axes.set_xlabel("MOS")
            if column == 0:
                axes.set_ylabel("images")
        if named:
            handles, _ = figure.axes[0].get_legend_handles_labels()
            labels = [fitted(name or "family not known", whole / beside - 0.5) for name in families]
            figure.legend(handles, labels, loc="upper left", ncols=beside, borderaxespad=0.2)
    return figure


def _all(parts: Parts) -> npt.NDArray[np.float64]:
    return np.concatenate([np.empty(0), *parts.values()])


def _draw(axes: Axes, parts: Parts, families: list[str]) -> None:
    edges = np.histogram_bin_edges(_all(parts), BINS)
    below = np.zeros(BINS)
    for position, name in enumerate(families):
        counts, _ = np.histogram(parts.get(name, np.empty(0)), edges)
        axes.stairs(
            below + counts,
            edges,
            baseline=below,
            fill=True,
            facecolor=series(position).colour,
            edgecolor=INK,
            linewidth=0.4,
            hatch=_HATCHES[position],
            label=one_line(name) or "images",
        )
        below = below + counts
    axes.set_ylim(0, 1.05 * max(below.max(), 1))
    axes.set_xlim(edges[0], edges[-1])
    axes.locator_params(axis="y", integer=True, nbins=5)
    axes.grid(axis="y")
