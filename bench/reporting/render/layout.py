"""How a table is laid out, before any mark-up: what the renderings have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from agiqa_bench.reporting.model import Column, Gallery, Number, Picture, Row, Table

BETWEEN_HEADINGS = " · "
"""Stands between the headings of several levels where they are written in one line."""


@dataclass(frozen=True)
class Span:
    """A heading above one or more neighbouring columns.

    Attributes:
        title: The heading; empty above columns that have none at this level.
        first: Position of its first column.
        columns: How many it spans.
    """

    title: str
    first: int
    columns: int


def heading_levels(columns: Sequence[Column]) -> list[list[Span]]:
    """The headings above the columns' own, outermost level first; empty if there are none.

    Neighbours share a heading if all headings further out are the same, too. A column with fewer levels than others
    has its headings next to its own one.

    >>> heading_levels([Column("a", "A", ("X",)), Column("b", "B", ("X",))])
    [[Span(title='X', first=0, columns=2)]]
    """
    depth = max((len(column.over) for column in columns), default=0)
    paths = [("",) * (depth - len(column.over)) + column.over for column in columns]
    levels = []
    for level in range(1, depth + 1):
        spans = []
        for _, group in groupby(enumerate(paths), key=lambda numbered: numbered[1][:level]):
            members = list(group)
            spans.append(Span(members[0][1][level - 1], members[0][0], len(members)))
        levels.append(spans)
    return levels


def grouped(table: Table) -> Iterator[tuple[str, list[Row]]]:
    """(heading, rows) of each group of neighbouring rows, in order; the heading is empty where rows have none."""
    for heading, rows in groupby(table.rows, key=lambda row: row.group):
        yield heading, list(rows)


PICTURE_NUMBERS = (
    Column("mos", "MOS", decimals=2, explanation="in units of the data set's scale"),
    Column("predicted", "Predicted", decimals=2, explanation="the method's score on that scale"),
    Column("error", "Error", decimals=2, signed=True, explanation="how far the score lies above the MOS"),
)
"""What is said of each image of a gallery in numbers."""


def picture_numbers(picture: Picture) -> tuple[Number, ...]:
    """The numbers of an image, one for each of `PICTURE_NUMBERS`."""
    return Number(picture.mos), Number(picture.predicted), Number(picture.error)


def gallery_table(gallery: Gallery) -> Table:
    """A gallery's images as rows, for renderings that show no images."""
    texts = (Column("prompt", "Prompt", text=True), Column("generator", "Generator", text=True))
    rows = tuple(
        Row(picture.name, picture.name, (picture.prompt, picture.generator, *picture_numbers(picture)))
        for picture in gallery.pictures
    )
    notes = (gallery.caption,) if gallery.caption else ()
    return Table(gallery.key, gallery.title, (*texts, *PICTURE_NUMBERS), rows, head="Image", notes=notes)
