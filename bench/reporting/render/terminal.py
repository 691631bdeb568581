"""A report on a terminal, by rich."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Block, Chapter, Column, Number, Report, Section, Table
from agiqa_bench.reporting.render.layout import BETWEEN_HEADINGS, grouped, one_line

_GAP = 2
"""Blanks between columns."""

_WIDEST_TEXT = 28
"""Columns of the terminal that a text takes before it is folded."""

_NAME = 26
"""Columns of the terminal that the rows' names get before numbers are left out for them."""

_NARROWEST_NAME = 12

_SHORT_HEADING, _WIDEST_HEADING = 10, 16
"""A heading that is shorter is not folded for a narrow column; words that are longer are broken."""

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
    no pixel in italics. Columns for which there is no room are left out from the right, and named below.

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
        columns = [self._column(table, position) for position in range(len(table.columns))]
        names = (table.head, *(name for row in table.rows for name in (row.name, row.group)))
        longest = max(cell_len(self._shown(name)) for name in names)
        kept = _fitting([column.width for column in columns], self.width - min(longest, _NAME))
        room = self.width - sum(column.width + _GAP for column in columns[:kept])
        if room < _NARROWEST_NAME and any(column.interval for column in table.columns[:kept]):
            return self.table(_without_intervals(table))
        name_width = min(longest, max(room, _NARROWEST_NAME))
        shown = _widened(columns[:kept], room - name_width)
        common = _common_headings(table.columns[:kept])
        hidden = ", ".join(map(_one_heading, table.columns[kept:]))
        notes = [*table.notes, *([f"not shown for want of columns: {hidden}"] if hidden else [])]
        title = self.text(BETWEEN_HEADINGS.join([table.title, *common]), "bold")
        return [title, self._grid(table, shown, name_width, len(common)), *self.notes(notes)]

    def _grid(self, table: Table, shown: list[_GridColumn], name_width: int, common: int) -> Grid:
        """The rows with the first columns, those that are shown, under their headings without the `common` ones."""
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        columns = list(zip(table.columns, shown, strict=False))
        headings = [[self._shown(table.head)], *(self._heading(one, common, found.width) for one, found in columns)]
        height = max(map(len, headings))
        widths = [name_width, *(column.width for column in shown)]
        for heading, width in zip(headings, widths, strict=True):
            lines = [""] * (height - len(heading)) + heading
            grid.add_column(Text("\n".join(lines)), overflow="fold", width=width)
        positions = count()
        for group, rows in grouped(table):
            grid.add_section()
            if group:
                grid.add_row(self.text(group, "bold"))
            for row, position in zip(rows, positions, strict=False):
                name = self.text(row.name, "italic" if row.diagnostic else "")
                grid.add_row(name, *(column.cells[position] for column in shown))
        return grid

    def _column(self, table: Table, position: int) -> _GridColumn:
        """A column as it would stand in the table."""
        column = table.columns[position]
        found = [row.cells[position] for row in table.rows]
        aligned = iter(self._numbers([cell for cell in found if isinstance(cell, Number)], column))
        cells = [self.text(cell) if isinstance(cell, str) else next(aligned) for cell in found]
        needed = max((cell_len(cell.plain) for cell in cells), default=0)
        titles = [self._shown(title) for title in (*column.over, column.title)]
        words = [cell_len(word) for title in titles for word in title.split()]
        whole = [min(cell_len(title), _SHORT_HEADING) for title in titles]
        heading = min(max([1, *words, *whole]), _WIDEST_HEADING)
        width = max(min(needed, _WIDEST_TEXT) if column.text else needed, heading)
        if not column.text:
            for cell in cells:
                cell.pad_left(width - cell_len(cell.plain))
        return _GridColumn(width, max(needed, width), cells)

    def _heading(self, column: Column, skipped: int, width: int) -> list[str]:
        """The lines of a column's headings, without the `skipped` outermost ones."""
        titles = [self._shown(title) for title in (*column.over[skipped:], column.title)]
        lines = [line for title in titles for line in textwrap.wrap(title, width)]
        return lines if column.text else [" " * (width - cell_len(line)) + line for line in lines]

    def _numbers(self, numbers: list[Number], column: Column) -> list[Text]:
        """Numbers under one another: digits below digits, spreads below spreads."""
        shown = [number_text(number, column) for number in numbers]
        sign, tied = self._shown("±"), self._shown("≈")
        spreads = [f" {sign}{parts.std}" if parts.std else "" for parts in shown]
        intervals = [f" [{parts.low}, {parts.high}]" if parts.low else "" for parts in shown]
        values = [parts.value for parts, number in zip(shown, numbers, strict=True) if number.value is not None]
        left, middle = (max(map(len, texts), default=0) for texts in (values, spreads))
        lines = []
        for number, parts, spread, interval in zip(numbers, shown, spreads, intervals, strict=True):
            if number.value is None:
                lines.append(Text(self._shown(parts.value), style="dim"))
                continue
            style = "bold" if "best" in number.marks else "underline" if "second" in number.marks else ""
            line = Text(" " * (left - len(parts.value))).append(parts.value, style)
            line.append(f"{spread.ljust(middle)}{interval}" if interval else spread, "dim")
            lines.append(line.append(f" {tied}" if "tied" in number.marks else ""))
        defined = [line for line, number in zip(lines, numbers, strict=True) if number.value is not None]
        right = max(map(len, defined), default=0)
        for line in defined:
            line.pad_right(right - len(line))
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
        width: Columns of the terminal that it takes.
        needed: How many it would take without folding.
        cells: One per row; numbers are filled up to the width, because rich would not keep blanks behind them.
    """

    width: int
    needed: int
    cells: list[Text]


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


def _fitting(widths: list[int], room: int) -> int:
    """How many columns, from the left, there is room for; at least one."""
    for kept in range(len(widths), 1, -1):
        if sum(width + _GAP for width in widths[:kept]) <= room:
            return kept
    return min(1, len(widths))


def _widened(columns: list[_GridColumn], room: int) -> list[_GridColumn]:
    """Columns whose texts are folded, with what room is left given to them, the first ones first."""
    result = []
    for column in columns:
        more = max(0, min(column.needed - column.width, room))
        room -= more
        result.append(replace(column, width=column.width + more))
    return result


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
