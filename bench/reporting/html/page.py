"""A report as one HTML file that needs nothing else: no network, no font, no file beside it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import agiqa_bench
from agiqa_bench.harmless import printable
from agiqa_bench.reporting.html.view import FigureView, GalleryView, TableView, gallery_view, table_view
from agiqa_bench.reporting.model import Block, Chapter, Figure, Report, Section, Table

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class SectionView:
    """A section with what its blocks show."""

    section: Section
    blocks: tuple[TableView | FigureView | GalleryView, ...]

    @property
    def key(self) -> str:
        """See `model.Section`."""
        return self.section.key

    @property
    def title(self) -> str:
        """See `model.Section`."""
        return self.section.title

    @property
    def text(self) -> tuple[str, ...]:
        """See `model.Section`."""
        return self.section.text


def to_html(report: Report, *, embed_images: bool = False) -> str:
    """The report as one page: everything is inside it, and its policy forbids it to ask for anything else.

    Without scripts the page is complete, and only unsorted.

    Args:
        report: What to show; its figures are drawn here.
        embed_images: Whether images of a licensed data set are embedded too, not only those of free ones.
    """
    chapters = [_chapter(chapter, embed_images=embed_images) for chapter in report.chapters]
    return render(
        "report.html.j2",
        kind="report",
        title=report.title,
        facts=report.facts,
        warnings=report.warnings,
        chapters=chapters,
        references=report.references,
        intervals=any(
            isinstance(view, TableView) and view.optional_intervals
            for chapter in chapters
            for section in chapter["sections"]
            for view in section.blocks
        ),
    )


def render(template: str, **values: Any) -> str:
    """Fill a template of this package that extends `layout.html.j2`; every value is escaped and printable.

    Args:
        template: Its file name.
        values: What it shows; always `title`, `kind` (a class of the body) and `intervals` (whether there are any to
            be shown on request).
    """
    from markupsafe import Markup

    early, script = _resource("early.js"), _resource("script.js")
    # Only these very scripts may run: what data might smuggle in has no permission.
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(early)} {_hash(script)}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    own = {"style": _resource("style.css"), "early_script": early, "script": script}
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            version=agiqa_bench.__version__,
            **{name: Markup(text) for name, text in own.items()},  # noqa: S704 - files of this package
            **values,
        )
    )


def _chapter(chapter: Chapter, *, embed_images: bool) -> dict[str, Any]:
    return {
        "key": chapter.key,
        "title": chapter.title,
        "facts": chapter.facts,
        "warnings": chapter.warnings,
        "notes": chapter.notes,
        "sections": [
            SectionView(section, tuple(_block(block, embed_images=embed_images) for block in section.blocks))
            for section in chapter.sections
        ],
    }


def _block(block: Block, *, embed_images: bool) -> TableView | FigureView | GalleryView:
    if isinstance(block, Table):
        return table_view(block)
    if isinstance(block, Figure):
        return _figure(block, shown=block.free or embed_images)
    return gallery_view(block, embed_images=embed_images)


def _figure(figure: Figure, *, shown: bool) -> FigureView:
    from markupsafe import Markup

    from agiqa_bench.figures.files import inline_svg

    return FigureView(
        figure.key,
        figure.title,
        figure.caption,
        Markup(inline_svg(figure)) if shown else None,  # noqa: S704 - matplotlib's drawing, which escapes its texts
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Texts as a page may hold them; what is mark-up already was made here."""
    return printable(value) if type(value) is str else value


@lru_cache
def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
