"""Rendering of a comparison on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agiqa_bench.reporting.table import SHOWN, Cell, ComparisonTable, Row

_DECIMALS = 3
_IMPORTANCE = ("srcc", "srcc_within_generator", "plcc", "srcc_within_prompt", "krcc", "rmse_fitted")


_COLUMN = 18
"""Columns of the terminal that a metric takes, with its border; a method's name gets what is left, at least 30."""


def to_terminal(table: ComparisonTable, width: int) -> RenderableType:
    """The comparison for rich: a table per target, best bold, second underlined; costs; left out; notes.

    Args:
        table: What to show.
        width: Columns of the terminal. A narrow one shows fewer metrics, and says which are left out.
    """
    parts: list[RenderableType] = []
    room = max(2, (width - 30) // _COLUMN)
    kept = sorted(SHOWN, key=_IMPORTANCE.index)[:room]
    metrics = [metric for metric in table.metrics if metric.key in kept]
    hidden = [metric.title for metric in table.metrics if metric.key in SHOWN and metric.key not in kept]
    for section in table.sections:
        grid = Table(title=f"{table.title} · {section.target}", title_style="bold", title_justify="left")
        grid.add_column("Method", overflow="fold", min_width=16)
        for metric in metrics:
            grid.add_column(metric.title, justify="right", no_wrap=True)
        for row in section.rows:
            grid.add_row(_name(row), *(_number(row.cells[metric.key]) for metric in metrics))
        parts.extend([grid, Text()])
    if table.costs:
        parts.extend([_costs(table), Text()])
    if table.left_out:
        parts.append(Text("Left out", style="bold"))
        parts.extend(Text(f"  {name}: {why}", style="yellow") for name, why in table.left_out)
        parts.append(Text())
    notes = [*table.notes, f"not shown for want of columns: {', '.join(hidden)}"] if hidden else table.notes
    parts.extend(Text(f"· {note}", style="dim") for note in notes)
    return Group(*parts)


def _name(row: Row) -> Text:
    return Text(row.display, style="italic" if row.diagnostic else "")


def _number(cell: Cell) -> Text:
    summary = cell.summary
    if summary.mean is None:
        return Text("undefined", style="dim")
    style = {1: "bold", 2: "underline"}.get(cell.rank, "")
    text = Text(f"{summary.mean:.{_DECIMALS}f}", style=style)
    if summary.std is not None:
        text.append(f" ±{summary.std:.{_DECIMALS}f}", style="dim not bold not underline")
    return text


def _costs(table: ComparisonTable) -> Table:
    grid = Table(title="Cost on this machine", title_style="bold", title_justify="left")
    for title, right in (("Method", 0), ("Fit one repeat", 1), ("Per image", 1), ("Device", 0), ("Weights", 0)):
        grid.add_column(title, justify="right" if right else "left", overflow="fold")
    for cost in table.costs:
        fit = "zero-shot" if cost.fit_seconds is None else f"{cost.fit_seconds:.2f} s"
        per_image = f"{cost.milliseconds_per_image:.2f} ms"
        device = f"{cost.device}, {cost.precision}"
        grid.add_row(Text(cost.display), fit, per_image, device, Text(", ".join(cost.weights) or "none"))
    return grid
