"""Tables of the benchmark: what one part found, on the screen, and all that is stored, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agiqa_bench.benchmarks.model import PartResult
from agiqa_bench.benchmarks.parts import PARTS
from agiqa_bench.benchmarks.stored import TOLERANCE, Change, Conditions, change_of, same_work

if TYPE_CHECKING:
    from rich.table import Table

_MISSING = "-"


def terminal_table(part: PartResult, stored: Mapping[str, Any]) -> Table:
    """What a part found as a table for the screen, beside what is stored; one row per entry."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{part.name}: {part.title}"), title_justify="left")
    table.add_column("Name", overflow="fold")
    for title in ("Median", "Unit", "Lowest", "Highest", "Before"):
        table.add_column(title, justify="left" if title == "Unit" else "right")
    table.add_column("Note", overflow="fold")
    for entry in part.entries:
        limits = [min(entry.values), max(entry.values)] if entry.values else [None, None]
        cells = [shown(entry.median), entry.unit, *map(shown, limits), _before(change_of(entry, stored, part))]
        table.add_row(*map(Text, (entry.name, *cells, _beside(entry.work, entry.note))))
    return table


def warnings(part: PartResult, stored: Mapping[str, Any]) -> list[str]:
    """One line for each entry that got worse; see `Change.worse`."""
    lines = []
    for entry in part.entries:
        change = change_of(entry, stored, part)
        if change is not None and change.worse:
            share = "" if change.share is None else f" ({change.share:+.0%})"
            since = f"{change.when}{f' at commit {change.commit}' if change.commit else ''}"
            lines.append(
                f"worse than on {since}: {part.name}: {entry.name}: "
                f"{shown(change.before)} -> {shown(change.now)} {entry.unit}{share}"
            )
    return lines


def _beside(work: str, note: str) -> str:
    return "; ".join(text for text in (work, note) if text)


def _before(change: Change | None) -> str:
    if change is None:
        return _MISSING
    return f"{shown(change.before)}{' (worse)' if change.worse else ' (better)' if change.better else ''}"


def shown(value: float | None) -> str:
    """A number with three digits that count, or more before the point; a dash for None.

    >>> shown(0.34), shown(4.5), shown(1234.5), shown(0.0), shown(None)
    ('0.340', '4.50', '1234', '0.00', '-')
    """
    if value is None:
        return _MISSING
    size = abs(value)
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1 or size == 0:
        return f"{value:.2f}"
    return f"{value:#.3g}"


def to_markdown(stored: Mapping[str, Any]) -> str:
    """All that is stored for one kind of machine and settings, one table per part, with where it comes from."""
    lines = [
        f"# Speed: {Conditions(**stored['conditions']).words}",
        "",
        "Written by `nox -s benchmark`: medians over rounds, with the lowest and the highest value. *Before* is the "
        "result stored before that of the same work, on the same model of processor, with as many cores and the same "
        "settings. `agiqa-bench benchmark` warns of what "
        f"got worse by more than {TOLERANCE:.0%} and by more than the values spread.",
    ]
    parts = stored["parts"]
    for name in [*(name for name in PARTS if name in parts), *(name for name in parts if name not in PARTS)]:
        part = parts[name]
        lines += ["", f"## {name}", "", f"{part['title']}. {_origin(part['provenance'])}", ""]
        lines += ["| | before | now | lowest | highest | unit | note |", "|---|---:|---:|---:|---:|---|---|"]
        for title in part["order"]:
            lines.append(_row(title, part["entries"][title]))
    return "\n".join(lines) + "\n"


def _row(title: str, entry: Mapping[str, Any]) -> str:
    results = entry["results"] if entry["measured"] else []
    last = results[-1] if results else {}
    before = results[-2]["median"] if len(results) > 1 and same_work(results[-2], last) else None
    numbers = [shown(before), *(shown(last.get(key)) for key in ("median", "lowest", "highest"))]
    cells = [title, *numbers, entry["unit"], _beside(entry["work"], entry["note"])]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _origin(provenance: Mapping[str, Any]) -> str:
    git = provenance.get("git")
    commit = f" at commit {git['commit'][:7]}{' with local changes' if git['changed'] else ''}" if git else ""
    libraries = ", ".join(f"{name} {version}" for name, version in provenance["libraries"].items())
    return f"Measured on {provenance['time'][:10]}{commit}; Python {provenance['python']}, {libraries}."
