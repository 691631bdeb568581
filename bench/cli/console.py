"""Consoles of the command line."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console

PIPE_WIDTH = 150
"""Columns where there is no terminal to ask: whole tables in a pipe, a file or a log."""


def wide_console(**options: Any) -> Console:
    """A console as wide as the terminal or as COLUMNS says, or wide enough for whole tables where there is neither."""
    # A name with colons, such as a:one:b, would come out with a picture in it.
    console = Console(**{"emoji": False} | options)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = max(console.width, PIPE_WIDTH)
    return console


def say_on_stderr(line: str) -> None:
    """One line for the person who waits, beside what the command shows."""
    sys.stderr.write(f"{line}\n")
