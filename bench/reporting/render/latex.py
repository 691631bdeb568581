"""Tables and reports as LaTeX, with booktabs.

What is written here is for pdfLaTeX of 2020 or later, with the packages booktabs and fontenc (option T1).
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Block, Chapter, Column, Figure, Gallery, Number, Report, Row, Section, Table
from agiqa_bench.reporting.render.layout import gallery_table, grouped, heading_levels

_ASCII = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"{\char34}",
    # Behind the end of a row these would be its option, or its star.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}

_SIGNS = {
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "°": r"$^{\circ}$",
    "²": r"$^{2}$",
    "³": r"$^{3}$",
    "µ": r"$\mu$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "•": r"\textbullet{}",
    "§": r"\S{}",
    "€": r"\texteuro{}",
    "©": r"\textcopyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
}

# fmt: off
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta",
    "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}
# fmt: on

_LETTERS = frozenset(map(chr, range(0xC0, 0x17F))) - set("×÷ĦħĸĿŀŉŦŧ") | set("¡¿«»£")
"""Letters that pdfLaTeX sets from UTF-8 with the T1 encoding."""

_LIGATURES = {"--", ",,", "''"}
"""Neighbours that the fonts would make one sign of."""

_COLUMN = 48
"""Letters of a small font across one column of a page that has two; a wider table goes over both."""

_PAGE = 100
"""Letters of a small font across an upright page."""

_LANDSCAPE = 170
"""The same for the document that `to_latex` makes."""

_SIZES = ((1.0, "small"), (1.12, "footnotesize"), (1.28, "scriptsize"))
"""(how much more than a page of small letters fits into the page's width, size); what needs still more is tiny."""

_SHORT_HEADING = 10
"""A heading with fewer letters is not folded for a narrow column."""

_LONG_TEXT = 36
"""Texts and names with more letters are folded, texts only where they find no more room."""

_EM = 0.45
"""Width of a letter, in the font's em."""


def escape(text: str) -> str:
    r"""Text as one line of LaTeX that shows exactly this text, anywhere but in verbatim or math.

    A letter that pdfLaTeX does not have stands there by its number, as U+4E2D.

    >>> escape("50% of a_b --last ± 1")
    '50\\% of a\\_b -{}-last $\\pm$ 1'
    """
    letters = unicodedata.normalize("NFC", one_line(text))
    parts = [_letter(letter) for letter in letters]
    for position, (left, right) in enumerate(pairwise(letters)):
        if left + right in _LIGATURES:
            parts[position] += "{}"
    return "".join(parts)


def _letter(letter: str) -> str:
    if letter in _GREEK:
        return f"$\\{_GREEK[letter]}$"
    known = _ASCII.get(letter) or _SIGNS.get(letter)
    if known is not None:
        return known
    return letter if letter.isascii() or letter in _LETTERS else f"U+{ord(letter):04X}"


def table_to_latex(table: Table) -> str:
    """A table as an environment ready for LaTeX's input command, with caption, label `tab:<key>` and notes below.

    Best in bold, second best underlined, a raised ≈ behind what is tied with the best, rows that see no pixel in
    italics. A table wider than one of two columns of a page is a `table*`; one wider than the page has smaller letters.
    """
    environment = "table*" if _letters(table) > _COLUMN else "table"
    return "\n".join([*_environment(table, environment, "htbp", _PAGE), ""])


def to_latex(report: Report, *, figures: str | None = None) -> str:
    """A whole report as a document of its own, on landscape pages, with its references.

    Args:
        report: What to lay out.
        figures: Folder of the figures, relative to the document, e.g. `figures`; each is shown from
            `<folder>/<key>.pdf` or `.png`, whichever there is. None leaves figures out; those of licensed
            images are left out anyway.
    """
    parts = [
        "\\documentclass[10pt,a4paper,landscape]{article}",
        "\\usepackage[T1]{fontenc}",
        "\\usepackage[margin=18mm]{geometry}",
        "\\usepackage{booktabs,float,graphicx}",
        *_bibliography_file(report.references),
        f"\\title{{{escape(report.title)}}}",
        "\\author{}\\date{}",
        "\\begin{document}",
        "\\maketitle",
        *_facts(report.facts),
        *_warnings(report.warnings),
    ]
    for chapter in report.chapters:
        parts += _chapter(chapter, figures)
    if report.references:
        parts += ["\\nocite{*}", "\\bibliographystyle{plain}", "\\bibliography{\\jobname-references}"]
    return "\n".join([*parts, "\\end{document}", ""])


def _chapter(chapter: Chapter, figures: str | None) -> list[str]:
    parts = [f"\\section{{{escape(chapter.title)}}}", *_facts(chapter.facts), *_warnings(chapter.warnings)]
    for section in chapter.sections:
        parts += _section(section, figures)
    if chapter.notes:
        parts += ["\\subsection{Notes}", *_list(escape(note) for note in chapter.notes)]
    return parts


def _section(section: Section, figures: str | None) -> list[str]:
    parts = []
    for paragraph in section.text:
        parts += [escape(paragraph), ""]
    for block in section.blocks:
        parts += _block(block, figures)
    return [f"\\subsection{{{escape(section.title)}}}", *parts] if parts else []


def _block(block: Block, figures: str | None) -> list[str]:
    if not isinstance(block, Figure):
        table = gallery_table(block) if isinstance(block, Gallery) else block
        return _environment(table, "table", "H", _LANDSCAPE)
    if figures is None or not block.free:
        return []
    caption = f"{escape(block.title)}. {escape(block.caption)}" if block.caption else escape(block.title)
    file = f"{figures.rstrip('/')}/{block.key}"
    return [
        "\\begin{figure}[H]",
        "\\centering",
        f"\\includegraphics[width=\\linewidth,height=0.75\\textheight,keepaspectratio]{{{file}}}",
        f"\\caption{{{caption}}}",
        f"\\label{{fig:{block.key}}}",
        "\\end{figure}",
    ]


def _environment(table: Table, environment: str, placement: str, room: int) -> list[str]:
    """The table with what stands around it.

    Args:
        table: What to lay out.
        environment: `table`, or `table*`.
        placement: Where LaTeX may put it.
        room: Letters of a small font across the page.
    """
    return [
        f"\\begin{{{environment}}}[{placement}]",
        "\\centering",
        f"\\caption{{{escape(table.title)}}}",
        f"\\label{{tab:{table.key}}}",
        f"\\smallskip\\{_size(table, room)}\\setlength{{\\tabcolsep}}{{4pt}}",
        "",
        *_tabular(table, room),
        *_notes(table.notes),
        f"\\end{{{environment}}}",
    ]


def _tabular(table: Table, room: int) -> list[str]:
    columns, widths, limits = table.columns, _widths(table), _limits(table, room)
    alignment = "".join("l" if column.text else "r" for column in columns)
    lines = [f"\\begin{{tabular}}{{l{alignment}}}", "\\toprule"]
    for level in heading_levels(columns):
        heads = [""]
        for span in level:
            if span.title:
                heads.append(f"\\multicolumn{{{span.columns}}}{{c}}{{{escape(span.title)}}}")
            else:
                heads += [""] * span.columns
        rules = [f"\\cmidrule(lr){{{span.first + 2}-{span.first + span.columns + 1}}}" for span in level if span.title]
        lines += [_line(heads), *(["".join(rules)] if rules else [])]
    lines.append(_line([escape(table.head), *map(_heading, columns, widths)]))
    for group, rows in grouped(table):
        lines.append("\\midrule")
        if group:
            lines.append(f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\textit{{{escape(group)}}}}} \\\\")
        lines += [_line([_name(row), *map(_cell, row.cells, columns, limits)]) for row in rows]
    return [*lines, *([] if table.rows else ["\\midrule"]), "\\bottomrule", "\\end{tabular}"]


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _name(row: Row) -> str:
    name = _folded(row.name, _LONG_TEXT)
    return f"\\textit{{{name}}}" if row.diagnostic else name


