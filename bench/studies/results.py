"""What a protocol study has found: a store's results under each of its protocols."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from agiqa_bench.errors import StoreError
from agiqa_bench.evaluation.statistics import Values
from agiqa_bench.execution.store import Store
from agiqa_bench.reporting.build.settings import other_settings, settings_recorded
from agiqa_bench.reporting.build.summaries import mean_sizes, values_of
from agiqa_bench.reporting.results import MethodResults, RunResults, read_protocols
from agiqa_bench.studies.protocols import PROTOCOLS, SPLITS, Protocol, SplitName

METRIC = "srcc"
"""What a choice of protocol is measured by."""

_SHARED = ("dataset", "annotations", "seed", "repeats")
"""What agrees in all protocols of one study, besides the images."""


@dataclass(frozen=True)
class StudyResults:
    """Results under the protocols of a study.

    Attributes:
        by_protocol: In the order of `PROTOCOLS`, as far as they were begun; at least one. A method has the same
            settings in all of them.
        unlike: (method, why) of the rows that were left out for that.
    """

    by_protocol: dict[Protocol, RunResults]
    unlike: tuple[tuple[str, str], ...] = ()

    @property
    def first(self) -> RunResults:
        """Results that name what all protocols share: the project's own, if they are there."""
        return next(iter(self.by_protocol.values()))

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of which at least one cell is finished, in the data set's order."""
        finished = {target for row in self.rows().values() for target in row.targets if row.cells}
        return tuple(target for target in self.first.targets if target in finished)

    @property
    def repeats(self) -> int:
        """Number of planned repeats under each protocol."""
        return int(self.first.protocol["repeats"])

    def rows(self) -> dict[str, MethodResults]:
        """Each method by its label, as it stands under the first protocol in which it has a finished cell."""
        found: dict[str, MethodResults] = {}
        for results in self.by_protocol.values():
            for method in results.methods:
                if method.cells:
                    found.setdefault(method.label, method)
        return found

    @property
    def chooses(self) -> bool:
        """Whether any method chooses an epoch, so that the selection can matter."""
        return any(row.selects_epoch for row in self.rows().values())

    @property
    def unchecked(self) -> list[str]:
        """The methods of which an older store does not say how they were computed."""
        finished = [row for results in self.by_protocol.values() for row in results.methods if row.cells]
        return list(dict.fromkeys(row.display for row in finished if not settings_recorded(row)))

    def method(self, protocol: Protocol, label: str) -> MethodResults | None:
        """A method under a protocol; None if it was not asked for there."""
        methods = self.by_protocol[protocol].methods if protocol in self.by_protocol else []
        return next((method for method in methods if method.label == label), None)

    def values(self, protocol: Protocol, label: str, target: str) -> Values:
        """SRCC per planned repeat, in [-1, 1]; None where it is not defined or not finished."""
        method = self.method(protocol, label)
        if method is None or target not in method.targets:
            return [None] * self.repeats
        return values_of(self.by_protocol[protocol], method, target, METRIC)

    def sizes(self, protocol: Protocol) -> tuple[float, float]:
        """(test rows, rows to learn from) per repeat under a protocol, averaged."""
        return mean_sizes(self.by_protocol[protocol])

    def leaked(self, split: SplitName, what: Literal["prompts", "groups"]) -> float | None:
        """Share of the test images, in [0, 1], whose prompt or group is in the training part; None: nothing says so."""
        for protocol, results in self.by_protocol.items():
            if protocol.split == split:
                return float(results.protocol[f"leaked_{what}"])
        return None


def read_study(store: Store) -> StudyResults:
    """The results of the latest study on a store; nothing is computed.

    Of each protocol the latest results count that agree with the latest command in data set, annotations, images,
    seed and number of repeats. A method that ran with other settings under some protocols, by another command on the
    folder, is left out of those whose settings are not the ones of most protocols, or of the latest among equals.

    Raises:
        StoreError: The folder holds no run, or none under a protocol of the study.
    """
    stored = read_protocols(store)[::-1]
    found: dict[Protocol, RunResults] = {}
    images: str | None = None
    for results in stored:
        if any(results.protocol.get(key) != stored[0].protocol.get(key) for key in _SHARED):
            continue
        # Results of methods that look at no image say nothing about them.
        if images is not None and results.images not in (None, images):
            continue
        images = images or results.images
        protocol = _protocol(results)
        if protocol is not None:
            found.setdefault(protocol, results)
    if not found:
        known = " and ".join(SPLITS)
        raise StoreError(
            f"{store.root}: holds no results under {known} splits; run 'agiqa-bench protocol-study' with this --output"
        )
    alike, unlike = _alike(found)
    return StudyResults({protocol: alike[protocol] for protocol in PROTOCOLS if protocol in alike}, tuple(unlike))


def _alike(found: dict[Protocol, RunResults]) -> tuple[dict[Protocol, RunResults], list[tuple[str, str]]]:
    """The results, latest first, with each method under one group of settings only, and what was left out."""
    groups: dict[str, list[list[tuple[Protocol, MethodResults]]]] = {}
    for protocol, results in found.items():
        for method in filter(_has_cells, results.methods):
            own = groups.setdefault(method.label, [])
            group = next((group for group in own if not _unlike(group[0][1], method)), None)
            if group is None:
                own.append([(protocol, method)])
            else:
                group.append((protocol, method))
    out: set[tuple[Protocol, str]] = set()
    reasons = []
    for label, own in groups.items():
        kept = max(own, key=len)  # the first of equals, which has the latest
        for group in own:
            if group is kept:
                continue
            out |= {(protocol, label) for protocol, _ in group}
            where = " and ".join(f"{protocol.split}/{protocol.select}" for protocol, _ in group)
            why = _unlike(kept[0][1], group[0][1])
            reason = f"under {where} it ran with other {why} than under the rest; the study's command computes it again"
            reasons.append((group[0][1].display, reason))
    kept_results = {
        protocol: replace(results, methods=[row for row in results.methods if (protocol, row.label) not in out])
        for protocol, results in found.items()
    }
    return kept_results, reasons


def _has_cells(method: MethodResults) -> bool:
    return bool(method.cells)


def _unlike(one: MethodResults, other: MethodResults) -> str:
    """In what two rows differ so that no difference between protocols can be told from it; empty if in nothing."""
    return ", ".join(filter(None, (other_settings(one, other), "targets" if one.targets != other.targets else "")))


def _protocol(results: RunResults) -> Protocol | None:
    named = (results.protocol["split"], results.protocol["select"])
    return next((protocol for protocol in PROTOCOLS if (protocol.split, protocol.select) == named), None)
