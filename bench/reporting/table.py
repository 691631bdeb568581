"""The table model: what every rendering shows. Statistics are computed here, renderers only lay out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from agiqa_bench.evaluation.metrics import METRICS, MetricInfo
from agiqa_bench.evaluation.statistics import Summary, summarise
from agiqa_bench.reporting.results import MethodResults, RunResults

SHOWN = ("srcc", "plcc", "krcc", "rmse_fitted", "srcc_within_generator", "srcc_within_prompt")
"""The metrics of the printed tables; the CSV has all."""


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        summary: Mean, standard deviation and interval over the repeats in which the metric is defined.
        reason: Why it is not defined in the others; empty if it is in all.
        rank: 1 for the best of its column, 2 for the second best; 0 otherwise.
    """

    summary: Summary
    reason: str = ""
    rank: int = 0

    @property
    def mean(self) -> float | None:
        """Mean over repeats; None where the metric is defined in none."""
        return self.summary.mean


@dataclass(frozen=True)
class Row:
    """One method under one target.

    Attributes:
        label: Name in the store.
        display: Name for people; a stand-in's name is part of it.
        diagnostic: True for a baseline that sees no pixel.
        cells: By metric key.
        repeats: Repeats that are in the numbers.
        expected: Repeats that were planned.
        weights: Names of the pretrained weights.
    """

    label: str
    display: str
    diagnostic: bool
    cells: dict[str, Cell]
    repeats: int
    expected: int
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The rows of one target, best SRCC first."""

    target: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class CostRow:
    """What one method cost on this machine.

    Attributes:
        fit_seconds: Mean wall time of fitting one repeat; None for a zero-shot method.
        milliseconds_per_image: Mean wall time of scoring one image.
    """

    label: str
    display: str
    fit_seconds: float | None
    milliseconds_per_image: float
    device: str
    precision: str
    weights: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonTable:
    """A comparison on one data set.

    Attributes:
        title: Heading.
        metrics: Columns, in order.
        sections: One per target.
        costs: One row per method.
        left_out: (method, why) of what was skipped or failed.
        notes: Lines that belong to the table wherever it is shown.
    """

    title: str
    dataset: str
    metrics: tuple[MetricInfo, ...]
    sections: tuple[Section, ...]
    costs: tuple[CostRow, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    protocol: dict[str, object] = field(default_factory=dict)


def build_table(results: RunResults) -> ComparisonTable:
    """Summarise stored cells over repeats, one section per target."""
    sections = []
    for target in results.targets:
        rows = [_row(results, method, target) for method in results.methods if target in method.targets]
        rows = [row for row in rows if row.repeats]
        if rows:
            sections.append(Section(target, _ranked(rows)))
    costs = [_cost_row(method) for method in results.methods if method.cells]
    return ComparisonTable(
        title=f"{results.title}: {_design(results.protocol)}",
        dataset=results.protocol["dataset"],
        metrics=METRICS,
        sections=tuple(sections),
        costs=tuple(costs),
        left_out=tuple(results.left_out),
        notes=(*_notes(results, bool(sections)), *_partly_defined(sections)),
        protocol=results.protocol,
    )


def _design(protocol: dict[str, Any]) -> str:
    if protocol["split"] == "generator":
        return f"each of {protocol['repeats']} generators left out once"
    repeats = "1 repeat" if protocol["repeats"] == 1 else f"{protocol['repeats']} repeats"
    return f"{repeats}, {protocol['split']} split"


def _row(results: RunResults, method: MethodResults, target: str) -> Row:
    cells = {}
    measured = [cell.metrics[target] for cell in method.cells.values()]
    sizes = [results.sizes[repeat] for repeat in method.cells]
    n_train = sum(fit for fit, _ in sizes) / len(sizes) if sizes else 1
    n_test = sum(test for _, test in sizes) / len(sizes) if sizes else 1
    for metric in METRICS:
        summary = summarise([values[metric.key] for values in measured], n_test=n_test, n_train=n_train)
        reasons = (values["undefined"].get(metric.key, "") for values in measured)
        cells[metric.key] = Cell(summary, next(filter(None, reasons), ""))
    return Row(
        method.label,
        _display(results, method),
        method.diagnostic,
        cells,
        repeats=len(method.cells),
        expected=method.expected,
        weights=method.weights,
    )


def _display(results: RunResults, method: MethodResults) -> str:
    """A row's name; what was chosen on the test part says so wherever it is shown."""
    optimistic = method.selects_epoch and results.protocol["select"] == "test"
    return f"{method.display} (chosen on test)" if optimistic else method.display


