"""Progress of a run: what the runner tells whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Watcher(Protocol):
    """Follows a run; every call is cheap and comes from one thread."""

    def say(self, line: str) -> None:
        """One line for the person who waits, e.g. a download that begins."""

    def start(self, cells: Mapping[str, int]) -> None:
        """The run begins; so many cells of each method are to be computed."""

    def begin(self, label: str, what: str) -> None:
        """A cell or a scoring pass begins."""

    def step(self, done: int, total: int, what: str) -> None:
        """Progress inside of what was begun last."""

    def finish(self, label: str, what: str, seconds: float, *, cells: int, error: str | None) -> None:
        """It ended, well or with an error; `cells` of the plan are thereby done."""


class Silent:
    """A watcher that shows nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""

    def start(self, cells: Mapping[str, int]) -> None:
        """Show nothing."""

    def begin(self, label: str, what: str) -> None:
        """Show nothing."""

    def step(self, done: int, total: int, what: str) -> None:
        """Show nothing."""

    def finish(self, label: str, what: str, seconds: float, *, cells: int, error: str | None) -> None:
        """Show nothing."""
