"""The page in headless Chromium: what a reader does with it."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure as Drawing

from agiqa_bench.reporting.html.page import to_html
from agiqa_bench.reporting.model import Chapter, Column, Figure, Number, Picture, Report, Row, Section, Table
from agiqa_bench.reporting.model import Gallery as Images

NASTY = '<script>alert(1)</script><img src=x onerror="alert(2)">'
SRCC = {"NIQE": 0.31, "BRISQUE": 0.62, "HIGRADE": 0.82, "CLIPScore": None, NASTY: 0.705, "IP-IQA": 0.71, "CNNIQA": 0.5}


def draw():
    drawing = Drawing(figsize=(4, 3))
    drawing.add_axes((0.1, 0.1, 0.8, 0.8)).plot([0, 1], [0, 1], "o-")
    return drawing


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A report with all that a page can hold."""
    columns = [
        Column("srcc", "SRCC", ("AGIQA-3K", "quality"), spread=True, better="higher", explanation="Spearman"),
        Column("rmse", "RMSE", ("AGIQA-3K", "quality"), better="lower"),
        Column("device", "Device", text=True),
        *(Column(f"m{i}", f"Metric {i}", spread=True) for i in range(6)),
    ]
    rows = [
        Row(
            f"k{place}",
            name,
            (
                Number(value, 0.02, 0.3, 0.9, 10, reason="" if value else "the scores do not vary"),
                Number(10.0 - place),
                f"GPU {10 - place}",
                *(Number(0.5, 0.1, n=10) for _ in range(6)),
            ),
            "handcrafted" if place < 3 else "deep",
        )
        for place, (name, value) in enumerate(SRCC.items())
    ]
    table = Table("main", "Main table", tuple(columns), tuple(rows), notes=(NASTY,))
    pictures = tuple(Picture("", f"{i}.png", NASTY, "toy", 3.0, 2.5) for i in range(5))
    blocks = (table, Figure("strip", "A figure", "dots", draw, "caption"), Images("errors", "Errors", pictures))
    chapter = Chapter("one", "A data set", (Section("s1", "Results", blocks), Section("s2", "More", (), ("text",))))
    report = Report("A report", (chapter,), (("Runs", NASTY),), (NASTY,), f"@misc{{a,\n  title = {{{NASTY}}}\n}}\n")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(to_html(report), encoding="utf-8")
    return path


def names(page):
    """The names of the rows in view, from the top."""
    return page.locator("#main tbody tr:not(.group):visible th > span").all_text_contents()


def test_a_click_sorts_the_best_first_a_second_turns_and_a_third_restores(open_page, file):
    page = open_page(file).page
    button = page.get_by_role("button", name="SRCC")
    head = page.locator("#main th:has(> button)", has_text="SRCC")
    defined = sorted((name for name in SRCC if SRCC[name] is not None), key=lambda name: SRCC[name])
    button.click()
    assert names(page) == [*defined[::-1], "CLIPScore"]
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#main tr.group:visible").count() == 0
    assert page.locator("#said").text_content() == "Sorted by SRCC, descending"
    button.click()
    assert names(page) == [*defined, "CLIPScore"]
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="RMSE").click()
    assert names(page) == list(SRCC)[::-1]
    assert head.get_attribute("aria-sort") is None
    for _ in range(2):
        page.get_by_role("button", name="RMSE").click()
    assert names(page) == list(SRCC)
    assert page.locator("#main tr.group:visible").all_text_contents() == ["handcrafted", "deep"]


def test_texts_sort_by_the_numbers_in_them_and_the_keyboard_does_what_the_mouse_does(open_page, file):
    page = open_page(file).page
    page.get_by_role("button", name="Device").focus()
    page.keyboard.press("Enter")
    assert names(page) == list(SRCC)[::-1]
    page.keyboard.press("Space")
    assert names(page) == list(SRCC)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Metric 0"


