"""A leaderboard of many runs: one row per method, configuration and protocol.

Rows are ranked within a view only: one data set, one target, one protocol, the same splits of the same annotations and
images. What is not comparable stands under another heading.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agiqa_bench.errors import DataNotFoundError, StoreError
from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.build.notes import design
from agiqa_bench.reporting.build.summaries import (
    METRIC,
    PRIMARY,
    best_of_most,
    finished,
    number_of,
    row_title,
)
from agiqa_bench.reporting.homes import without_home
from agiqa_bench.reporting.model import Column, Mark, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults, differences, read_protocols

SHOWN = ("srcc", "plcc", "krcc", "srcc_within_generator")
"""The metrics of the page; the files have all."""

_DIGITS = 8
"""Of digests that tell views apart, and of commits."""


@dataclass(frozen=True)
class View:
    """What may be ranked against each other.

    Attributes:
        dataset: The data set's title.
        target: What was rated.
        protocol: Split, selection, repeats, seed, and where needed what else tells it from another one, in words.
    """

    dataset: str
    target: str
    protocol: str

    @property
    def title(self) -> str:
        """Its heading."""
        return f"{self.dataset} · {self.target} · {self.protocol}"


@dataclass(frozen=True)
class Entry:
    """One method with one configuration in one view.

    Attributes:
        view: Where it stands.
        results: The results that it is part of.
        method: Its finished cells.
        numbers: Its metrics over the finished repeats, by key, without marks.
        runs: Folders that hold these very cells, relative to where the search began.
    """

    view: View
    results: RunResults
    method: MethodResults
    numbers: Mapping[str, Number]
    runs: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What keeps its numbers from being what they seem, in a few words each."""
        method = self.method
        found = ["stand-in"] if method.stand_ins else []
        found += ["chosen on test"] if method.selects_epoch and self.results.protocol["select"] == "test" else []
        if len(method.cells) < method.expected:
            found.append(f"{len(method.cells)} of {method.expected} repeats")
        return tuple(found)

    @property
    def view_remarks(self) -> tuple[str, ...]:
        """The same for all rows of its view."""
        protocol = self.results.protocol
        found = ["synthetic data"] if protocol["synthetic"] else []
        found += ["prompts on both sides"] if protocol["split"] == "image" else []
        return tuple(found)

    @property
    def when(self) -> str:
        """When its last cell was finished: a date in ISO form."""
        return max(str(cell.record["ended"]) for cell in self.method.cells.values())[:10]

    @property
    def version(self) -> str:
        """The program's versions, with the commit where it is known; `+` marks changes on top of it."""
        found = {}
        for cell in self.method.cells.values():
            environment = cell.record["environment"]
            git = environment.get("git") or {}
            commit = str(git.get("commit") or "")[:_DIGITS]
            found[
                environment["agiqa_bench"] + (f" ({commit}{'+' if git.get('changed') else ''})" if commit else "")
            ] = 1
        return ", ".join(found)


@dataclass(frozen=True)
class Leaderboard:
    """All rows found.

    Attributes:
        entries: View by view, the best SRCC of each first.
        runs: Number of folders with a run.
        skipped: (folder, why) of what could not be read.
    """

    entries: tuple[Entry, ...]
    runs: int
    skipped: tuple[tuple[str, str], ...]


def read_leaderboard(folder: Path) -> Leaderboard:
    """Find all runs below a folder and read them; what is damaged or foreign is named in `skipped`.

    Raises:
        DataNotFoundError: The folder is not there, or holds no run that can be read.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder}: is not a folder; name one with runs below it, e.g. results/runs")
    found: list[tuple[str, RunResults]] = []
    skipped: list[tuple[str, str]] = []
    roots, unreadable = find_runs(folder)
    for place, why in unreadable:
        skipped.append((place.relative_to(folder).as_posix(), f"cannot be read ({why})"))
    for root in roots:
        name = root.relative_to(folder).as_posix() if root != folder else root.resolve().name
        try:
            found += [(name, results) for results in read_protocols(Store(root))]
        except StoreError as error:
            # The page may be published: where the folder lies on this machine is nobody's business.
            why = str(error).replace(f"{root}{os.sep}", "").removeprefix(f"{root}: ")
            skipped.append((name, without_home(" ".join(why.split()))))
    if not found:
        why = f": {skipped[0][1]}" if skipped else ""
        raise DataNotFoundError(
            f"{folder}: holds no run that can be read{why}; name the folder that 'agiqa-bench run' wrote to, or one "
            "above it, e.g. results/runs"
        )
    runs = len(roots) - (len(skipped) - len(unreadable))
    return Leaderboard(tuple(_sorted(_entries(found))), runs, tuple(sorted(skipped)))


def find_runs(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The folders at or below `folder` that hold plans, in order, and those that cannot be looked into, with why.

    Nobody looks for runs inside a run.
    """
    found = []
    unreadable: list[OSError] = []
    for place, folders, _ in os.walk(folder, onerror=unreadable.append):
        root = Path(place)
        if any((root / "plans").glob("*.json")):
            found.append(root)
            folders.clear()
        folders.sort()
    return found, [(Path(error.filename), error.strerror or str(error)) for error in unreadable]


