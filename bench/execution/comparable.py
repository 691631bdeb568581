"""What must agree before numbers of two commands stand in one table."""

from __future__ import annotations

from typing import Any

PROTOCOL_KEYS = {
    "dataset": "data sets",
    "annotations": "annotations of the data set",
    "split": "split rules",
    "splits_digest": "splits",
    "seed": "seeds",
    "select": "ways to choose the epoch",
}
"""Keys of a plan's protocol, each with its name where it does not agree."""


def protocol_differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """In what two protocols (see `agiqa_bench.execution.plan.Plan.protocol`) differ, in words; empty if they agree."""
    return [name for key, name in PROTOCOL_KEYS.items() if one.get(key) != other.get(key)]
