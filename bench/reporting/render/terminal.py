"""A report on a terminal, by rich."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Block, Chapter, Column, Number, Report, Section, Table
from agiqa_bench.reporting.render.layout import BETWEEN_HEADINGS, grouped
from agiqa_bench.reporting.render.widths import GAP, Width, lacking, parts, shared_out

_NAME = 20
"""Columns of the terminal that the rows' names get before an interval goes below its number for them."""

_NARROWEST_NAME, _NARROWEST_TEXT, _LONGEST_WORD = 13, 10, 16
"""The least that names and texts are folded to, if their words are not longer; longer words than this are broken."""

_SHORT_HEADING = 10
"""A heading that is shorter is folded only where there is little room."""

_IN_ASCII = str.maketrans(
    {"≈": "=", "±": "+-", "·": "-", "×": "x", "→": "->", "≤": "<=", "≥": ">=", "–": "-", "…": "..."}
)
"""Other signs for those that not every terminal has."""

_PICTURES_ELSEWHERE = "--format html or --output DIR shows it"


def to_terminal(report: Report, width: int, encoding: str = "utf-8") -> RenderableType:
    """A whole report for rich: facts, warnings, then chapters with their tables; figures are named.

    Args:
        report: What to lay out.
        width: Columns of the terminal.
        encoding: Of the terminal; signs that it does not have are written in others (≈ as =, ± as +-).
    """
    page = _Page(width, encoding)
    parts: list[RenderableType] = [page.text(report.title, "bold"), *page.facts(report.facts)]
    parts += page.warnings(report.warnings)
    for chapter in report.chapters:
        parts += page.chapter(chapter)
    return Group(*parts)


def table_to_terminal(table: Table, width: int, encoding: str = "utf-8") -> RenderableType:
    """A table for rich, with its title and notes.

    Best bold, second best underlined, ≈ behind what is tied with the best, spread and interval dim, rows that see
    no pixel in italics. Where there is little room, texts are folded, then intervals go below their numbers, then they
    are left out; then columns follow in further parts below, and what even these cannot hold is named.

    Args:
        table: What to lay out.
        width: Columns of the terminal.
        encoding: Of the terminal, as of `to_terminal`.
    """
    return Group(*_Page(width, encoding).table(table))


