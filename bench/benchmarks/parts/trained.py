"""Part `trained`: trained methods against the published way of training them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "trained methods against their published procedures: complete work, training steps, scoring"


def measure(settings: Settings, say: Say) -> PartResult:
    """Do the same work by the method and by its published procedure in turns; see `agiqa_bench.benchmarks.parts`.

    No ratio is shown of a method whose losses and scores are not those of the procedure (float32, CPU). Methods without
    a published procedure are not measured.
    """
    from agiqa_bench.benchmarks.against_published import AgainstPublished
    from agiqa_bench.benchmarks.flops import matrix_product_rate
    from agiqa_bench.benchmarks.procedures import published_procedures

    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in published_procedures().names():
            if settings.methods and name not in settings.methods:
                continue
            say(f"{name}: writing pictures and weights")
            against = AgainstPublished(name, settings, Path(folder))
            rounds, rates = [], []
            for number in range(settings.rounds):
                say(f"{name}: round {number + 1} of {settings.rounds}: {against.complete}, a training step, scoring")
                rates.append(matrix_product_rate(settings.device, settings.precision))
                rounds.append(against.round())
            say(f"{name}: counting operations")
            entries.append(
                Entry(f"{name}: a large matrix product", "GFLOP/s", tuple(rate / 1e9 for rate in rates), "neither")
            )
            entries += against.entries(rounds, against.flops(), max(rates))
    title = (
        f"the published procedure in float32 against the method in {settings.precision} on {settings.device}; random "
        "or stand-in weights, painted pictures, made-up ratings; the test part is scored after every epoch by both"
    )
    return PartResult("trained", title, entries)
