"""The protocols of the protocol study: two ways to split and three ways to choose an epoch, on one data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from agiqa_bench.errors import ConfigError
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest

SplitName = Literal["grouped", "image"]
SelectionName = Literal["refit", "last", "test"]

SPLITS: tuple[SplitName, ...] = ("grouped", "image")
SELECTIONS: tuple[SelectionName, ...] = ("refit", "last", "test")
"""Those under which a method learns from the same images, so not `validation`, which holds some of them back."""


@dataclass(frozen=True)
class Protocol:
    """A way to split and a way to choose the epoch, as `--split` and `--select` name them."""

    split: SplitName
    select: SelectionName


PROTOCOLS = tuple(Protocol(split, select) for split in SPLITS for select in SELECTIONS)
"""All of the study, the project's own first."""

DEFAULT = PROTOCOLS[0]
"""The project's own protocol, which the others are compared with."""

_VARIED = {"split": "--split", "splits_file": "--splits", "select": "--select"}


def study_requests(request: RunRequest) -> dict[Protocol, RunRequest]:
    """One request per protocol, alike but for split and selection.

    Args:
        request: What is asked for under each; it must not say how to split or to choose the epoch.

    Raises:
        ConfigError: It does, in a configuration file for example, or it asks for two data sets.
    """
    given = sorted(option for key, option in _VARIED.items() if key in request.model_fields_set)
    if given:
        raise ConfigError(f"a protocol study varies split and selection itself: leave out {' and '.join(given)}")
    if request.crosses:
        raise ConfigError("a protocol study has one data set: give --dataset NAME instead of two to train and test on")
    return {
        protocol: request.model_copy(update={"split": protocol.split, "select": protocol.select})
        for protocol in PROTOCOLS
    }


def plan_study(request: RunRequest, say: Callable[[str], None] = lambda line: None) -> dict[Protocol, Plan]:  # noqa: ARG005
    """One plan per protocol, to be run one after the other on one store.

    Args:
        request: See `study_requests`.
        say: Gets one line before anything is downloaded.

    Raises:
        ConfigError: See `study_requests`.
        AgiqaError: The request cannot be met; see `make_plan`.
    """
    return {protocol: make_plan(own, say) for protocol, own in study_requests(request).items()}


def missing_cells(plans: Mapping[Protocol, Plan]) -> dict[str, dict[Protocol, int]]:
    """How many cells each protocol adds to what is to be computed, by row; `Plan.find_results` was called on each.

    A cell that protocols share is counted once, for the first: what chooses no epoch does not depend on the selection.
    """
    seen: set[tuple[str, int, str]] = set()
    counts: dict[str, dict[Protocol, int]] = {}
    for protocol, plan in plans.items():
        for method in plan.methods:
            missing = {(method.label, cell.repeat, cell.key) for cell in method.missing} - seen
            seen |= missing
            counts.setdefault(method.label, {})[protocol] = len(missing)
    return counts


def shared_cells(plans: Mapping[Protocol, Plan]) -> int:
    """How many cells of the protocols are also another one's, counted beyond the first."""
    cells = [
        (method.label, cell.repeat, cell.key)
        for plan in plans.values()
        for method in plan.methods
        for cell in method.cells
    ]
    return len(cells) - len(set(cells))
