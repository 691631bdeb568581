"""A method's metric over the repeats: the one place where stored cells become a number, and numbers get their marks."""

from __future__ import annotations

from collections.abc import Iterable

from agiqa_bench.evaluation.metrics import METRICS, MetricInfo
from agiqa_bench.evaluation.statistics import Summary, Values, summarise
from agiqa_bench.execution.store import slug
from agiqa_bench.reporting.model import Mark, Number
from agiqa_bench.reporting.results import MethodResults, RunResults

METRIC = {metric.key: metric for metric in METRICS}
"""The metrics by key."""


def anchor(prefix: str, *names: str) -> str:
    """A key of a table, figure or section: safe in file names and anchors whatever a data set calls its targets.

    >>> anchor("1-", "results", "quality"), anchor("", "results", "fit / prompt")
    ('1-results-quality', 'results-fit___prompt-c1f1ae8a')
    """
    return prefix + "-".join(map(slug, names))


def values_of(results: RunResults, method: MethodResults, target: str, metric: str) -> Values:
    """One value per planned repeat, in order; None where it is not defined or the repeat is not finished."""
    cells = (method.cells.get(repeat) for repeat in results.sizes)
    return [None if cell is None else cell.metrics[target][metric] for cell in cells]


def mean_sizes(results: RunResults, repeats: Iterable[int] | None = None) -> tuple[float, float]:
    """(test rows, rows to learn from) per repeat, averaged; over all repeats unless some are named."""
    sizes = [results.sizes[repeat] for repeat in (results.sizes if repeats is None else repeats)]
    if not sizes:
        return 1.0, 1.0
    return sum(test for _, test in sizes) / len(sizes), sum(fit for fit, _ in sizes) / len(sizes)


def summary_of(results: RunResults, method: MethodResults, target: str, metric: str) -> Summary:
    """Mean, standard deviation and 95 % interval of a metric over the finished repeats of a method."""
    values = [cell.metrics[target][metric] for cell in method.cells.values()]
    n_test, n_train = mean_sizes(results, method.cells)
    return summarise(values, n_test=n_test, n_train=n_train)


def why_undefined(method: MethodResults, target: str, metric: str) -> str:
    """Why a metric is not defined in a method's first such repeat, in one line; empty if it is in all."""
    reasons = (cell.metrics[target]["undefined"].get(metric, "") for cell in method.cells.values())
    return next(filter(None, reasons), "")


def as_number(summary: Summary, reason: str = "", marks: frozenset[Mark] = frozenset()) -> Number:
    """A summary as a number of a table."""
    return Number(summary.mean, summary.std, summary.low, summary.high, summary.n, marks, reason)


def shown(value: float, metric: MetricInfo) -> float:
    """What a table shows of a value: what is shown as equal is equal, rounding noise decides no rank."""
    return round(value, metric.decimals)


def finished(results: RunResults, target: str) -> list[MethodResults]:
    """The methods with at least one finished repeat under a target."""
    return [method for method in results.methods if target in method.targets and method.cells]


def row_title(results: RunResults, method: MethodResults) -> str:
    """A row's name; what was chosen on the test part says so wherever it is shown."""
    optimistic = method.selects_epoch and results.protocol["select"] == "test"
    return f"{method.display} (chosen on test)" if optimistic else method.display


def number_of(results: RunResults, method: MethodResults, target: str, metric: str) -> Number:
    """A metric of a method over its finished repeats, without marks."""
    return as_number(summary_of(results, method, target, metric), why_undefined(method, target, metric))


def best_two(values: dict[str, float | None], metric: MetricInfo) -> dict[str, frozenset[Mark]]:
    """Marks of the best and the second best of a column; what a table shows as equal shares them."""
    sign = 1 if metric.better == "higher" else -1
    rounded = {name: sign * shown(value, metric) for name, value in values.items() if value is not None}
    marks: dict[str, frozenset[Mark]] = {}
    places: tuple[Mark, Mark] = ("best", "second")
    for mark, value in zip(places, sorted(set(rounded.values()), reverse=True), strict=False):
        marks |= {name: frozenset({mark}) for name, own in rounded.items() if own == value}
    return marks
