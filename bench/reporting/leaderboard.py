"""The leaderboard as a static page and as files for scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import agiqa_bench
from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.harmless import json_text
from agiqa_bench.reporting.build.leaderboard import Entry, Leaderboard, leaderboard_table
from agiqa_bench.reporting.build.summaries import row_title
from agiqa_bench.reporting.model import Column, Table


def leaderboard_page(board: Leaderboard) -> str:
    """The page: one self-contained HTML file that opens on the view with the most rows."""
    from agiqa_bench.reporting.html.page import render
    from agiqa_bench.reporting.html.view import table_view

    views = list(dict.fromkeys(entry.view for entry in board.entries))
    sizes = Counter(entry.view for entry in board.entries)
    first = max(views, key=lambda view: sizes[view], default=None)
    table = table_view(
        leaderboard_table(board),
        badges=[entry.remarks for entry in board.entries],
        group_badges={entry.view.title: entry.view_remarks for entry in board.entries},
        group_data={view.title: asdict(view) | ({"first": ""} if view == first else {}) for view in views},
    )
    return render(
        "leaderboard.html.j2",
        kind="board",
        title="AGIQA leaderboard",
        facts=(
            ("Runs", str(board.runs)),
            ("Rows", str(len(board.entries))),
            ("Protocols, data sets and targets", str(len(views))),
        ),
        warnings=[f"skipped {folder}: {why}" for folder, why in board.skipped],
        choices=[
            (name, label, list(dict.fromkeys(getattr(view, name) for view in views)))
            for name, label in (("dataset", "Data set"), ("target", "Target"), ("protocol", "Protocol"))
        ],
        table=table,
        intervals=table.optional_intervals,
    )


def leaderboard_json(board: Leaderboard) -> dict[str, Any]:
    """Everything the leaderboard knows, for scripts: rows with all metrics, and what was skipped."""
    return {
        "agiqa_bench": agiqa_bench.__version__,
        "rows": [_record(entry) for entry in board.entries],
        "skipped": [{"folder": folder, "why": why} for folder, why in board.skipped],
    }


def _record(entry: Entry) -> dict[str, Any]:
    method = entry.method
    return {
        "method": method.name,
        "label": method.label,
        "name": row_title(entry.results, method),
        "config": method.config,
        "weights": list(method.weights),
        "stand_ins": list(method.stand_ins),
        "diagnostic": method.diagnostic,
        "remarks": [*entry.view_remarks, *entry.remarks],
        "view": asdict(entry.view),
        "protocol": entry.results.protocol,
        "repeats": len(method.cells),
        "planned_repeats": method.expected,
        "when": entry.when,
        "version": entry.version,
        "runs": list(entry.runs),
        "metrics": {
            key: {
                "mean": number.value,
                "std": number.std,
                "low": number.low,
                "high": number.high,
                "n": number.n,
                "reason": number.reason,
            }
            for key, number in entry.numbers.items()
        },
    }


def write_leaderboard(board: Leaderboard, folder: Path) -> list[Path]:
    """Write index.html, results.csv and results.json, each whole or not at all.

    Returns:
        The files, the page first.

    Raises:
        StoreError: The file system refuses.
    """
    from agiqa_bench.atomic import write_text
    from agiqa_bench.reporting.render.comma_separated import table_to_csv

    table = leaderboard_table(board, [metric.key for metric in METRICS], with_view=True)
    texts = {
        "index.html": leaderboard_page(board),
        "results.csv": table_to_csv(_with_remarks(table, board)),
        "results.json": json_text(leaderboard_json(board), indent=1),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _with_remarks(table: Table, board: Leaderboard) -> Table:
    """The table with what the page shows as badges, as a column."""
    rows = [
        replace(row, cells=(*row.cells, "; ".join((*entry.view_remarks, *entry.remarks))))
        for row, entry in zip(table.rows, board.entries, strict=True)
    ]
    return replace(table, columns=(*table.columns, Column("remarks", "Remarks", text=True)), rows=tuple(rows))
