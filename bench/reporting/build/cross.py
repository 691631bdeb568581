"""Learnt on one data set, judged on another: the matrix over runs with `--train-on` and `--test-on`, and remarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from agiqa_bench.evaluation.statistics import paired_difference
from agiqa_bench.reporting.build.settings import other_settings
from agiqa_bench.reporting.build.summaries import METRIC, anchor, mean_sizes, number_of, row_title, values_of
from agiqa_bench.reporting.digits import share_text
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.results import MethodResults, RunResults

if TYPE_CHECKING:
    import pandas as pd

SHOWN = METRIC["srcc"]
"""The metric of the matrix."""


def crosses(results: RunResults) -> bool:
    """Whether these are results on another data set than the one that was learnt from."""
    return bool(results.protocol.get("train_on"))


def cross_notes(results: RunResults) -> tuple[str, ...]:
    """What must be said beside results on another data set than the one that was learnt from; none of plain results."""
    if not crosses(results):
        return ()
    train, test = (data.title for data in _data(results))
    found = [
        f"learnt from {train} on its MOS scale, judged on {test}: correlations and the logistic fit do not ask for the "
        "same scale",
        _leakage(results),
    ]
    if any(not method.trainable for method in results.methods):
        found.append(
            f"zero-shot methods learn nothing from {train}: their scores are those of a run on {test}, and only the "
            "interval, which counts the rows to learn from, may differ"
        )
    return tuple(found)


def cross_warnings(results: RunResults) -> tuple[str, ...]:
    """What takes the meaning from results on another data set: test images that were learnt from; none of others."""
    shared = results.protocol.get("shared_images")
    if not crosses(results) or not shared:
        return ()
    return (f"{_titles(results)}: {shared:.1%} of the test images are themselves in the training part",)


def tested_samples(results: RunResults) -> pd.DataFrame | None:
    """The stored rows of the data set that is tested on, as `RunResults.samples` gives them; their `row` numbers stay.

    A run with `--train-on` stores the rows of the training set before them, whose MOS may have another scale.
    """
    samples = results.samples()
    return samples if samples is None or not crosses(results) else samples.iloc[results.protocol["train_rows"] :]


def cross_matrix(all_results: Sequence[RunResults], prefix: str) -> list[Table]:
    """Per target: which data set was learnt from (rows, by method) and which was tested on (columns).

    A cell is the mean SRCC over repeats; one on the diagonal is that of a plain run whose test parts are the very same,
    or empty, and the notes say why. Beside them stands what training elsewhere changes against training on the tested
    data set itself: the difference by repeat, with the interval of `paired_difference`, whose training size is the
    smaller of the two.

    Args:
        all_results: Plain and cross results, in any order.
        prefix: What the tables' keys begin with.

    Returns:
        One table per target and way to split, choose and repeat; none without a cross run.
    """
    matrices = _matrices(all_results)
    tables = []
    for number, matrix in enumerate(matrices, start=1):
        for target in dict.fromkeys(target for results in matrix.away.values() for target in results.targets):
            table = _table(matrix, target)
            if table is not None:
                several = len(matrices) > 1
                key = anchor(prefix, "cross", target) + (f"-{number}" if several else "")
                title = f"{target} across data sets" + (f" ({matrix.way})" if several else "")
                tables.append(Table(key, title, *table, head="Learnt from", notes=_notes(matrix, table[1])))
    return tables


@dataclass(frozen=True)
class _Way:
    """What all runs of one matrix share, whatever their data sets."""

    split: str
    seed: int
    select: str
    repeats: int

    def __str__(self) -> str:
        return f"{self.repeats} repeats, {self.split} split, seed {self.seed}, epoch chosen by {self.select}"


@dataclass(frozen=True)
class _Data:
    """One data set as a run used it: what must agree for its test parts to be the same."""

    name: str
    title: str
    annotations: str
    splits: str
    images: str | None

    def unlike(self, other: _Data) -> list[str]:
        """In what two uses of one data set differ, in words."""
        found = [
            what
            for what, same in (
                ("annotations", self.annotations == other.annotations),
                ("splits", self.splits == other.splits),
                ("image files", None in (self.images, other.images) or self.images == other.images),
            )
            if not same
        ]
        return found if self.name == other.name else ["data set"]


@dataclass
class _Matrix:
    """Runs that can stand in one matrix.

    Attributes:
        way: What they share.
        data: Each data set's one version, by name; those that were learnt from first.
        away: The cross results, by the names of the data sets learnt from and tested on.
        home: The plain results on the same test parts, by name.
        no_home: Why there are none, by name.
    """

    way: _Way
    data: dict[str, _Data] = field(default_factory=dict)
    away: dict[tuple[str, str], RunResults] = field(default_factory=dict)
    home: dict[str, RunResults] = field(default_factory=dict)
    no_home: dict[str, str] = field(default_factory=dict)

    @property
    def tested(self) -> list[str]:
        tested = {test for _, test in self.away}
        return [name for name in self.data if name in tested]

    def takes(self, results: RunResults) -> bool:
        """Whether a cross result has its place here, and the place is free."""
        train, test = _data(results)
        return (
            _way(results) == self.way
            and (train.name, test.name) not in self.away
            and not any(data.unlike(self.data.get(data.name, data)) for data in (train, test))
        )

    def add(self, results: RunResults) -> None:
        """Take a cross result in."""
        train, test = _data(results)
        for data in (train, test):
            # A run without methods that look at images says nothing about them.
            if data.name not in self.data or data.images is not None:
                self.data[data.name] = data
        self.away[train.name, test.name] = results

    def look_home(self, name: str, plain: Sequence[RunResults]) -> None:
        """Find the plain result with the test parts that `name` has here, or why there is none."""
        self.no_home[name] = f"there is no run with --dataset {name}"
        for results in plain:
            (data,) = _data(results)
            if data.name != name:
                continue
            unlike = data.unlike(self.data[name])
            if results.protocol["select"] != self.way.select:
                unlike.append("ways to choose the epoch")
            if not unlike:
                self.home[name] = results
                return
            self.no_home[name] = f"the run with --dataset {name} has other {' and other '.join(unlike)}"

    def find(self, train: str, test: str) -> tuple[RunResults | None, str]:
        """The results in a cell, or why there are none."""
        if train == test:
            return self.home.get(test), self.no_home.get(test, "")
        return self.away.get((train, test)), f"there is no run with --train-on {train} --test-on {test}"


def _way(results: RunResults) -> _Way:
    return _Way(*(results.protocol[key] for key in ("split", "seed", "select", "repeats")))


def _data(results: RunResults) -> tuple[_Data, ...]:
    """What a cross result learnt from and was tested on, or the one data set of a plain result."""
    protocol = results.protocol
    if not crosses(results):
        return (
            _Data(
                protocol["dataset"], results.title, protocol["annotations"], protocol["splits_digest"], results.images
            ),
        )
    return tuple(
        _Data(
            protocol[f"{side}_on"],
            protocol.get(f"{side}_title", protocol[f"{side}_on"]),  # older stores hold no title
            protocol[f"{side}_annotations"],
            protocol[f"{side}_splits_digest"],
            protocol[f"{side}_images"],
        )
        for side in ("train", "test")
    )


def _matrices(all_results: Sequence[RunResults]) -> list[_Matrix]:
    matrices: list[_Matrix] = []
    for results in filter(crosses, all_results):
        matrix = next((matrix for matrix in matrices if matrix.takes(results)), None)
        if matrix is None:
            matrix = _Matrix(_way(results))
            matrices.append(matrix)
        matrix.add(results)
    plain = [results for results in all_results if not crosses(results)]
    for matrix in matrices:
        for name in matrix.tested:
            matrix.look_home(name, plain)
    return matrices


def _table(matrix: _Matrix, target: str) -> tuple[tuple[Column, ...], tuple[Row, ...]] | None:
    """Columns and rows; None if no method has a finished cell."""
    titles = {name: matrix.data[name].title for name in matrix.tested}
    columns = [
        Column(
            f"srcc on {name}",
            title,
            over=(f"{SHOWN.title}, tested on",),
            decimals=SHOWN.decimals,
            spread=True,
            interval=True,
            better=SHOWN.better,
            missing="-",
            explanation=f"{SHOWN.explanation}; tested on {title}",
        )
        for name, title in titles.items()
    ]
    columns += [
        Column(
            f"change on {name}",
            title,
            over=("Change against learning from it",),
            decimals=SHOWN.decimals,
            interval=True,
            signed=True,
            better=SHOWN.better,
            missing="-",
            explanation=f"tested on {title}: learnt from this row's data set, less learnt from {title} itself",
        )
        for name, title in titles.items()
    ]
    methods: dict[str, MethodResults] = {}
    for results in matrix.away.values():
        for method in results.methods:
            if method.cells and target in method.targets:
                methods.setdefault(method.label, method)
    rows = tuple(row for method in methods.values() for row in _rows(matrix, method, target))
    return (tuple(columns), rows) if rows else None


def _rows(matrix: _Matrix, method: MethodResults, target: str) -> Iterator[Row]:
    """A method's rows: one per data set, or a single one if it learns nothing."""
    group = row_title(next(iter(matrix.away.values())), method)
    if not method.trainable:
        cells: list[Number | str] = [_untrained(matrix, method, test, target) for test in matrix.tested]
        cells += [Number(None) for _ in matrix.tested]
        yield Row(f"{method.label}, learnt from nothing", "nothing (zero-shot)", tuple(cells), group, method.diagnostic)
        return
    for train in matrix.data:
        cells = [_score(matrix, method, train, test, target) for test in matrix.tested]
        cells += [_change(matrix, method, train, test, target) for test in matrix.tested]
        title = matrix.data[train].title
        yield Row(f"{method.label}, learnt from {train}", title, tuple(cells), group, method.diagnostic)


