"""The published tables as they are stored: figures as text in CSV, layout and sources in TOML, both checked on reading.

They lie in `agiqa_bench.results`, folder `published`: per table `<id>.csv` and `<id>.toml`, and for all tables
`papers.toml` and `datasets.toml`.
"""

from __future__ import annotations

import csv
import tomllib
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from agiqa_bench.errors import DataError, UnknownNameError
from agiqa_bench.evaluation.rules import SplitRule

METRIC_KEYS = ("srcc", "plcc", "krcc")
"""The metrics of published tables, by their keys in ours, in the order in which they are printed."""

OWN = "own"
"""Name of the protocol of the rows that a table's authors computed for their own method."""

Printed = Annotated[str, StringConstraints(pattern=r"^(-?[01]\.\d+)?$")]
"""A figure as it is printed, trailing zeros included; empty where none is."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Protocol(_Stored):
    """How published rows came about, as far as that was stated; None where it was not.

    Attributes:
        about: Which rows these are, in words.
        split: Rule of the split, in the words of `agiqa-bench run`.
        select: How the epoch was chosen, in the same words.
        repeats: Number of random splits.
        precision: Arithmetic of the networks.
        plcc: Whether PLCC was computed of the scores as they are, or after a fit to the MOS.
        details: What else is known of it.
        details_on: What else on single data sets, by their registry names.
    """

    about: str
    split: SplitRule | None = None
    select: Literal["last", "validation", "test"] | None = None
    repeats: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "bf16", "fp16"] | None = None
    plcc: Literal["raw", "fitted"] | None = None
    details: str = ""
    details_on: dict[str, str] = {}


class Paper(_Stored):
    """Where a table was published.

    Attributes:
        title: Name for people.
        where: The place that the figures were taken from.
        citation: BibTeX.
        protocols: By name; `own` is that of the authors' own rows.
    """

    title: str
    where: str
    citation: str
    protocols: dict[str, Protocol]


class PaperDataset(_Stored):
    """A data set of published tables.

    Attributes:
        title: Name in the literature.
        rows: Number of ratings.
        annotations: Fingerprint of its official annotations; None if it is not known.
    """

    title: str
    rows: int
    annotations: str | None = None


class PrintedRow(_Stored):
    """One row of a table, in its place.

    Attributes:
        method: Its name as printed.
        group: Heading that it stands under; empty if there is none.
        spec: What `--methods` takes to measure it; empty if nothing does.
        instead: What else stands beside it where a run has no row of `spec`; empty if nothing does.
        settings: Settings of the method that the row is known to come from; what was measured with others says so.
        unmeasured: Why nothing does; empty if something does.
        protocol: Name of its protocol among the paper's.
        weights: Names of the weights that it was published with; empty if they were not stated.
        note: What a reader must know about measuring it.
        doubt: Why what `spec` measures may be another thing than what was published; no difference is then printed.
    """

    method: str
    group: str = ""
    spec: str = ""
    instead: str = ""
    settings: dict[str, str] = {}
    unmeasured: str = ""
    protocol: str
    weights: list[str] = []
    note: str = ""
    doubt: str = ""

    @model_validator(mode="after")
    def _measured_or_not(self) -> Self:
        if bool(self.spec) == bool(self.unmeasured):
            raise ValueError(f"row '{self.method}': give either spec or unmeasured")
        return self


class PrintedFigures(_Stored):
    """The figures of one row under one column, as text."""

    table: str
    dataset: str
    target: str
    method: str
    srcc: Printed
    plcc: Printed
    krcc: Printed


class _Layout(_Stored):
    """What the TOML file of a table holds; see `PublishedTable`."""

    title: str
    caption: str
    remark: str = ""
    paper: str
    place: str
    kind: Literal["perception", "alignment", "ablation"]
    second_hand: bool = False
    columns: list[Annotated[str, StringConstraints(pattern=r"^\w+/\w+$")]] = Field(min_length=1)
    rows: list[PrintedRow] = Field(min_length=1)


class PublishedTable(BaseModel):
    """A published table.

    Attributes:
        id: Its name on the command line.
        title: Heading.
        caption: What it is about.
        remark: What else must be said of it; empty if nothing.
        paper: Where it was published.
        place: Which table it is there.
        kind: What it compares.
        second_hand: True if another paper is quoted, which did not compute the figures itself.
        datasets: Its data sets by registry name, in order.
        columns: (data set, target) in order.
        rows: In the printed order; rows of one group stand together.
        figures: Every row of the CSV file.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    caption: str
    remark: str
    paper: Paper
    place: str
    kind: str
    second_hand: bool
    datasets: dict[str, PaperDataset]
    columns: list[tuple[str, str]]
    rows: list[PrintedRow]
    figures: list[PrintedFigures]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        printed = [(found.dataset, found.target, found.method) for found in self.figures]
        _require(len(set(printed)) == len(printed), "a row stands twice in the CSV file")
        _require(
            all(found.table == self.id for found in self.figures), f"the CSV file names another table than {self.id}"
        )
        _require({found[:2] for found in printed} == set(self.columns), "columns differ from those of the CSV file")
        _require(
            {found[2] for found in printed} == {row.method for row in self.rows}, "rows differ from the CSV file's"
        )
        _require(len({row.method for row in self.rows}) == len(self.rows), "a row is named twice")
        groups = [row.group for row in self.rows]
        _require(len(list(groupby(groups))) == len(set(groups)), "the rows of a group stand apart")
        for row in self.rows:
            _require(row.protocol in self.paper.protocols, f"row '{row.method}': no protocol '{row.protocol}'")
        _require(len(self._lengths) == 1, "the figures have different numbers of decimals")
        return self

    @property
    def _lengths(self) -> set[int]:
        texts = [getattr(found, key) for found in self.figures for key in METRIC_KEYS]
        return {len(text.partition(".")[2]) for text in texts if text}

    @property
    def decimals(self) -> int:
        """Decimals of every printed figure."""
        return next(iter(self._lengths))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Keys of the metrics that are printed for any row."""
        return tuple(key for key in METRIC_KEYS if any(getattr(found, key) for found in self.figures))

    def figure(self, method: str, dataset: str, target: str, metric: str) -> str:
        """A figure as it is printed; empty if none is."""
        for found in self.figures:
            if (found.dataset, found.target, found.method) == (dataset, target, method):
                text: str = getattr(found, metric)
                return text
        return ""

    def protocol(self, row: PrintedRow) -> Protocol:
        """How a row came about."""
        return self.paper.protocols[row.protocol]

    @property
    def own(self) -> Protocol:
        """How the authors' own rows came about."""
        return self.paper.protocols[OWN]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


