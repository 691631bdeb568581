"""A method's metric over the repeats: the one place where stored cells become a number, and numbers get their marks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from agiqa_bench.evaluation.metrics import METRICS, MetricInfo
from agiqa_bench.evaluation.statistics import Summary, Values, summarise
from agiqa_bench.reporting.model import Mark, Number
from agiqa_bench.reporting.results import MethodResults, RunResults

METRIC = {metric.key: metric for metric in METRICS}
"""The metrics by key."""

PRIMARY = "srcc"
"""The metric that orders the rows and that the methods are tested by."""


def anchor(prefix: str, *names: str) -> str:
    """A key of a table, figure or section: safe in file names and anchors whatever a data set calls its targets.

    Args:
        prefix: Of the chapter.
        names: What it is, in lower case, then names from the data: two lists of these give two keys, which differ in
            more than case, because some file systems do not tell `A.csv` from `a.csv`.

    >>> anchor("1-", "results", "quality"), anchor("", "results", "fit / prompt"), anchor("", "results", "Quality")
    ('1-results-quality', 'results-fit___prompt-04e68873', 'results-Quality-1b2c08a8')
    """
    what, *others = names
    return prefix + "-".join((what, *map(_safe, others)))


def _safe(name: str) -> str:
    """A name for a key, without the hyphens that join them; unique by a hash where it could be another's."""
    if re.fullmatch(r"[a-z0-9_]{1,64}", name):
        return name
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:48]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def values_of(results: RunResults, method: MethodResults, target: str, metric: str) -> Values:
    """One value per planned repeat, in order; None where it is not defined or the repeat is not finished."""
    cells = (method.cells.get(repeat) for repeat in results.sizes)
    return [None if cell is None else cell.metrics[target][metric] for cell in cells]


def mean_sizes(results: RunResults, repeats: Iterable[int] | None = None) -> tuple[float, float]:
    """(test rows, training rows) per repeat, averaged, for the corrected variance; over all unless some are named.

    The correction stands for how far repeats overlap. Of a result on another data set than the one that was learnt
    from, the training parts overlap by the split of the one and the test parts by that of the other: its training rows
    are then those that were learnt from or the tested data set's rows outside the test part, whichever are fewer, so
    that an interval is never too narrow; where little was learnt from beside a large test part it is rather too wide.
    """
    sizes = [results.sizes[repeat] for repeat in (results.sizes if repeats is None else repeats)]
    if not sizes:
        return 1.0, 1.0
    tested_on = results.protocol.get("test_rows")
    rows = [fit if tested_on is None else min(fit, tested_on - test) for fit, test in sizes]
    return sum(test for _, test in sizes) / len(sizes), sum(rows) / len(sizes)


def summary_of(results: RunResults, method: MethodResults, target: str, metric: str) -> Summary:
    """Mean, standard deviation and 95 % interval of a metric over the finished repeats of a method."""
    return summary_over(results, {repeat: cell.metrics[target][metric] for repeat, cell in method.cells.items()})


def summary_over(results: RunResults, values: Mapping[int, float | None]) -> Summary:
    """The same of any values by repeat; the sizes in its variance are those of the repeats that have one."""
    n_test, n_train = mean_sizes(results, [repeat for repeat, value in values.items() if value is not None])
    return summarise(list(values.values()), n_test=n_test, n_train=n_train)


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


def ordered(results: RunResults, target: str, metric: str = PRIMARY) -> list[MethodResults]:
    """The finished methods under a target, the best mean first.

    Below them stand those that have the metric in fewer repeats than others, and then those without any: a mean over
    one lucky repeat is ahead of nobody.
    """
    sign = -1 if METRIC[metric].better == "higher" else 1
    found = {method.label: summary_of(results, method, target, metric) for method in finished(results, target)}
    most = max((summary.n for summary in found.values()), default=0)

    def place(method: MethodResults) -> tuple[bool, bool, float]:
        summary = found[method.label]
        return summary.mean is None, summary.n < most, sign * (summary.mean or 0.0)

    return sorted(finished(results, target), key=place)


def optimistic(results: RunResults, method: MethodResults) -> bool:
    """Whether a method's epoch was chosen on the test part."""
    return method.selects_epoch and bool(results.protocol["select"] == "test")


def row_title(results: RunResults, method: MethodResults) -> str:
    """A row's name; what was chosen on the test part says so wherever it is shown."""
    return f"{method.display} (chosen on test)" if optimistic(results, method) else method.display


def counted_title(results: RunResults, method: MethodResults) -> str:
    """The same, with the number of finished repeats where some are missing."""
    title = row_title(results, method)
    if len(method.cells) >= method.expected:
        return title
    return f"{title} ({len(method.cells)} of {method.expected} repeats)"


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


def best_of_most(numbers: Mapping[str, Number], metric: MetricInfo) -> dict[str, frozenset[Mark]]:
    """`best_two` among the numbers that rest on the most repeats: one lucky repeat is not the best of a column."""
    most = max((number.n for number in numbers.values()), default=0)
    return best_two({name: number.value for name, number in numbers.items() if number.n == most}, metric)