def _untrained(matrix: _Matrix, method: MethodResults, test: str, target: str) -> Number:
    """A zero-shot method's number, the same in every run on a data set."""
    home_first = [test, *(train for train in matrix.data if train != test)]
    numbers = [_score(matrix, method, train, test, target) for train in home_first]
    return next((number for number in numbers if number.n), numbers[0])


def _found(
    matrix: _Matrix, method: MethodResults, train: str, test: str, target: str
) -> tuple[RunResults, MethodResults] | str:
    """A method's results in a cell, or why there are none."""
    results, reason = matrix.find(train, test)
    if results is None:
        return reason
    run = f"--dataset {test}" if train == test else f"--train-on {train} --test-on {test}"
    own = next((other for other in results.methods if other.label == method.label), None)
    if own is None or not own.cells:
        return f"no finished repeat of {method.display} in the run with {run}"
    if target not in own.targets:
        return f"{method.display} last ran without {target} with {run}"
    if unlike := other_settings(own, method):
        return f"{method.display} ran with other {unlike} with {run}; give both runs the same options"
    return results, own


def _score(matrix: _Matrix, method: MethodResults, train: str, test: str, target: str) -> Number:
    found = _found(matrix, method, train, test, target)
    return Number(None, reason=found) if isinstance(found, str) else number_of(*found, target, SHOWN.key)


