"""The whole report of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence

import agiqa_bench
from agiqa_bench.reporting.bibliography import references
from agiqa_bench.reporting.build.chapter import brief_chapter, full_chapter
from agiqa_bench.reporting.build.notes import chapter_names
from agiqa_bench.reporting.build.overview import overview_chapter
from agiqa_bench.reporting.model import Report
from agiqa_bench.reporting.results import RunResults, differences, join_comparable


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
        title=f"AGIQA methods on {names[0]}" if len(groups) == 1 else f"AGIQA methods: {len(groups)} comparisons",
        chapters=tuple(chapters),
        facts=() if brief else _facts(groups),
        warnings=tuple(_apart(groups)),
        references="" if brief else references(_citations(groups)),
    )


def _facts(groups: Sequence[RunResults]) -> tuple[tuple[str, str], ...]:
    runs = dict.fromkeys(store.root.name for results in groups for store in results.stores)
    return ("agiqa-bench", agiqa_bench.__version__), ("Runs", ", ".join(runs))


def _apart(groups: Sequence[RunResults]) -> list[str]:
    """One line for each pair of results on one data set that cannot stand in one table."""
    lines = []
    for place, one in enumerate(groups):
        for other in groups[place + 1 :]:
            if one.protocol["dataset"] == other.protocol["dataset"]:
                why = " and ".join(differences(one, other))
                lines.append(
                    f"{one.title}: {_short(one)} and {_short(other)} cannot be compared, they have other {why}; they "
                    "are reported apart, and no number of one is to be read against one of the other"
                )
    return lines


def _short(results: RunResults) -> str:
    return f"{' + '.join(store.root.name for store in results.stores)} ({results.protocol['split']} split)"


def _citations(groups: Sequence[RunResults]) -> list[str]:
    """The entries of the data sets and of the methods with a finished cell."""
    found = []
    for results in groups:
        found += [str(plan.get("dataset_citation", "")) for plan in results.plans]
        found += [method.citation for method in results.methods if method.cells]
    return list(dict.fromkeys(filter(None, found)))
