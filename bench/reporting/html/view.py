"""What the templates show: tables, figures and galleries of a report with every text already made.

Templates lay out and escape; nothing here is HTML, apart from the drawings, which are SVG of our own making.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agiqa_bench.reporting.digits import counted, number_text
from agiqa_bench.reporting.model import Column, Gallery, Number, Picture, Row, Table
from agiqa_bench.reporting.render.layout import (
    BETWEEN_HEADINGS,
    PICTURE_NUMBERS,
    grouped,
    heading_levels,
    picture_numbers,
)

if TYPE_CHECKING:
    from markupsafe import Markup

DIAGNOSTIC = "sees no pixel: there to show what a number is worth"
"""What is said of a row in italics."""

_LONG = 6
"""Rows from which on a table has a box to filter them."""
_WIDE = 7
"""Columns of numbers from which on a table is printed on a page that is turned."""
_MANY = 9
"""The same for columns without a spread."""


@dataclass(frozen=True)
class Heading:
    """One cell of a table's head.

    Attributes:
        title: Its text; empty above columns that have none at its level.
        columns: How many columns it spans.
        lines: How many lines of the head it spans.
        sort: Which order a first click gives, `ascending` or `descending`; empty if it stands above other headings.
        text: Whether the column below it holds texts.
        explanation: For a tool tip; may be empty.
    """

    title: str
    columns: int = 1
    lines: int = 1
    sort: str = ""
    text: bool = False
    explanation: str = ""


@dataclass(frozen=True)
class CellView:
    """One cell of a table's body.

    Attributes:
        value: What is shown.
        text: Whether it is a text.
        data: The number in full, for sorting; empty for texts and what is not defined.
        std: Standard deviation as shown; may be empty.
        interval: Ends of the 95 % interval as shown; None if there is none.
        asked: Whether the column shows its intervals always.
        marks: See `model.Mark`.
        reason: Why it is not defined, or not in all repeats; may be empty.
    """

    value: str
    text: bool = False
    data: str = ""
    std: str = ""
    interval: tuple[str, str] | None = None
    asked: bool = False
    marks: frozenset[str] = frozenset()
    reason: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a number, or a text."""
        return self.text or bool(self.data)


@dataclass(frozen=True)
class RowView:
    """One row: its name, what is written small beside it, and its cells."""

    key: str
    name: str
    cells: tuple[CellView, ...]
    tip: str = ""
    diagnostic: bool = False
    badges: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupView:
    """Rows that stand together.

    Attributes:
        title: Heading above them; empty if there is none.
        badges: Short remarks beside it.
        rows: In order.
        data: `data-` attributes of the group, for filters.
    """

    title: str
    rows: tuple[RowView, ...]
    badges: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TableView:
    """A table.

    Attributes:
        key: See `model.Table`.
        title: Heading.
        head: Lines of the head, outermost first; the first line begins with the heading of the rows' names.
        groups: The rows, group by group.
        notes: See `model.Table`.
        explanations: See `explanations`.
        copies: (format, the table in that format), for the clipboard.
        tied: By column, whether any of its numbers is marked as tied.
        within: Whether sorting keeps the groups apart.
    """

    key: str
    title: str
    head: tuple[tuple[Heading, ...], ...]
    groups: tuple[GroupView, ...]
    notes: tuple[str, ...]
    explanations: tuple[tuple[str, str], ...]
    copies: tuple[tuple[str, str], ...]
    tied: tuple[bool, ...]
    wide: bool
    within: bool = False

    kind = "table"

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def width(self) -> int:
        """Number of columns, with that of the names."""
        return len(self.tied) + 1

    @property
    def filtered(self) -> bool:
        """Whether there is a box to filter the rows."""
        return self.rows >= _LONG

    @property
    def diagnostic(self) -> bool:
        """Whether any row is a baseline that sees no pixel."""
        return any(row.diagnostic for group in self.groups for row in group.rows)

    @property
    def optional_intervals(self) -> bool:
        """Whether any number has an interval that is shown on request only."""
        cells = (cell for group in self.groups for row in group.rows for cell in row.cells)
        return any(cell.interval is not None and not cell.asked for cell in cells)


@dataclass(frozen=True)
class FigureView:
    """A figure: its drawing as an `<svg>` element with its alternative text; None if nobody asked for its images."""

    key: str
    title: str
    caption: str
    svg: Markup | None

    kind = "figure"


@dataclass(frozen=True)
class PictureView:
    """An image of a gallery; `source` is a data: URI, empty if it is not shown, and then `missing` may say why."""

    picture: Picture
    source: str = ""
    missing: str = ""

    @property
    def numbers(self) -> tuple[tuple[str, str], ...]:
        """(what, number) of what people and the method say."""
        pairs = zip(PICTURE_NUMBERS, picture_numbers(self.picture), strict=True)
        return tuple((column.title, number_text(number, column).value) for column, number in pairs)


@dataclass(frozen=True)
class GalleryView:
    """Images of the data set; `hidden` if they are not shown because nobody asked for it."""

    key: str
    title: str
    caption: str
    pictures: tuple[PictureView, ...]
    hidden: bool

    kind = "gallery"