def _change(matrix: _Matrix, method: MethodResults, train: str, test: str, target: str) -> Number:
    """Learnt elsewhere less learnt at home, repeat by repeat; not defined on the diagonal."""
    if train == test:
        return Number(None)
    away, home = (_found(matrix, method, source, test, target) for source in (train, test))
    if isinstance(away, str):
        return Number(None, reason=away)
    if isinstance(home, str):
        return Number(None, reason=home)
    if away[1].targets != home[1].targets:
        there, here = (" and ".join(found[1].targets) for found in (away, home))
        return Number(
            None,
            reason=f"{method.display} learnt {there} from {train} and {here} from {test}, which may be another task; "
            f"give the run with --dataset {test} --targets {','.join(away[1].targets)}",
        )
    first, second = (values_of(*found, target, SHOWN.key) for found in (away, home))
    both = [
        repeat for repeat, x, y in zip(away[0].sizes, first, second, strict=True) if x is not None and y is not None
    ]
    n_test, n_train = mean_sizes(away[0], both)
    difference = paired_difference(first, second, n_test, min(n_train, mean_sizes(home[0], both)[1]))
    reason = "" if difference.n_a else "no repeat in which both are defined"
    return Number(difference.mean, None, difference.low, difference.high, difference.n_a, reason=reason)


def _notes(matrix: _Matrix, rows: Sequence[Row]) -> tuple[str, ...]:
    learnt: dict[str, float] = {}
    for results in (*matrix.away.values(), *matrix.home.values()):
        learnt[_data(results)[0].title] = fmean(fit for fit, _ in results.sizes.values())
    sizes = ", ".join(f"{title} {fit:,.0f}" for title, fit in learnt.items())
    notes = [
        f"{matrix.way}; a row is learnt from the data set that it names, a column is one set of test images, the same "
        "in every row and repeat by repeat",
    ]
    if matrix.way.repeats > 1:
        notes += [
            "± is the standard deviation over repeats; in brackets the 95 % interval of the mean, with the variance of "
            "Nadeau and Bengio (2003), because repeats share data: its training size is the number of rows learnt from "
            "or that of the tested data set's rows outside the test part, whichever is less",
            "change: learnt elsewhere less learnt from the tested data set itself, paired by repeat; its interval "
            "takes the smaller training size of the two and is not adjusted for the number of differences",
        ]
    else:
        notes.append("change: learnt elsewhere less learnt from the tested data set itself; one repeat: no intervals")
    numbers = [cell for row in rows for cell in row.cells if isinstance(cell, Number)]
    if any(cell.std is not None and _leaves_range(cell) for cell in numbers):
        notes.append("an interval that goes beyond 1 or -1 says that there are too few repeats to tell; it is not cut")
    notes += [
        f"rows to learn from: {sizes}; MOS scales differ between data sets, which rank correlation does not mind",
        *(_leakage(results) for results in matrix.away.values()),
        *(warning for results in matrix.away.values() for warning in cross_warnings(results)),
    ]
    reasons = []
    for row in rows:
        for cell in row.cells:
            if not isinstance(cell, Number):
                continue
            if cell.value is None and cell.reason:
                reasons.append(f"empty: {cell.reason}")
            elif cell.value is not None and cell.n < matrix.way.repeats:
                why = cell.reason or "the others are not finished"
                reasons.append(f"{row.group}, learnt from {row.name}: in {cell.n} repeats only: {why}")
    return (*notes, *dict.fromkeys(reasons))


def _leaves_range(number: Number) -> bool:
    """Whether the interval of a correlation goes where no correlation can be."""
    return number.low is not None and number.high is not None and (number.low < -1 or number.high > 1)


def _titles(results: RunResults) -> str:
    return " → ".join(data.title for data in _data(results))


def _leakage(results: RunResults) -> str:
    protocol = results.protocol
    prompts, generators = (share_text(protocol[f"leaked_{what}"]) for what in ("prompts", "generators"))
    return (
        f"{_titles(results)}: {prompts} of the test images have a prompt, and {generators} a generator, that the "
        "training part of the other data set has too"
    )
