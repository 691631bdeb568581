"""The look that all figures share: sizes, colours, and texts that are measured, wrapped and never taken for formulas.

No setting of matplotlib is changed for anybody else, and none of a user's own is taken over: figures are made and
rendered inside `style()`. There is no pyplot and no window, so that it does not matter which backend is set.
"""

from __future__ import annotations

import os
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.3
"""Width of a figure in inches: 16 cm, a column of A4."""

SMALL, NORMAL, LARGE = 7.0, 8.0, 9.0
"""Sizes of letters in points, at that width."""

_FONTS = ("DejaVu Sans", "Verdana", "Arial")
"""The first comes with matplotlib; the others stand in for it where an SVG file is shown and it is not installed."""

INK = "#1b1f24"
"""Lines and letters. An inline SVG says `currentColor` instead, so that it follows the page's colours; nothing that
must keep its colour on a dark page may have this one."""

GRID = 0.15
"""Opacity of the ink of grid lines."""


@dataclass(frozen=True)
class Series:
    """How one of several series is told from the others: by colour, and without any by marker and dashes."""

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[int, ...]]


SERIES: tuple[Series, ...] = (
    Series("#0072b2", "o", "-"),
    Series("#d55e00", "s", "--"),
    Series("#009e73", "^", "-."),
    Series("#cc79a7", "D", ":"),
    Series("#e69f00", "v", (0, (5, 1, 1, 1, 1, 1))),
    Series("#56b4e9", "P", (0, (8, 2))),
)
"""Colours of Okabe and Ito ("Color Universal Design", 2008), without black and yellow; they are used in turn."""


def series(position: int) -> Series:
    """The look of the series at `position`, from 0; they begin anew after the last."""
    return SERIES[position % len(SERIES)]


def import_matplotlib() -> None:
    """Import matplotlib, also where the environment variable MPLBACKEND names a backend that is not there.

    A notebook sets it for all that it starts, other environments included, and matplotlib refuses to be imported over
    it, whether anybody draws on that backend or not. Where it can be used it keeps its effect on pyplot.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", "")
    try:
        import matplotlib as mpl
    finally:
        if backend:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            mpl.rcParams["backend"] = backend


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults with this package's look, until the block is left."""
    import_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(["default", _settings()]), warnings.catch_warnings():
        # Prompts and names may hold letters that the font lacks: a PNG shows boxes, an SVG the reader's own font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _settings() -> dict[str, Any]:
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    return ink | {
        "text.parse_math": False,
        "font.family": ["sans-serif"],
        "font.sans-serif": list(_FONTS),
        "svg.fonttype": "none",
        "svg.hashsalt": "agiqa-bench",
        "font.size": NORMAL,
        "axes.titlesize": NORMAL,
        # A fixed place spares the search for one, which takes a tenth of the time.
        "axes.titley": 1.0,
        "axes.labelsize": NORMAL,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "figure.facecolor": "white",
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "grid.color": INK,
        "grid.alpha": GRID,
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.6,
        "axes.axisbelow": True,
    }


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` x `height` inches, which belongs to no window and no global state."""
    import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes in a box, in inches from the figure's upper left corner."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))


def signed(value: float, decimals: int) -> str:
    """A number with a true minus sign, which nothing but zeros never has.

    >>> signed(-0.204, 2), signed(-0.001, 2)
    ('−0.20', '0.00')
    """
    # Adding 0 makes a positive zero of a negative one.
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def label_column(labels: Sequence[str], widest: float) -> tuple[list[str], float]:
    """Row labels in at most two lines of `widest` inches, and the width in inches that they need."""
    texts = [fitted(label, widest, NORMAL, lines=2) for label in labels]
    return texts, max((text_width(line) for text in texts for line in text.split("\n")), default=0.0)


def in_one_line(texts: Sequence[str]) -> bool:
    """Whether none of the labels is folded."""
    return not any("\n" in text for text in texts)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = NORMAL) -> float:
    """Width of a line of text in inches, in letters of `size` points."""
    import_matplotlib()
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_FONTS[0], size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def fitted(text: str, width: float, size: float = NORMAL, lines: int = 1) -> str:
    """A text in at most `lines` lines of `width` inches, about equally long; what is too long ends in an ellipsis."""
    text = one_line(text)
    best = _before_bracket(text, width, size) if lines > 1 and text_width(text, size) > width else None
    if best is not None:
        return "\n".join(best)
    # From the most letters that may fit in a line on; no letter is narrower than a quarter of its height.
    for letters in range(min(len(text), int(width * 72 / size * 4)), 3, -1):
        wrapped = textwrap.wrap(text, letters, max_lines=lines, placeholder=" …")
        if best is not None and (len(wrapped) > len(best) or _cut(wrapped, text)):
            break
        if all(text_width(line, size) <= width for line in wrapped):
            best = wrapped
            if len(wrapped) == 1 or _cut(wrapped, text):
                break
    return "\n".join(best) if best else text[:3] + "…" * (len(text) > 3)


def _before_bracket(text: str, width: float, size: float) -> list[str] | None:
    """Two lines, the second of which is what stands in the last brackets; None if that does not fit."""
    place = text.rfind(" (")
    parts = [text[:place], text[place + 1 :]]
    fits = place > 0 and all(text_width(part, size) <= width for part in parts)
    return parts if fits else None


def _cut(wrapped: Sequence[str], text: str) -> bool:
    return wrapped[-1].endswith("…") and not text.endswith("…")
