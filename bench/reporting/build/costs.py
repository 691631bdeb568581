"""What each method cost on the machine that computed it: size of its networks, time and memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from agiqa_bench.reporting.build.summaries import row_title
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults

MEBIBYTE = 2**20

_PROTOCOL = ("dataset", "split", "select", "seed")
"""What tells the rows of several results apart."""

_COLUMNS = (
    Column(
        "parameters",
        "Parameters",
        decimals=0,
        missing="-",
        explanation="of all networks that a score is computed with, frozen ones too; one network per target counts "
        "as several; - where there is none, or it is in another process",
    ),
    Column(
        "trainable_parameters",
        "Trainable",
        decimals=0,
        missing="-",
        explanation="those of them that are learnt from the ratings",
    ),
    Column(
        "fit_seconds_first",
        "First fit (s)",
        decimals=2,
        better="lower",
        missing="-",
        explanation="wall time of the repeat that was computed first, with what the later ones find done; - for a "
        "method that learns nothing",
    ),
    Column(
        "fit_seconds",
        "Fit one repeat (s)",
        decimals=2,
        better="lower",
        missing="-",
        explanation="wall time, median over the repeats; - for a method that learns nothing",
    ),
    Column(
        "milliseconds_per_image",
        "Score one image (ms)",
        decimals=2,
        better="lower",
        missing="-",
        explanation="wall time of scoring, divided by the number of images; - where features had been computed before",
    ),
    Column(
        "milliseconds_per_image_features_kept",
        "Score its features (ms)",
        decimals=2,
        missing="-",
        explanation="the same for a method whose features were kept: without their time, and so no rival of the others",
    ),
    Column(
        "peak_device_mebibytes",
        "Device memory (MiB)",
        decimals=0,
        better="lower",
        missing="-",
        explanation="the most that torch had allocated on the GPU in any repeat; - on the CPU",
    ),
    Column(
        "peak_host_mebibytes",
        "Host memory (MiB)",
        decimals=0,
        better="lower",
        missing="-",
        explanation="the most that the process held in any repeat, with interpreter, libraries and what methods before "
        "had left behind",
    ),
    Column(
        "added_host_mebibytes",
        "Added (MiB)",
        decimals=0,
        better="lower",
        missing="-",
        explanation="how much more that was than when the repeat began, the most in any repeat",
    ),
    Column("device", "Device", text=True),
    Column("precision", "Precision", text=True),
    Column("weights", "Weights", text=True, explanation="pretrained weights"),
)


def cost_table(results: RunResults, prefix: str) -> Table | None:
    """One row per method with a finished cell; None if there is no such method.

    What a store of an older version does not hold is missing, and shown as `-`.
    """
    methods = _with_cells(results)
    if not methods:
        return None
    return Table(
        key=f"{prefix}costs",
        title=f"{results.title}: cost",
        columns=_COLUMNS,
        rows=tuple(_row(results, method, ()) for method in methods),
        notes=tuple(_notes(methods)),
    )


def full_cost_table(all_results: Sequence[RunResults], key: str = "costs") -> Table:
    """What all methods cost on all data sets in one long table, for CSV.

    Text columns: dataset, split, select, seed; then those of `cost_table`.
    """
    return Table(
        key=key,
        title="All costs",
        columns=(*(Column(name, name, text=True) for name in _PROTOCOL), *_COLUMNS),
        rows=tuple(
            _row(results, method, tuple(str(results.protocol[name]) for name in _PROTOCOL))
            for results in all_results
            for method in _with_cells(results)
        ),
    )


def _with_cells(results: RunResults) -> list[MethodResults]:
    return [method for method in results.methods if method.cells]


def _row(results: RunResults, method: MethodResults, before: tuple[str, ...]) -> Row:
    records = [cell.record for cell in method.cells.values()]
    costs = [record["costs"] for record in records]
    per_image = Number(1000 * sum(cost["predict_seconds"] for cost in costs) / sum(cost["predicted"] for cost in costs))
    other = Number(None, reason="features are kept" if _keeps(method) else "features are not kept")
    return Row(
        method.label,
        row_title(results, method),
        (
            *before,
            _largest(costs, "parameters"),
            _largest(costs, "trainable_parameters"),
            *_fit_seconds(method, records),
            *((other, per_image) if _keeps(method) else (per_image, other)),
            _largest(costs, "peak_device_bytes", MEBIBYTE),
            _largest(costs, "peak_host_bytes", MEBIBYTE),
            _added(costs),
            _listed(record["environment"]["device"]["name"] for record in records),
            _listed(record["precision"] for record in records),
            " + ".join(method.weights) or "-",
        ),
        diagnostic=method.diagnostic,
    )


def _largest(costs: Iterable[dict[str, Any]], key: str, unit: int = 1) -> Number:
    """The largest of what the repeats say; counts are the same in all of them."""
    known = [cost[key] for cost in costs if cost.get(key) is not None]
    return Number(max(known) / unit) if known else Number(None, reason="not measured, or there is nothing to measure")


def _added(costs: Iterable[dict[str, Any]]) -> Number:
    grown = [
        {"added": cost["peak_host_bytes"] - cost["host_bytes_before"]}
        for cost in costs
        if cost.get("peak_host_bytes") is not None and cost.get("host_bytes_before") is not None
    ]
    return _largest(grown, "added", MEBIBYTE)


def _fit_seconds(method: MethodResults, records: Sequence[dict[str, Any]]) -> tuple[Number, Number]:
    """Of the repeat that was begun first, and the median."""
    if not method.trainable:
        nothing = Number(None, reason="learns nothing")
        return nothing, nothing
    seconds = [record["costs"]["fit_seconds"] for record in sorted(records, key=lambda record: record["started"])]
    return Number(seconds[0]), Number(median(seconds))


def _keeps(method: MethodResults) -> bool:
    """Whether scoring found its features computed by the fit."""
    return method.keeps_features and method.trainable


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _notes(methods: list[MethodResults]) -> list[str]:
    notes = [
        "measured where each cell was computed: no two runs take the same time, and times of different devices cannot "
        "be compared"
    ]
    notes.append(
        "host memory is the most that the whole process held while a repeat ran, with interpreter, libraries and what "
        "methods before had left behind: it says what the machine must have, not what the method alone needs, and "
        "depends on the order; 'added' is how much of it came during the repeat, and is small where memory that was "
        "left behind served again"
    )
    kept = [method.display for method in methods if _keeps(method)]
    if kept:
        notes.append(
            "features are computed once and kept: their time is in the first fit, or nowhere if they were there "
            f"before, and not in the time per image, which therefore has a column of its own: {', '.join(kept)}"
        )
    together = [method.display for method in methods if _most_together(method) > 1]
    if together:
        most = max(map(_most_together, methods))
        notes.append(
            f"up to {most} repeats are trained together: their seconds are the equal share of one, their memory is "
            f"that of all: {', '.join(together)}"
        )
    cut = _with_sizes(methods, "micro_batch")
    if cut:
        notes.append(
            "memory was short while these were trained, and batches were worked through in smaller pieces: the "
            f"gradient is the same, but batch norm sees the pieces: {', '.join(cut)}"
        )
    cut = _with_sizes(methods, "scoring_batch")
    if cut:
        notes.append(
            "memory was short while these encoded or scored images, which took them fewer at a time and longer: "
            f"{', '.join(cut)}"
        )
    return notes


def _with_sizes(methods: Sequence[MethodResults], key: str) -> list[str]:
    """Who was short of memory, each with the fewest samples at a time that one of its cells notes under `key`."""
    found = []
    for method in methods:
        sizes = [cell.record["costs"].get(key) for cell in method.cells.values()]
        if any(sizes):
            found.append(f"{method.display} ({min(size for size in sizes if size)} at a time)")
    return found


def _most_together(method: MethodResults) -> int:
    """The most repeats that were trained in one go."""
    return max(int(cell.record["costs"].get("trained_together", 1)) for cell in method.cells.values())
