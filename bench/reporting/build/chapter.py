"""A chapter of a report: everything about the results under one protocol on one data set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agiqa_bench.errors import StoreError
from agiqa_bench.papers.beside import published_beside
from agiqa_bench.reporting.build import figures, notes, ranks
from agiqa_bench.reporting.build.against_best import against_best_table
from agiqa_bench.reporting.build.attention import attention_figures
from agiqa_bench.reporting.build.comparison import comparison_table
from agiqa_bench.reporting.build.costs import cost_table
from agiqa_bench.reporting.build.cross import cross_notes, cross_warnings, tested_samples
from agiqa_bench.reporting.build.generators import generator_table
from agiqa_bench.reporting.build.provenance import left_out_table, provenance_table
from agiqa_bench.reporting.build.summaries import anchor
from agiqa_bench.reporting.homes import without_home
from agiqa_bench.reporting.model import Block, Chapter, Section
from agiqa_bench.reporting.results import RunResults

if TYPE_CHECKING:
    import pandas as pd


def brief_chapter(results: RunResults, prefix: str = "") -> Chapter:
    """What the end of a run shows: the main tables, what they cost, what was left out, and what must be said.

    Args:
        results: Under one protocol.
        prefix: Goes before the keys of everything in the chapter.
    """
    sections = [
        Section(anchor(prefix, "results", target), f"Target: {target}", (table,))
        for target in results.targets
        if (table := comparison_table(results, target, prefix)) is not None
    ]
    return _chapter(results, prefix, [*sections, *_costs_and_gaps(results, prefix)])


def full_chapter(results: RunResults, prefix: str) -> Chapter:
    """Everything there is to see: tables, tests, figures, published numbers, costs, provenance; arguments as above."""
    samples, absent = _samples(results)
    sections = []
    for target in results.targets:
        table = comparison_table(results, target, prefix)
        if table is None:
            continue
        sections += [
            _section(
                anchor(prefix, "results", target),
                f"Results: {target}",
                table,
                figures.strip_figure(results, target, prefix),
            ),
            _section(
                anchor(prefix, "tests", target),
                f"What is told apart: {target}",
                against_best_table(results, target, prefix),
                ranks.rank_table(results, target, prefix),
                ranks.critical_difference_figure(results, target, prefix),
            ),
            _section(
                anchor(prefix, "images", target),
                f"Generators and images: {target}",
                generator_table(results, target, prefix),
                figures.generator_figure(results, target, prefix),
                figures.scatter_figure(results, target, prefix),
                figures.error_gallery(results, target, samples, prefix),
            ),
        ]
    sections += [
        _section(
            f"{prefix}training",
            "Training",
            figures.curves_figure(results, prefix),
            *attention_figures(results, samples, prefix),
        ),
        _section(f"{prefix}data", "The data", figures.mos_figure(results, samples, prefix)),
        _section(f"{prefix}published", "Beside published numbers", *published_beside(results, prefix)),
        *_costs_and_gaps(results, prefix),
        _section(f"{prefix}provenance", "Provenance", provenance_table(results, prefix)),
    ]
    return _chapter(results, prefix, sections, absent)


def _samples(results: RunResults) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """The rows of the data set, and where they cannot be read a warning that says what is missing for it."""
    try:
        samples = tested_samples(results)
    except StoreError as error:
        why = str(error)
        for store in results.stores:
            why = why.replace(f"{store.root}{os.sep}", "")
        samples = None
    else:
        if samples is not None:
            return samples, ()
        why = "the folder has no table of the samples in samples/; type the run's command again to have it"
    return None, (f"no figure of the ratings and no image is shown: {without_home(why)}",)


def _chapter(results: RunResults, prefix: str, sections: list[Section], warnings: tuple[str, ...] = ()) -> Chapter:
    return Chapter(
        key=f"{prefix}results",
        title=f"{results.title}: {notes.design(results)}",
        sections=tuple(section for section in sections if section.blocks),
        facts=notes.facts(results),
        warnings=(*cross_warnings(results), *notes.warnings(results), *warnings),
        notes=(*cross_notes(results), *notes.notes(results)),
    )


def _costs_and_gaps(results: RunResults, prefix: str) -> list[Section]:
    return [
        _section(f"{prefix}cost", "Cost", cost_table(results, prefix)),
        _section(f"{prefix}left-out", "Left out", left_out_table(results, prefix)),
    ]


def _section(key: str, title: str, *blocks: Block | None) -> Section:
    return Section(key, title, tuple(block for block in blocks if block is not None))
