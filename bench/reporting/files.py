"""A report as files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from agiqa_bench.atomic import new_directory, write_text
from agiqa_bench.errors import StoreError
from agiqa_bench.reporting.build.comparison import full_table
from agiqa_bench.reporting.build.costs import full_cost_table
from agiqa_bench.reporting.build.report import build_report
from agiqa_bench.reporting.model import Figure, Gallery, Report, Table
from agiqa_bench.reporting.render.comma_separated import table_to_csv
from agiqa_bench.reporting.render.markdown import to_markdown
from agiqa_bench.reporting.results import RunResults

PAGE = "report.html"
"""Where a report was written, this file is."""


def write_run_tables(results: RunResults, folder: Path) -> None:
    """Write what a run leaves behind: table.csv, table.md and costs.csv, each whole or not at all.

    Raises:
        StoreError: The file system refuses.
    """
    write_text(folder / "table.csv", results_csv([results]))
    write_text(folder / "table.md", to_markdown(build_report([results], brief=True)))
    write_text(folder / "costs.csv", costs_csv([results]))


def results_csv(results: Sequence[RunResults]) -> str:
    """All results in one long table as CSV; the same results, the same bytes."""
    return table_to_csv(full_table(results))


def costs_csv(results: Sequence[RunResults]) -> str:
    """What they cost, in one long table too: apart, because no two runs take the same time."""
    return table_to_csv(full_cost_table(results))


def write_report(
    report: Report,
    results: Sequence[RunResults],
    folder: Path,
    *,
    embed_images: bool,
    made: Sequence[tuple[str, str]] = (),
) -> list[Path]:
    """Write a report in all its forms.

    The folders `tables` and `figures` are replaced as a whole, so that nothing of an earlier report stays behind.

    Args:
        report: The report.
        results: What it was built from.
        folder: Where `report.html`, `report.md`, `report.tex`, `references.bib`, `table.csv`, `tables/<key>.csv` and
            `.tex`, and `figures/<key>.svg` and `.png` go.
        embed_images: Whether images of a licensed data set are shown.
        made: Facts of how the report was made, for the page only: all else is the same, byte by byte, for the same
            results.

    Returns:
        The files, the page first.

    Raises:
        StoreError: The file system refuses, or there are folders of these names that are no report's.
    """
    from agiqa_bench.reporting.html.page import to_html
    from agiqa_bench.reporting.render.latex import table_to_latex, to_latex

    for name in ("tables", "figures"):
        if (folder / name).exists() and not (folder / PAGE).exists():
            raise StoreError(
                f"{folder / name}: is there already and no report's; choose another folder with --output, because a "
                "report replaces its folders tables and figures"
            )
    with ExitStack() as stack:
        tables, figures = (stack.enter_context(new_directory(folder / name)) for name in ("tables", "figures"))
        # The figures first: the page takes their SVG from memory, so that each is drawn once.
        drawn = _write_figures(report, figures, embed_images=embed_images)
        written = [folder / "figures" / file.name for file in drawn]
        for table in report.tables():
            for suffix, text in ((".csv", table_to_csv(table)), (".tex", table_to_latex(table))):
                write_text(tables / (table.key + suffix), text)
                written.append(folder / "tables" / (table.key + suffix))
    texts = {
        PAGE: to_html(replace(report, facts=(*report.facts, *made)), embed_images=embed_images),
        "report.md": to_markdown(report, figures="figures/"),
        "report.tex": to_latex(report, figures="figures"),
        "references.bib": report.references,
        "table.csv": results_csv(results),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *written]


def _write_figures(report: Report, folder: Path, *, embed_images: bool) -> list[Path]:
    from agiqa_bench.figures.files import write_figure

    written: list[Path] = []
    for block in report.blocks():
        if isinstance(block, Table) or not (block.free or embed_images):
            continue
        written += write_figure(block, folder) if isinstance(block, Figure) else _write_gallery(block, folder)
    return written


def _write_gallery(gallery: Gallery, folder: Path) -> list[Path]:
    from agiqa_bench.figures.files import write_figure
    from agiqa_bench.figures.gallery import gallery as draw

    figure = Figure(gallery.key, gallery.title, gallery.caption, lambda: draw(gallery.pictures), gallery.caption)
    return write_figure(figure, folder, suffixes=("png",))
