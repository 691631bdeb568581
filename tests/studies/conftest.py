"""Studies made up from numbers: SRCC per repeat, method and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.reporting.results import MethodResults, RunResults
from agiqa_bench.studies.protocols import PROTOCOLS
from agiqa_bench.studies.results import StudyResults

SIZES = {"grouped": (80, 20), "image": (78, 22)}
"""(rows to learn from, test rows)."""

LEAKED = {"grouped": 0.0, "image": 0.75}


def _method(label: str, values: Sequence[float | None], kind: str) -> MethodResults:
    method = MethodResults(
        label=label,
        display=label.capitalize(),
        name=label,
        config={},
        targets=("quality",),
        weights=(),
        stand_ins=(),
        diagnostic=kind == "blind",
        trainable=True,
        selects_epoch=kind == "epochs",
        citation="",
        keeps_features=False,
        preset="",
        note="",
    )
    for repeat, value in enumerate(values):
        method.keys[repeat] = f"{label}-{repeat}"
        if value is not None:
            metrics = {"quality": {"srcc": value, "undefined": {}}}
            method.cells[repeat] = CellResult({"metrics": metrics, "chosen": {"model": [1, 1]}}, Path())
    return method


@pytest.fixture
def make_study():
    """`make_study({label: values}, kinds)`: values of the six protocols in order, each one number per repeat."""

    def make(
        methods: Mapping[str, Sequence[Sequence[float | None]]], kinds: Mapping[str, str] | None = None
    ) -> StudyResults:
        kinds = kinds or {}
        repeats = len(next(iter(methods.values()))[0])
        by_protocol = {}
        for number, protocol in enumerate(PROTOCOLS):
            by_protocol[protocol] = RunResults(
                title="Toy",
                protocol={
                    "dataset": "toy",
                    "annotations": "a" * 64,
                    "synthetic": False,
                    "split": protocol.split,
                    "splits_digest": protocol.split,
                    "repeats": repeats,
                    "seed": 0,
                    "select": protocol.select,
                    "leaked_prompts": LEAKED[protocol.split],
                    "leaked_groups": LEAKED[protocol.split],
                    "leaked_generators": 1.0,
                    "candidates": "prompt",
                },
                targets=("quality",),
                sizes=dict.fromkeys(range(repeats), SIZES[protocol.split]),
                methods=[
                    _method(label, values[number], kinds.get(label, "epochs")) for label, values in methods.items()
                ],
                left_out=[],
                plans=[],
            )
        return StudyResults(by_protocol)

    return make
