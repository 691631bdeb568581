"""What a report is made of: tables, figures, pictures and remarks, as plain data.

Statistics are computed before an object of this module is made; a renderer lays out what it is given and computes
nothing, so that the terminal, Markdown, LaTeX, CSV and HTML hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Mark = Literal["best", "second", "tied"]
"""`best` and `second` of a column; `tied`: not told apart from the best by the test that the table's notes name."""

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Number:
    """One number of a table.

    Attributes:
        value: The number (a mean, where it has a spread); None if it is not defined.
        std: Standard deviation over repeats (ddof 1); None if there is none.
        low: Lower end of the 95 % interval of the mean; None if there is none.
        high: Upper end of it.
        n: Number of repeats that it rests on; 0 if it is not about repeats.
        marks: See `Mark`.
        reason: Why it is not defined (everywhere, or in some repeats), in one line; empty if it is.
    """

    value: float | None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    marks: frozenset[Mark] = frozenset()
    reason: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a table, behind the rows' names.

    Attributes:
        key: Its name in CSV; unique in its table.
        title: Its heading.
        over: Headings above it, outermost first, e.g. ("AGIQA-3K", "quality"); neighbours with equal ones share them.
        text: True if its cells are texts, False if they are `Number`s.
        decimals: Decimals of its numbers, the same in every rendering but CSV (see `printed`).
        spread: Whether the standard deviation is shown behind a number.
        interval: Whether the 95 % interval is shown behind a number.
        signed: Whether a plus stands before positive numbers: they are differences.
        p_value: True if the numbers are p-values: what rounds to 0 is shown as less than the smallest.
        printed: Whether CSV too shows just these decimals: the numbers are quoted as somebody printed them.
        better: Which numbers are better; empty if neither.
        missing: What stands in place of a number that is not defined.
        explanation: One line for legends and tool tips.
    """

    key: str
    title: str
    over: tuple[str, ...] = ()
    text: bool = False
    decimals: int = 4
    spread: bool = False
    interval: bool = False
    signed: bool = False
    p_value: bool = False
    printed: bool = False
    better: Better = ""
    missing: str = "undefined"
    explanation: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        key: Its name in CSV; for a method the label in the store.
        name: Its name for people; a stand-in's name is part of it.
        cells: One per column: a `Number`, or a text in a column of texts.
        group: Heading above it; rows of one group stand together.
        diagnostic: True for a baseline that sees no pixel.
    """

    key: str
    name: str
    cells: tuple[Number | str, ...]
    group: str = ""
    diagnostic: bool = False


@dataclass(frozen=True)
class Table:
    """Rows, columns, numbers and what must be said beside them.

    Attributes:
        key: Its name in file names and anchors: ASCII letters, digits, hyphens, underscores; unique in a report.
        title: Heading.
        columns: Without the first, which holds the rows' names.
        rows: In the order in which they are shown.
        head: Heading of the rows' names.
        notes: Lines that belong to the table wherever it is shown, first the legend of its marks.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    head: str = "Method"
    notes: tuple[str, ...] = ()

    def column(self, key: str) -> int:
        """The position of the column called `key` in each row's cells.

        Raises:
            KeyError: There is none.
        """
        for position, column in enumerate(self.columns):
            if column.key == key:
                return position
        raise KeyError(key)


@dataclass(frozen=True)
class Figure:
    """A figure that is drawn when somebody wants to see it.

    Attributes:
        key: As `Table.key`.
        title: Heading.
        alt: What there is to see, in one or two sentences, for those who cannot see it.
        draw: Draws it; whoever calls it closes the drawing (`agiqa_bench.figures.files` does).
        caption: Lines below it: what is drawn, how, from which repeats.
        free: False if it shows images of a licensed data set, and so is drawn on request only.
    """

    key: str
    title: str
    alt: str
    draw: Callable[[], Drawing]
    caption: str = ""
    free: bool = True


@dataclass(frozen=True)
class Picture:
    """One image of the data set with what people and a method say of it.

    Attributes:
        path: Where the file lies; empty if that is not known.
        name: File name as published.
        prompt: Its prompt.
        generator: Its generator; empty if that is not known.
        mos: In units of the data set's scale.
        predicted: The method's score on that scale (after the logistic fit).
    """

    path: str
    name: str
    prompt: str
    generator: str
    mos: float
    predicted: float

    @property
    def error(self) -> float:
        """How far the score lies above the MOS."""
        return self.predicted - self.mos


@dataclass(frozen=True)
class Gallery:
    """Images of the data set, in order.

    Attributes:
        key: As `Table.key`.
        title: Heading.
        pictures: The images.
        free: True if the images may be shown to everybody; those of a licensed data set only on request.
        caption: Lines below it.
    """

    key: str
    title: str
    pictures: tuple[Picture, ...]
    free: bool = False
    caption: str = ""


Block = Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of a chapter: some text, then tables and figures.

    Attributes:
        key: As `Table.key`.
        title: Heading.
        blocks: In order.
        text: Paragraphs before them.
    """

    key: str
    title: str
    blocks: tuple[Block, ...] = ()
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """What is reported under one protocol on one data set, or across several.

    Attributes:
        key: As `Table.key`.
        title: Heading.
        sections: In order.
        facts: (name, value) of what holds for the whole chapter: data set, split, selection, repeats ...
        warnings: What a reader must know before believing a number.
        notes: Remarks that belong to no single table.
    """

    key: str
    title: str
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is reported.

    Attributes:
        title: Heading.
        chapters: In order.
        facts: (name, value) of what holds for all: version, when, from which runs.
        warnings: As of a chapter: e.g. that some of the runs cannot be compared.
        references: BibTeX of exactly the methods and data sets that were run; empty if none has an entry.

    Raises:
        ValueError: Two chapters, two sections or two blocks have one key, or keys that differ in case alone: anchors
            and, on some file systems, files of theirs would be the same.
    """

    title: str
    chapters: tuple[Chapter, ...]
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    references: str = ""

    def __post_init__(self) -> None:
        """Refuse keys that are not unique."""
        sections = [section for chapter in self.chapters for section in chapter.sections]
        for what, keyed in (("chapters", self.chapters), ("sections", sections), ("blocks", self.blocks())):
            keys = [one.key.casefold() for one in keyed]
            if again := [key for place, key in enumerate(keys) if key in keys[:place]]:
                raise ValueError(f"report '{self.title}': two {what} have the key '{again[0]}'")

    def tables(self) -> list[Table]:
        """All tables, in order."""
        return [block for block in self.blocks() if isinstance(block, Table)]

    def blocks(self) -> list[Block]:
        """All tables, figures and galleries, in order."""
        return [block for chapter in self.chapters for section in chapter.sections for block in section.blocks]
