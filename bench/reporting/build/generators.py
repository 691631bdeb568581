"""Results per generator: how well the images of each one are ranked."""

from __future__ import annotations

from agiqa_bench.reporting.build.summaries import METRIC, anchor, as_number, counted_title, ordered, summary_over
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults


def generator_table(results: RunResults, target: str, prefix: str, metric: str = "srcc") -> Table | None:
    """Methods x generators: a correlation inside each generator's test images, mean over the repeats.

    None if no method is finished, or no image has a known generator.
    """
    methods = ordered(results, target)
    names = generators(methods, target)
    if not names:
        return None
    columns = tuple(
        Column(name, name, decimals=3, spread=True, better="higher", missing="-", explanation=f"{name}: SRCC inside")
        for name in names
    )
    rows = [
        Row(
            method.label,
            counted_title(results, method),
            tuple(_number(results, method, target, name, metric) for name in names),
            diagnostic=method.diagnostic,
        )
        for method in methods
    ]
    several = any(len(method.cells) > 1 for method in methods)
    spread = ("± is the standard deviation over repeats; few images per generator make it large",) if several else ()
    return Table(
        key=anchor(prefix, "generators", target),
        title=f"{METRIC[metric].title} inside each generator: {target}",
        columns=columns,
        rows=tuple(rows),
        notes=(
            "- where the scores or the MOS of a generator's test images do not vary, or it has fewer than two of them",
            *spread,
        ),
    )


def generators(methods: list[MethodResults], target: str) -> list[str]:
    """The generators that the finished cells tell apart, by name."""
    found = {
        name for method in methods for cell in method.cells.values() for name in cell.metrics[target]["per_generator"]
    }
    return sorted(found)


def _number(results: RunResults, method: MethodResults, target: str, generator: str, metric: str) -> Number:
    found = {repeat: cell.metrics[target]["per_generator"].get(generator) for repeat, cell in method.cells.items()}
    values = {repeat: None if entry is None else entry[metric] for repeat, entry in found.items()}
    reasons = (entry["undefined"].get(metric, "") for entry in found.values() if entry)
    return as_number(summary_over(results, values), next(filter(None, reasons), ""))