def _ranked(rows: list[Row]) -> tuple[Row, ...]:
    """Sort by SRCC and mark the best and second best of each column; ties share a rank."""
    marked = {row.label: dict(row.cells) for row in rows}
    for metric in METRICS:
        sign = 1 if metric.better == "higher" else -1
        # What a table shows as equal is equal: rounding noise decides no rank.
        means = {
            row.label: sign * round(mean, metric.decimals)
            for row in rows
            if (mean := row.cells[metric.key].mean) is not None
        }
        for rank, value in enumerate(sorted(set(means.values()), reverse=True)[:2], start=1):
            for label in (label for label, mean in means.items() if mean == value):
                marked[label][metric.key] = replace(marked[label][metric.key], rank=rank)
    return tuple(sorted((replace(row, cells=marked[row.label]) for row in rows), key=_by_srcc))


def _by_srcc(row: Row) -> tuple[bool, float]:
    mean = row.cells["srcc"].mean
    return (mean is None, 0.0 if mean is None else -mean)


def _cost_row(method: MethodResults) -> CostRow:
    costs = [cell.record["costs"] for cell in method.cells.values()]
    records = [cell.record for cell in method.cells.values()]
    devices = dict.fromkeys(record["environment"]["device"]["name"] for record in records)
    precisions = dict.fromkeys(record["precision"] for record in records)
    return CostRow(
        method.label,
        method.display,
        sum(cost["fit_seconds"] for cost in costs) / len(costs) if method.trainable else None,
        1000 * sum(c["predict_seconds"] for c in costs) / sum(c["predicted"] for c in costs),
        ", ".join(devices),
        ", ".join(precisions),
        method.weights,
    )


def _notes(results: RunResults, any_rows: bool) -> list[str]:
    protocol = results.protocol
    notes = []
    if not any_rows:
        notes.append("no cell is finished yet")
    if protocol["synthetic"]:
        notes.append("synthetic data: rendered by code and rated by a simulated panel, not by people")
    notes.append(
        "mean ± standard deviation over repeats; the same splits for every method; correlations keep their sign"
    )
    notes.append(
        f"{protocol['leaked_prompts']:.0%} of the test images have their prompt group in the training part, "
        f"{protocol['leaked_generators']:.0%} their generator"
    )
    if protocol["split"] == "generator":
        notes.append("± is the spread over the generators that were left out; their prompts are known from the others")
    if protocol["split"] == "image":
        notes.append("image-level split: optimistic, prompts are on both sides")
    choosing = [method.display for method in results.methods if method.selects_epoch and method.cells]
    if choosing and protocol["select"] == "test":
        notes.append(f"epoch chosen on the test part, which is optimistic: {', '.join(choosing)}")
    elif choosing:
        notes.append(f"epoch chosen by --select {protocol['select']}: {', '.join(choosing)}")
    for preset in dict.fromkeys(method.preset for method in results.methods if method.preset and method.cells):
        names = [method.display for method in results.methods if method.preset == preset and method.cells]
        notes.append(f"with the settings of the {preset} preset, not those of the paper: {', '.join(names)}")
    blind = [method.display for method in results.methods if method.diagnostic and method.cells]
    if blind:
        notes.append(f"sees no pixel, there to show what a number is worth: {', '.join(blind)}")
    stand_ins = sorted({mark for method in results.methods if method.cells for mark in method.stand_ins})
    if stand_ins:
        notes.append(
            f"stand-ins for real weights or networks, which say nothing about their method: {', '.join(stand_ins)}"
        )
    kept = [m.display for m in results.methods if m.keeps_features and m.trainable and m.cells]
    if kept:
        notes.append(
            "features are computed once and kept: their time is in the first repeat's training, not in the time per "
            f"image: {', '.join(kept)}"
        )
    for note in dict.fromkeys(method.note for method in results.methods if method.note and method.cells):
        names = [method.display for method in results.methods if method.note == note and method.cells]
        notes.append(f"{', '.join(names)}: {note}")
    if results.earlier:
        notes.append(f"kept from earlier commands on this folder, as they were then: {', '.join(results.earlier)}")
    failed = {name for name, _ in results.left_out}
    waiting = [m.display for m in results.methods if not m.cells and m.expected and m.display not in failed]
    if waiting:
        notes.append(f"not finished yet, the same command goes on: {', '.join(waiting)}")
    notes.extend(
        f"{method.display}: only {len(method.cells)} of {method.expected} repeats are finished"
        for method in results.methods
        if 0 < len(method.cells) < method.expected
    )
    return notes


def _partly_defined(sections: list[Section]) -> list[str]:
    """Numbers that do not rest on every finished repeat, because the metric is not defined in some."""
    return [
        f"{row.display}, {section.target}: {metric.title} is defined in {cell.summary.n} of {row.repeats} repeats "
        f"({cell.reason})"
        for section in sections
        for row in section.rows
        for metric in METRICS
        if (cell := row.cells[metric.key]).mean is not None and cell.summary.undefined
    ]