def _folded(text: str, limit: int) -> str:
    if len(text) <= limit:
        return escape(text)
    return f"\\parbox[t]{{{_EM * limit:.0f}em}}{{\\raggedright {escape(text)}\\strut}}"


def _cell(cell: Number | str, column: Column, limit: int) -> str:
    if isinstance(cell, str):
        return _folded(cell, limit)
    shown = number_text(cell, column)
    value = _number(shown.value) if cell.value is not None else escape(shown.value)
    if "best" in cell.marks:
        value = f"\\textbf{{{value}}}"
    elif "second" in cell.marks:
        value = f"\\underline{{{value}}}"
    spread = f" $\\pm$ {shown.std}" if shown.std else ""
    interval = f" [{_number(shown.low)}, {_number(shown.high)}]" if shown.low else ""
    # Beside the cell, so that it moves no digit.
    tied = "\\rlap{$^{\\approx}$}" if "tied" in cell.marks else ""
    return f"{value}{spread}{interval}{tied}"


def _number(text: str) -> str:
    """A number with its sign as mathematics has it."""
    return f"${text[0]}${text[1:]}" if text[0] in "+-<" else text


def _widths(table: Table) -> list[int]:
    """About how many letters the widest cell of each column has."""
    return [
        max((_length(row.cells[position], column) for row in table.rows), default=0)
        for position, column in enumerate(table.columns)
    ]


