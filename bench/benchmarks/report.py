"""What a benchmark measured: a table on the screen and, if asked for, a JSON file that says where it was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Timing:
    """One timed round.

    Attributes:
        rate: Items per second.
        processor: Processor seconds per item, of all threads together; other work on the machine hardly changes it.
    """

    rate: float
    processor: float


@dataclass(frozen=True)
class Measurement:
    """Repeated timings of one thing.

    Attributes:
        name: What was timed, e.g. a method.
        timings: Of each round; none if it could not be timed.
        note: What a reader must know beside the numbers, in one line, e.g. why there are none; empty if nothing.
    """

    name: str
    timings: tuple[Timing, ...] = ()
    note: str = ""

    @property
    def rates(self) -> list[float]:
        """Items per second of each round."""
        return [timing.rate for timing in self.timings]

    @property
    def median(self) -> Timing | None:
        """Median rate and median processor time; None without any."""
        if not self.timings:
            return None
        return Timing(median(self.rates), median(timing.processor for timing in self.timings))


def timed(run: Callable[[], object], items: int) -> Timing:
    """Run something that works on so many items, and time it."""
    started, processor = time.perf_counter(), time.process_time()
    run()
    seconds = time.perf_counter() - started
    return Timing(items / seconds, (time.process_time() - processor) / items)


def show(title: str, unit: str, measurements: Sequence[Measurement]) -> None:
    """Print a table: of each measurement the median, slowest and fastest rate, and the median processor time.

    Args:
        title: Above the table.
        unit: Of the rates, e.g. `images/s`.
        measurements: Its rows, in order.
    """
    from rich.table import Table

    from agiqa_bench.cli.console import wide_console

    table = Table(title=title, title_justify="left")
    table.add_column("Name")
    for column in (unit, "slowest", "fastest", "CPU ms each"):
        table.add_column(column, justify="right")
    table.add_column("Note")
    for found in measurements:
        cells = ["-"] * 4
        if found.median:
            numbers = (found.median.rate, min(found.rates), max(found.rates), 1000 * found.median.processor)
            cells = [f"{number:.1f}" for number in numbers]
        table.add_row(found.name, *cells, found.note)
    wide_console().print(table)


def write(path: Path, benchmark: str, settings: Mapping[str, Any], measurements: Sequence[Measurement]) -> None:
    """Write measurements with their provenance (versions, machine, state of the checkout) as JSON.

    Raises:
        StoreError: The file cannot be written.
    """
    from agiqa_bench.atomic import write_json
    from agiqa_bench.data.parallel import default_workers
    from agiqa_bench.execution.provenance import environment, now

    rows = [asdict(found) | {"median": asdict(found.median) if found.median else None} for found in measurements]
    provenance = {"time": now(), "cores": default_workers(), **environment("cpu")}
    write_json(path, {"benchmark": benchmark, "settings": dict(settings), "results": rows, "provenance": provenance})
