"""Which row of a run measures a printed row, and in what its protocol differs from the published one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agiqa_bench.execution.request import parse_method
from agiqa_bench.papers.published import PrintedRow, Protocol, PublishedTable
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.results import MethodResults, RunResults

_PARTS = {
    "test": "on the test part",
    "refit": "on a validation part, then refitted on training and validation part",
    "validation": "on a validation part",
    "last": "as the last one",
}
"""How an epoch is chosen, for people."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as published.

    Attributes:
        what: A word or two, e.g. `selection`.
        text: What it is here and what it was there, in one line.
    """

    what: str
    text: str


def label_of(spec: str) -> str:
    """The label that a run gives to a row with real weights that was asked for as `spec`.

    >>> label_of("some_method[ablation=without it]"), label_of("some_method[epochs=5]")
    ('some_method[without it]', 'some_method[epochs=5]')
    """
    asked = parse_method(spec)
    parts = [] if asked.ablation is None else [asked.ablation]
    parts += [f"{key}={value}" for key, value in asked.settings]
    return asked.name + (f"[{','.join(parts)}]" if parts else "")


def find_measured(row: PrintedRow, results: RunResults, target: str) -> MethodResults | None:
    """The finished row of a run that was asked for as the printed row's `spec`, or else as its `instead`.

    Of several (one with a stand-in, or from another folder) the one with real weights counts, then the one with most
    repeats. None if there is none.
    """
    for spec in filter(None, (row.spec, row.instead)):
        fitting = [method for method in _finished(results, target) if bears(method.label, spec)]
        if fitting:
            return min(fitting, key=lambda method: (bool(method.stand_ins), -len(method.cells)))
    return None


def other_rows(table: PublishedTable, row: PrintedRow, results: RunResults, target: str) -> list[str]:
    """Labels of the finished rows of a printed row's method that stand beside no row of its table."""
    if not row.spec:
        return []
    compared = [found for other in table.rows if (found := find_measured(other, results, target)) is not None]
    return [
        method.label
        for method in _finished(results, target)
        if _head(method.label) == parse_method(row.spec).name and not any(method is found for found in compared)
    ]


def _finished(results: RunResults, target: str) -> list[MethodResults]:
    return [method for method in results.methods if method.cells and target in method.targets]


def bears(label: str, spec: str) -> bool:
    """Whether a row's label is that of `spec`, alone or with what marks a stand-in or a folder behind it."""
    wanted = label_of(spec)
    return label == wanted or label.startswith((f"{wanted} (", f"{wanted} ["))


def _head(label: str) -> str:
    return label.partition("[")[0].partition(" (")[0].strip()


def other_data(table: PublishedTable, dataset: str, results: RunResults) -> str:
    """Why a run is not of the data that were published on, in one line; empty if it is.

    Args:
        table: A published table.
        dataset: Registry name of one of its data sets.
        results: A run.
    """
    published, protocol = table.datasets[dataset], results.protocol
    if protocol["dataset"] != dataset:
        return f"its data set is {results.title}{', which nobody rated' if protocol['synthetic'] else ''}"
    if protocol["synthetic"]:
        return "its ratings are synthetic, given by nobody"
    asked = results.plans[-1]["request"].get("dataset", dataset) if results.plans else dataset
    if asked != dataset:
        return f"its data set was read from {asked}, not from the official files"
    if published.annotations is not None and protocol["annotations"] != published.annotations:
        return (
            f"its annotations are not the official ones (fingerprint {protocol['annotations'][:12]}, official "
            f"{published.annotations[:12]})"
        )
    rows = {fit + test for fit, test in results.sizes.values()}
    if published.annotations is None and rows != {published.rows}:
        return f"it has {max(rows, default=0):,} rated images, not {published.rows:,}"
    return ""


def differences(row: PrintedRow, protocol: Protocol, results: RunResults, method: MethodResults) -> list[Difference]:
    """In what a measured row differs from how the printed one came about; the data are the same."""
    found = []
    if method.stand_ins:
        text = f"stand-in weights ({stand_in_marks([method])}), whose numbers say nothing about the method"
        found.append(Difference("weights", text))
    elif row.weights and tuple(row.weights) != method.weights:
        here = ", ".join(method.weights) or "none"
        found.append(Difference("weights", f"weights are {here}; published: {', '.join(row.weights)}"))
    if method.preset not in ("", "paper"):
        found.append(Difference("settings", f"settings of the {method.preset} preset, not those of the paper"))
    found += [
        Difference("settings", f"{key} is {method.config[key]}; published: {value}")
        for key, value in row.settings.items()
        if key in method.config and method.config[key] != value
    ]
    found += protocol_differences(protocol, results, method)
    if method.note:
        found.append(Difference("method", method.note))
    unknown = _not_stated(protocol, method)
    if unknown:
        found.append(Difference("not stated", f"published without stating {', '.join(unknown)}"))
    return found


def protocol_differences(
    protocol: Protocol, results: RunResults, method: MethodResults | None = None
) -> list[Difference]:
    """In what a run, or one row of it, differs from a published protocol, where that is known: split, selection ..."""
    here, found = results.protocol, []
    if protocol.split is not None and here["split"] != protocol.split:
        found.append(Difference("split", f"{here['split']} split; published: {protocol.split} split"))
    chooses = method is None or method.selects_epoch
    # No paper is known to refit: that is listed even where a paper does not say how it chose.
    if chooses and here["select"] != protocol.select and (protocol.select is not None or here["select"] == "refit"):
        published = "not stated" if protocol.select is None else _PARTS[protocol.select]
        found.append(Difference("selection", f"epoch chosen {_PARTS[here['select']]}; published: {published}"))
    repeats = len(method.cells) if method is not None else here["repeats"]
    if protocol.repeats is not None and repeats != protocol.repeats:
        found.append(
            Difference("repeats", f"{counted(repeats, 'repeat')}; published: {counted(protocol.repeats, 'repeat')}")
        )
    used = _precisions([method] if method is not None else results.methods)
    if protocol.precision is not None and used and used != {protocol.precision}:
        text = f"computed in {', '.join(sorted(used))}; published: {protocol.precision}"
        found.append(Difference("precision", text))
    return found


def _not_stated(protocol: Protocol, method: MethodResults) -> list[str]:
    known = {
        "the split": protocol.split,
        "how the epoch was chosen": protocol.select if method.selects_epoch else "no epoch is chosen",
        "the number of repeats": protocol.repeats,
        "whether PLCC is of fitted scores": protocol.plcc,
    }
    return [name for name, value in known.items() if value is None]


def stand_in_marks(methods: Iterable[MethodResults]) -> str:
    """What marks the stand-ins of some rows, e.g. `demo CLIP RN`; empty without stand-ins."""
    return ", ".join(dict.fromkeys(mark for method in methods for mark in method.stand_ins))


def _precisions(methods: Iterable[MethodResults]) -> set[str]:
    return {cell.record["precision"] for method in methods for cell in method.cells.values()}
