"""From stores to the results that belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.execution.comparable import PROTOCOL_KEYS, protocol_differences
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.homes import without_home, without_homes

if TYPE_CHECKING:
    import pandas as pd


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
        damaged: Why a cell that is there cannot be used, by repeat.
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
    damaged: dict[int, str] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        """Number of planned repeats."""
        return len(self.keys)

    @property
    def is_refitted(self) -> bool:
        """Whether, if the selection is `refit`, all cells are of a second fit: the method told which epoch it chose."""
        return all(cell.record.get("chosen") for cell in self.cells.values())


@dataclass
class RunResults:
    """Results under one protocol.

    Attributes:
        title: The data set's title.
        protocol: See `Plan.protocol`.
        targets: The data set's targets, in order.
        sizes: (rows to learn from, test rows) by repeat.
        left_out: (method, why) of what was skipped, has failed or is damaged.
        plans: The stored plans that the results come from, oldest first.
        stores: The folders that they come from.
        earlier: Names of the rows that the latest command did not ask for; their code may have changed since.
        others: (protocol in words, number of its cells) of what else the folder holds and this is not a part of.
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
    others: tuple[tuple[str, int], ...] = ()

    @property
    def images(self) -> str | None:
        """Digest of the image files; None if no method looked at them."""
        return _images(self.plans)

    @property
    def where(self) -> str:
        """The folders' names, for messages."""
        return " + ".join(store.name for store in self.stores)

    def samples(self) -> pd.DataFrame | None:
        """The data set's table of samples as it was stored with the run; None if it is not there.

        Raises:
            StoreError: It is damaged.
        """
        found = (store.samples(self.protocol["annotations"]) for store in self.stores)
        return next((table for table in found if table is not None), None)


def read_results(store: Store, *, plan_id: str | None = None, alone: bool = False) -> RunResults:
    """The results of one command on a store, joined by those of others under the same protocol.

    Where several commands ran one method, the one that is asked for counts, and among the others the latest.

    Args:
        store: Where they are.
        plan_id: Name of the command's plan; by default that of the latest, the one that began last.
        alone: Leave out the methods and targets that this command did not ask for.

    Raises:
        StoreError: The folder holds no run, or one of another version.
    """
    plans = sorted(store.plans(), key=lambda plan: plan["id"] == plan_id)  # comes last, and the others stay in order
    if alone:
        return _read(store, plans[-1:], alone=True)
    first, *others = _groups(plans)
    return replace(_read(store, first), others=tuple(_other(store, group, first) for group in others))


def read_protocols(store: Store) -> list[RunResults]:
    """The results under each protocol that commands on a store used; that of the latest command comes last.

    Raises:
        StoreError: The folder holds no run, or one of another version.
    """
    return [_read(store, group) for group in _groups(store.plans())][::-1]


