"""`agiqa-bench report`: stored runs as tables, figures and a page."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agiqa_bench.reporting.results import RunResults

PRINTED = ("terminal", "markdown", "latex", "csv", "html", "costs", "bibtex")
"""What can be printed."""


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that 'agiqa-bench run' wrote.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", help=f"What to print: {', '.join(PRINTED)}. (default: terminal)", metavar="FORMAT"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write everything there instead: report.html, report.md, report.tex, table.csv, references.bib, and "
            "the folders tables/ and figures/, which replace those of an earlier report.",
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
        typer.Option(
            "--embed-images",
            help="Show images of a licensed data set too, in the page (--output, --format html); think of where it "
            "goes.",
        ),
    ] = False,
) -> None:
    """Report one or several runs from what is stored; nothing is computed again."""
    from agiqa_bench.errors import ConfigError, UnknownNameError

    if form is not None and form not in PRINTED:
        raise UnknownNameError("format", form, PRINTED)
    if form is not None and output is not None:
        raise ConfigError("--format prints one form, and --output writes all of them: give one of the two")
    if embed_images and output is None and form != "html":
        raise ConfigError("--embed-images is for pages: give it with --output or --format html")
    results = _read(runs, all_protocols=all_protocols)
    if output is not None:
        from agiqa_bench.cli.console import say_on_stderr
        from agiqa_bench.reporting.build.report import build_report
        from agiqa_bench.reporting.files import write_report

        whole = build_report(results, brief=brief)
        written = write_report(whole, results, output, embed_images=embed_images, made=_made())
        say_on_stderr(f"wrote {written[0]} and {len(written) - 1} other files to {output}")
    elif form in (None, "terminal"):
        from agiqa_bench.cli.console import wide_console
        from agiqa_bench.reporting.build.report import build_report
        from agiqa_bench.reporting.render.terminal import to_terminal

        console = wide_console()
        console.print(to_terminal(build_report(results, brief=brief), console.width, console.encoding))
    else:
        typer.echo(_text(results, form, brief=brief, embed_images=embed_images), nl=False)


def _made() -> tuple[tuple[str, str], ...]:
    """When and by which command the report was made."""
    from agiqa_bench.execution.provenance import now
    from agiqa_bench.reporting.build.provenance import command_line

    return ("Report made", f"{now()[:16].replace('T', ' ')} UTC"), ("Report's command", command_line(sys.argv))


def _read(folders: list[Path], *, all_protocols: bool) -> list[RunResults]:
    from agiqa_bench.execution.store import Store
    from agiqa_bench.reporting.results import read_protocols, read_results

    found = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        store = Store(folder)
        found += read_protocols(store) if all_protocols else [read_results(store)]
    return found


def _text(results: list[RunResults], form: str, *, brief: bool, embed_images: bool) -> str:
    """What is printed; no more is built than that."""
    from agiqa_bench.reporting.build.report import build_report, report_references
    from agiqa_bench.reporting.files import costs_csv, results_csv

    if form == "csv":
        return results_csv(results)
    if form == "costs":
        return costs_csv(results)
    if form == "bibtex":
        return report_references(results)
    whole = build_report(results, brief=brief)
    if form == "html":
        from agiqa_bench.reporting.html.page import to_html

        return to_html(replace(whole, facts=(*whole.facts, *_made())), embed_images=embed_images)
    if form == "markdown":
        from agiqa_bench.reporting.render.markdown import to_markdown

        return to_markdown(whole)
    from agiqa_bench.reporting.render.latex import to_latex

    return to_latex(whole)
