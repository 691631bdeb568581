"""A comparison whose every text is an attack, in every form that results take: what is shown is text, and no more."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure as Drawing

from agiqa_bench.cli.app import start
from agiqa_bench.figures.files import svg_file
from agiqa_bench.figures.style import fitted, new_figure, style
from agiqa_bench.harmless import json_text, one_line, spreadsheet_text
from agiqa_bench.reporting.model import Figure

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</template></pre></style><evil-element>",
    "\\input{/etc/passwd}\\write18{id}",
    "100% $x$ a_b^c #{~}&",
    "a|b `c` [d](http://e) ![f](g) **h**",
    '=HYPERLINK("http://evil","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "\t=1+1",
    "\r=1+1",
    "＝1+1",
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\x9b2J\x9d0;x\x9c \x08\x08\x7f",
    "\u202egnp.exe\u2066\u200b\u200f\ufeff",
    "[red]x[/] [/] :smile:",
    "line one\nerror: line two",
    "x" * 10_000,
)

PLUGIN = """
import numpy as np
from agiqa_bench import Method
ATTACKS = {attacks!r}
class Evil(Method):
    name = "evil"
    title = " ".join(ATTACKS[:-1])
    summary = ATTACKS[0]
    targets = ("*",)
    trainable = False
    uses_images = False
    def predict(self, samples):
        return np.array([float(len(prompt)) for prompt in samples.prompts])
class Failing(Evil):
    name = "failing"
    def predict(self, samples):
        raise RuntimeError(self.title)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    stem = "=@<b>[red]$x_|`\x1b[2J\u202e%"
    with (folder / f"{stem}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "prompt", "generator", "mos"])
        for number, attack in enumerate((*ATTACKS, *ATTACKS)):
            for generator in range(3):
                name = ATTACKS[(number + generator) % len(ATTACKS)][:100]
                row = [f"{name}{number}-{generator}.png", f"{attack}{number}", ATTACKS[3 * number % 19]]
                writer.writerow([*row, 1 + (7 * number + generator) % 40 / 10])
    (folder / "evil.py").write_text(PLUGIN.format(attacks=ATTACKS))
    return folder


Said = tuple[int, str, str]


@pytest.fixture
def said(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_registries: None):
    """Runs the application beside the table: exit code, standard output, standard error."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AGIQA_CACHE", str(folder / "cache"))
    logger = logging.getLogger("agiqa_bench")
    before = logger.handlers[:], logger.level, logger.propagate

    def run(*arguments: object) -> Said:
        code = start([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        for text in (out, err):
            assert "Traceback" not in text
            harmless(text)
        return code, out, err

    yield run
    logger.handlers[:], logger.level, logger.propagate = before


def harmless(text: str) -> None:
    """Nothing that is not printable but line feeds."""
    odd = [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert not odd, [hex(ord(letter)) for letter in odd[:5]]


@pytest.fixture
def run_folder(folder: Path, said) -> Path:
    """The comparison, computed once."""
    if not (folder / "out").exists():
        (table,) = folder.glob("*.csv")
        code, _, err = said(
            "run", "--dataset", table.name, "--annotations-only", "--plugin", "evil.py", "--output", "out",
            "--methods", "generator_mean,evil,failing", "--repeats", 2,
        )  # fmt: skip
        assert code == 1
        assert "\nerror: line two" not in err
        assert "failed: " in err
    return folder / "out"


def test_run_and_tables_of_a_run(run_folder: Path) -> None:
    for name in ("table.csv", "costs.csv"):
        check_csv((run_folder / name).read_text("utf-8"))
    check_markdown((run_folder / "table.md").read_text("utf-8"))


def test_lists(said, folder: Path) -> None:
    (table,) = folder.glob("*.csv")
    assert said("datasets", "info", table.name)[0] == 0
    assert said("datasets", "verify", table.name)[0] == 1
    assert said("splits", "show", table.name, "--split", "generator")[0] == 0
    assert said("methods", "list", "--plugin", "evil.py")[0] == 0


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "html", "costs", "bibtex"])
def test_what_is_printed(said, run_folder: Path, form: str) -> None:
    code, out, err = said("report", run_folder, "--format", form)
    assert (code, err) == (0, "")
    assert len(out) > 100 or form == "bibtex"


def test_a_report_in_files(said, run_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report"
    assert said("report", run_folder, "--output", target)[0] == 0
    inside = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert inside == {"report"}
    check_html((target / "report.html").read_text("utf-8"))
    check_markdown((target / "report.md").read_text("utf-8"))
    check_latex((target / "report.tex").read_text("utf-8"), tmp_path / "report")
    for path in target.rglob("*.csv"):
        check_csv(path.read_text("utf-8"))
    drawings = list(target.rglob("*.svg"))
    assert drawings
    for path in drawings:
        check_svg(path.read_bytes())


def test_a_leaderboard(said, run_folder: Path, tmp_path: Path) -> None:
    assert said("leaderboard", run_folder.parent, "--output", tmp_path)[0] == 0
    check_html((tmp_path / "index.html").read_text("utf-8"))
    check_csv((tmp_path / "results.csv").read_text("utf-8"))
    text = (tmp_path / "results.json").read_text("utf-8")
    harmless(text)
    assert any(row["method"] == "evil" for row in json.loads(text)["rows"])


def check_csv(text: str) -> None:
    harmless(text)
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        if cell.startswith(("=", "+", "-", "@", "＝")) and len(cell) > 1:
            float(cell)


def check_markdown(text: str) -> None:
    harmless(text)
    assert not re.search(r"(?<!\\)<(?!/?ins>)", text.replace("\n> ", ""))
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.splitlines()}) == 1
    prose = re.sub(r"^(`{3,})bibtex$.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"(?<!\\)\]\((?!figures/)", prose)


class Page(HTMLParser):
    """Elements and attributes of a page, without those of drawings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attributes)}
        self.scripts += tag == "script"


