"""Whether the network may be touched: the one place that reads the variables that forbid it."""

from __future__ import annotations

import os

VARIABLES = ("AGIQA_OFFLINE", "HF_HUB_OFFLINE")
"""Either of them, set to anything but nothing, 0, false, no or off (in any letter case), forbids the network."""

_ALLOWED = {"", "0", "false", "no", "off"}


def is_offline(asked: bool = False) -> bool:
    """Whether the network must not be touched: asked for (`--offline`), or by one of `VARIABLES`."""
    return asked or any(os.environ.get(name, "").strip().lower() not in _ALLOWED for name in VARIABLES)
