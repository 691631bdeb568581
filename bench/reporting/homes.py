"""What is shown to others names nobody's home folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PLACES = (r"/home/", r"/Users/", r"[A-Za-z]:\\Users\\")

_PLAIN = re.compile(r"(?<![\w.~-])(?:" + "|".join(_PLACES) + r")[^/\\\s'\"]+")

_QUOTED = re.compile(r"(?<=['\"])(?:" + "|".join(_PLACES) + r")[^/\\\n'\"]+(?=[/\\'\"])")
"""Between quotation marks a name may have blanks."""


def without_home(text: str) -> str:
    """A text with `~` in place of home folders: this machine's, and what looks like another's.

    >>> without_home("agiqa-bench run --data-root /home/jo/data --output /mnt/home/runs")
    'agiqa-bench run --data-root ~/data --output /mnt/home/runs'
    """
    own = Path.home()
    if own != own.parent:
        text = re.sub(rf"(?<![\w.~-]){re.escape(str(own))}(?=[\s/\\'\"]|$)", "~", text)
    return _PLAIN.sub("~", _QUOTED.sub("~", text))


def without_homes(value: Any) -> Any:
    """The same for every text in a value as JSON has them: lists and objects, keys left as they are."""
    if isinstance(value, str):
        return without_home(value)
    if isinstance(value, dict):
        return {key: without_homes(inner) for key, inner in value.items()}
    return [without_homes(inner) for inner in value] if isinstance(value, list | tuple) else value
