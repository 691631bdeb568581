"""Figures as files and as elements of a page."""

import gc
import os
import subprocess
import sys
import weakref
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from agiqa_bench.errors import ConfigError
from agiqa_bench.figures.files import inline_svg, write_figure
from agiqa_bench.figures.heat_map import heat_map
from agiqa_bench.figures.scatter import ScatterPanel, scatter
from agiqa_bench.reporting.model import Figure

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'A $x_{1}$ & <b id="x">100 %</b> \x00 "q" 图'


def some_scatter():
    draws = np.random.default_rng(0)
    return scatter([ScatterPanel(NASTY, draws.normal(size=60), draws.uniform(size=60), fit=lambda x: 0.5 + 0 * x)])


def figure(key="demo-scatter", draw=some_scatter):
    return Figure(key, f"Title {NASTY}", f"Alt {NASTY}", draw)


def elements(text):
    return list(ET.fromstring(text).iter())


def test_an_inline_svg_is_one_element_with_its_texts_as_they_are():
    text = inline_svg(figure())
    root, *inner = elements(text)
    assert text.startswith("<svg ")
    assert root.tag == f"{SVG}svg"
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "demo-scatter-title")
    said = {
        element.tag.removeprefix(SVG): element.text for element in inner if element.get("id", "").endswith(("e", "t"))
    }
    shown = NASTY.replace("\x00 ", "")
    assert said == {"title": f"Title {shown}", "desc": f"Alt {shown}"}
    words = " ".join("".join(element.itertext()) for element in inner if element.tag == f"{SVG}text")
    assert 'A $x_{1}$ & <b id="x">' in words
    assert not [element for element in inner if element.tag in (f"{SVG}style", f"{SVG}script")]
    # One picture for all dots, whatever their number.
    assert len([element for element in inner if element.tag == f"{SVG}image"]) == 1


def test_ids_begin_with_the_key_and_every_reference_has_its_target():
    texts = [
        inline_svg(figure("a")),
        inline_svg(figure("b")),
        inline_svg(figure("c", lambda: heat_map([[0.1, None]], ["x"], ["y", "z"]))),
    ]
    seen = set()
    for key, text in zip("abc", texts, strict=True):
        found = list(elements(text))
        ids = [element.get("id") for element in found if element.get("id")]
        assert len(ids) == len(set(ids))
        assert all(name.startswith(f"{key}-") for name in ids)
        assert not seen & set(ids)
        seen |= set(ids)
        values = [value for element in found for value in element.attrib.values()]
        targets = {value.split("#")[1].rstrip(")") for value in values if value.startswith(("#a-", "#b-", "#c-"))}
        targets |= {part.split(")")[0] for value in values for part in value.split("url(#")[1:]}
        assert targets
        assert targets <= set(ids)


def test_lines_and_letters_take_the_colour_of_the_page():
    text = inline_svg(figure())
    assert text.count("#1b1f24") == 1  # what they have where no style sheet says anything
    assert 'color="#1b1f24"' in text.split(">")[0]
    assert "stroke: currentColor" in text
    assert "fill: currentColor" in text
    assert "fill: #ffffff" not in text


def test_files_are_whole_equal_and_white(tmp_path):
    first = write_figure(figure(), tmp_path / "one", ("svg", "png", "pdf"))
    second = write_figure(figure(), tmp_path / "two", ("svg", "png", "pdf"))
    assert [path.name for path in first] == ["demo-scatter.svg", "demo-scatter.png", "demo-scatter.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    svg, pdf = first[0].read_bytes(), first[2].read_bytes()
    root, *inner = elements(svg)
    assert svg.startswith(b"<?xml")
    assert inner[0].tag == f"{SVG}rect"
    assert inner[0].get("fill") == "white"
    assert pdf.startswith(b"%PDF")
    with Image.open(first[1]) as image:
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
        assert image.width == round(200 * float(root.get("width").removesuffix("pt")) / 72)


def test_an_unknown_form_is_refused_before_anything_is_drawn(tmp_path):
    def draw():
        raise AssertionError

    with pytest.raises(ConfigError, match="figure x: cannot be written as 'gif', choose svg, png, pdf"):
        write_figure(figure("x", draw), tmp_path, ("svg", "gif"))
    assert not list(tmp_path.iterdir())


def test_a_figure_is_drawn_once_for_page_and_file_and_then_forgotten(tmp_path):
    drawings = []

    def draw():
        drawing = some_scatter()
        drawings.append(weakref.ref(drawing))
        return drawing

    one, other = figure("x", draw), figure("y", draw)
    inline_svg(one)
    write_figure(one, tmp_path, ("svg",))
    assert len(drawings) == 1
    write_figure(other, tmp_path, ("svg", "png"))
    inline_svg(other)
    assert len(drawings) == 2
    gc.collect()
    assert [drawing() for drawing in drawings] == [None, None]


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.no_such_backend", "no-such-backend"])
@pytest.mark.parametrize(
    "draw",
    [
        "style.text_width('a')",
        "style.new_figure(1.0).savefig(out, format='png')",
        "style.style().__enter__()",
        "attention_maps.write_maps(out / 'a.png', numpy.zeros((8, 8, 3), 'uint8'), numpy.ones((1, 2, 2), 'float32'))",
    ],
)
def test_no_figure_depends_on_the_backend_that_the_environment_names(draw, backend, tmp_path):
    """A notebook sets MPLBACKEND for all that it starts; `import matplotlib` fails where it has no such backend."""
    code = f"""
import io, numpy, os, pathlib, sys
from agiqa_bench.figures import attention_maps, style
out = pathlib.Path({str(tmp_path)!r}) if 'write_maps' in {draw!r} else io.BytesIO()
{draw}
assert os.environ["MPLBACKEND"] == {backend!r}, "others find it as it was"
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_backend_that_is_there_keeps_its_effect():
    code = (
        "from agiqa_bench.figures.style import new_figure as f; f(1.0); import matplotlib as m; print(m.get_backend())"
    )
    environment = os.environ | {"MPLBACKEND": "svg"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "svg\n"
