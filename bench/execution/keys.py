"""Keys of cells: the hash of everything that can change a result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 2
"""Raised when the stored form of a cell changes."""


def key_of(components: dict[str, Any]) -> str:
    """SHA-256 (hex) of the components' canonical JSON.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(components, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def changed_components(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the components in which two keys differ: why a cell is computed again."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
