"""Attention maps over an image, in the manner of Figure 3 of IP-IQA (arXiv 2403.18714): one panel per head."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench import atomic
from agiqa_bench.errors import ConfigError
from agiqa_bench.figures.style import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
RAW = ".npz"

_PANEL = 1.5
_TITLE = 0.26
_GAP = 0.1
_MARGIN = 0.18
_BAR = 0.75
"""Width of a head's panel, height of a title, space between panels, around them, and for the colour bar, in inches."""

_OPACITY = 0.85
"""Of the heat map where attention is strongest; it fades with the weight, to nothing."""

_LARGEST = 768
"""Longest side in pixels of an image as it is drawn."""

_BRIGHTEST = 99.5
"""Percentile of all weights at which the colour scale ends: a single spike would leave everything else dark."""

Weights = npt.NDArray[np.float32]


def check_suffix(path: Path) -> None:
    """Refuse a file name whose ending says no known format.

    Raises:
        ConfigError: It is none of .png, .svg, .pdf and .npz.
    """
    if path.suffix.lower() not in (*PICTURES, RAW):
        raise ConfigError(f"--output {path}: end it in {', '.join(PICTURES)} (pictures) or {RAW} (the weights)")


def write_maps(
    path: Path,
    image: npt.NDArray[np.uint8],
    attention: Weights,
    prompt: str = "",
    *,
    heads: Sequence[int] | None = None,
    columns: int | None = None,
) -> None:
    """Write attention maps as a picture, or as the array `attention` of an .npz file, by the ending of `path`.

    Args:
        path: The file; ends in .png, .svg, .pdf or .npz.
        image: uint8 (h, w, 3).
        attention: Weights >= 0, float32 (n_heads, rows, columns).
        prompt: What the image should show.
        heads: Numbers of the heads that are drawn or written, in that order; None means all.
        columns: Heads in a row of the picture; None chooses.

    Raises:
        ConfigError: Another ending, or no such head.
        StoreError: The file system refuses.
    """
    check_suffix(path)
    buffer = io.BytesIO()
    if path.suffix.lower() == RAW:
        np.savez_compressed(buffer, attention=attention[_chosen(attention, heads)])
    else:
        figure = draw_maps(image, attention, prompt, heads=heads, columns=columns)
        form = path.suffix.lower().removeprefix(".")
        # Without a date the same maps give the same file.
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
        with warnings.catch_warnings():
            # A prompt may hold letters that the font lacks; they are drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format=form, dpi=200, metadata=undated)
    atomic.write_bytes(path, buffer.getvalue())