def test_typing_filters_the_rows_and_says_how_many_are_left(open_page, file):
    page = open_page(file).page
    box = page.get_by_role("searchbox")
    box.focus()
    page.keyboard.type("iqa")
    assert names(page) == ["IP-IQA", "CNNIQA"]
    assert page.locator("#main tr.group:visible").all_text_contents() == ["deep"]
    count = page.locator("#main .count")
    assert count.text_content() == "2 of 7 rows"
    assert count.get_attribute("aria-live") == "polite"
    page.keyboard.type(" gpu")
    assert names(page) == ["IP-IQA", "CNNIQA"]
    page.keyboard.type(" none")
    assert names(page) == []
    assert page.locator("#main .empty").is_visible()
    box.fill("")
    assert names(page) == list(SRCC)
    assert count.text_content() == "7 rows"


def test_filter_and_order_go_together(open_page, file):
    page = open_page(file).page
    page.get_by_role("searchbox").fill("iq")
    page.get_by_role("button", name="SRCC").click()
    assert names(page) == ["IP-IQA", "CNNIQA", "NIQE"]


def test_nasty_names_do_nothing(open_page, file):
    opened = open_page(file)
    assert NASTY in names(opened.page)
    assert opened.page.locator("main script, main img").count() == 0
    assert NASTY in opened.page.locator("#bibtex").text_content()
    # Even if one came through, it would have no permission: this one is refused, and the browser says so.
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.bad = 1'}))"
    )
    assert opened.page.evaluate("window.bad") is None
    assert all("Content Security Policy" in text for text in opened.complaints)
    assert len(opened.complaints) == 1
    opened.complaints.clear()


def colours(page):
    return page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")