def table_view(
    table: Table,
    *,
    badges: Sequence[tuple[str, ...]] = (),
    group_badges: Mapping[str, tuple[str, ...]] | None = None,
    group_data: Mapping[str, Mapping[str, str]] | None = None,
) -> TableView:
    """Make the texts of a table.

    Args:
        table: What to show.
        badges: Short remarks beside the name of each row, in order; none if empty.
        group_badges: The same beside the headings of groups, by their titles.
        group_data: `data-` attributes by the title of a group; a table that has them keeps its groups when sorted.
    """
    from agiqa_bench.reporting.render.comma_separated import table_to_csv
    from agiqa_bench.reporting.render.latex import table_to_latex
    from agiqa_bench.reporting.render.markdown import table_to_markdown

    beside = iter(badges or [()] * len(table.rows))
    groups = tuple(
        GroupView(
            title,
            tuple(_row(row, table.columns, next(beside)) for row in rows),
            (group_badges or {}).get(title, ()),
            (group_data or {}).get(title, {}),
        )
        for title, rows in grouped(table)
    )
    numeric = [column for column in table.columns if not column.text]
    return TableView(
        key=table.key,
        title=table.title,
        head=_head(table),
        groups=groups,
        notes=table.notes,
        explanations=explanations(table.columns),
        copies=(
            ("CSV", table_to_csv(table)),
            ("Markdown", table_to_markdown(table)),
            ("LaTeX", table_to_latex(table)),
        ),
        tied=tuple(
            any(isinstance(row.cells[place], Number) and "tied" in _marks(row.cells[place]) for row in table.rows)
            for place in range(len(table.columns))
        ),
        wide=len(numeric) >= (_WIDE if any(column.spread for column in numeric) else _MANY),
        within=group_data is not None,
    )


def explanations(columns: Sequence[Column]) -> tuple[tuple[str, str], ...]:
    """(titles, explanation) of columns, each explanation once.

    A title that has several explanations stands with the headings above it; columns that share an explanation stand
    together, and are not named where all do.
    """
    by_title: dict[str, set[str]] = {}
    for column in columns:
        by_title.setdefault(column.title, set()).add(column.explanation)
    titles: dict[str, dict[str, None]] = {}
    for column in filter(lambda column: column.explanation, columns):
        name = column.title if len(by_title[column.title]) == 1 else BETWEEN_HEADINGS.join([*column.over, column.title])
        titles.setdefault(column.explanation, {})[name] = None
    if len(titles) == 1 and len(columns) > 1 and all(column.explanation for column in columns):
        return (("every column", next(iter(titles))),)
    return tuple((", ".join(names), explanation) for explanation, names in titles.items())


def gallery_view(gallery: Gallery, *, embed_images: bool) -> GalleryView:
    """Prepare a gallery; its images are read only if they may be shown."""
    from agiqa_bench.reporting.html.pictures import picture_views

    shown = gallery.free or embed_images
    return GalleryView(
        gallery.key,
        gallery.title,
        gallery.caption,
        picture_views(gallery.pictures) if shown else tuple(PictureView(picture) for picture in gallery.pictures),
        hidden=not shown,
    )


def _marks(cell: Number | str) -> frozenset[str]:
    return frozenset(cell.marks) if isinstance(cell, Number) else frozenset()


def _row(row: Row, columns: Sequence[Column], badges: tuple[str, ...]) -> RowView:
    return RowView(
        row.key,
        row.name,
        tuple(_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True)),
        tip=DIAGNOSTIC if row.diagnostic else "",
        diagnostic=row.diagnostic,
        badges=badges,
    )


def _cell(cell: Number | str, column: Column) -> CellView:
    if isinstance(cell, str):
        return CellView(cell, text=True)
    # An interval that is at hand is on the page, even where the column does not ask for it: to be shown on request.
    text = number_text(cell, replace(column, interval=True))
    return CellView(
        text.value,
        data="" if cell.value is None else repr(float(cell.value)),
        std=text.std,
        interval=(text.low, text.high) if text.low else None,
        asked=column.interval,
        marks=frozenset(cell.marks),
        reason=_reason(cell),
    )


def _reason(cell: Number) -> str:
    if not cell.reason or cell.value is None:
        return cell.reason
    return f"rests on {counted(cell.n, 'repeat')} only: {cell.reason}" if cell.n else cell.reason


def _head(table: Table) -> tuple[tuple[Heading, ...], ...]:
    levels = heading_levels(table.columns)
    first = Heading(table.head, lines=1 + len(levels), sort="ascending", text=True)
    own = [
        Heading(column.title, sort=_first_order(column), text=column.text, explanation=column.explanation)
        for column in table.columns
    ]
    lines = [*([Heading(span.title, columns=span.columns) for span in level] for level in levels), own]
    lines[0].insert(0, first)
    return tuple(map(tuple, lines))


def _first_order(column: Column) -> str:
    """The order in which people want to see a column first: the best at the top."""
    best_is_low = column.better == "lower" or column.p_value
    return "ascending" if column.text or best_is_low else "descending"
