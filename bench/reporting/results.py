"""From a store to the results that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agiqa_bench.execution.store import CellResult, Store

PROTOCOL_KEYS = ("dataset", "annotations", "split", "splits_digest", "seed", "select")
"""What must agree before numbers stand in one table."""


@dataclass
class MethodResults:
    """The finished cells of one method.

    Attributes:
        cells: By repeat.
        expected: Number of planned repeats.
    """

    label: str
    display: str
    targets: tuple[str, ...]
    weights: tuple[str, ...]
    stand_ins: tuple[str, ...]
    diagnostic: bool
    trainable: bool
    selects_epoch: bool
    citation: str
    keeps_features: bool
    preset: str
    note: str
    expected: int
    cells: dict[int, CellResult] = field(default_factory=dict)


@dataclass
class RunResults:
    """Results under one protocol.

    Attributes:
        title: The data set's title.
        protocol: See `Plan.protocol`.
        targets: The data set's targets, in order.
        sizes: (rows to learn from, test rows) by repeat.
        left_out: (method, why) of what was skipped or has failed.
        plans: The stored plans that the results come from, oldest first.
        earlier: Names of the rows that the latest command did not ask for; their code may have changed since.
    """

    title: str
    protocol: dict[str, Any]
    targets: tuple[str, ...]
    sizes: dict[int, tuple[int, int]]
    methods: list[MethodResults]
    left_out: list[tuple[str, str]]
    plans: list[dict[str, Any]]
    earlier: list[str] = field(default_factory=list)


def read_results(store: Store, *, latest_only: bool = False) -> RunResults:
    """The results of the latest command on a store, joined by those of earlier ones under the same protocol.

    Where several commands ran one method, the latest counts.

    Args:
        store: Where they are.
        latest_only: Leave out the methods and targets that the latest command did not ask for.

    Raises:
        StoreError: The folder holds no run.
    """
    plans = store.plans()
    latest = plans[-1]
    plans = [latest] if latest_only else _comparable(plans)
    rows: dict[str, dict[str, Any]] = {}
    left_out: dict[str, tuple[str, str]] = {}
    for plan in plans:
        for row in plan["methods"]:
            label = row["label"]
            if row["skip"] is not None:
                left_out[label] = (row["display"], f"skipped: {row['skip']}")
                continue
            rows[label] = row
            left_out.pop(label, None)
    for name, reason in latest["unusable"].items():
        left_out.setdefault(name, (name, f"cannot be used: {reason}"))
    current = {row["label"] for row in latest["methods"]}
    methods = []
    for label, row in rows.items():
        method = _method_results(store, row)
        methods.append(method)
        if len(method.cells) < method.expected and (why := _failure(plans, label)):
            left_out[label] = (row["display"], f"failed: {why}")
        elif label in left_out and method.cells:
            del left_out[label]
    return RunResults(
        title=latest["dataset_title"],
        protocol=latest["protocol"],
        targets=tuple(
            target
            for target in latest["targets"]
            if not latest_only or not latest["request"]["targets"] or target in latest["request"]["targets"]
        ),
        sizes={part["repeat"]: (part["fit"], part["test"]) for part in latest["parts"]},
        methods=methods,
        left_out=sorted(left_out.values()),
        plans=plans,
        earlier=[row["display"] for label, row in rows.items() if label not in current],
    )


def _comparable(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plans under the latest one's protocol and on the same images, oldest first."""
    latest = plans[-1]
    images = None
    kept = []
    for plan in reversed(plans):
        if any(plan["protocol"][key] != latest["protocol"][key] for key in PROTOCOL_KEYS):
            continue
        # A plan without methods that look at images says nothing about them.
        if images is not None and plan["images"] not in (None, images):
            continue
        images = images or plan["images"]
        kept.append(plan)
    return kept[::-1]


def _method_results(store: Store, row: dict[str, Any]) -> MethodResults:
    cells = {}
    for repeat, key in row["keys"].items():
        found = store.find_cell(row["label"], int(repeat), key)
        if found is not None:
            cells[int(repeat)] = found
    return MethodResults(
        label=row["label"],
        display=row["display"],
        targets=tuple(row["targets"]),
        weights=tuple(weights["name"] for weights in row["weights"]),
        stand_ins=tuple(weights["stand_in"] for weights in row["weights"] if weights["stand_in"]),
        diagnostic=row["diagnostic"],
        trainable=row["trainable"],
        selects_epoch=row["selects_epoch"],
        citation=row["citation"],
        keeps_features=row.get("keeps_features", False),
        preset=row["preset"],
        note=row["note"],
        expected=len(row["keys"]),
        cells=cells,
    )


def _failure(plans: Sequence[dict[str, Any]], label: str) -> str:
    """The latest failure of a method, in one line; empty if there is none."""
    for plan in reversed(plans):
        failures = [
            (what, line) for failed, what, line in plan.get("outcome", {}).get("failures", []) if failed == label
        ]
        if failures:
            what, line = failures[0]
            return f"{line} ({what}{f' and {len(failures) - 1} more' if failures[1:] else ''})"
    return ""
