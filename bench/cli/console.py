"""Consoles of the command line, which show what data and messages hold and never do what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment

from agiqa_bench.harmless import one_line

PIPE_WIDTH = 150
"""Columns where there is no terminal to ask: whole tables in a pipe, a file or a log."""


class HarmlessConsole(Console):
    """A console that writes no sequence for the terminal but its own: what is not printable is left out.

    Text in brackets is no mark-up and text in colons no picture, unless the options say so.
    """

    def __init__(self, **options: Any) -> None:
        """As `rich.console.Console`."""
        super().__init__(**{"emoji": False, "markup": False} | options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("".join(map(_shown, segment.text)), segment.style)


def _shown(letter: str) -> str:
    """A letter in as many columns as rich counts for it: what is not printable has none."""
    if letter.isprintable() or letter == "\n":
        return letter
    return " " if letter.isspace() else ""


def wide_console(**options: Any) -> HarmlessConsole:
    """A console as wide as the terminal or as COLUMNS says, or wide enough for whole tables where there is neither."""
    console = HarmlessConsole(**options)
    # Not `is_terminal`: FORCE_COLOR, as many CI services set it, makes rich call a pipe a terminal.
    if not console.file.isatty():
        asked = os.environ.get("COLUMNS", "")
        width = int(asked) if asked.isdigit() else max(console.width, PIPE_WIDTH)
        console.size = ConsoleDimensions(width, console.height)
    return console


def stderr_console() -> HarmlessConsole:
    """The console of progress and messages, beside what the command shows."""
    return HarmlessConsole(stderr=True)


def say_on_stderr(line: str) -> None:
    """One line for the person who waits, beside what the command shows."""
    sys.stderr.write(f"{one_line(line)}\n")