def luminance(colour):
    """Of a colour `rgb(r, g, b)`, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_have_enough_contrast_and_the_switch_turns_to_the_other(open_page, file, scheme):
    page = open_page(file, color_scheme=scheme).page
    paper, ink = colours(page)
    assert (luminance(paper) < luminance(ink)) is (scheme == "dark")
    # AA: 4.5 to 1, for every kind of text.
    for kind in ("body", ".notes", ".spread", ".warnings .label", ".undefined", ".copy button", ".contents ol ol a"):
        own = page.locator(kind).first.evaluate("node => getComputedStyle(node).color")
        ground = page.locator(".warnings").first.evaluate("node => getComputedStyle(node).backgroundColor")
        assert contrast(own, ground if kind.startswith(".warnings") else paper) >= 4.5, kind
    button = page.get_by_role("button", name="Dark")
    assert button.get_attribute("aria-pressed") == str(scheme == "dark").lower()
    button.click()
    assert colours(page) != [paper, ink]
    turned = colours(page)
    page.reload()
    assert colours(page) == turned


def test_the_theme_may_be_forgotten_where_nothing_can_be_stored(browser, file):
    context = browser.new_context(color_scheme="light")
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('closed') }})")
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    before = colours(page)
    page.get_by_role("button", name="Dark").click()
    assert colours(page) != before
    assert errors == []
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_figure_that_is_wider_than_the_screen_says_so(open_page, file, width):
    page = open_page(file, width=width).page
    drawing = page.locator(".drawing").first
    wider = drawing.evaluate("box => box.scrollWidth > box.clientWidth")
    assert wider == (width == 390)
    assert page.locator(".sideways").first.is_visible() == wider
    assert (drawing.get_attribute("tabindex") == "0") == wider


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_never_scrolls_sideways_but_a_wide_table_does(open_page, file, width):
    page = open_page(file, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#main .scroll")
    if width < 1000:
        box.evaluate("node => { node.scrollLeft = 300 }")
        assert box.evaluate("node => node.scrollLeft") > 0
        assert box.get_attribute("tabindex") == "0"
        edge = box.bounding_box()["x"]
        assert page.locator("#main tbody th[scope=row]").first.bounding_box()["x"] == pytest.approx(edge, abs=1)
    contents = page.locator(".contents details")
    assert contents.evaluate("node => node.open") is (width == 1280)


def test_contents_open_on_a_phone_and_lead_to_a_section(open_page, file):
    page = open_page(file, width=390).page
    page.get_by_text("Contents", exact=True).click()
    page.get_by_role("link", name="More").click()
    assert page.url.endswith("#section-s2")
    assert not page.locator(".contents details").evaluate("node => node.open")


def test_the_head_of_a_table_stays_in_view(open_page, file):
    page = open_page(file, width=800).page
    head, box = page.locator("#main thead"), page.locator("#main .scroll")
    box.evaluate("node => { node.style.maxHeight = '200px'; node.scrollTop = 120 }")
    assert head.bounding_box()["y"] == pytest.approx(box.bounding_box()["y"], abs=2)
    # Where the table fits, nothing scrolls but the page.
    page.add_style_tag(content="#main table { font-size: 8px } #main .scroll { max-height: none !important }")
    page.set_viewport_size({"width": 1900, "height": 200})
    page.locator("#main .scroll.fits").wait_for()
    page.evaluate("scrollTo({top: scrollY + document.querySelector('#main table').getBoundingClientRect().top + 80})")
    page.wait_for_function("Math.abs(document.querySelector('#main thead').getBoundingClientRect().top) < 1")
    assert page.locator("#main table").bounding_box()["y"] < -50


def test_intervals_are_shown_on_request_and_in_print_where_everything_is(open_page, file):
    page = open_page(file).page
    interval = page.locator("#main .interval").first
    assert not interval.is_visible()
    page.get_by_role("button", name="95 % intervals").click()
    assert interval.is_visible()
    assert interval.text_content() == "[0.3000, 0.9000]"
    page.get_by_role("button", name="95 % intervals").click()
    page.get_by_role("searchbox").fill("niqe")
    page.emulate_media(media="print")
    assert interval.is_visible()
    assert names(page) == list(SRCC)
    for kind in (".controls", ".tools", ".contents"):
        assert not page.locator(kind).first.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_by_text("Spearman", exact=True).is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    box = page.locator("#main .scroll")
    assert box.evaluate("node => getComputedStyle(node).overflow") == "visible"


def test_reasons_are_within_reach_of_mouse_and_keyboard(open_page, file):
    page = open_page(file).page
    undefined = page.locator("abbr.undefined").first
    undefined.hover()
    tip = page.locator("#tip")
    assert tip.text_content() == "the scores do not vary"
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("#main tbody tr").last.hover()
    page.keyboard.press("Tab")
    undefined.focus()
    assert tip.is_visible()
    assert undefined.get_attribute("aria-describedby") == "tip"


def test_tables_and_references_are_copied_or_at_least_selected(open_page, file):
    page = open_page(file, permissions=["clipboard-read", "clipboard-write"]).page
    page.get_by_role("button", name="Copy as CSV").click()
    page.get_by_text("Copied", exact=True).first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("method,name,group,srcc_mean,")
    page = open_page(file).page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Copy BibTeX").click()
    assert page.evaluate("getSelection().toString()").strip() == page.locator("#bibtex").text_content().strip()
    page.get_by_role("button", name="Copy as Markdown").click()
    assert page.evaluate("getSelection().toString()").startswith("| Method |")


@pytest.mark.parametrize(("form", "start"), [("SVG", b"<svg"), ("PNG", b"\x89PNG")])
def test_figures_can_be_saved(open_page, file, form, start):
    page = open_page(file).page
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Save as {form}").click()
    assert waiting.value.suggested_filename == f"strip.{form.lower()}"
    assert waiting.value.path().read_bytes().startswith(start)


def test_without_scripts_everything_is_there(open_page, file):
    page = open_page(file, java_script_enabled=False).page
    assert names(page) == list(SRCC)
    assert page.locator("#main .interval").first.is_visible()
    assert not page.locator(".tools").first.is_visible()
    assert page.locator(".contents a").first.is_visible()


def test_the_skip_link_is_the_first_stop_and_landmarks_are_there(open_page, file):
    page = open_page(file).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for role in ("banner", "navigation", "main"):
        assert page.get_by_role(role).count() == 1
