"""What must be run for a published table: one request per data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agiqa_bench.execution.request import RunRequest, build_request
from agiqa_bench.papers.published import OWN, PublishedTable


def requests_for(table: PublishedTable, options: dict[str, Any], *, as_published: bool = False) -> list[RunRequest]:
    """One run per data set of a table, of the methods that measure its rows.

    All targets of a data set are asked for, because some methods learn them together.

    Args:
        table: A published table.
        options: Options of a run, by their names in `RunRequest`; `output` is the folder that holds a folder per data
            set, by default where `agiqa-bench run` puts its results.
        as_published: Take over the split and the choice of the epoch of the authors' own rows, where they were stated.

    Raises:
        ConfigError: An option is not valid.
    """
    own = table.paper.protocols[OWN]
    published = {"split": own.split, "select": own.select} if as_published else {}
    given = {key: value for key, value in published.items() if value is not None} | options
    output = given.pop("output", None)
    requests = []
    for dataset in table.datasets:
        folder = Path(output or Path("results") / "runs") / dataset
        if (split := given.get("split", "grouped")) != "grouped":
            folder = folder.with_name(f"{dataset}-{split}")
        asked = {"dataset": dataset, "methods": methods_for(table, dataset), "output": folder}
        requests.append(build_request(None, given | asked))
    return requests


def methods_for(table: PublishedTable, dataset: str) -> tuple[str, ...]:
    """What `--methods` takes to measure the rows that a table prints on a data set, each once, in its order."""
    printed = {figures.method for figures in table.figures if figures.dataset == dataset}
    return tuple(dict.fromkeys(row.spec for row in table.rows if row.spec and row.method in printed))
