"""What must be said beside published figures, and beside what a run measured for them, one line each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from agiqa_bench.papers.matching import (
    Difference,
    bears,
    other_data,
    other_rows,
    protocol_differences,
    stand_in_marks,
)
from agiqa_bench.papers.published import METRIC_KEYS, OWN, PrintedRow, PublishedTable, published_tables
from agiqa_bench.reporting.digits import counted, share_text
from agiqa_bench.reporting.homes import without_home
from agiqa_bench.reporting.results import MethodResults, RunResults

SECOND_HAND = "second-hand: quoted by another paper, which did not compute these figures itself"

Pairs = Sequence[tuple[PrintedRow, MethodResults | None]]


def sources(table: PublishedTable, datasets: Collection[str]) -> list[str]:
    """Where the figures on some data sets come from, and how each came about as far as that was stated."""
    paper = table.paper
    notes = [SECOND_HAND] if table.second_hand else []
    if table.remark:
        notes.append(table.remark)
    notes.append(f"figures as printed: {paper.title}, {table.place} ({paper.where})")
    for name in dict.fromkeys(row.protocol for row in table.rows):
        protocol = paper.protocols[name]
        known = [protocol.details, *(text for dataset, text in protocol.details_on.items() if dataset in datasets)]
        details = "".join(f"; {text}" for text in known if text)
        named = _names([row.method for row in table.rows if row.protocol == name], table.rows, "all rows")
        notes.append(f"{named}: {protocol.about}{details}")
    return notes


def rows(table: PublishedTable, shown: Sequence[PrintedRow]) -> list[str]:
    """Remarks on single rows: what measures them or why nothing does, and where else the same digits stand."""
    found: dict[str, list[str]] = {}
    for row in shown:
        unmeasured = f"not measured here: {row.unmeasured}" if row.unmeasured else ""
        doubt = f"{row.doubt}, so no difference is computed" if row.doubt else ""
        for text in filter(None, (row.note, unmeasured, doubt)):
            found.setdefault(text, []).append(row.method)
    notes = [f"{_names(names)}: {text}" for text, names in found.items()]
    wanted = {row.method for row in shown}
    for other, names in identical_rows(table).items():
        if same := [name for name in names if name in wanted]:
            notes.append(f"{_names(same)}: the same figures, digit by digit, stand in {other}")
    return notes


def identical_rows(table: PublishedTable) -> dict[str, list[str]]:
    """Rows with a line of figures that stands, digit by digit, in another published table too: by that table's id."""
    found: dict[str, list[str]] = {}
    for other in published_tables():
        theirs = {_digits(figures) for figures in other.figures} if other.id != table.id else set()
        same = {figures.method for figures in table.figures if _digits(figures) in theirs}
        if same:
            found[other.id] = [row.method for row in table.rows if row.method in same]
    return found


def _digits(figures: object) -> tuple[str, ...]:
    return tuple(getattr(figures, key) for key in ("dataset", "target", *METRIC_KEYS))


def run(table: PublishedTable, dataset: str, results: RunResults) -> list[str]:
    """What was measured, under which protocol, and how to read the columns."""
    protocol = results.protocol
    return [
        f"measured by {where(results)}: {protocol['split']} split, {counted(protocol['repeats'], 'repeat')}, epochs "
        f"chosen by --select {protocol['select']}, {share_text(protocol['leaked_prompts'])} of the test images with "
        f"their prompt and {share_text(protocol['leaked_groups'])} with their group in the training part; which images "
        "a paper's own splits put where is not compared",
        _trusted(table, dataset, results),
        "Paper: as printed; Here: as measured, ± the standard deviation over repeats; Diff.: measured - published; "
        "measured PLCC is of the scores as they are, nothing fitted",
    ]


def _trusted(table: PublishedTable, dataset: str, results: RunResults) -> str:
    """What of the run's data could not be checked against what was published."""
    images = (
        "no image was read"
        if results.images is None
        else f"the images (digest {results.images[:12]}) are taken on trust"
    )
    if table.datasets[dataset].annotations is None:
        return f"the annotations' fingerprint could not be checked, only the number of images; {images}"
    return f"the annotations are the official ones; {images}"


