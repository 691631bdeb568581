"""Families: many methods that are made by name, such as `pyiqa:musiq` and all other metrics of that library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from agiqa_bench.method import Method

SEPARATOR = ":"
"""Between the name of a family and that of its member."""


class Family(ABC):
    """Answers for every name behind its own and a colon.

    Distributions register a family's class in the entry-point group `agiqa_bench.method_families`. The members are
    apart from the registered methods: they are listed, and run, only where the family or one of them is asked for.
    Importing the family's module and asking for `members` and `describe` must be cheap (no torch), because lists do.

    Class data are literals, as those of a method:

    Attributes:
        name: What stands before the colon.
        title: Name in lists.
        summary: One line for `methods list`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str] = ""

    @abstractmethod
    def members(self) -> Sequence[str]:
        """Names of the members, without that of the family, in the order of lists."""

    @abstractmethod
    def load(self, member: str) -> type[Method]:
        """Make the class of a member; its `name` is the full one, `family:member`.

        Called once for each member of a process. Whatever must be at hand to compute is the matter of the class's
        `skip` and `weights`, not of this.
        """

    def describe(self, member: str) -> Mapping[str, str]:  # noqa: ARG002 - most families have nothing to add
        """What a list of the family shows of a member, by the title of the column."""
        return {}
