"""`agiqa-bench leaderboard`: a static page over all runs below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the runs are, at any depth.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Write index.html, results.csv and results.json there."),
    ] = Path("site"),
) -> None:
    """Collect all runs below a folder in one page: one row per method, configuration and protocol.

    Results of other data sets, splits, selections or seeds are never ranked against each other.
    """
    from agiqa_bench.cli.console import say_on_stderr
    from agiqa_bench.reporting.build.leaderboard import read_leaderboard
    from agiqa_bench.reporting.leaderboard import write_leaderboard

    board = read_leaderboard(folder)
    for name, why in board.skipped:
        say_on_stderr(f"skipped {name}: {why}")
    written = write_leaderboard(board, output)
    rows, runs = len(board.entries), board.runs
    say_on_stderr(
        f"wrote {written[0]}, results.csv and results.json: {rows} row{'' if rows == 1 else 's'} of "
        f"{runs} run{'' if runs == 1 else 's'}"
    )
