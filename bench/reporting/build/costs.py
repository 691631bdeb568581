"""What each method cost on the machine that computed it: size of its networks, time and memory."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import Any

from agiqa_bench.reporting.build.summaries import row_title
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults

MEBIBYTE = 2**20

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
        "fit_seconds",
        "Fit one repeat (s)",
        decimals=2,
        spread=True,
        better="lower",
        missing="-",
        explanation="wall time, mean over the repeats; - for a method that learns nothing",
    ),
    Column(
        "milliseconds_per_image",
        "Score one image (ms)",
        decimals=2,
        better="lower",
        missing="-",
        explanation="wall time of scoring, divided by the number of images",
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
    Column("device", "Device", text=True),
    Column("precision", "Precision", text=True),
    Column("weights", "Weights", text=True, explanation="pretrained weights"),
)


def cost_table(results: RunResults, prefix: str) -> Table | None:
    """One row per method with a finished cell; None if there is no such method.

    What a store of an older version does not hold is missing, and shown as `-`.
    """
    methods = [method for method in results.methods if method.cells]
    if not methods:
        return None
    return Table(
        key=f"{prefix}costs",
        title=f"{results.title}: cost",
        columns=_COLUMNS,
        rows=tuple(_row(results, method) for method in methods),
        notes=tuple(_notes(methods)),
    )


def _row(results: RunResults, method: MethodResults) -> Row:
    records = [cell.record for cell in method.cells.values()]
    costs = [record["costs"] for record in records]
    return Row(
        method.label,
        row_title(results, method),
        (
            _largest(costs, "parameters"),
            _largest(costs, "trainable_parameters"),
            _fit_seconds(method, costs),
            Number(1000 * sum(cost["predict_seconds"] for cost in costs) / sum(cost["predicted"] for cost in costs)),
            _largest(costs, "peak_device_bytes", MEBIBYTE),
            _largest(costs, "peak_host_bytes", MEBIBYTE),
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


def _fit_seconds(method: MethodResults, costs: list[dict[str, Any]]) -> Number:
    if not method.trainable:
        return Number(None, reason="learns nothing")
    seconds = [cost["fit_seconds"] for cost in costs]
    return Number(fmean(seconds), stdev(seconds) if len(seconds) > 1 else None, n=len(seconds))


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _notes(methods: list[MethodResults]) -> list[str]:
    notes = [
        "measured where each cell was computed: no two runs take the same time, and times of different devices cannot "
        "be compared"
    ]
    kept = [method.display for method in methods if method.keeps_features and method.trainable]
    if kept:
        notes.append(
            "features are computed once and kept: their time is in the first repeat's training, or nowhere if they "
            f"were there before, and not in the time per image: {', '.join(kept)}"
        )
    return notes
