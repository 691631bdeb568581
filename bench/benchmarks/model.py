"""What benchmarks are asked for and what they find: plain data that every part makes and every output shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from agiqa_bench.method import Precision

Scale = Literal["tiny", "full", "paper"]
Better = Literal["lower", "higher", "neither"]
Say = Callable[[str], None]
"""Told in a line what is being measured now."""


@dataclass(frozen=True)
class Settings:
    """What a part of the benchmark is asked for.

    Attributes:
        scale: `tiny`: the demo CLIPs and small pictures, seconds in all, to see that it runs; `full`: full-size shapes
            with seeded weights on a few pictures, minutes on a CPU; `paper`: as many pictures as AGIQA-3K has, for a
            GPU.
        rounds: Times that everything is measured, after a warm-up where one is needed.
        device: torch device string.
        precision: Arithmetic for networks.
        methods: Names of the methods to measure; empty means all that the part is about.
    """

    scale: Scale = "full"
    rounds: int = 3
    device: str = "cpu"
    precision: Precision = "float32"
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One thing that was measured, in every round.

    Attributes:
        name: What, unique within its part, e.g. `clip_agiqa_tang: ten repeats, fast`.
        unit: Of the values, e.g. `s`, `images/s`, `MiB`, `%`; `x` for a ratio of two others, taken round by round.
        values: One per round; none if it could not be measured.
        better: Which way is better; `neither` is never compared with an earlier result.
        note: What a reader must know beside the numbers, in one line.
        work: What of the work is not the same for the whole part, such as the weights that a method computes with, in
            one line; an earlier result of other work is not compared.
    """

    name: str
    unit: str
    values: tuple[float, ...] = ()
    better: Better = "lower"
    note: str = ""
    work: str = ""

    @property
    def median(self) -> float | None:
        """The middle one of the values; None without any."""
        return median(self.values) if self.values else None


@dataclass(frozen=True)
class PartResult:
    """What one part of the benchmark found.

    Attributes:
        name: Of the part, e.g. `decode`.
        title: What was measured under which conditions, in one line; an earlier result under another title is not
            compared.
        entries: In the order in which they are shown.
    """

    name: str
    title: str
    entries: Sequence[Entry] = field(default_factory=tuple)
