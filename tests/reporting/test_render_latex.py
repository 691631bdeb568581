"""Any text is safe inside LaTeX: read back by a small reader of the little LaTeX that is written, and by pdfLaTeX."""

import re
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.render.latex import escape, table_to_latex

NASTY = st.text(st.one_of(st.sampled_from("\\&%$#_{}~^<>|\"'`[]*-,±≈→é中 \n"), st.characters()))

COMMANDS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textasciigrave{}": "`",
    r"{\char34}": '"',
    "{[}": "[",
    "{]}": "]",
    "{*}": "*",
    "{}": "",
    **{f"\\{letter}": letter for letter in "&%$#_{}"},
}

TOKEN = re.compile("|".join(map(re.escape, sorted(COMMANDS, key=len, reverse=True))))


def read_ascii(latex: str) -> str:
    """The text behind LaTeX of ASCII letters; fails on anything that TeX would act upon."""
    assert not re.search(r"[\\&%$#_{}~^]", TOKEN.sub("", latex)), latex
    assert not re.search(r"--|,,|''|``", latex), latex
    return TOKEN.sub(lambda found: COMMANDS[found[0]], latex)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii")))
def test_ascii_reads_back(text):
    assert read_ascii(escape(text)) == one_line(text)


@settings(deadline=None)
@example("'é'")
@given(NASTY)
def test_any_text_becomes_letters_that_pdflatex_has(text):
    latex = escape(text)
    without_math = re.sub(r"\$(?:\\[a-z]+|\^\{(?:\\circ|2|3)\}|-)\$", "x", latex, flags=re.IGNORECASE)
    commands = re.sub(r"\\(?:ldots|S|text[a-z]+)\{\}", "x", without_math)
    read_ascii("".join(letter if letter.isascii() else "x" for letter in commands))
    assert all(letter.isascii() or "LATIN" in unicodedata.name(letter) or letter in "¡¿«»£" for letter in latex)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("0.8 ± 0.1 ≈ x → y", r"0.8 $\pm$ 0.1 $\approx$ x $\rightarrow$ y"),
        ("é Ł ő", "é Ł ő"),
        ("e\u0301", "é"),
        ("α-Δ", r"$\alpha$-$\Delta$"),
        ("中 😀", "U+4E2D U+1F600"),
        ("--preset 'x' ``y''", r"-{}-preset 'x' \textasciigrave{}\textasciigrave{}y'{}'"),
        ("a\nb", "a b"),
    ],
)
def test_letters_and_signs(text, latex):
    assert escape(text) == latex


@settings(deadline=None)
@given(NASTY, NASTY, NASTY, NASTY)
def test_any_text_leaves_the_shape_of_a_table(name, cell, title, group):
    columns = (Column("a", title, text=True), Column("b", title, (title,)))
    rows = tuple(Row(key, name, (cell, Number(0.5)), group) for key in "ab")
    latex = table_to_latex(Table("t", title, columns, rows, head=name, notes=(cell,)))
    body = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    # A blank before each: the text itself never has a bare one.
    ends = re.findall(r" \\\\\n", body)
    assert len(ends) == 2 + bool(group) + 2
    lines = body.splitlines()
    assert [len(re.split(r"(?<!\\)&", line)) for line in lines[-2:]] == [3, 3]
    braces = re.sub(r"\\[{}]", "", latex)
    assert braces.count("{") == braces.count("}")


def test_marks_headings_and_groups():
    marks = [frozenset(marks) for marks in (("best",), ("second", "tied"), ())]
    rows = tuple(
        Row(str(i), str(i), (Number(-0.5, 0.1), Number(1e-9, marks=mark)), "G") for i, mark in enumerate(marks)
    )
    columns = (
        Column("x", "X", ("A", "B"), spread=True),
        Column("p", "a heading of several words", ("A", "C"), p_value=True, decimals=2),
    )
    latex = table_to_latex(Table("my-key", "T", columns, rows, notes=("a note",)))
    tabular = latex[latex.index(r"\begin{tabular}") : latex.index(r"\end{tabular}")].splitlines()
    assert tabular == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" & \multicolumn{2}{c}{A} \\",
        r"\cmidrule(lr){2-3}",
        r" & \multicolumn{1}{c}{B} & \multicolumn{1}{c}{C} \\",
        r"\cmidrule(lr){2-2}\cmidrule(lr){3-3}",
        r"Method & X & \shortstack[r]{a heading of \\ several words} \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\textit{G}} \\",
        r"0 & $-$0.5000 $\pm$ 0.1000 & \textbf{$<$0.01} \\",
        r"1 & $-$0.5000 $\pm$ 0.1000 & \underline{$<$0.01}\rlap{$^{\approx}$} \\",
        r"2 & $-$0.5000 $\pm$ 0.1000 & $<$0.01 \\",
        r"\bottomrule",
    ]
    assert r"\label{tab:my-key}" in latex
    assert "\na note\\par\n" in latex


def test_a_wide_table_goes_over_both_columns_of_a_page():
    columns = tuple(Column(str(i), f"Column {i}", spread=True) for i in range(6))
    row = Row("a", "a", (Number(0.5, 0.1),) * 6)
    wide, narrow = (Table("t", "T", columns[:n], (Row("a", "a", row.cells[:n]),)) for n in (6, 1))
    assert table_to_latex(wide).startswith(r"\begin{table*}[htbp]")
    assert table_to_latex(narrow).startswith(r"\begin{table}[htbp]")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="for want of pdfLaTeX: install TeX Live")
def test_pdflatex_has_every_letter_that_is_passed_on(tmp_path):
    letters = [chr(code) for code in range(0x20, 0x2FFF) if chr(code).isprintable()]
    shown = [escape(letter) for letter in letters]
    kept = [latex for latex in shown if not latex.startswith("U+")]
    assert len(kept) > 300
    lines = [r"\documentclass{article}\usepackage[T1]{fontenc}\begin{document}", *kept, r"\end{document}"]
    (tmp_path / "letters.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "letters.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="latin-1", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "letters.log").read_text(encoding="latin-1")
