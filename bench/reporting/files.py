"""A report as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agiqa_bench.atomic import write_text
from agiqa_bench.reporting.build.comparison import full_table
from agiqa_bench.reporting.build.report import build_report
from agiqa_bench.reporting.model import Figure, Gallery, Report
from agiqa_bench.reporting.render.comma_separated import table_to_csv
from agiqa_bench.reporting.render.markdown import to_markdown
from agiqa_bench.reporting.results import RunResults


def write_run_tables(results: RunResults, folder: Path) -> None:
    """Write what a run leaves behind: table.csv, table.md and costs.csv, each whole or not at all.

    Raises:
        StoreError: The file system refuses.
    """
    brief = build_report([results], brief=True)
    write_text(folder / "table.csv", results_csv(brief, [results]))
    write_text(folder / "table.md", to_markdown(brief))
    write_text(folder / "costs.csv", results_csv(brief, [results], costs=True))


def results_csv(report: Report, results: Sequence[RunResults], *, costs: bool = False) -> str:
    """All results in one table, or what they cost: apart, because no two runs take the same time."""
    if not costs:
        return table_to_csv(full_table(results))
    tables = [table for table in report.tables() if table.key.endswith("costs")]
    return "\n".join(table_to_csv(table) for table in tables)


def write_report(report: Report, results: Sequence[RunResults], folder: Path, *, embed_images: bool) -> list[Path]:
    """Write a report in all its forms.

    Args:
        report: The report.
        results: What it was built from.
        folder: Where `report.html`, `report.md`, `report.tex`, `references.bib`, `table.csv`, `tables/<key>.csv` and
            `.tex`, and `figures/<key>.svg` and `.png` go.
        embed_images: Whether images of a licensed data set are shown.

    Returns:
        The files, the page first.

    Raises:
        StoreError: The file system refuses.
    """
    from agiqa_bench.figures.files import write_figure
    from agiqa_bench.reporting.html.page import to_html
    from agiqa_bench.reporting.render.latex import table_to_latex, to_latex

    written: list[Path] = []
    # The figures first: the page takes their SVG from memory, so that each is drawn once.
    for block in report.blocks():
        if isinstance(block, Figure):
            written += write_figure(block, folder / "figures")
        elif isinstance(block, Gallery) and (block.free or embed_images):
            written += _write_gallery(block, folder / "figures")
    texts = {
        "report.html": to_html(report, embed_images=embed_images),
        "report.md": to_markdown(report, figures="figures/"),
        "report.tex": to_latex(report, figures="figures"),
        "references.bib": report.references,
        "table.csv": results_csv(report, results),
    }
    for table in report.tables():
        texts[f"tables/{table.key}.csv"] = table_to_csv(table)
        texts[f"tables/{table.key}.tex"] = table_to_latex(table)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *written]


def _write_gallery(gallery: Gallery, folder: Path) -> list[Path]:
    from agiqa_bench.figures.files import write_figure
    from agiqa_bench.figures.gallery import gallery as draw

    figure = Figure(gallery.key, gallery.title, gallery.caption, lambda: draw(gallery.pictures), gallery.caption)
    return write_figure(figure, folder, suffixes=("png",))
