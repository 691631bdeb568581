"""Any text is safe inside Markdown, by the judgement of a CommonMark parser."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.model import Chapter, Column, Figure, Number, Report, Row, Section, Table
from agiqa_bench.reporting.render.markdown import escape, paragraph, table_to_markdown, to_markdown

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

NASTY = st.text(st.one_of(st.sampled_from("\\`*_[]<>|~&$#+-=.)(!\"' \n\t1a"), st.characters()))


def texts_of(markdown: str) -> list[str]:
    """The text of every inline element, without what is bold, struck out, a link or HTML in it."""
    found = []
    for token in PARSER.parse(markdown):
        if token.type == "inline":
            kinds = {part.type for part in token.children}
            assert kinds <= {"text", "strong_open", "strong_close", "em_open", "em_close"}, kinds
            found.append("".join(part.content for part in token.children))
    return found


@settings(deadline=None)
@given(NASTY)
def test_any_text_is_shown_as_it_is(text):
    line = one_line(text)
    if line:
        assert texts_of(f"{paragraph(text)}\n") == [line]
        assert texts_of(f"- {paragraph(text)}\n") == [line]
        assert texts_of(f"## {escape(text)}\n") == [line]


@settings(deadline=None)
@given(NASTY, NASTY, NASTY, NASTY, st.booleans())
def test_any_text_leaves_the_shape_of_a_table(name, cell, title, group, diagnostic):
    columns = (Column("a", title, text=True), Column("b", "B", (title,)))
    row = Row("r", name, (cell, Number(0.5)), group, diagnostic)
    markdown = table_to_markdown(Table("t", "T", columns, (row, row), head=name))
    tokens = PARSER.parse(markdown)
    rows = [
        sum(t.type in ("td_open", "th_open") for t in tokens[: i + 1])
        for i, t in enumerate(tokens)
        if t.type == "tr_close"
    ]
    assert rows == [3 * (i + 1) for i in range(3 + bool(group))]
    assert texts_of(markdown)[-3:] == [one_line(name), one_line(cell), "0.5000"]


def test_marks_and_groups():
    marks = [frozenset(marks) for marks in (("best",), ("second", "tied"), ())]
    rows = tuple(Row(str(i), str(i), (Number(0.5, 0.1, 0.4, 0.6, marks=mark),), "G") for i, mark in enumerate(marks))
    shown = Table("t", "T", (Column("x", "X", ("A", "B"), spread=True, interval=True),), rows, notes=("a note",))
    assert table_to_markdown(shown).splitlines() == [
        "| Method | A · B · X |",
        "| --- | ---: |",
        "| **G** |  |",
        "| 0 | **0.5000** ± 0.1000 [0.4000, 0.6000] |",
        "| 1 | <ins>0.5000</ins> ± 0.1000 [0.4000, 0.6000] ≈ |",
        "| 2 | 0.5000 ± 0.1000 [0.4000, 0.6000] |",
        "",
        "- a note",
    ]


@pytest.mark.parametrize(("folder", "shown"), [("figures", True), ("figures/", True), (None, False)])
def test_figures_are_shown_when_asked_for(folder, shown):
    figure = Figure("box", "Box", "boxes", lambda: pytest.fail("drawn"))
    report = Report("R", (Chapter("c", "C", (Section("s", "S", (figure,)),)),))
    text = to_markdown(report, figures=folder)
    assert ("![boxes](figures/box.svg)" in text) == shown
    assert ("### S" in text) == shown
