"""The whole report of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence

import agiqa_bench
from agiqa_bench.reporting.bibliography import references
from agiqa_bench.reporting.build.chapter import brief_chapter, full_chapter
from agiqa_bench.reporting.build.notes import apart, chapter_names
from agiqa_bench.reporting.build.overview import overview_chapter
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.model import Report
from agiqa_bench.reporting.results import RunResults, join_comparable


def build_report(all_results: Sequence[RunResults], *, brief: bool = False) -> Report:
    """A report on one or several results; what cannot be compared stays apart, and the report says why.

    Args:
        all_results: From `read_results` or `read_protocols`, at least one.
        brief: Leave out figures, tests, provenance and all that is not a main table, a cost or a gap.
    """
    groups = join_comparable(all_results)
    names = chapter_names(groups)
    build = brief_chapter if brief else full_chapter
    chapters = [
        build(results, f"{number}-" if len(groups) > 1 else "") for number, results in enumerate(groups, start=1)
    ]
    if len(groups) > 1:
        chapters.insert(0, overview_chapter(groups))
    return Report(
        title=_title(groups, names),
        chapters=tuple(chapters),
        facts=() if brief else _facts(groups),
        warnings=(*_elsewhere(all_results), *apart(groups)),
        references="" if brief else report_references(groups),
    )


def report_references(all_results: Sequence[RunResults]) -> str:
    """BibTeX of the methods with a finished cell and of their data sets; empty if none has an entry."""
    return references(_citations(all_results))


def _elsewhere(all_results: Sequence[RunResults]) -> list[str]:
    """What the folders hold under other protocols, which nobody asked for."""
    return [
        f"{results.where} also holds {counted(cells, 'cell')} under another protocol ({protocol}): 'agiqa-bench report "
        "--all-protocols' shows them"
        for results in all_results
        for protocol, cells in results.others
        if cells
    ]


def _title(groups: Sequence[RunResults], names: Sequence[str]) -> str:
    if len(groups) == 1:
        return f"AGIQA methods on {names[0]}"
    titles = list(dict.fromkeys(results.title for results in groups))
    if len(titles) == 1:
        return f"AGIQA methods on {titles[0]} under {len(groups)} protocols"
    return f"AGIQA methods: {len(groups)} comparisons"


def _facts(groups: Sequence[RunResults]) -> tuple[tuple[str, str], ...]:
    runs = dict.fromkeys(store.name for results in groups for store in results.stores)
    return ("agiqa-bench", agiqa_bench.__version__), ("Runs", ", ".join(runs))


def _citations(groups: Sequence[RunResults]) -> list[str]:
    """The entries of the data sets and of the methods with a finished cell."""
    found = []
    for results in groups:
        found += [str(plan.get("dataset_citation", "")) for plan in results.plans]
        found += [method.citation for method in results.methods if method.cells]
    return list(dict.fromkeys(filter(None, found)))
