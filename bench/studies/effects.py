"""What each choice of protocol is worth: differences of SRCC between protocols, with intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agiqa_bench.evaluation.statistics import Difference, Values, holm, paired_difference, unpaired_difference
from agiqa_bench.reporting.results import MethodResults
from agiqa_bench.studies.protocols import DEFAULT, SELECTIONS, SPLITS, Protocol
from agiqa_bench.studies.results import StudyResults


@dataclass(frozen=True)
class Change:
    """A step from one protocol to another.

    Attributes:
        key: Its name in CSV.
        title: What is changed, and what stays.
        start: The protocol that is left.
        end: The one that is gone to.
        series: Its name among those of a figure; empty if it is in the table only.
    """

    key: str
    title: str
    start: Protocol
    end: Protocol
    series: str = ""

    @property
    def paired(self) -> bool:
        """Whether both protocols have the same test images in each repeat."""
        return self.start.split == self.end.split

    @property
    def never_negative(self) -> bool:
        """Whether it can only gain: the last epoch is one of those that are chosen from, of the same training."""
        return self.paired and (self.start.select, self.end.select) == ("last", "test")

    def concerns(self, method: MethodResults) -> bool:
        """Whether a method can differ by it; what chooses no epoch differs by the split alone, and is listed once."""
        return method.selects_epoch or (not self.paired and self.start.select == self.end.select == DEFAULT.select)


_CHOSEN = {"refit": "epoch chosen on validation", "last": "last epoch", "test": "epoch chosen on test"}
_SPLIT = {"grouped": "grouped split", "image": "image-level split"}


def _changes() -> tuple[Change, ...]:
    found = []
    for select in SELECTIONS:
        title, series = "Image-level split instead of grouped", "image-level split"
        if select != DEFAULT.select:
            title, series = f"{title}, {_CHOSEN[select]}", ""
        start, end = Protocol("grouped", select), Protocol("image", select)
        found.append(Change(f"split-{select}", title, start, end, series))
    steps = (
        ("test-refit", "Epoch chosen on test instead of on validation", "refit", "test"),
        ("last-refit", "Last epoch instead of one chosen on validation", "refit", "last"),
        ("test-last", "Epoch chosen on test instead of the last", "last", "test"),
    )
    for key, title, before, after in steps:
        for split in SPLITS:
            start = Protocol(split, before)  # type: ignore[arg-type]
            end = Protocol(split, after)  # type: ignore[arg-type]
            series = _CHOSEN[after] if start == DEFAULT else ""
            found.append(Change(f"{key}-{split}", f"{title}, {_SPLIT[split]}", start, end, series))
    title = "Image-level split and epoch chosen on test, instead of grouped and validation"
    both = "image-level split and epoch chosen on test"
    return (*found, Change("both", title, DEFAULT, Protocol("image", "test"), both))


CHANGES = _changes()
"""Every step that the study looks at: the split, the selection, and both together."""


@dataclass(frozen=True)
class Effect:
    """What a change is worth, for one method or on average.

    Attributes:
        change: The step.
        label: The method's label in the store; empty for the mean over methods.
        difference: SRCC after the step less SRCC before it; of a step that can only gain, the mean alone.
        p_adjusted: p after Holm's correction, for all single methods of a target, or for all means; None if untested.
        methods: Labels of the methods that are in it.
    """

    change: Change
    label: str
    difference: Difference
    p_adjusted: float | None
    methods: tuple[str, ...]


def effects(study: StudyResults, target: str) -> list[Effect]:
    """What every change is worth for a target, for each method that it concerns and on average over methods.

    Selections of one split are judged on the same test images, so their differences are paired by repeats (the
    corrected resampled t-test of Nadeau and Bengio, 2003). Splits have other test images, so theirs are not paired
    (Welch's t-test, each mean with the corrected variance). A step that cannot be negative has its size alone: a test
    of its being 0 would mean nothing, and would weigh on the correction of the others.

    The mean is taken over methods first and over repeats then: its interval says how it varies with the splits, for
    these methods. It leaves out baselines that see no pixel, and methods without a value in every repeat of both
    protocols; it needs two methods.

    Args:
        study: The results.
        target: One of the study's targets.

    Returns:
        By change, in the order of `CHANGES`; within each by method in the order of the results, the mean last. A
        change whose protocols were not both begun is left out.
    """
    rows = {label: row for label, row in study.rows().items() if target in row.targets}
    single, means = [], []
    for change in CHANGES:
        if change.start not in study.by_protocol or change.end not in study.by_protocol:
            continue
        values = {
            label: (study.values(change.end, label, target), study.values(change.start, label, target))
            for label, row in rows.items()
            if change.concerns(row)
        }
        for label, (after, before) in values.items():
            single.append(Effect(change, label, _difference(study, change, after, before), None, (label,)))
        whole = [label for label, pair in values.items() if not rows[label].diagnostic and all(map(_is_complete, pair))]
        if len(whole) >= 2:
            after, before = (_mean([values[label][side] for label in whole]) for side in (0, 1))
            means.append(Effect(change, "", _difference(study, change, after, before), None, tuple(whole)))
    found = [*_adjusted(single), *_adjusted(means)]
    return [effect for change in CHANGES for effect in found if effect.change is change]


def _difference(study: StudyResults, change: Change, after: Values, before: Values) -> Difference:
    if change.paired:
        found = paired_difference(after, before, *study.sizes(change.end))
        if change.never_negative:
            return Difference(found.mean, None, None, None, None, None, found.n_a, found.n_b)
        return found
    return unpaired_difference(after, before, study.sizes(change.end), study.sizes(change.start))


def _is_complete(values: Values) -> bool:
    return all(value is not None for value in values)


def _mean(values: Sequence[Values]) -> Values:
    """The mean over methods, per repeat."""
    means: list[float] = np.mean(np.asarray(values, dtype=np.float64), axis=0).tolist()
    return means


def _adjusted(found: Sequence[Effect]) -> list[Effect]:
    """The same with Holm's correction over all that have a test."""
    tested = [effect.difference.p for effect in found if effect.difference.p is not None]
    adjusted = iter(holm(tested))
    return [effect if effect.difference.p is None else replace(effect, p_adjusted=next(adjusted)) for effect in found]
