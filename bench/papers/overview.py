"""The published tables as a list, and as the page of one of them."""

from __future__ import annotations

from collections.abc import Sequence

from agiqa_bench.papers.published import PublishedTable
from agiqa_bench.reporting.model import Chapter, Column, Report, Row, Section, Table


def list_of(tables: Sequence[PublishedTable]) -> Table:
    """What each table is about, its data sets, and whether its figures are first- or second-hand, kind by kind."""
    kinds = list(dict.fromkeys(table.kind for table in tables))
    columns = [
        ("what", "What"),
        ("data_sets", "Data sets"),
        ("source", "Source"),
        ("hand", "Figures"),
    ]
    return Table(
        key="published-tables",
        title="Published tables",
        head="ID",
        columns=tuple(Column(key, title, text=True) for key, title in columns),
        rows=tuple(
            Row(
                table.id,
                table.id,
                (
                    table.caption,
                    ", ".join(data.title for data in table.datasets.values()),
                    f"{table.place}, {table.paper.where}",
                    "second-hand" if table.second_hand else "primary",
                ),
                group=table.kind,
            )
            for table in sorted(tables, key=lambda table: kinds.index(table.kind))
        ),
    )


def page_of(table: PublishedTable, shown: Sequence[Table]) -> Report:
    """A published table, alone or with what runs measured, as a report with its reference."""
    from agiqa_bench.papers.beside import DIFFERS

    alone = all(column.key != DIFFERS for one in shown for column in one.columns)
    title = "As published" if alone else "Published and measured"
    section = Section(f"{table.id}-tables", title, tuple(shown))
    facts = (("Paper", table.paper.title), ("Source", f"{table.place}, {table.paper.where}"))
    chapter = Chapter(f"{table.id}-page", table.caption.capitalize(), (section,), facts)
    return Report(table.title, (chapter,), references=table.paper.citation.strip() + "\n")
