"""One report in every form: golden files, and the same numbers everywhere.

`AGIQA_WRITE_GOLDEN=1 pytest tests/reporting/test_render_report.py` writes the golden files anew; look at what changed.
"""

import csv
import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from agiqa_bench.reporting.digits import NumberText, number_text
from agiqa_bench.reporting.model import (
    Chapter,
    Column,
    Figure,
    Gallery,
    Number,
    Picture,
    Report,
    Row,
    Section,
    Table,
)
from agiqa_bench.reporting.render.comma_separated import table_to_csv
from agiqa_bench.reporting.render.latex import to_latex
from agiqa_bench.reporting.render.layout import grouped, heading_levels
from agiqa_bench.reporting.render.markdown import to_markdown
from agiqa_bench.reporting.render.terminal import to_terminal

GOLDEN = Path(__file__).parent / "golden"

NASTY = r"""a_b & 50% $x$ #1 {~^\} <script> |pipe| *bold* "q" 'é' ≥ ±"""

BEST, SECOND, TIED = (frozenset({mark}) for mark in ("best", "second", "tied"))


def never():
    raise AssertionError("no text format draws a figure")


RESULTS = Table(
    "results-quality",
    f"Toy [1]: {NASTY}",
    (
        Column("srcc", "SRCC", ("AGIQA-3K", "quality"), spread=True, interval=True, better="higher"),
        Column("plcc", "PLCC within generator", ("AGIQA-3K", "quality"), decimals=3, spread=True, better="higher"),
        Column("krcc", "KRCC", ("AGIQA-3K", "alignment"), spread=True, missing="-"),
        Column("parameters", "Parameters", decimals=0),
        Column("weights", "Weights", text=True),
    ),
    (
        Row(
            "a",
            NASTY,
            (
                Number(0.80193, 0.03572, 0.77001, 0.83004, 10, BEST),
                Number(0.5, 0.1, n=10, marks=BEST),
                Number(None, reason="the scores do not vary"),
                Number(14410752.0),
                NASTY,
            ),
            "Deep & wide",
        ),
        Row(
            "b",
            "IPIQA (demo-rn)",
            (
                Number(0.799996, 0.05, 0.75, 0.85, 9, SECOND | TIED, "the MOS do not vary"),
                Number(0.49996, n=1, marks=BEST),
                Number(-0.00004, 0.2, n=10),
                Number(0.0),
                "=HYPERLINK(1)",
            ),
            "Deep & wide",
        ),
        Row(
            "generator_mean",
            "generator_mean",
            (
                Number(-0.2, 0.04, -0.3, -0.1, 10),
                Number(-0.3, 0.04, n=10),
                Number(1.0, 0.0, n=10),
                Number(None),
                "",
            ),
            "Sees no pixel",
            diagnostic=True,
        ),
    ),
    notes=("best in bold, second best underlined", "- a note that looks like a list", "≈ is tied with the best"),
)

TESTS = Table(
    "tests",
    "One row",
    (
        Column("difference", "difference", ("against the best",), decimals=3, spread=True, interval=True, signed=True),
        Column("p", "p", ("against the best",), decimals=3, p_value=True),
        Column("p_holm", "p (Holm)", ("against the best",), decimals=3, p_value=True),
    ),
    (Row("-b", "[b] *c", (Number(0.0132, 0.02, -0.01, 0.03, 10), Number(0.00002), Number(0.0123))),),
)

NOBODY = Table("nobody", "No rows", (Column("srcc", "SRCC"),), (), head="Who", notes=("nothing is finished yet",))

GALLERY = Gallery(
    "largest-errors",
    "Largest errors",
    (Picture("", "1_a.png", "a cat | on a mat, *very* detailed, 8k, trending", "SD1.5", 2.504, 4.12999),),
    caption="by how far the score is off",
)

REPORT = Report(
    f"Report {NASTY}",
    (
        Chapter(
            "toy",
            "Toy: 10 repeats, grouped split",
            (
                Section(
                    "results", "Results", (RESULTS, Figure("box", "Box_plot", "boxes [of] SRCC", never, "one dot each"))
                ),
                Section("tests", "Tests", (TESTS, NOBODY, GALLERY), ("1. A paragraph that looks like a list.",)),
            ),
            facts=(("Data set", NASTY), ("Seed", "0")),
            warnings=("synthetic data: not rated by people",),
            notes=(f"with the settings of the quick preset: {NASTY}",),
        ),
    ),
    facts=(("Version", "0.5.0"),),
    warnings=("two runs cannot be compared", NASTY),
    references="@misc{a,\n  title = {An Entry},\n  author = {Nobody},\n  year = {2024}\n}\n",
)


