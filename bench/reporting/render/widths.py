"""Which columns of a table stand beside each other on a terminal, and how wide each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
"""Blanks between columns."""

MOST_PARTS = 3
"""A table that needs more parts, one below the other, is for another rendering; its last columns are left out."""


@dataclass(frozen=True)
class Width:
    """How many columns of the terminal a column of the table takes.

    Attributes:
        least: With its texts folded.
        needed: Without folding anything; at least `least`.
    """

    least: int
    needed: int


def lacking(names: Width, columns: Sequence[Width], room: int) -> int:
    """How many columns of the terminal are wanting to `room` if each column has its least width; 0 if none is."""
    return max(0, names.least + sum(column.least + GAP for column in columns) - room)


def parts(names: Width, columns: Sequence[Width], room: int) -> list[range]:
    """Positions of the columns that stand beside each other, part by part, each as full as it can be.

    There are at most `MOST_PARTS`; each has at least one column, if there is any.

    >>> parts(Width(4, 4), [Width(6, 6)] * 3, 20)
    [range(0, 2), range(2, 3)]
    """
    found: list[range] = []
    first = 0
    while len(found) < MOST_PARTS and (first < len(columns) or not found):
        last = min(first + 1, len(columns))
        while last < len(columns) and not lacking(names, columns[first : last + 1], room):
            last += 1
        found.append(range(first, last))
        first = last
    return found


def shared_out(columns: Sequence[Width], room: int) -> list[int]:
    """The width of each column where `room`, without gaps, is to be filled: the most folded ones get more first.

    >>> shared_out([Width(4, 8), Width(4, 16), Width(3, 3)], 17)
    [5, 9, 3]
    """
    widths = [column.least for column in columns]
    for _ in range(room - sum(widths)):
        folded = [place for place, column in enumerate(columns) if widths[place] < column.needed]
        if not folded:
            break
        widths[max(folded, key=lambda place: columns[place].needed / widths[place])] += 1
    return widths
