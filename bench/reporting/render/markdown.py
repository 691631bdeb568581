"""A report as Markdown, in the dialect that GitHub shows."""

from __future__ import annotations

import re

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Block, Chapter, Column, Figure, Gallery, Number, Report, Row, Section, Table
from agiqa_bench.reporting.render.layout import BETWEEN_HEADINGS, gallery_table, grouped

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$#])")
_LEADING = re.compile(r"^(?:([+=-])|(\d+)([.)]))")


def escape(text: str) -> str:
    r"""Text as one line of Markdown that shows exactly this text in a table's cell, a heading or amid a line.

    >>> escape("a_b | *c*")
    'a\\_b \\| \\*c\\*'
    """
    return _SPECIAL.sub(r"\\\1", one_line(text))


def paragraph(text: str) -> str:
    r"""Text as `escape` gives it, for the start of a line, where it must not begin a list.

    >>> paragraph("1. no list")
    '1\\. no list'
    """
    return _LEADING.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", escape(text))


def to_markdown(report: Report, *, figures: str | None = None) -> str:
    """A whole report: facts and warnings, then a heading per chapter, section and table.

    Args:
        report: What to lay out.
        figures: Folder of the figures' SVG files, relative to the Markdown file, e.g. `figures`; each figure is
            shown as `<folder>/<key>.svg`. None leaves figures out; those of licensed images are left out anyway.
    """
    parts = [f"# {escape(report.title)}", *_facts(report.facts), *_warnings(report.warnings)]
    for chapter in report.chapters:
        parts.extend(_chapter(chapter, figures))
    if report.references:
        fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", report.references)), default=0))
        parts += ["## References", f"{fence}bibtex\n{report.references.strip()}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def table_to_markdown(table: Table) -> str:
    """A table with pipes, and its notes as a list below; its title is left to the caller.

    Best in bold, second best between `<ins>` tags, which GitHub underlines; ≈ behind what is tied with the best;
    rows that see no pixel in italics. Headings of several levels stand in one line.
    """
    lines = [
        _line([escape(table.head), *(_heading(column) for column in table.columns)]),
        _line(["---", *("---" if column.text else "---:" for column in table.columns)]),
    ]
    for group, rows in grouped(table):
        if group:
            lines.append(_line([f"**{escape(group)}**", *("" for _ in table.columns)]))
        lines.extend(_row(row, table.columns) for row in rows)
    if table.notes:
        lines += ["", *(f"- {paragraph(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _chapter(chapter: Chapter, figures: str | None) -> list[str]:
    parts = [f"## {escape(chapter.title)}", *_facts(chapter.facts), *_warnings(chapter.warnings)]
    for section in chapter.sections:
        parts.extend(_section(section, figures))
    if chapter.notes:
        parts += ["### Notes", "\n".join(f"- {paragraph(note)}" for note in chapter.notes)]
    return parts


def _section(section: Section, figures: str | None) -> list[str]:
    parts = [*map(paragraph, section.text)]
    for block in section.blocks:
        parts.extend(_block(block, figures))
    return [f"### {escape(section.title)}", *parts] if parts else []


def _block(block: Block, figures: str | None) -> list[str]:
    if isinstance(block, Figure):
        if figures is None or not block.free:
            return []
        image = f"![{escape(block.alt)}]({figures.rstrip('/')}/{block.key}.svg)"
        return [f"#### {escape(block.title)}", image, *([paragraph(block.caption)] if block.caption else [])]
    table = gallery_table(block) if isinstance(block, Gallery) else block
    return [f"#### {escape(table.title)}", table_to_markdown(table).rstrip("\n")]


def _facts(facts: tuple[tuple[str, str], ...]) -> list[str]:
    return ["\n".join(f"- **{escape(name)}**: {escape(value)}" for name, value in facts)] if facts else []


def _warnings(warnings: tuple[str, ...]) -> list[str]:
    return ["\n>\n".join(f"> **Warning:** {escape(warning)}" for warning in warnings)] if warnings else []


def _heading(column: Column) -> str:
    return escape(BETWEEN_HEADINGS.join([*filter(None, column.over), column.title]))


def _row(row: Row, columns: tuple[Column, ...]) -> str:
    name = escape(row.name)
    cells = [_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True)]
    return _line([f"*{name}*" if row.diagnostic and name else name, *cells])


def _cell(cell: Number | str, column: Column) -> str:
    if isinstance(cell, str):
        return escape(cell)
    shown = number_text(cell, column)
    value = escape(shown.value)
    if "best" in cell.marks:
        value = f"**{value}**"
    elif "second" in cell.marks:
        value = f"<ins>{value}</ins>"
    spread = f" ± {shown.std}" if shown.std else ""
    interval = f" [{shown.low}, {shown.high}]" if shown.low else ""
    return f"{value}{spread}{interval}{' ≈' if 'tied' in cell.marks else ''}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
