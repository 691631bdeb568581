"""Progress of a run on a terminal: bars where somebody looks, one line per finished task elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from rich.progress import TaskID

    from agiqa_bench.execution.progress import Watcher


class TerminalWatcher:
    """Shows the run on a console: overall progress, the current cell, and its epochs or images."""

    def __init__(self, console: Console) -> None:
        """Prepare; nothing is drawn before `with`."""
        self._console = console
        # The counters and times come first: what is left of a narrow terminal goes to the label.
        label = Column(max_width=max(16, console.width - 56), no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=label),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._left: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._cell = ""
        self._failed: set[str] = set()
        self._overall: TaskID | None = None
        self._inner: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """One line above the bars."""
        self._console.print(one_line(line), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def start(self, cells: Mapping[str, int]) -> None:
        """Open the overall bar."""
        self._left = dict(cells)
        self._overall = self._progress.add_task("cells", total=sum(cells.values()))
        self._inner = self._progress.add_task("", total=None, visible=False)

    def begin(self, label: str, what: str) -> None:
        """Name the cell that runs now."""
        self._cell = f"{label}, {what}"
        if self._inner is not None:
            self._progress.reset(self._inner, description=self._cell, total=None, visible=True)

    def step(self, done: int, total: int, what: str) -> None:
        """Move the cell's own bar: epochs, images, or what else it counts."""
        if self._inner is not None:
            self._progress.update(self._inner, completed=done, total=total, description=f"{self._cell}: {what}")

    def finish(self, label: str, what: str, seconds: float, *, cells: int, error: str | None) -> None:
        """Move the overall bar; without a terminal, print a line when a method is through."""
        if self._overall is not None:
            self._progress.advance(self._overall, cells)
        self._left[label] = self._left.get(label, cells) - cells
        self._seconds[label] = self._seconds.get(label, 0.0) + seconds
        if error is not None and label not in self._failed:
            self._failed.add(label)
            self.say(f"{label}, {what}: failed after {seconds:.1f} s")
        elif error is None and self._left[label] <= 0 and not self._console.is_terminal:
            self.say(f"{label}: done after {self._seconds[label]:.1f} s")


class _Forward(logging.Handler):
    def __init__(self, watcher: Watcher) -> None:
        super().__init__(logging.INFO)
        self._watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        self._watcher.say(record.getMessage())


def forward_log(watcher: Watcher) -> None:
    """Show what the package logs (downloads, mostly) as lines of the watcher."""
    logger = logging.getLogger("agiqa_bench")
    logger.handlers[:] = [_Forward(watcher)]
    logger.setLevel(logging.INFO)
    # open_clip puts a handler on the root logger, which would print every line a second time.
    logger.propagate = False