def _entries(found: Sequence[tuple[str, RunResults]]) -> list[Entry]:
    names = _protocol_names([results for _, results in found])
    entries: dict[tuple[Any, ...], Entry] = {}
    for (run, results), protocol in zip(found, names, strict=True):
        for target in results.targets:
            view = View(results.title, target, protocol)
            for method in finished(results, target):
                same = (view, method.label, tuple(sorted(method.keys.items())), tuple(sorted(method.cells)))
                known = entries.get(same)
                if known is not None:
                    entries[same] = replace(known, runs=tuple(dict.fromkeys((*known.runs, run))))
                else:
                    numbers = {metric.key: number_of(results, method, target, metric.key) for metric in METRICS}
                    entries[same] = Entry(view, results, method, numbers, (run,))
    return list(entries.values())


def _protocol_names(all_results: Sequence[RunResults]) -> list[str]:
    """A name of each protocol; two have the same one only if their results are comparable."""
    groups: list[list[RunResults]] = []
    place = []
    for results in all_results:
        for number, group in enumerate(groups):
            if not any(differences(results, other) for other in group):
                group.append(results)
                place.append(number)
                break
        else:
            place.append(len(groups))
            groups.append([results])
    names = [_protocol_name(group[0]) for group in groups]
    for key in ("splits_digest", "annotations", "images"):
        clash = Counter((group[0].title, name) for group, name in zip(groups, names, strict=True))
        for number, group in enumerate(groups):
            if clash[group[0].title, names[number]] > 1:
                digest = (
                    next(filter(None, (r.images for r in group)), "") if key == "images" else group[0].protocol[key]
                )
                names[number] += f", {key.removesuffix('_digest')} {str(digest)[:_DIGITS] or 'not seen'}"
    return [names[number] for number in place]


def _protocol_name(results: RunResults) -> str:
    protocol = results.protocol
    return f"{design(results)}, epoch by {protocol['select']}, seed {protocol['seed']}"


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    """By view, the views in the order of their names and a data set's targets; within a view the best SRCC first.

    Below those with the most repeats stand those with fewer: a mean over a lucky repeat is ahead of nobody.
    """
    most: dict[View, int] = {}
    for entry in entries:
        most[entry.view] = max(most.get(entry.view, 0), entry.numbers[PRIMARY].n)

    def order(entry: Entry) -> tuple[Any, ...]:
        view, value = entry.view, entry.numbers[PRIMARY].value
        target = entry.results.targets.index(view.target)
        return (
            view.dataset,
            target,
            view.target,
            view.protocol,
            value is None,
            entry.numbers[PRIMARY].n < most[view],
            -(value or 0.0),
            entry.method.label,
            entry.runs,
        )

    return sorted(entries, key=order)


def leaderboard_table(board: Leaderboard, metrics: Sequence[str] = SHOWN, *, with_view: bool = False) -> Table:
    """The rows under a heading for each view; the best two of each view and column are marked.

    Args:
        board: The rows.
        metrics: Keys of the metrics that have a column.
        with_view: Whether what the headings say has columns too.
    """
    columns = [
        Column(
            METRIC[key].key,
            METRIC[key].title,
            decimals=METRIC[key].decimals,
            spread=True,
            better=METRIC[key].better,
            explanation=METRIC[key].explanation,
        )
        for key in metrics
    ]
    columns.append(Column("repeats", "Repeats", decimals=0))
    titles = {"when": "When", "version": "Version", "run": "Run"}
    if with_view:
        titles |= {"dataset": "Data set", "target": "Target", "split": "Split", "select": "Selection"}
    columns.extend(Column(key, title, text=True) for key, title in titles.items())
    marks = _marks(board.entries, metrics)
    rows = []
    for place, entry in enumerate(board.entries):
        protocol = entry.results.protocol
        cells: list[Number | str] = [
            replace(entry.numbers[key], marks=marks.get((place, key), frozenset[Mark]())) for key in metrics
        ]
        cells.append(Number(float(len(entry.method.cells))))
        cells += [entry.when, entry.version, ", ".join(entry.runs)]
        if with_view:
            cells += [entry.view.dataset, entry.view.target, str(protocol["split"]), str(protocol["select"])]
        name = row_title(entry.results, entry.method)
        rows.append(Row(entry.method.label, name, tuple(cells), entry.view.title, entry.method.diagnostic))
    return Table(
        key="leaderboard",
        title="Results",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            "best of each heading in bold, second best underlined, among the rows with the most repeats; those with "
            "fewer stand below them; ± is the standard deviation over repeats",
            "'epoch by': what the epoch of a trained method is chosen by; 'test' is optimistic",
            "a stand-in takes the place of real weights or networks, and says nothing about its method",
        ),
    )


def _marks(entries: Sequence[Entry], metrics: Sequence[str]) -> dict[tuple[int, str], frozenset[Mark]]:
    """The marks by position of the row and metric."""
    marks: dict[tuple[int, str], frozenset[Mark]] = {}
    for view in dict.fromkeys(entry.view for entry in entries):
        members = [place for place, entry in enumerate(entries) if entry.view == view]
        for key in metrics:
            numbers = {str(place): entries[place].numbers[key] for place in members}
            marks |= {(int(place), key): mark for place, mark in best_of_most(numbers, METRIC[key]).items()}
    return marks
