"""Figures as files, and as the text of an SVG that can stand in a page beside others."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from agiqa_bench import atomic
from agiqa_bench.errors import ConfigError
from agiqa_bench.figures.style import INK, style
from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.model import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SUFFIXES = ("svg", "png", "pdf")
"""The forms a figure can be written in. A report writes SVG and PNG; PDF is for a paper, and only from Python."""

PNG_DPI = 200
RASTER_DPI = 150
"""Pixels per inch of PNG files, and of what is rasterised inside the others: dots, which are small and many."""

_TAG = re.compile(r"<[A-Za-z][^<>]*>")
_ID = re.compile(r'(?<= )id="([^"]*)" ?')
_REFERENCE = re.compile(r'(url\(#|href="#)([^)"]+)')
_STYLE = re.compile(r"\s*<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)


_rendered_svg: WeakKeyDictionary[Figure, str] = WeakKeyDictionary()
"""A report shows a figure in its page and beside it as a file; it is drawn once for both."""


def write_figure(figure: Figure, folder: Path, suffixes: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write a figure as `<key>.<suffix>` in each form, whole or not at all.

    Equal figures give equal bytes. The files have a white ground.

    Returns:
        The files, in the order of `suffixes`.

    Raises:
        ConfigError: A suffix is none of `SUFFIXES`.
        StoreError: The file system refuses.
    """
    for suffix in suffixes:
        if suffix not in SUFFIXES:
            raise ConfigError(f"figure {figure.key}: cannot be written as '{suffix}', choose {', '.join(SUFFIXES)}")
    written: list[Path] = []
    # The SVG may be there from a page; one drawing does for all else.
    only_svg = set(suffixes) == {"svg"} and figure in _rendered_svg
    drawing = None if only_svg else figure.draw()
    for suffix in suffixes:
        path = folder / f"{figure.key}.{suffix}"
        if suffix == "svg" or drawing is None:
            atomic.write_bytes(path, _svg_file(_svg(figure, drawing)))
        else:
            atomic.write_bytes(path, _rendered(drawing, suffix))
        written.append(path)
    return written


def inline_svg(figure: Figure) -> str:
    """A figure as the text of an `<svg>` element that can stand in an HTML page, beside others.

    Its ground is transparent, and its lines and letters have the colour of the text around it (`currentColor`), which
    is a dark one unless a style sheet says `svg { color: inherit }`. All ids in it begin with the figure's key; its
    title and its description are those of the figure. Text stays text, to be searched and read out.
    """
    return _edit_tags(_svg(figure), lambda tag: tag.replace(f": {INK}", ": currentColor"))


def svg_file(figure: Figure) -> bytes:
    """A figure as the content of an SVG file with a white ground."""
    return _svg_file(_svg(figure))


def _svg_file(element: str) -> bytes:
    root, rest = element.split(">", 1)
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{root}>{ground}{rest}'.encode()


def _rendered(drawing: Drawing, suffix: str, ground: str = "white") -> bytes:
    dpi = PNG_DPI if suffix == "png" else RASTER_DPI
    # Without dates and versions the same figure gives the same file.
    silent: dict[str, Any] = {
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }[suffix]
    buffer = io.BytesIO()
    with style():
        drawing.savefig(buffer, format=suffix, dpi=dpi, facecolor=ground, metadata=silent)
    return buffer.getvalue()


def _svg(figure: Figure, drawing: Drawing | None = None) -> str:
    """The `<svg>` element alone, on no ground: with title and description, and ids that no other figure has."""
    if figure not in _rendered_svg:
        _rendered_svg[figure] = _own(_rendered(drawing or figure.draw(), "svg", ground="none").decode(), figure)
    return _rendered_svg[figure]


def _own(text: str, figure: Figure) -> str:
    """Make matplotlib's SVG file an element that can stand beside others."""
    # A style sheet in an inline SVG would hold for the whole page; what this one says is said by the root element.
    text = _STYLE.sub("", text[text.index("<svg") :], count=1)
    used = {name for tag in _TAG.findall(text) for _, name in _REFERENCE.findall(tag)}
    key = figure.key

    def with_own_ids(tag: str) -> str:
        tag = _ID.sub(lambda found: f'id="{key}-{found[1]}" ' if found[1] in used else "", tag)
        return _REFERENCE.sub(rf"\g<1>{key}-\2", tag)

    root, rest = _edit_tags(text, with_own_ids).split(">", 1)
    said = (
        f' role="img" aria-labelledby="{key}-title" aria-describedby="{key}-alt" color="{INK}"'
        ' stroke-linejoin="round" stroke-linecap="butt"'
    )
    title, alt = (html.escape(one_line(words)) for words in (figure.title, figure.alt))
    return f'{root}{said}>\n<title id="{key}-title">{title}</title>\n<desc id="{key}-alt">{alt}</desc>{rest}'


def _edit_tags(text: str, edit: Callable[[str], str]) -> str:
    """The text of an SVG with each tag changed, and what stands between them left alone."""
    return _TAG.sub(lambda found: edit(found[0]), text)