def terminal(report: Report, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, emoji=False, color_system=None, legacy_windows=False)
    console.print(to_terminal(report, width))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


FORMS: dict[str, Callable[[], str]] = {
    "terminal-160.txt": lambda: terminal(REPORT, 160),
    "terminal-80.txt": lambda: terminal(REPORT, 80),
    "report.md": lambda: to_markdown(REPORT, figures="figures"),
    "report.tex": lambda: to_latex(REPORT, figures="figures"),
    **{f"{table.key}.csv": lambda table=table: table_to_csv(table) for table in REPORT.tables()},
}


@pytest.mark.parametrize("name", FORMS)
def test_golden(name):
    found = FORMS[name]()
    path = GOLDEN / name
    if os.environ.get("AGIQA_WRITE_GOLDEN"):
        path.write_text(found, encoding="utf-8", newline="\n")
    assert found == path.read_text(encoding="utf-8")


# The same numbers everywhere: each reader parses one form back into what `shown_numbers` says it must hold. A further
# form is one more reader.

Numbers = dict[tuple[str, str, str], NumberText]
"""By (table, row, column), all keys."""

_SHOWN = re.compile(r"(?P<value>\S+)(?: ± ?(?P<std>\S+))?(?: \[(?P<low>\S+), (?P<high>\S+)\])?(?: ≈)?")


def shown_numbers(report: Report) -> Numbers:
    return {
        (table.key, row.key, column.key): number_text(cell, column)
        for table in report.tables()
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if isinstance(cell, Number)
    }


def from_grids(report: Report, grids: list[list[list[str]]]) -> Numbers:
    """Numbers of tables that were read as lines of cells, without headings but with the lines of groups."""
    found: Numbers = {}
    for table, grid in zip(report.tables(), grids, strict=True):
        lines = iter(grid)
        for group, rows in grouped(table):
            if group:
                assert next(lines)[0] == group
            for row, line in zip(rows, lines, strict=False):
                assert line[0] == row.name
                for column, text in zip(table.columns, line[1:], strict=True):
                    if not column.text:
                        found[table.key, row.key, column.key] = number_of(text)
        assert not list(lines)
    return found


def number_of(text: str) -> NumberText:
    parts = _SHOWN.fullmatch(text)
    assert parts, text
    return NumberText(**{name: part or "" for name, part in parts.groupdict().items()})


def read_markdown(report: Report) -> Numbers:
    grids: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(report))
    for token, inner in pairwise(tokens):
        if token.type == "table_open":
            grids.append([])
        elif token.type == "tr_open":
            grids[-1].append([])
        elif token.type == "td_open":
            grids[-1][-1].append("".join(part.content for part in inner.children if part.type == "text"))
    return from_grids(report, [grid[1:] for grid in grids[: len(report.tables())]])


def read_latex(report: Report) -> Numbers:
    grids = []
    tabulars = re.findall(r"(?s)\\begin{tabular}.*?\\end{tabular}", to_latex(report))
    for table, tabular in zip(report.tables(), tabulars, strict=False):  # behind them the gallery's
        lines = [line.removesuffix(r" \\") for line in tabular.splitlines() if line.endswith(r" \\")]
        cells = [[plain(cell) for cell in line.split(" & ")] for line in lines]
        grids.append(cells[len(heading_levels(table.columns)) + 1 :])
    return from_grids(report, grids)


def plain(latex: str) -> str:
    """What a cell of LaTeX shows."""
    for pattern, shown in (
        (r"\\parbox\[t\]{\d+em}{\\raggedright (.*)\\strut}", r"\1"),
        (r"\\multicolumn{\d+}{l}{(.*)}$", r"\1"),
        (r"\\(?:textbf|underline|textit){((?:[^{}]|\\[{}])*)}", r"\1"),
        (r"\\rlap{\$\^{\\approx}\$}", " ≈"),
        (r"\$\\pm\$", "±"),
        (r"\$\\geq\$", "≥"),
        (r"\$([-+<])\$", r"\1"),
        (r"\\textless{}", "<"),
        (r"\\textgreater{}", ">"),
        (r"\\textbar{}", "|"),
        (r"\\textasciitilde{}", "~"),
        (r"\\textasciicircum{}", "^"),
        (r"{\\char34}", '"'),
        (r"{([][*])}", r"\1"),
        (r"\\textbackslash{}", r"\\"),
        (r"\\([&%$#_{}])", r"\1"),
    ):
        latex = re.sub(pattern, shown, latex)
    return latex


