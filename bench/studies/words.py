"""What the effects of a protocol study come to, in sentences and in the notes below its table."""

from __future__ import annotations

from collections.abc import Sequence

from agiqa_bench.evaluation.ranking import ALPHA
from agiqa_bench.reporting.digits import counted, number_text
from agiqa_bench.reporting.model import Column, Number
from agiqa_bench.studies.effects import CHANGES, Change, Effect
from agiqa_bench.studies.protocols import DEFAULT
from agiqa_bench.studies.results import StudyResults

_IN_ONE = 100.0
"""Points of SRCC in an SRCC of 1."""

POINTS = Column(
    "points",
    "SRCC points",
    decimals=2,
    interval=True,
    signed=True,
    missing="unknown",
    explanation="mean SRCC after the change less that before it, x 100, with its 95 % interval",
)
"""The column of effects, wherever they are shown."""


def points(effect: Effect) -> Number:
    """An effect in points of SRCC, for `POINTS`."""
    found, n = effect.difference, repeats_of(effect)
    if found.mean is None:
        return Number(None, n=n, reason="there is no value under one of the two protocols")
    if found.low is None or found.high is None:
        return Number(_IN_ONE * found.mean, n=n)
    return Number(_IN_ONE * found.mean, None, _IN_ONE * found.low, _IN_ONE * found.high, n)


def repeats_of(effect: Effect) -> int:
    """The number of repeats that an effect rests on."""
    return min(effect.difference.n_a, effect.difference.n_b)


def title_of(study: StudyResults, change: Change) -> str:
    """What a change is called; of another split alone, what the epoch is chosen by, where there is a choice."""
    split_alone = change.start == DEFAULT and change.end.select == DEFAULT.select
    return f"{change.title}, epoch chosen on validation" if split_alone and study.chooses else change.title


def in_words(study: StudyResults, found: Sequence[Effect]) -> tuple[str, ...]:
    """What the steps from the project's own protocol are worth, one sentence each."""
    methods = study.rows()
    sentences = []
    for change in CHANGES:
        own = [effect for effect in found if effect.change is change and effect.difference.mean is not None]
        if not change.series or not own:
            continue
        mean = next((effect for effect in own if not effect.label), None)
        if mean is not None:
            own, what = [mean], f"{_say(mean)} on average over {len(mean.methods)} methods"
        else:
            listed = [f"{_say(effect)} for {methods[effect.label].display}" for effect in own[:3]]
            listed += [f"{len(own) - 3} more in the table"] if own[3:] else []
            what = "; ".join(listed)
        sentences.append(f"{title_of(study, change)} ({_rests_on(own)}): {what}.")
    return tuple(sentences)


def _rests_on(found: Sequence[Effect]) -> str:
    """On how many repeats effects rest, in words."""
    fewest, most = min(map(repeats_of, found)), max(map(repeats_of, found))
    if most == 1:
        return "one repeat: no interval, no test"
    return counted(most, "repeat") if fewest == most else f"{fewest} to {most} repeats"


def _say(effect: Effect) -> str:
    text = number_text(points(effect), POINTS)
    remarks = [f"95 % interval of this effect alone {text.low} to {text.high}"] if text.low else []
    if effect.p_adjusted is not None and effect.p_adjusted >= ALPHA:
        remarks.append("not told apart from 0 after correction")
    told = f" ({'; '.join(remarks)})" if remarks else ""
    return f"{text.value} points of SRCC{told}"


def effect_notes(study: StudyResults, found: Sequence[Effect]) -> tuple[str, ...]:
    """How effects were computed and are to be read, as far as it concerns those that were found."""
    if not any(effect.difference.low is not None for effect in found):
        none = "in points of SRCC (x 100); no intervals and no tests, which need two repeats"
        return (none, *_blind_notes(study, found))
    notes = [
        "in points of SRCC (x 100), mean over repeats, in brackets the 95 % interval of each effect alone: intervals "
        "are not adjusted for their number, p (Holm) is, so an interval without 0 can stand beside a p (Holm) that "
        f"does not tell the effect apart from 0 (at {ALPHA:.0%})",
        *_test_notes(found),
    ]
    tests = sum(effect.p_adjusted is not None for effect in found if effect.label)
    means = sum(effect.p_adjusted is not None for effect in found if not effect.label)
    if tests:
        also = f", and for the {counted(means, 'test')} of means" if means else ""
        notes.append(f"p (Holm) is corrected for the {counted(tests, 'test')} of single methods in this table{also}")
    if means:
        notes.append(
            "the mean over methods is taken in each repeat, without baselines that see no pixel and without methods "
            "that lack a repeat: its interval says how far it varies with the splits, for these methods and no others"
        )
    return (*notes, *_blind_notes(study, found))


def _test_notes(found: Sequence[Effect]) -> list[str]:
    """What is compared with what, and how it is tested."""
    notes = []
    if any(effect.change.paired for effect in found):
        notes += [
            "selections of one split are compared on the same test images: paired by repeats, corrected resampled "
            "t-test (Nadeau and Bengio, 2003)",
            "under each selection a method has learnt from the same images: an epoch that was chosen on validation is "
            "followed by a second training for as many epochs on training and validation part (--select refit)",
        ]
    if any(effect.change.never_negative for effect in found):
        notes.append(
            "epoch chosen on test instead of the last: the last is one of those to choose from, so this cannot be "
            "below 0 (but for a method that chooses by several ratings or metrics together), and has no test"
        )
    if not all(effect.change.paired for effect in found):
        notes.append(
            "the two splits have other test images: not paired, Welch's t-test with the corrected variance of each "
            "mean, which is rather too careful, because both are splits of one data set"
        )
    return notes


def _blind_notes(study: StudyResults, found: Sequence[Effect]) -> list[str]:
    """How knowing the prompt can cost a baseline something, if it is seen to."""
    rows, losing = study.rows(), []
    for effect in found:
        told = effect.p_adjusted is not None and effect.p_adjusted < ALPHA and (effect.difference.mean or 0) < 0
        if effect.label and rows[effect.label].diagnostic and not effect.change.paired and told:
            losing.append(rows[effect.label].display)
    if not losing:
        return []
    return [
        f"{', '.join(dict.fromkeys(losing))}: sees no pixel and loses by the image-level split. That can be so where "
        "what is learnt of a prompt is the mean of its images: with the others in the training part it is their mean "
        "without the tested image itself, which is pushed away from its rating, as leave-one-out means always are: the "
        "better an image, the lower the mean of the others"
    ]