def draw_maps(
    image: npt.NDArray[np.uint8],
    attention: Weights,
    prompt: str = "",
    *,
    heads: Sequence[int] | None = None,
    columns: int | None = None,
) -> Figure:
    """Draw the image, the mean over all heads, and each head's weights as a translucent heat map over the image.

    All maps share one colour scale, which begins at 0. See `write_maps` for the arguments and errors.
    """
    import_matplotlib()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure

    chosen = _chosen(attention, heads)
    image = _reduced(image)
    mean = attention.mean(axis=0)
    shown = np.stack([mean, *attention[chosen]])
    brightest = float(np.percentile(shown, _BRIGHTEST)) or float(shown.max()) or 1.0
    norm = Normalize(0.0, brightest, clip=True)
    layout = _Layout(len(chosen), columns or _default_columns(len(chosen)), image.shape[0] / image.shape[1], prompt)

    figure = Figure(figsize=(layout.width, layout.height), facecolor="white")
    left, top = _MARGIN / layout.width, 1 - _MARGIN / layout.height
    figure.text(left, top, "\n".join(layout.lines), va="top", fontsize=11, linespacing=1.3, parse_math=False)
    _show(_panel(figure, layout.image, "image"), image, None, norm)
    _show(_panel(figure, layout.mean, "mean of all heads"), image, mean, norm)
    for place, head in enumerate(chosen):
        _show(_panel(figure, layout.head(place), f"head {head}"), image, attention[head], norm)
    scale = ScalarMappable(norm, ListedColormap(_over(np.full(256, 0.7), np.linspace(0, 1, 256))))
    extend = "max" if shown.max() > brightest else "neither"
    bar = figure.colorbar(scale, cax=figure.add_axes(_within(figure, layout.bar)), extend=extend, extendfrac=0.03)
    bar.set_label("attention weight", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


class _Layout:
    """Where the parts of a figure stand: boxes (left, top, width, height) in inches from its upper left corner.

    Image and mean are as high as two rows of heads, if there are two, and one above the other if there are four. Each
    box of a panel leaves room for a title above it.
    """

    def __init__(self, heads: int, columns: int, shape: float, prompt: str) -> None:
        """Lay out `heads` panels in `columns`; `shape` is the image's height by its width."""
        down = -(-heads // columns)
        self._columns = columns
        self._panel_height = _PANEL * min(max(shape, 0.4), 2.5)
        self._step = _TITLE + self._panel_height + _GAP
        tall = min(down, 2) * self._step - _TITLE - _GAP
        wide = tall * _PANEL / self._panel_height
        stacked = down >= 4
        self._left = _MARGIN + (1 if stacked else 2) * (wide + _GAP) + _GAP
        right = self._left + columns * (_PANEL + _GAP)
        self.width = right + _BAR + _MARGIN
        letters = int(10 * (self.width - 2 * _MARGIN))
        self.lines = textwrap.wrap(" ".join(prompt.split()), letters, max_lines=6, placeholder=" ...")
        top = _MARGIN + (0.2 * len(self.lines) + 0.08 if self.lines else 0.0)
        self.height = top + down * self._step - _GAP + _MARGIN
        self._top = top + _TITLE
        self.image = (_MARGIN, self._top, wide, tall)
        beside, below = (_MARGIN + wide + _GAP, self._top), (_MARGIN, self._top + 2 * self._step)
        self.mean = (*(below if stacked else beside), wide, tall)
        self.bar = (right + 0.05, self._top, 0.13, down * self._step - _TITLE - _GAP)

    def head(self, place: int) -> tuple[float, float, float, float]:
        """The box of a head's panel, counted from 0."""
        row, column = divmod(place, self._columns)
        return self._left + column * (_PANEL + _GAP), self._top + row * self._step, _PANEL, self._panel_height


def _within(figure: Figure, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A box of `_Layout` as matplotlib wants it: fractions of the figure, from its lower left corner."""
    left, top, width, height = box
    whole, high = figure.get_size_inches()
    return left / whole, 1 - (top + height) / high, width / whole, height / high


def _panel(figure: Figure, box: tuple[float, float, float, float], title: str) -> Axes:
    axes = figure.add_axes(_within(figure, box))
    axes.set_axis_off()
    axes.text(0, 1 + 0.06 / box[3], title, transform=axes.transAxes, fontsize=9, va="bottom")
    return axes


def upsampled(weights: Weights, height: int, width: int) -> Weights:
    """One head's grid of weights stretched bilinearly over an image, float32 (height, width)."""
    from PIL import Image

    grid = Image.fromarray(np.ascontiguousarray(weights, dtype=np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def _reduced(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image, made smaller if it has more pixels than a panel can show: there is a copy for each head."""
    from PIL import Image

    small = Image.fromarray(image)
    small.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _show(axes: Axes, image: npt.NDArray[np.uint8], weights: Weights | None, norm: Normalize) -> None:
    if weights is None:
        axes.imshow(image, aspect="auto")
        return
    # Without its own colours, which the heat map's could be taken for.
    grey = 0.15 + 0.85 * image.mean(axis=2) / 255
    colours = _over(grey, np.asarray(norm(upsampled(weights, *image.shape[:2]))))
    axes.imshow((255 * colours).round().astype(np.uint8), aspect="auto")


def _over(grey: npt.NDArray[np.float64], strength: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The heat of `strength` in [0, 1] (...) over `grey` in [0, 1] (...), as float64 (..., 3)."""
    from matplotlib import colormaps

    opacity = _OPACITY * strength[..., None]
    return np.asarray((1 - opacity) * grey[..., None] + opacity * colormaps["inferno"](strength)[..., :3])


def _chosen(attention: Weights, heads: Sequence[int] | None) -> list[int]:
    if heads is None:
        return list(range(len(attention)))
    for head in heads:
        if not 0 <= head < len(attention):
            raise ConfigError(f"--heads {head}: the method has heads 0 to {len(attention) - 1}")
    return list(heads)


def _default_columns(heads: int) -> int:
    """8 for many; for few as many as make two rows."""
    return 8 if heads > 16 else max(1, -(-heads // 2))