def check_html(text: str) -> None:
    harmless(text)
    page = Page(text)
    assert page.scripts == 2
    assert not page.names & {"evil-element", "onerror", "img"}
    assert not [name for name in page.names if name.startswith("on")]


def check_svg(content: bytes) -> None:
    harmless(content.decode())
    names = {element.tag.rpartition("}")[2] for element in ET.fromstring(content).iter()}
    assert not names & {"script", "img", "evil-element", "foreignObject"}


def check_latex(text: str, folder: Path) -> None:
    harmless(text)
    commands = set(re.findall(r"(?<!\\)(?:\\\\)*\\([A-Za-z]+)", text.partition(r"\begin{document}")[2]))
    assert not commands & {"input", "write", "immediate", "openin", "read", "catcode", "def"}
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("for want of pdfLaTeX: install TeX Live")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"],
        cwd=folder,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_each_text_by_itself(attack: str) -> None:
    assert one_line(attack).isprintable()
    cell = spreadsheet_text(attack)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))
    assert cell.removeprefix("'") == one_line(attack)
    assert json.loads(json_text([attack, {attack: 1}], indent=1)) == [attack, {attack: 1}]
    harmless(json_text([attack], indent=1))


def test_half_a_character_reads_back_from_json() -> None:
    assert json.loads(json_text("\ud800\U000e0001", indent=1)) == "\ud800\U000e0001"


@pytest.mark.parametrize("attack", ATTACKS[:-1], ids=range(len(ATTACKS) - 1))
def test_titles_of_drawings(attack: str) -> None:
    def draw() -> Drawing:
        with style():
            figure = new_figure(1.0)
            figure.text(0.1, 0.5, fitted(attack, 3.0))
        return figure

    check_svg(svg_file(Figure("key", attack, attack, draw, attack)))


def test_an_argument_that_is_no_text_is_one_line(said) -> None:
    code, _, err = said("datasets", "info", "caf\udce9.csv")
    assert code == 2
    assert err == "error: 'caf .csv' is not UTF-8 text: rename the file\n"