def differing(found: Mapping[str, Sequence[Difference]]) -> list[str]:
    """What is not as published, by printed row: each thing once, for all rows that it holds for."""
    holds_for: dict[Difference, list[str]] = {}
    for name, several in found.items():
        for difference in several:
            holds_for.setdefault(difference, []).append(name)
    return [
        f"{_names(names, found, 'all measured rows')} ({difference.what}): {difference.text}"
        for difference, names in holds_for.items()
    ]


def measured(table: PublishedTable, column: tuple[str, str], pairs: Pairs, results: RunResults) -> list[str]:
    """Why a printed row has no difference, or no measured number, and which other rows of the run are of its method."""
    optimistic = results.protocol["select"] == "test"
    names = [
        f"{row.method} = {found.label}{' (chosen on test)' if optimistic and found.selects_epoch else ''}"
        for row, found in pairs
        if found is not None
    ]
    notes = [f"rows of the run: {_names(names)}"] if names else []
    negative = [
        row.method
        for row, found in pairs
        if found is not None and any(table.figure(row.method, *column, key).startswith("-") for key in table.metrics)
    ]
    if negative:
        notes.append(
            f"{_names(negative)}: printed with a minus, which may be that of a score that falls with quality; here "
            "higher scores are better for every method, so no difference is computed"
        )
    missing: dict[str, list[str]] = {}
    for row, found in pairs:
        if found is None and row.spec:
            missing.setdefault(_why_missing(row, results), []).append(row.method)
    notes += [f"{_names(names)}: {why}" for why, names in missing.items()]
    others: dict[str, list[str]] = {}
    for row, _ in pairs:
        if labels := other_rows(table, row, results, column[1]):
            others.setdefault(_names(labels), []).append(row.method)
    return notes + [
        f"{_names(names)}: in the run with other settings or weights too, and not compared: {labels}"
        for labels, names in others.items()
    ]


def _why_missing(row: PrintedRow, results: RunResults) -> str:
    left_out = dict(results.left_out)
    for plan in results.plans:
        for planned in plan["methods"]:
            shown = without_home(planned["display"])
            asked_for = any(bears(planned["label"], spec) for spec in (row.spec, row.instead) if spec)
            if asked_for and shown in left_out:
                return left_out[shown]
    return "not in the run"


def no_row(table: PublishedTable, results: RunResults) -> str:
    """That a run of the right data has none of a table's rows."""
    return f"{where(results)} has finished no row of {table.title}, so there is nothing to show beside it"


def not_compared(table: PublishedTable, results: RunResults) -> list[str]:
    """What a run of other data is, and in what else it differs from the authors' own protocol; empty for the same data.

    A comparison is not suggested: no number of such a run is named.
    """
    named = results.protocol["dataset"]
    reasons = {dataset: other_data(table, dataset, results) for dataset in table.datasets}
    if not all(reasons.values()):
        return []
    reason = reasons.get(named) or next(iter(reasons.values()))
    titles = " and ".join(data.title for data in table.datasets.values())
    others = [
        *protocol_differences(table.paper.protocols[OWN], results),
        *(Difference("settings", f"those of the {preset} preset") for preset in _presets(results)),
        *(Difference("weights", f"stand-ins ({mark})") for mark in _marks(results)),
    ]
    notes = [
        f"{where(results)} is not compared: {reason}, and the figures are of {titles}; no number of it is shown here"
    ]
    if others:
        notes.append(
            f"{where(results)} differs from the authors' own rows, besides the data, in "
            + "; ".join(f"{found.what}: {found.text}" for found in others)
        )
    return notes


def _presets(results: RunResults) -> list[str]:
    used = dict.fromkeys(method.preset for method in results.methods if method.cells)
    return [preset for preset in used if preset not in ("", "paper")]


def _marks(results: RunResults) -> list[str]:
    marks = stand_in_marks(method for method in results.methods if method.cells)
    return [marks] if marks else []


def where(results: RunResults) -> str:
    """The run's folder, for notes and headings."""
    return f"run {results.where}" if results.stores else "the run"


def _names(names: Sequence[str], of: Collection[object] = (), all_of_them: str = "") -> str:
    """Names in a line; those of several things, if they are all there are, in a word."""
    return all_of_them if len(names) == len(of) > 1 else ", ".join(names)