class _Page:
    """The terminal that is written to.

    Attributes:
        width: Its columns.
        encoding: Its encoding.
    """

    def __init__(self, width: int, encoding: str) -> None:
        self.width = width
        self.encoding = encoding

    def text(self, text: str, style: str = "") -> Text:
        """Text that the terminal can show, and that does nothing to it."""
        return Text(self._shown(text), style=style)

    def facts(self, facts: Iterable[tuple[str, str]]) -> list[RenderableType]:
        """Names and values, one pair a line."""
        return [Text.assemble((f"{self._shown(name)}: ", "dim"), self._shown(value)) for name, value in facts]

    def warnings(self, warnings: Iterable[str]) -> list[RenderableType]:
        """What must not be overlooked."""
        return [
            Text.assemble((" Warning ", "black on yellow"), " ", (self._shown(warning), "yellow"))
            for warning in warnings
        ]

    def chapter(self, chapter: Chapter) -> list[RenderableType]:
        """A chapter under a rule."""
        title = self.text(chapter.title, "bold")
        parts: list[RenderableType] = [
            Text(),
            Rule(title, align="left", characters="─" if _encodes("─", self.encoding) else "-"),
        ]
        parts += [*self.facts(chapter.facts), *self.warnings(chapter.warnings)]
        for section in chapter.sections:
            parts += self.section(section)
        return [*parts, *([Text()] if chapter.notes else []), *self.notes(chapter.notes)]

    def section(self, section: Section) -> list[RenderableType]:
        """A section: text, tables, and the names of its figures."""
        parts: list[RenderableType] = [Text(), self.text(section.title, "bold cyan")]
        parts += [self.text(paragraph) for paragraph in section.text]
        for before, block in zip((None, *section.blocks), section.blocks, strict=False):
            apart = isinstance(block, Table) or isinstance(before, Table)
            parts += [*([Text()] if apart else []), *self.block(block)]
        return parts

    def block(self, block: Block) -> list[RenderableType]:
        """A table, or the name of what a terminal cannot show."""
        if isinstance(block, Table):
            return self.table(block)
        return [self.text(f"{type(block).__name__}: {block.title} ({_PICTURES_ELSEWHERE})", "dim")]

    def notes(self, notes: Iterable[str]) -> list[RenderableType]:
        """Remarks, each behind a dot."""
        dot = Text(f"{self._shown('·')} ", style="dim")
        lines = Grid.grid()
        for note in notes:
            lines.add_row(dot, self.text(note, "dim"))
        return [lines] if lines.row_count else []

    def table(self, table: Table) -> list[RenderableType]:
        """A table with its title above and its notes below."""
        shown, columns, names, together = self._layout(table)
        common = _common_headings(table.columns)
        hidden = ", ".join(map(_one_heading, table.columns[together[-1].stop :]))
        notes = [*shown.notes, *([f"not shown for want of columns: {hidden}"] if hidden else [])]
        title = BETWEEN_HEADINGS.join([table.title, *common])
        result: list[RenderableType] = []
        for number, places in enumerate(together):
            result += [Text(), self.text(f"{title} (continued)", "bold")] if number else [self.text(title, "bold")]
            result += self._part(shown, columns, places, names, len(common))
        return [*result, *self.notes(notes)]

    def _layout(self, table: Table) -> _Way:
        """The table as it is shown, its columns, the width of the names, and the columns of each part.

        Of the ways to lay it out it is the first that shows most columns in fewest parts.
        """
        named = [self._shown(name) for name in (table.head, *(row.name for row in table.rows))]
        longest = max(map(cell_len, named))
        names = Width(min(longest, _NAME), longest)
        narrow = Width(min(names.least, max(_NARROWEST_NAME, _longest_word(named))), longest)
        beside = (table, self._columns(table))
        forms = [(beside, names), (beside, narrow)]
        if any(column.interval for column in table.columns):
            below = (table, self._columns(table, intervals_below=True))
            without = (shorter := _without_intervals(table), self._columns(shorter))
            forms[1:1] = [(below, names)]
            forms += [(below, narrow), (without, names), (without, narrow)]
        ways = [
            (shown, columns, width, parts(width, [column.width for column in columns], self.width))
            for (shown, columns), width in forms
        ]

        def shortcomings(way: _Way) -> tuple[int, int, int]:
            _, columns, width, together = way
            each = ([columns[place].width for place in places] for places in together)
            wanting = max(lacking(width, widths, self.width) for widths in each)
            return wanting, len(columns) - together[-1].stop, len(together)

        return min(ways, key=shortcomings)

    def _columns(self, table: Table, *, intervals_below: bool = False) -> list[_GridColumn]:
        return [self._column(table, place, intervals_below) for place in range(len(table.columns))]

    def _part(
        self, table: Table, columns: list[_GridColumn], places: range, names: Width, common: int
    ) -> list[RenderableType]:
        """The rows with the columns at `places` under their headings without the `common` ones."""
        chosen = [columns[place] for place in places]
        room = self.width - GAP * len(chosen)
        widths = shared_out([names, *(column.width for column in chosen)], room)
        headings = [
            [self._shown(table.head)],
            *(
                self._heading(table.columns[place], common, width)
                for place, width in zip(places, widths[1:], strict=True)
            ),
        ]
        height = max(map(len, headings))
        lines = ["\n".join([""] * (height - len(heading)) + heading) for heading in headings]
        positions = count()
        blocks: list[RenderableType] = []
        grid = _grid(lines, widths)
        for group, rows in grouped(table):
            if group:
                # A heading is no cell of the narrow first column: it has the whole line.
                blocks += [grid, *([Text()] if len(blocks) else []), self.text(group, "bold")]
                grid = _grid([], widths)
            for row, position in zip(rows, positions, strict=False):
                name = self.text(row.name, "italic" if row.diagnostic else "")
                cells = [one.cell(position, width) for one, width in zip(chosen, widths[1:], strict=True)]
                grid.add_row(name, *cells)
        return [*blocks, grid]

    def _column(self, table: Table, position: int, intervals_below: bool) -> _GridColumn:
        """A column as it would stand in the table."""
        column = table.columns[position]
        found = [row.cells[position] for row in table.rows]
        numbers = iter(self._numbers([cell for cell in found if isinstance(cell, Number)], column, intervals_below))
        cells = [self.text(cell) if isinstance(cell, str) else next(numbers) for cell in found]
        needed = max((cell_len(line) for cell in cells for line in cell.plain.split("\n")), default=0)
        titles = [self._shown(title) for title in (*column.over, column.title)]
        whole = max([min(cell_len(title), _SHORT_HEADING) for title in titles])
        words = max(1, _longest_word(titles))
        folded = needed
        if column.text:
            folded = min(needed, max(_NARROWEST_TEXT, _longest_word(cell.plain for cell in cells)))
        return _GridColumn(Width(max(folded, words), max(needed, words, whole)), cells, number=not column.text)

    def _heading(self, column: Column, skipped: int, width: int) -> list[str]:
        """The lines of a column's headings, without the `skipped` outermost ones."""
        titles = [self._shown(title) for title in (*column.over[skipped:], column.title)]
        lines = [line for title in titles for line in textwrap.wrap(title, width)]
        return lines if column.text else [" " * (width - cell_len(line)) + line for line in lines]

    def _numbers(self, numbers: list[Number], column: Column, intervals_below: bool) -> list[Text]:
        """Numbers under one another: digits below digits, spreads below spreads."""
        shown = [number_text(number, column) for number in numbers]
        sign, tied = self._shown("±"), self._shown("≈")
        spreads = [f" {sign}{text.std}" if text.std else "" for text in shown]
        intervals = [f"[{text.low}, {text.high}]" if text.low else "" for text in shown]
        values = [text.value for text, number in zip(shown, numbers, strict=True) if number.value is not None]
        left, middle = (max(map(len, texts), default=0) for texts in (values, spreads))
        lines = []
        for number, text, spread, interval in zip(numbers, shown, spreads, intervals, strict=True):
            if number.value is None:
                lines.append(Text(self._shown(text.value), style="dim"))
                continue
            style = "bold" if "best" in number.marks else "underline" if "second" in number.marks else ""
            line = Text(" " * (left - len(text.value))).append(text.value, style)
            beside = interval and not intervals_below
            line.append(f"{spread.ljust(middle)} {interval}" if beside else spread, "dim")
            lines.append(line.append(f" {tied}" if "tied" in number.marks else ""))
        defined = [line for line, number in zip(lines, numbers, strict=True) if number.value is not None]
        right = max(map(len, defined), default=0)
        for line in defined:
            line.pad_right(right - len(line))
        if intervals_below:
            for line, interval in zip(lines, intervals, strict=True):
                line.append(f"\n{interval}" if interval else "", "dim")
        return lines

    def _shown(self, text: str) -> str:
        """Text as one line of what the terminal's encoding has."""
        line = one_line(text)
        if _encodes(line, self.encoding):
            return line
        return "".join(self._sign(letter) for letter in line)

    def _sign(self, letter: str) -> str:
        if _encodes(letter, self.encoding):
            return letter
        return letter.translate(_IN_ASCII).encode(self.encoding, "replace").decode(self.encoding)