def read_terminal(report: Report) -> Numbers:
    found: Numbers = {}
    lines = iter(terminal(report, 300).splitlines())
    number = r"(\S+)(?: +±(\S+))?(?: +\[(\S+), +(\S+)\])?(?: +≈)?"
    for table in report.tables():
        for row in table.rows:
            rest = next(line for line in lines if line.startswith(f"{row.name}  ")).removeprefix(row.name)
            columns = [column for column in table.columns if not column.text]
            for column, parts in zip(columns, re.finditer(number, rest), strict=False):
                found[table.key, row.key, column.key] = NumberText(*(part or "" for part in parts.groups()))
    return found


def read_csv(report: Report) -> Numbers:
    """CSV holds every digit: as floats they must be the very numbers, and shown as the table shows them, the same."""
    found: Numbers = {}
    for table in report.tables():
        for row, line in zip(table.rows, csv.DictReader(io.StringIO(table_to_csv(table))), strict=True):
            for column, cell in zip(table.columns, row.cells, strict=True):
                if isinstance(cell, Number):
                    value = line.get(column.key, line.get(f"{column.key}_mean"))
                    parts = [value, *(line.get(f"{column.key}_{part}") for part in ("std", "low", "high"))]
                    floats = [float(part) if part else None for part in parts]
                    assert floats == [cell.value, cell.std, cell.low, cell.high]
                    found[table.key, row.key, column.key] = number_text(Number(*floats), column)
    return found


class NumbersOfPage(HTMLParser):
    """The parts of the numbers of a page by (table, row), in order; what is shown on request only is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.table, self.rows = "", {}

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if given.get("class") == "block":
            self.table = given["id"]
        if "data-key" in given:
            self.rows[self.table, given["data-key"]] = []
        if given.get("class") == "number" and tag == "td":
            list(self.rows.values())[-1].append({})
        if tag not in ("meta", "link", "input"):
            self.kinds.append(given.get("class") or "")

    def handle_endtag(self, tag):
        self.kinds.pop()

    def handle_data(self, data):
        shown = [kind for kind in self.kinds if kind]
        if "number" in shown and self.rows and shown[-1] in ("value", "undefined", "spread", "interval"):
            parts = list(self.rows.values())[-1][-1]
            parts[shown[-1]] = parts.get(shown[-1], "") + data


def read_html(report: Report) -> Numbers:
    from agiqa_bench.reporting.html.page import to_html

    texts = [
        replace(s, blocks=tuple(b for b in s.blocks if not isinstance(b, Figure))) for s in report.chapters[0].sections
    ]
    page = NumbersOfPage()
    page.feed(to_html(replace(report, chapters=(replace(report.chapters[0], sections=tuple(texts)),))))
    found: Numbers = {}
    for table in report.tables():
        columns = [column.key for column in table.columns if not column.text]
        for row in table.rows:
            for column, parts in zip(columns, page.rows[table.key, row.key], strict=True):
                low, high = parts["interval"].strip("[]").split(", ") if "interval" in parts else ("", "")
                value = parts.get("undefined") or parts["value"].strip()
                found[table.key, row.key, column] = NumberText(value, parts.get("spread", "").strip("± "), low, high)
    return found


READERS: dict[str, Callable[[Report], Numbers]] = {
    "csv": read_csv,
    "html": read_html,
    "latex": read_latex,
    "markdown": read_markdown,
    "terminal": read_terminal,
}


@pytest.mark.parametrize("form", READERS)
def test_every_form_holds_the_same_numbers(form):
    expected = shown_numbers(REPORT)
    assert len(expected) == 15
    assert READERS[form](REPORT) == expected


def test_golden_markdown_shows_the_names_as_they_are():
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(to_markdown(REPORT))
    texts = list(shown_texts(html))
    assert f"Report {NASTY}" in texts
    assert texts.count(NASTY) == 3  # the row's name, the text beside it, the second warning
    assert "1. A paragraph that looks like a list." in texts
    assert "- a note that looks like a list" in texts


def shown_texts(tokens) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield re.sub("^Warning: ", "", "".join(part.content for part in token.children if part.type == "text"))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="for want of pdfLaTeX: install TeX Live")
def test_golden_latex_compiles(tmp_path):
    (tmp_path / "report.tex").write_text(to_latex(REPORT), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="latin-1", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "report.log").read_text(encoding="latin-1")
    assert not re.findall(r"Missing character.*|Undefined control.*|Overfull.*", log)