@cache
def published_ids() -> tuple[str, ...]:
    """The ids of the published tables, sorted."""
    return tuple(sorted(file.name.removesuffix(".csv") for file in _folder().iterdir() if file.name.endswith(".csv")))


def published_tables() -> list[PublishedTable]:
    """All published tables, in the order of their ids."""
    return [published_table(name) for name in published_ids()]


@cache
def published_table(name: str) -> PublishedTable:
    """The published table called `name`.

    Raises:
        UnknownNameError: There is none.
        DataError: Its files are damaged.
    """
    if name not in published_ids():
        raise UnknownNameError("published table", name, published_ids(), "(see 'agiqa-bench tables list')")
    folder = _folder()
    layout = _checked(f"{name}.toml", _Layout, _toml(folder / f"{name}.toml"))
    papers = {key: _checked("papers.toml", Paper, value) for key, value in _toml(folder / "papers.toml").items()}
    known = {
        key: _checked("datasets.toml", PaperDataset, value) for key, value in _toml(folder / "datasets.toml").items()
    }
    columns = [(dataset, target) for dataset, _, target in (column.partition("/") for column in layout.columns)]
    for kind, wanted, there in (
        ("paper", [layout.paper], papers.keys()),
        ("data set", [dataset for dataset, _ in columns], known.keys()),
    ):
        if absent := set(wanted) - there:
            raise DataError(f"published table {name}: unknown {kind} '{min(absent)}'; {_REMEDY}")
    figures = [_checked(f"{name}.csv", PrintedFigures, row) for row in _csv(folder / f"{name}.csv")]
    values = layout.model_dump(exclude={"columns", "rows", "paper"})
    return _checked(
        name,
        PublishedTable,
        values
        | {
            "id": name,
            "paper": papers[layout.paper],
            "datasets": {dataset: known[dataset] for dataset, _ in columns},
            "columns": columns,
            "rows": layout.rows,
            "figures": figures,
        },
    )


_REMEDY = "install agiqa-bench again"

M = TypeVar("M", bound=BaseModel)


def _folder() -> Traversable:
    return files("agiqa_bench.results") / "published"


def _toml(file: Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); {_REMEDY}") from error


def _csv(file: Traversable) -> list[dict[str, Any]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def _checked(where: str, model: type[M], values: Any) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"published table, {where}: {key or 'all'}: {first['msg']}; {_REMEDY}") from error
