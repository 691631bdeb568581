"""Text of strangers, made harmless for what shows it: names, prompts, titles and messages may hold anything.

Printable is what `str.isprintable` calls so: no control characters, so no sequence that commands a terminal; no marks
that turn the direction of writing; nothing of no width that hides in a name; no halves of characters.
"""

from __future__ import annotations

import json
from typing import Any

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet program computes instead of showing it."""


def printable(text: str) -> str:
    r"""Text with a blank in place of each character that is not printable; line breaks stay.

    >>> printable("a\x1b[1m\nb")
    'a [1m\nb'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def one_line(text: str) -> str:
    r"""Text as one line of printable characters: line breaks, control characters and runs of blanks become one blank.

    >>> one_line("a\n\x1b[1m  b")
    'a [1m b'
    """
    return " ".join(printable(text).split())


def spreadsheet_text(text: str) -> str:
    """Text as one line that no spreadsheet takes for a formula: what looks like one begins with an apostrophe.

    A lone sign is left alone, because it is what stands for "nothing" in many tables. Numbers are not for this.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("-"), spreadsheet_text("a=b")
    ("'=1+1", '-', 'a=b')
    """
    line = one_line(text)
    return f"'{line}" if line.startswith(_FORMULA) and len(line) > 1 else line


def json_text(value: Any, indent: int) -> str:
    r"""A value as JSON with a final line feed; what is not printable is an escape there, and reads back the same.

    Raises:
        ValueError: It holds NaN or infinity.

    >>> json_text("é\x9b", 1)
    '"é\\u009b"\n'
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(
            letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text
        )
    return f"{text}\n"
