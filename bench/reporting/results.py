"""From stores to the results that belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agiqa_bench.execution.store import CellResult, Store

if TYPE_CHECKING:
    import pandas as pd

PROTOCOL_KEYS = {
    "dataset": "data sets",
    "annotations": "annotations of the data set",
    "split": "split rules",
    "splits_digest": "splits",
    "seed": "seeds",
    "select": "ways to choose the epoch",
}
"""What must agree before numbers stand in one table, with its name where it does not."""


@dataclass
class MethodResults:
    """The finished cells of one method.

    Attributes:
        label: Its row's name in the store.
        display: The same for people.
        name: The method's registry name, e.g. `ipiqa`.
        config: All its settings, as they were resolved; empty in stores of older versions.
        keys: Key of the cell of each planned repeat.
        cells: By repeat.
    """

    label: str
    display: str
    name: str
    config: dict[str, Any]
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
    keys: dict[int, str] = field(default_factory=dict)
    cells: dict[int, CellResult] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        """Number of planned repeats."""
        return len(self.keys)


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
        stores: The folders that they come from.
        earlier: Names of the rows that the latest command did not ask for; their code may have changed since.
    """

    title: str
    protocol: dict[str, Any]
    targets: tuple[str, ...]
    sizes: dict[int, tuple[int, int]]
    methods: list[MethodResults]
    left_out: list[tuple[str, str]]
    plans: list[dict[str, Any]]
    stores: tuple[Store, ...] = ()
    earlier: list[str] = field(default_factory=list)

    @property
    def images(self) -> str | None:
        """Digest of the image files; None if no method looked at them."""
        return next((plan["images"] for plan in reversed(self.plans) if plan["images"] is not None), None)

    @property
    def where(self) -> str:
        """The folders' names, for messages."""
        return " + ".join(str(store.root) for store in self.stores)

    def samples(self) -> pd.DataFrame | None:
        """The data set's table of samples as it was stored with the run; None in stores of older versions."""
        found = (store.samples(self.protocol["annotations"]) for store in self.stores)
        return next((table for table in found if table is not None), None)


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
    return _read(store, plans[-1:] if latest_only else _comparable(plans), latest_only=latest_only)


def read_protocols(store: Store) -> list[RunResults]:
    """The results under each protocol that commands on a store used; that of the latest command comes last.

    Raises:
        StoreError: The folder holds no run.
    """
    plans, found = store.plans(), []
    while plans:
        group = _comparable(plans)
        found.append(_read(store, group))
        plans = [plan for plan in plans if not any(plan is used for used in group)]
    return found[::-1]


def _read(store: Store, plans: Sequence[dict[str, Any]], *, latest_only: bool = False) -> RunResults:
    latest = plans[-1]
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
        plans=list(plans),
        stores=(store,),
        earlier=[row["display"] for label, row in rows.items() if label not in current],
    )


def differences(one: RunResults, other: RunResults) -> list[str]:
    """In what two results differ so that they cannot stand in one table, in words; empty if they can."""
    found = [name for key, name in PROTOCOL_KEYS.items() if one.protocol.get(key) != other.protocol.get(key)]
    if one.images != other.images and None not in (one.images, other.images):
        found.append("image files")
    return found


def join_comparable(results: Iterable[RunResults]) -> list[RunResults]:
    """Join what can stand in one table, in the order given; what cannot stays apart.

    A row that two folders hold with the same keys is one row. With other keys (other code, weights, libraries) both
    stay, each with its folder's name.
    """
    joined: list[RunResults] = []
    for result in results:
        for position, other in enumerate(joined):
            if not differences(other, result):
                joined[position] = _join(other, result)
                break
        else:
            joined.append(result)
    return joined


def _join(one: RunResults, other: RunResults) -> RunResults:
    methods = {method.label: method for method in one.methods}
    for method in other.methods:
        known = methods.get(method.label)
        if known is None:
            methods[method.label] = method
        elif known.keys == method.keys:
            methods[method.label] = replace(known, cells=known.cells | method.cells)
        else:
            mark = f" [{other.stores[-1].root.name}]"
            methods[method.label + mark] = replace(method, label=method.label + mark, display=method.display + mark)
    there = {method.display for method in methods.values() if method.cells}
    return replace(
        one,
        methods=list(methods.values()),
        targets=tuple(dict.fromkeys((*one.targets, *other.targets))),
        left_out=sorted({entry for entry in (*one.left_out, *other.left_out) if entry[0] not in there}),
        plans=sorted((*one.plans, *other.plans), key=lambda plan: str(plan.get("started", ""))),
        stores=(*one.stores, *other.stores),
        earlier=list(dict.fromkeys((*one.earlier, *other.earlier))),
    )


def _comparable(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plans under the latest one's protocol and on the same images, oldest first."""
    latest = plans[-1]
    images = None
    kept = []
    for plan in reversed(plans):
        if any(plan["protocol"].get(key) != latest["protocol"].get(key) for key in PROTOCOL_KEYS):
            continue
        # A plan without methods that look at images says nothing about them.
        if images is not None and plan["images"] not in (None, images):
            continue
        images = images or plan["images"]
        kept.append(plan)
    return kept[::-1]


def _method_results(store: Store, row: dict[str, Any]) -> MethodResults:
    keys = {int(repeat): key for repeat, key in row["keys"].items()}
    cells = {}
    for repeat, key in keys.items():
        found = store.find_cell(row["label"], repeat, key, with_model=False)
        if found is not None:
            cells[repeat] = found
    return MethodResults(
        label=row["label"],
        display=row["display"],
        name=row.get("name") or re.split(r"\[| \(", row["label"], maxsplit=1)[0],
        config=row.get("config", {}),
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
        keys=keys,
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
