"""`agiqa-bench merge`: runs that were computed apart, joined in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that 'agiqa-bench run' wrote, on whatever machine.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Join them there; one of them, or another run's folder, which is joined too and keeps what it has.",
        ),
    ],
) -> None:
    """Join parts of one comparison, e.g. the shards of 'run --shard', in one folder.

    Runs on other data, with other splits or of other code are refused. Damaged cells are named and left where they are.
    """
    from agiqa_bench.cli.console import say_on_stderr, wide_console
    from agiqa_bench.execution.merging import merge_stores
    from agiqa_bench.execution.store import Store
    from agiqa_bench.reporting.build.report import build_report
    from agiqa_bench.reporting.files import write_run_tables
    from agiqa_bench.reporting.render.terminal import to_terminal
    from agiqa_bench.reporting.results import read_results

    target = Store(output)
    merged = merge_stores([Store(folder) for folder in runs], target)
    results = read_results(target)
    write_run_tables(results, target.root)
    console = wide_console()
    console.print(to_terminal(build_report([results], brief=True), console.width, console.encoding))
    for line in merged.differing:
        say_on_stderr(f"differs: {line}")
    for line in merged.damaged:
        say_on_stderr(f"damaged, not copied: {line}")
    lost = f", {len(merged.damaged)} damaged" if merged.damaged else ""
    say_on_stderr(
        f"{merged.copied} cells copied, {merged.cells - merged.copied} there before{lost}. "
        f"Tables: {target.root / 'table.csv'}, table.md, costs.csv"
    )
    if merged.damaged:
        raise typer.Exit(1)
