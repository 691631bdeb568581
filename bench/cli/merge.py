"""`agiqa-bench merge`: runs that were computed apart, joined in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agiqa_bench.execution.merging import Merged


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
    """Join parts of one comparison, such as the shards of 'run --shard', in one folder.

    Runs on other data, with other splits or of other code are refused. Damaged cells are named and left where they are.

    The last line tells which planned cells no run has finished. That is no error: more runs can be joined as they end.
    """
    from agiqa_bench.cli.console import say_on_stderr, wide_console
    from agiqa_bench.execution.merging import merge_stores
    from agiqa_bench.execution.store import Store
    from agiqa_bench.reporting.build.report import build_report
    from agiqa_bench.reporting.files import write_run_tables
    from agiqa_bench.reporting.render.terminal import to_terminal
    from agiqa_bench.reporting.results import read_results

    target = Store(output)
    merged = merge_stores(
        [Store(folder) for folder in runs],
        target,
        say_on_stderr,
        afterwards=lambda: write_run_tables(read_results(target), target.root),
    )
    results = read_results(target)
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
    if merged.unfinished:
        say_on_stderr(_gaps(merged, target.root))
    if merged.damaged:
        raise typer.Exit(1)


def _gaps(merged: Merged, folder: Path) -> str:
    """Which cells are not there, by method, and what computes them."""
    count = sum(map(len, merged.unfinished.values()))
    rows = "; ".join(f"{label} {_repeats(repeats)}" for label, repeats in merged.unfinished.items())
    return (
        f"{count} of {merged.planned} planned cells are finished in none of these runs: {rows}; the run's command "
        f"without --shard, with --output {folder}, computes them"
    )


def _repeats(repeats: list[int]) -> str:
    return f"repeat{'' if len(repeats) == 1 else 's'} {', '.join(map(str, repeats))}"