def _length(cell: Number | str, column: Column) -> int:
    if isinstance(cell, str):
        return len(cell)
    shown = number_text(cell, column)
    return sum(len(part) + between for part, between in ((shown.value, 0), (shown.std, 3), (shown.low + shown.high, 5)))


def _heading(column: Column, width: int) -> str:
    """The column's own heading, in as many lines as it needs not to be much wider than the column."""
    lines = [escape(line) for line in _heading_lines(column, width)]
    if len(lines) == 1:
        return lines[0]
    stacked = " \\\\ ".join(lines)
    return f"\\shortstack[{'l' if column.text else 'r'}]{{{stacked}}}"


def _heading_lines(column: Column, width: int) -> list[str]:
    title = one_line(column.title)
    width = max([width, _SHORT_HEADING, *map(len, title.split())])
    return textwrap.wrap(title, width, break_on_hyphens=False) or [""]


def _letters(table: Table) -> int:
    """About how many letters wide a table is."""
    names = min(_LONG_TEXT, max(map(len, [table.head, *(row.name for row in table.rows)])))
    columns = zip(table.columns, _widths(table), strict=True)
    return names + sum(
        2 + max([min(width, _LONG_TEXT), *map(len, _heading_lines(column, width))]) for column, width in columns
    )


def _limits(table: Table, room: int) -> list[int]:
    """How many letters each column's texts may have before they are folded, where `room` letters go into a line."""
    widths = _widths(table)
    long = sum(width > _LONG_TEXT for width in widths)
    spare = max(0, room - _letters(table))
    return [_LONG_TEXT + spare // long if width > _LONG_TEXT else _LONG_TEXT for width in widths]


def _size(table: Table, room: int) -> str:
    return next((size for limit, size in _SIZES if _letters(table) <= limit * room), "tiny")


def _notes(notes: tuple[str, ...]) -> list[str]:
    if not notes:
        return []
    lines = [f"{escape(note)}\\par" for note in notes]
    return ["\\par\\smallskip", "\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright", *lines, "\\end{minipage}"]


def _facts(facts: tuple[tuple[str, str], ...]) -> list[str]:
    return _list(f"\\textbf{{{escape(name)}:}} {escape(value)}" for name, value in facts)


def _warnings(warnings: tuple[str, ...]) -> list[str]:
    return [f"\\medskip\\noindent\\textbf{{Warning:}} {escape(warning)}\\par" for warning in warnings]


def _list(items: Iterable[str]) -> list[str]:
    lines = [f"\\item {item}" for item in items]
    return ["\\begin{itemize}\\setlength{\\itemsep}{0pt}", *lines, "\\end{itemize}"] if lines else []


def _bibliography_file(references: str) -> list[str]:
    if not references:
        return []
    name = "\\jobname-references.bib"
    return [f"\\begin{{filecontents}}[noheader,overwrite]{{{name}}}", references.strip(), "\\end{filecontents}"]