def _groups(plans: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The plans under each protocol, oldest first; the protocol of the latest plan comes first."""
    groups = []
    while plans:
        groups.append(_comparable(plans))
        plans = [plan for plan in plans if not any(plan is used for used in groups[-1])]
    return groups


def _other(store: Store, plans: Sequence[dict[str, Any]], beside: Sequence[dict[str, Any]]) -> tuple[str, int]:
    """A protocol in words, and how many cells of it the folder holds."""
    here, shown = plans[-1]["protocol"], beside[-1]["protocol"]
    wanted = {
        (row["label"], int(repeat), key)
        for plan in plans
        for row in plan["methods"]
        for repeat, key in row["keys"].items()
    }
    words = [
        f"{here['split']} split",
        f"epoch by {here['select']}",
        f"seed {here['seed']}",
        counted(here["repeats"], "repeat"),
    ]
    same = all(here.get(key) == shown.get(key) for key in ("split", "select", "seed", "repeats"))
    if same:
        words += [f"other {name}" for name in protocol_differences(here, shown)]
        words += ["other image files"] if _images(plans) != _images(beside) else []
    return ", ".join(words), sum(store.has_cell(*cell) for cell in wanted)


def _images(plans: Sequence[dict[str, Any]]) -> str | None:
    """Digest of the image files that the latest plans looked at; None if none of them did."""
    return next((plan["images"] for plan in reversed(plans) if plan["images"] is not None), None)


def _read(store: Store, plans: Sequence[dict[str, Any]], *, alone: bool = False) -> RunResults:
    latest = plans[-1]
    rows: dict[str, dict[str, Any]] = {}
    left_out: dict[str, tuple[str, str]] = {}
    for plan in plans:
        for row in plan["methods"]:
            label = row["label"]
            if row["skip"] is not None:
                left_out[label] = (row["display"], f"{_SKIPPED}: {row['skip']}")
                continue
            rows[label] = row
            left_out.pop(label, None)
    for name, reason in latest["unusable"].items():
        left_out.setdefault(name, (name, f"{_UNUSABLE}: {reason}"))
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
            if not alone or not latest["request"]["targets"] or target in latest["request"]["targets"]
        ),
        sizes={part["repeat"]: (part["fit"], part["test"]) for plan in plans for part in plan["parts"]},
        methods=_told_apart(methods),
        left_out=_left_out(left_out.values(), methods),
        plans=list(plans),
        stores=(store,),
        earlier=[without_home(row["display"]) for label, row in rows.items() if label not in current],
    )


def differences(one: RunResults, other: RunResults) -> list[str]:
    """In what two results differ so that they cannot stand in one table, in words; empty if they can.

    How the epoch is chosen makes no difference where no method chooses one.
    """
    choosing = any(method.selects_epoch for results in (one, other) for method in results.methods)
    keys = [key for key in PROTOCOL_KEYS if choosing or key != "select"]
    found = [PROTOCOL_KEYS[key] for key in keys if one.protocol.get(key) != other.protocol.get(key)]
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
            methods[method.label] = _merged(known, method)
        else:
            mark = f" [{other.stores[-1].name}]"
            methods[method.label + mark] = replace(method, label=method.label + mark, display=method.display + mark)
    there = {method.display: method for method in methods.values() if method.cells}
    known_gaps = (*one.left_out, *other.left_out)
    return replace(
        one,
        methods=_told_apart(methods.values()),
        targets=tuple(dict.fromkeys((*one.targets, *other.targets))),
        left_out=_left_out([gap for gap in known_gaps if _holds(gap, there.get(gap[0]))], list(methods.values())),
        plans=sorted((*one.plans, *other.plans), key=lambda plan: str(plan.get("started", ""))),
        stores=(*one.stores, *other.stores),
        earlier=list(dict.fromkeys((*one.earlier, *other.earlier))),
    )


def _told_apart(methods: Iterable[MethodResults]) -> list[MethodResults]:
    """The rows; by their labels where several have one name for people, as weights in two files of one name."""
    methods = list(methods)
    counts = Counter(method.display for method in methods)
    return [method if counts[method.display] == 1 else replace(method, display=method.label) for method in methods]


def _merged(one: MethodResults, other: MethodResults) -> MethodResults:
    """A method whose cells lie in two folders; a cell that one of them holds whole is not damaged."""
    cells = one.cells | other.cells
    damaged = {repeat: why for repeat, why in (one.damaged | other.damaged).items() if repeat not in cells}
    return replace(one, cells=cells, damaged=damaged)


_SKIPPED, _UNUSABLE, _DAMAGED = "skipped", "cannot be used", "damaged"
"""What a method was left out for, before a colon and the reason."""


def _holds(gap: tuple[str, str], method: MethodResults | None) -> bool:
    """Whether what one folder says of a method still holds beside another folder's cells of it."""
    what = gap[1].partition(": ")[0]
    if what == _DAMAGED:  # said anew of the cells of both
        return False
    return method is None or (what not in (_SKIPPED, _UNUSABLE) and len(method.cells) < method.expected)


def _left_out(gaps: Iterable[tuple[str, str]], methods: Sequence[MethodResults]) -> list[tuple[str, str]]:
    """What is known to be left out, and the damaged cells, as they are shown."""
    found = {(without_home(name), without_home(why)) for name, why in gaps}
    for method in methods:
        for why in dict.fromkeys(method.damaged.values()):
            repeats = ", ".join(str(repeat) for repeat, same in method.damaged.items() if same == why)
            found.add((method.display, f"{_DAMAGED}: repeat {repeats}: {why}; the run's command computes it again"))
    return sorted(found)


def _comparable(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plans under the latest one's protocol and on the same images, oldest first."""
    latest = plans[-1]
    images = None
    kept = []
    for plan in reversed(plans):
        if protocol_differences(plan["protocol"], latest["protocol"]):
            continue
        # A plan without methods that look at images says nothing about them.
        if images is not None and plan["images"] not in (None, images):
            continue
        images = images or plan["images"]
        kept.append(plan)
    return kept[::-1]


def _method_results(store: Store, row: dict[str, Any]) -> MethodResults:
    keys = {int(repeat): key for repeat, key in row["keys"].items()}
    cells, damaged = {}, {}
    for repeat, key in keys.items():
        found = store.find_cell(row["label"], repeat, key, with_model=False)
        if found is None:
            if why := store.cell_damage(row["label"], repeat, key):
                damaged[repeat] = why
        elif absent := [target for target in row["targets"] if target not in found.metrics]:
            damaged[repeat] = f"its cell.json has no metrics of the target {absent[0]}"
        else:
            cells[repeat] = found
    return MethodResults(
        label=without_home(row["label"]),
        display=without_home(row["display"]),
        name=row.get("name") or re.split(r"\[| \(", row["label"], maxsplit=1)[0],
        config=without_homes(row.get("config", {})),
        targets=tuple(row["targets"]),
        weights=tuple(weights["name"] for weights in row["weights"]),
        stand_ins=tuple(weights["stand_in"] for weights in row["weights"] if weights["stand_in"]),
        diagnostic=row["diagnostic"],
        trainable=row["trainable"],
        selects_epoch=row["selects_epoch"],
        citation=row["citation"],
        keeps_features=row.get("keeps_features", False),
        preset=row["preset"],
        note=without_home(row["note"]),
        keys=keys,
        cells=cells,
        damaged=damaged,
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
