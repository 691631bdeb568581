"""Renderings of a comparison as Markdown and CSV."""

from __future__ import annotations

import csv
import io

from agiqa_bench.reporting.table import SHOWN, Cell, ComparisonTable


def to_markdown(table: ComparisonTable) -> str:
    """The table as Markdown: one table per target, best bold, then costs, what was left out, and notes."""
    metrics = [metric for metric in table.metrics if metric.key in SHOWN]
    parts = [f"## {_escape(table.title)}"]
    for section in table.sections:
        lines = [
            f"### Target: {_escape(section.target)}",
            "",
            _line(["Method", *(metric.title for metric in metrics)]),
            _line(["---", *("---:" for _ in metrics)]),
        ]
        lines.extend(
            _line([_escape(row.display), *(_markdown_cell(row.cells[m.key], m.decimals) for m in metrics)])
            for row in section.rows
        )
        parts.append("\n".join(lines))
    if table.costs:
        lines = [
            "### Cost",
            "",
            _line(["Method", "Fit one repeat (s)", "Score one image (ms)", "Device", "Precision", "Weights"]),
            _line(["---", "---:", "---:", "---", "---", "---"]),
        ]
        for cost in table.costs:
            fit = "-" if cost.fit_seconds is None else f"{cost.fit_seconds:.2f}"
            cells = [cost.display, fit, f"{cost.milliseconds_per_image:.2f}", cost.device, cost.precision]
            lines.append(_line([_escape(cell) for cell in [*cells, ", ".join(cost.weights) or "-"]]))
        parts.append("\n".join(lines))
    if table.left_out:
        left_out = [f"- {_escape(name)}: {_escape(why)}" for name, why in table.left_out]
        parts.append("\n".join(["### Left out", "", *left_out]))
    parts.append("\n".join(["### Notes", "", *(f"- {_escape(note)}" for note in table.notes)]))
    return "\n\n".join(parts) + "\n"


def to_csv(table: ComparisonTable) -> str:
    """All metrics of all rows as CSV; the same results give the same bytes.

    Columns: dataset, split, select, target, method, name, weights, repeats, and `<metric>_mean`, `_std`, `_low`,
    `_high` (95 % interval); six decimals, empty where a metric is not defined.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["dataset", "split", "select", "target", "method", "name", "weights", "repeats"]
    for metric in table.metrics:
        head.extend(f"{metric.key}_{part}" for part in ("mean", "std", "low", "high"))
    writer.writerow(head)
    protocol = table.protocol
    for section in table.sections:
        for row in section.rows:
            line: list[object] = [table.dataset, protocol["split"], protocol["select"], section.target]
            line += [row.label, row.display, " + ".join(row.weights), row.repeats]
            for metric in table.metrics:
                line.extend(_csv_cell(row.cells[metric.key]))
            writer.writerow(line)
    return buffer.getvalue()


def costs_to_csv(table: ComparisonTable) -> str:
    """What each method cost, as CSV; apart from the results because no two runs take the same time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "name", "fit_seconds", "milliseconds_per_image", "device", "precision", "weights"])
    for cost in table.costs:
        fit = "" if cost.fit_seconds is None else f"{cost.fit_seconds:.6f}"
        per_image = f"{cost.milliseconds_per_image:.6f}"
        weights = " + ".join(cost.weights)
        writer.writerow([cost.label, cost.display, fit, per_image, cost.device, cost.precision, weights])
    return buffer.getvalue()


def _csv_cell(cell: Cell) -> list[str]:
    summary = cell.summary
    values = (summary.mean, summary.std, summary.low, summary.high)
    return ["" if value is None else f"{value:.6f}" for value in values]


def _markdown_cell(cell: Cell, decimals: int) -> str:
    if cell.mean is None:
        return "undefined"
    text = f"{cell.mean:.{decimals}f}"
    if cell.summary.std is not None:
        text += f" ± {cell.summary.std:.{decimals}f}"
    return f"**{text}**" if cell.rank == 1 else text


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Make text harmless inside a Markdown table cell."""
    for letter in "\\`*_[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())
