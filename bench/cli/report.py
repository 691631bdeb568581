"""`agiqa-bench report`: the table of a stored run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agiqa_bench.reporting.table import ComparisonTable

FORMATS = ("terminal", "markdown", "csv", "costs")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that 'agiqa-bench run' wrote.")],
    form: Annotated[
        str, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.", metavar="FORMAT")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write table.csv, table.md and costs.csv to this folder.")
    ] = None,
) -> None:
    """Show the table of a run, from what is stored; nothing is computed."""
    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.errors import UnknownNameError
    from agiqa_bench.execution.store import Store
    from agiqa_bench.reporting.results import read_results
    from agiqa_bench.reporting.table import build_table
    from agiqa_bench.reporting.terminal import to_terminal
    from agiqa_bench.reporting.text import costs_to_csv, to_csv, to_markdown

    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    table = build_table(read_results(Store(run)))
    if output is not None:
        write_tables(table, output)
        typer.echo(f"wrote {output / 'table.csv'}, table.md, costs.csv", err=True)
    elif form == "terminal":
        console = wide_console()
        console.print(to_terminal(table, console.width))
    else:
        render = {"markdown": to_markdown, "csv": to_csv, "costs": costs_to_csv}[form]
        typer.echo(render(table), nl=False)


def write_tables(table: ComparisonTable, folder: Path) -> None:
    """Write table.csv, table.md and costs.csv, each whole or not at all."""
    from agiqa_bench.atomic import write_text
    from agiqa_bench.reporting.text import costs_to_csv, to_csv, to_markdown

    write_text(folder / "table.csv", to_csv(table))
    write_text(folder / "table.md", to_markdown(table))
    write_text(folder / "costs.csv", costs_to_csv(table))