@dataclass(frozen=True)
class _GridColumn:
    """A column that is ready to be shown.

    Attributes:
        width: What it takes of the terminal.
        cells: One per row.
        number: Whether they are numbers, which stand on the right.
    """

    width: Width
    cells: list[Text]
    number: bool = False

    def cell(self, position: int, width: int) -> Text:
        """A row's cell; each line of numbers is filled up, because rich would not keep blanks behind them."""
        cell = self.cells[position]
        if not self.number:
            return cell
        lines = cell.split("\n")
        for line in lines:
            line.pad_left(width - cell_len(line.plain))
        return Text("\n").join(lines)


_Way = tuple[Table, list[_GridColumn], Width, list[range]]
"""A table as it is shown, its columns, the width of the names, and the positions of the columns in each part."""


def _grid(headings: Sequence[str], widths: Sequence[int]) -> Grid:
    """An empty grid; without headings it goes on below another."""
    grid = Grid(
        box=box.SIMPLE_HEAD,
        show_header=bool(headings),
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),
    )
    for heading, width in zip(headings or [""] * len(widths), widths, strict=True):
        grid.add_column(Text(heading), overflow="fold", width=width)
    return grid


def _longest_word(texts: Iterable[str]) -> int:
    """Width of the longest word, if it is none that must be broken anyway."""
    return max((min(cell_len(word), _LONGEST_WORD) for text in texts for word in text.split()), default=0)


def _common_headings(columns: tuple[Column, ...]) -> list[str]:
    """The outermost headings that all columns share: they stand in the title."""
    shared = []
    for level in zip(*(column.over for column in columns), strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return shared


def _without_intervals(table: Table) -> Table:
    note = "95 % intervals are not shown for want of columns"
    columns = tuple(replace(column, interval=False) for column in table.columns)
    return replace(table, columns=columns, notes=(*table.notes, note))


def _one_heading(column: Column) -> str:
    return " ".join([*column.over, column.title])


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
