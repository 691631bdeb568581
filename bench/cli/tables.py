"""`agiqa-bench tables`: the published tables, what a run measured beside them, and the runs that they need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agiqa_bench.execution.request import RunRequest
    from agiqa_bench.papers.published import PublishedTable
    from agiqa_bench.reporting.model import Table

FORMATS = ("terminal", "markdown", "latex", "csv", "html", "bibtex")

app = typer.Typer(help="Published tables: list, show, run.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="A table's name; see 'agiqa-bench tables list'.")]


@app.command("list")
def list_tables() -> None:
    """List the published tables: what they compare, on which data, and where the figures come from."""
    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.papers.overview import list_of
    from agiqa_bench.papers.published import published_tables
    from agiqa_bench.reporting.render.terminal import table_to_terminal

    console = wide_console()
    console.print(table_to_terminal(list_of(published_tables()), console.width))


@app.command("show")
def show(
    name: _Id,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="Folder that 'agiqa-bench run' wrote; may be repeated, e.g. one per data set."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.", metavar="FORMAT")
    ] = "terminal",
) -> None:
    """Show a table as published, and with --run beside each figure what was measured, and under which protocol."""
    from agiqa_bench.errors import UnknownNameError
    from agiqa_bench.execution.store import Store
    from agiqa_bench.papers.beside import with_runs
    from agiqa_bench.papers.published import published_table
    from agiqa_bench.reporting.results import read_protocols

    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    table = published_table(name)
    folders = dict.fromkeys(folder.resolve() for folder in run or ())
    results = [found for folder in folders for found in read_protocols(Store(folder))]
    _print(table, with_runs(table, results), form)


@app.command("run")
def run_table(
    name: _Id,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Split and choose epochs as the table's authors did for their own rows, as far as that is known and "
            "exists here; by default the protocol of 'agiqa-bench run'.",
        ),
    ] = False,
    data_root: Annotated[Path | None, typer.Option(help="Folder with the data sets; also AGIQA_DATA.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download data sets that are not there.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder that gets a folder per data set. (default: results/runs)"),
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Number of random splits. (default: 10)")] = None,
    seed: Annotated[int | None, typer.Option(help="Changes splits and training. (default: 0)")] = None,
    preset: Annotated[str | None, typer.Option(help="Settings of methods: paper, quick or auto.")] = None,
    stand_ins: Annotated[
        bool | None,
        typer.Option("--stand-ins/--no-stand-ins", help="Where weights cannot be had: run with a stand-in, or skip."),
    ] = None,
    python_for: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD=PATH", help="Interpreter of a method's own environment; may be repeated."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N. (default: auto)")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bf16 or fp16. (default: float32)")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Processes. (default: 1)")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plans and stop.")] = False,
) -> None:
    """Run what a table needs: each of its data sets with the methods of its rows; then show what was measured."""
    from agiqa_bench.cli.console import say_on_stderr
    from agiqa_bench.execution.request import parse_python_for
    from agiqa_bench.offline import is_offline
    from agiqa_bench.papers.published import published_table
    from agiqa_bench.papers.requests import requests_for
    from agiqa_bench.stopping import EXIT_CODE, Terminated, stop_signals

    options: dict[str, Any] = {
        "data_root": data_root,
        "output": output,
        "repeats": repeats,
        "seed": seed,
        "preset": preset,
        "stand_ins": stand_ins,
        "device": device,
        "precision": precision,
        "jobs": jobs,
        "python_for": dict(map(parse_python_for, python_for)) if python_for else None,
        "offline": True if offline or is_offline() else None,
    }
    table = published_table(name)
    given = {key: value for key, value in options.items() if value is not None}
    requests = requests_for(table, given, as_published=as_published)
    try:
        with stop_signals(say_on_stderr):
            code = _run_all(table, requests, download=download, dry_run=dry_run)
    except Terminated:
        say_on_stderr("stopped by SIGTERM")
        code = EXIT_CODE
    raise typer.Exit(code)


def _run_all(table: PublishedTable, requests: Sequence[RunRequest], *, download: bool, dry_run: bool) -> int:
    """Run one data set after another; one that cannot be run stops none of the others.

    Returns:
        The exit code: 2 if any request could not be met, else 1 if any cell failed, else 0; at once that of an
        interruption.
    """
    from agiqa_bench.cli.console import say_on_stderr
    from agiqa_bench.cli.run import run_request
    from agiqa_bench.errors import AgiqaError
    from agiqa_bench.execution.store import Store
    from agiqa_bench.papers.beside import with_runs
    from agiqa_bench.reporting.results import read_results

    codes, results = [], []
    for number, request in enumerate(requests, start=1):
        title = table.datasets[request.dataset].title
        say_on_stderr(f"{table.id}, data set {number} of {len(requests)}: {title}")
        try:
            code = run_request(request, download=download, dry_run=dry_run)
        except AgiqaError as error:
            say_on_stderr(f"error: {title}: {error}")
            code = error.exit_code
        else:
            if code not in (0, 1):
                return code
            if not dry_run and request.output is not None:
                results.append(read_results(Store(request.output)))
        codes.append(code)
    if results:
        typer.echo()
        _print(table, with_runs(table, results), "terminal")
    return max(codes, default=0)


def _print(table: PublishedTable, shown: Sequence[Table], form: str) -> None:
    if form == "terminal":
        from agiqa_bench.cli.console import wide_console
        from agiqa_bench.reporting.render.terminal import table_to_terminal

        console = wide_console()
        for number, one in enumerate(shown):
            if number:
                console.print()
            console.print(table_to_terminal(one, console.width, console.encoding))
    else:
        typer.echo(_text(table, shown, form), nl=False)


def _text(table: PublishedTable, shown: Sequence[Table], form: str) -> str:
    if form == "html":
        from agiqa_bench.papers.overview import page_of
        from agiqa_bench.reporting.html.page import to_html

        return to_html(page_of(table, shown))
    if form == "bibtex":
        return table.paper.citation.strip() + "\n"
    if form == "markdown":
        from agiqa_bench.reporting.render.markdown import escape, table_to_markdown

        return "\n".join(f"### {escape(one.title)}\n\n{table_to_markdown(one)}" for one in shown)
    if form == "latex":
        from agiqa_bench.reporting.render.latex import table_to_latex as render
    else:
        from agiqa_bench.reporting.render.comma_separated import table_to_csv as render
    return "\n".join(map(render, shown))
