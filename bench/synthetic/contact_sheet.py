"""A contact sheet of the demo data set: `python -m agiqa_bench.synthetic.contact_sheet OUT.png`."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.atomic import write_bytes
from agiqa_bench.synthetic.generators import GENERATORS, paint

if TYPE_CHECKING:
    from PIL import ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PROMPT_NUMBERS = (4, 12, 18, 22, 25)
"""Prompts on the sheet, a few of each category."""

_TILE, _GAP, _LABEL, _MARGIN, _TEXT, _HEAD = 128, 12, 24, 24, 150, 96
_INK, _GREY, _PAGE = (44, 38, 60), (122, 116, 132), (252, 250, 246)


def _lines(text: str, font: Font, width: int) -> list[str]:
    """Break `text` into lines no wider than `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def contact_sheet(path: Path, prompts: Sequence[int] = PROMPT_NUMBERS) -> None:
    """Draw pictures of every generator for some prompts, with their MOS.

    Args:
        path: PNG file to write. Pictures are the data set's own; the lettering depends on Pillow's version.
        prompts: Numbers of prompts, 0 to 29, one row each.

    Raises:
        StoreError: `path` cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    from agiqa_bench.datasets.demo import PROMPTS, SCENES, pictures

    first = {(picture.generator.name, picture.prompt): picture for picture in reversed(pictures())}
    width = 2 * _MARGIN + _TEXT + len(GENERATORS) * (_TILE + _GAP)
    height = _MARGIN + _HEAD + len(prompts) * (_TILE + _LABEL + _GAP)
    sheet = Image.new("RGB", (width, height), _PAGE)
    pen = ImageDraw.Draw(sheet)
    title, plain, small = (ImageFont.load_default(points) for points in (24, 14, 12))
    pen.text((_MARGIN, _MARGIN - 6), "The demo data set is synthetic", _INK, title)
    note = "rendered by code, rated by a simulated panel (MOS from 0 to 5); no person rated anything"
    pen.text((_MARGIN, _MARGIN + 27), note, _GREY, plain)
    for column, generator in enumerate(GENERATORS):
        left = _MARGIN + _TEXT + column * (_TILE + _GAP)
        pen.text((left + _TILE / 2, _MARGIN + _HEAD - 14), generator.name, _INK, small, anchor="mm")
        for row, prompt in enumerate(prompts):
            top = _MARGIN + _HEAD + row * (_TILE + _LABEL + _GAP)
            picture = first[generator.name, prompt]
            sheet.paste(Image.fromarray(paint(picture.plan, _TILE)), (left, top))
            label = f"quality {picture.quality:.1f}   align. {picture.alignment:.1f}"
            pen.text((left + _TILE / 2, top + _TILE + 11), label, _GREY, small, anchor="mm")
    for row, prompt in enumerate(prompts):
        top = _MARGIN + _HEAD + row * (_TILE + _LABEL + _GAP) + 6
        pen.text((_MARGIN, top), SCENES[prompt][0], _GREY, small)
        for number, line in enumerate(_lines(PROMPTS[prompt], plain, _TEXT - 16), start=1):
            pen.text((_MARGIN, top + 19 * number), line, _INK, plain)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write_bytes(path, buffer.getvalue())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m agiqa_bench.synthetic.contact_sheet OUT.png")
    contact_sheet(Path(sys.argv[1]))
