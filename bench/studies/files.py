"""A protocol study as files."""

from __future__ import annotations

from pathlib import Path

from agiqa_bench.atomic import write_text
from agiqa_bench.reporting.model import Figure, Report
from agiqa_bench.studies.results import StudyResults
from agiqa_bench.studies.tables import tidy_effects, tidy_srcc


def write_study(study: StudyResults, report: Report, folder: Path) -> list[Path]:
    """Write a study in all its forms, each file whole or not at all.

    Args:
        study: The results.
        report: From `study_report`.
        folder: Where `study.html`, `study.md`, `study.tex`, `study.csv` (SRCC), `effects.csv` (differences) and
            `figures/<key>.svg` and `.png` go.

    Returns:
        The files, the page first.

    Raises:
        StoreError: The file system refuses.
    """
    from agiqa_bench.figures.files import write_figure
    from agiqa_bench.reporting.html.page import to_html
    from agiqa_bench.reporting.render.comma_separated import table_to_csv
    from agiqa_bench.reporting.render.latex import to_latex
    from agiqa_bench.reporting.render.markdown import to_markdown

    texts = {
        "study.html": to_html(report),
        "study.md": to_markdown(report, figures="figures"),
        "study.tex": to_latex(report, figures="figures"),
        "study.csv": table_to_csv(tidy_srcc(study)),
        "effects.csv": table_to_csv(tidy_effects(study)),
    }
    written = []
    for name, text in texts.items():
        write_text(folder / name, text)
        written.append(folder / name)
    for block in report.blocks():
        if isinstance(block, Figure):
            written += write_figure(block, folder / "figures")
    return written
