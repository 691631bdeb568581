"""`agiqa-bench report`: stored runs as tables, figures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agiqa_bench.reporting.model import Report
    from agiqa_bench.reporting.results import RunResults

PRINTED = ("terminal", "markdown", "latex", "csv", "html", "costs", "bibtex")
"""What can be printed."""


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that 'agiqa-bench run' wrote.")],
    form: Annotated[
        str, typer.Option("--format", "-f", help=f"What to print: {', '.join(PRINTED)}.", metavar="FORMAT")
    ] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write everything there instead: report.html, report.md, report.tex, table.csv, tables/, figures/, "
            "references.bib.",
        ),
    ] = None,
    all_protocols: Annotated[
        bool,
        typer.Option("--all-protocols", help="Not only the latest protocol of each folder (splits, selection, seed)."),
    ] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="Only the main tables, what they cost and what was left out.")
    ] = False,
    embed_images: Annotated[
        bool,
        typer.Option("--embed-images", help="Show images of a licensed data set too; think of where the page goes."),
    ] = False,
) -> None:
    """Report one or several runs from what is stored; nothing is computed again."""
    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.errors import UnknownNameError
    from agiqa_bench.reporting.build.report import build_report

    if form not in PRINTED:
        raise UnknownNameError("format", form, PRINTED)
    results = _read(runs, all_protocols=all_protocols)
    whole = build_report(results, brief=brief)
    if output is not None:
        from agiqa_bench.reporting.files import write_report

        written = write_report(whole, results, output, embed_images=embed_images)
        typer.echo(f"wrote {written[0]} and {len(written) - 1} other files to {output}", err=True)
    elif form == "terminal":
        from agiqa_bench.reporting.render.terminal import to_terminal

        console = wide_console()
        console.print(to_terminal(whole, console.width, console.encoding))
    else:
        typer.echo(_text(whole, results, form, embed_images=embed_images), nl=False)


def _read(folders: list[Path], *, all_protocols: bool) -> list[RunResults]:
    from agiqa_bench.execution.store import Store
    from agiqa_bench.reporting.results import read_protocols, read_results

    found = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        store = Store(folder)
        found += read_protocols(store) if all_protocols else [read_results(store)]
    return found


def _text(whole: Report, results: list[RunResults], form: str, *, embed_images: bool) -> str:
    if form == "html":
        from agiqa_bench.reporting.html.page import to_html

        return to_html(whole, embed_images=embed_images)
    if form == "markdown":
        from agiqa_bench.reporting.render.markdown import to_markdown

        return to_markdown(whole)
    if form == "latex":
        from agiqa_bench.reporting.render.latex import to_latex

        return to_latex(whole)
    if form == "bibtex":
        return whole.references
    from agiqa_bench.reporting.files import results_csv

    return results_csv(whole, results, costs=form == "costs")
