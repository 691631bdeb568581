"""Whether the network may be touched, and what keeps other libraries from touching it: the one place for both."""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLES = ("AGIQA_OFFLINE", "HF_HUB_OFFLINE")
"""Either of them, set to anything but nothing, 0, false, no or off (in any letter case), forbids the network."""

SWITCHES: Mapping[str, str] = {
    "AGIQA_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",  # huggingface_hub, and open_clip, timm and transformers by it
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",  # of before it went by the hub's, as in some environments of external methods
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What libraries are told that have a switch. The others (torch.hub, pyiqa, gdown) are not called when offline."""

_ALLOWED = {"", "0", "false", "no", "off"}


def is_offline(asked: bool = False) -> bool:
    """Whether the network must not be touched: asked for (`--offline`), or by one of `VARIABLES`."""
    return asked or any(os.environ.get(name, "").strip().lower() not in _ALLOWED for name in VARIABLES)


def go_offline(asked: bool = False) -> bool:
    """Set `SWITCHES` for this process and those that it starts, if the network must not be touched.

    The libraries read their switches when they are imported: call it before.

    Args:
        asked: See `is_offline`.

    Returns:
        Whether the network must not be touched.
    """
    offline = is_offline(asked)
    if offline:
        os.environ.update(SWITCHES)
    return offline
