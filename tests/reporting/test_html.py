"""The page as text: parsed by the standard library, without a browser."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure as Drawing
from PIL import Image

from agiqa_bench.harmless import printable
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.html.page import to_html
from agiqa_bench.reporting.html.view import explanations, table_view
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
from agiqa_bench.reporting.render.latex import to_latex
from agiqa_bench.reporting.render.markdown import to_markdown

NASTY = "<script>alert(1)</script>"
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Elements, texts and tables of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.rows, self.scripts, self.templates = [], [], [], [], []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")
        if tag == "template":
            self.templates.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "template" in self.open:
            self.templates[-1] += data
        elif "style" not in self.open:
            self.text += data
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data

    def all(self, tag, **attributes):
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]


def table(rows, columns, **options):
    return Table("t", "A table", tuple(columns), tuple(rows), **options)


def report(*blocks, **options):
    chapter = Chapter("c", "A chapter", (Section("s", "A section", blocks, ("some text",)),), notes=("a remark",))
    return Report("A report", (chapter,), **options)


SRCC = Column("srcc", "SRCC", spread=True, better="higher", explanation="Spearman's rank correlation")


def test_every_value_of_the_report_is_escaped():
    columns = [Column("n", NASTY, over=(NASTY,), explanation=NASTY), Column("t", "text", text=True)]
    evil = table([Row(NASTY, NASTY, (Number(None, reason='"><img src=x>' + NASTY), NASTY), NASTY)], columns, head=NASTY)
    picture = Picture("", NASTY, NASTY, NASTY, 1.0, 2.0)
    drawn = Figure("f", NASTY, NASTY, Drawing, NASTY)
    section = Section("s", NASTY, (evil, drawn, Gallery("g", NASTY, (picture,), free=True, caption=NASTY)), (NASTY,))
    chapter = Chapter("c", NASTY, (section,), ((NASTY, NASTY),), (NASTY,), (NASTY,))
    page = Page(to_html(Report(NASTY, (chapter,), ((NASTY, NASTY),), (NASTY,), "</pre>" + NASTY)))
    assert len(page.scripts) == 2
    assert "alert" not in "".join(page.scripts)
    assert page.all("img") == []
    assert page.text.count(NASTY) >= 20


@settings(deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_any_name_survives(name):
    view = table_view(table([Row("k", name, (Number(0.5),))], [SRCC]))
    assert view.groups[0].rows[0].name == name
    page = Page(to_html(report(table([Row("k", name, (Number(0.5),))], [SRCC]))))
    assert page.rows[1][0] == printable(name)
    assert page.rows[1][1].strip() == "0.5000"


def test_only_the_scripts_of_the_page_itself_may_run():
    page = Page(to_html(report()))
    policy = next(found["content"] for found in page.all("meta") if "http-equiv" in found)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts]
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';" in policy
    assert "http:" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_the_page_names_no_address_outside():
    text = to_html(report(table([Row("k", "name", (Number(0.5),))], [SRCC]), references="@misc{a, title = {A}}"))
    page = Page(text)
    assert all(not found.get("src", "data:").startswith("http") for _, found in page.elements)
    assert [found["href"] for found in page.all("link")] == ["data:,"]
    assert "@import" not in text
    assert "url(" not in text.split("<body")[0]


def test_numbers_are_those_of_digits_and_the_full_value_is_for_sorting():
    numbers = [
        Number(0.80193, 0.0357, 0.7711, 0.8301, 10, frozenset({"best"})),
        Number(-0.00001, 0.1, n=10, marks=frozenset({"second"})),
        Number(None, reason="the scores do not vary"),
        Number(0.7, 0.02, 0.65, 0.75, 9, frozenset({"tied"}), "one repeat has no spread"),
    ]
    page = Page(to_html(report(table([Row(f"k{i}", f"m{i}", (n,)) for i, n in enumerate(numbers)], [SRCC]))))
    values = [found["data-value"] for found in page.all("td", **{"class": "number"})]
    assert [float(value) if value else None for value in values] == [number.value for number in numbers]
    cells = [row[1].split() for row in page.rows[1:]]
    assert cells[0] == ["0.8019", "±", "0.0357[0.7711,", "0.8301]"]
    assert cells[1] == ["0.0000", "±", "0.1000"]
    assert cells[2] == ["undefined"]
    assert cells[3] == ["0.7000*", "±", "0.0200≈[0.6500,", "0.7500]"]
    for row, number in zip(cells, numbers, strict=True):
        assert row[0].rstrip("*") == number_text(number, SRCC).value
    assert page.all("strong", title="best")
    assert page.all("u", title="second best")
    reasons = [found["title"] for found in page.all("abbr")]
    assert reasons == ["the scores do not vary", "rests on 9 repeats only: one repeat has no spread"]


def test_headings_of_several_levels_are_shared_by_neighbours():
    columns = [
        Column("a", "SRCC", over=("AGIQA-3K", "quality"), better="higher"),
        Column("b", "RMSE", over=("AGIQA-3K", "quality"), better="lower"),
        Column("c", "p", over=("AGIQA-3K", "alignment"), p_value=True),
        Column("d", "Device", text=True),
    ]
    row = Row("k", "name", (Number(1.0), Number(1.0), Number(0.5), "CPU"))
    page = Page(to_html(report(table([row], columns))))
    assert [cell.strip() for cell in page.rows[0]] == ["Method", "AGIQA-3K", ""]
    assert [cell.strip() for cell in page.rows[1]] == ["quality", "alignment", ""]
    assert [cell.strip() for cell in page.rows[2]] == ["SRCC", "RMSE", "p", "Device"]
    assert [found["colspan"] for found in page.all("th", scope="colgroup")] == ["3", "2", "1"]
    assert page.all("th", scope="col")[0]["rowspan"] == "3"
    first = [found["data-first"] for found in page.all("span", **{"class": "sort"})]
    assert first == ["ascending", "descending", "ascending", "ascending", "ascending"]


def test_each_explanation_is_said_once_and_none_is_lost():
    ours, theirs = (Column(key, "SRCC", ("set", key), explanation=f"of {key}") for key in ("ours", "theirs"))
    rmse, mae = (Column(key, key, explanation="an error") for key in ("rmse", "mae"))
    assert explanations([ours, theirs, rmse, mae, Column("n", "n")]) == (
        ("set · ours · SRCC", "of ours"),
        ("set · theirs · SRCC", "of theirs"),
        ("rmse, mae", "an error"),
    )
    assert explanations([rmse, mae]) == (("every column", "an error"),)
    assert explanations([rmse]) == (("rmse", "an error"),)


def test_without_scripts_no_button_is_in_sight():
    page = to_html(report(table([Row("a", "a", (Number(0.5),))] * 8, [SRCC])))
    hidden = page.count('class="tools needs-script"') + page.count('class="controls needs-script"')
    assert hidden >= 2
    assert "<button" not in page.partition("<table")[2].partition("</table>")[0]


def test_rows_of_a_group_stand_below_its_heading_and_diagnostics_are_explained():
    rows = [
        Row("a", "NIQE", (Number(0.1),), "Handcrafted"),
        Row("b", "BRISQUE", (Number(0.2),), "Handcrafted"),
        Row("c", "Generator mean", (Number(0.3),), "Baselines", diagnostic=True),
    ]
    page = Page(to_html(report(table(rows, [SRCC]))))
    assert [row[0].strip() for row in page.rows] == [
        *("Method", "Handcrafted", "NIQE", "BRISQUE", "Baselines", "Generator mean")
    ]
    assert len(page.all("tbody")) == 2
    assert "in italics: sees no pixel" in " ".join(page.text.split())


def test_the_table_can_be_copied_as_it_is_written_elsewhere():
    page = Page(to_html(report(table([Row("k", NASTY, (Number(0.5, 0.1, n=3),))], [SRCC]))))
    as_csv, as_markdown, as_latex = page.templates
    assert next(csv.DictReader(io.StringIO(as_csv)))["name"] == NASTY
    assert float(next(csv.DictReader(io.StringIO(as_csv)))["srcc_mean"]) == 0.5
    assert "| ---: |" in as_markdown
    assert "\\toprule" in as_latex


def test_a_table_without_rows_says_so():
    page = Page(to_html(report(table([], [SRCC]))))
    assert "There is no row." in page.text
    assert page.all("table") == []


@pytest.fixture
def pictures(tmp_path):
    """Ten images; the last is gone, the last but one is damaged."""
    found = []
    for number in range(10):
        file = tmp_path / f"{number}.png"
        Image.fromarray(np.full((700, 500, 3), number * 20, np.uint8)).save(file)
        found.append(Picture(str(file), file.name, f"prompt {number}", "toy", 3.0, 2.5))
    (tmp_path / "8.png").write_bytes(b"no image")
    (tmp_path / "9.png").unlink()
    return tuple(found)


def test_images_are_embedded_small_if_they_are_free_or_on_request(pictures):
    free = Page(to_html(report(Gallery("g", "Errors", pictures, free=True))))
    sources = [found["src"] for found in free.all("img")]
    assert len(sources) == 8
    assert all(source.startswith("data:image/webp;base64,") and len(source) < 20_000 for source in sources)
    image = Image.open(io.BytesIO(base64.b64decode(sources[3].split(",")[1])))
    assert image.size == (229, 320)
    assert abs(int(np.asarray(image.convert("RGB"))[100, 100, 0]) - 60) <= 2
    assert free.text.count("the file is not there any more, or cannot be read") == 2
    licensed = Gallery("g", "Errors", pictures)
    hidden = Page(to_html(report(licensed)))
    assert hidden.all("img") == []
    assert "--embed-images" in hidden.text
    assert "prompt 7" in hidden.text
    assert "-0.50" in hidden.text
    assert Page(to_html(report(licensed), embed_images=True)).all("img") == free.all("img")


def test_figures_are_inline_with_their_alternative_text():
    def draw():
        drawing = Drawing()
        drawing.add_axes((0.1, 0.1, 0.8, 0.8)).plot([0, 1], [0, 1], "o")
        return drawing

    text = to_html(report(*(Figure(key, f"Figure {key}", f"what {key} shows", draw, "below") for key in "ab")))
    page = Page(text)
    assert len(page.all("svg")) == 2
    assert "what a shows" in page.text
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))


def test_a_figure_of_licensed_images_is_drawn_on_request_only():
    drawn = []
    figure = Figure("f", "Where it looks", "a map", lambda: drawn.append(1) or Drawing(), "by a model", free=False)
    page = to_html(report(figure))
    assert not drawn
    assert "<svg" not in page
    assert "--embed-images" in page
    assert "f.svg" not in to_markdown(report(figure), figures="figures")
    assert "includegraphics" not in to_latex(report(figure), figures="figures")
    assert "<svg" in to_html(report(figure), embed_images=True)


def test_contents_link_to_what_is_there():
    page = Page(to_html(report(references="@misc{a, title = {A}}")))
    links = {found["href"].removeprefix("#") for found in page.all("a")}
    assert links == {"main", "chapter-c", "section-s", "references"}
    assert links <= {found.get("id") for _, found in page.elements}


def test_equal_reports_give_equal_pages():
    made = [to_html(report(table([Row("k", "name", (Number(0.5),))], [SRCC]))) for _ in range(2)]
    assert made[0] == made[1]
