"""Tables and figures of a protocol study: SRCC under each protocol, and what each choice is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agiqa_bench.reporting.build.summaries import METRIC as METRICS
from agiqa_bench.reporting.build.summaries import anchor, as_number, best_two, summary_of, why_undefined
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Column, Figure, Number, Row, Table
from agiqa_bench.studies.effects import CHANGES, Effect, effects
from agiqa_bench.studies.protocols import Protocol, SplitName
from agiqa_bench.studies.results import METRIC, StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

POINTS = 100.0
"""Points of SRCC in an SRCC of 1."""

LEVEL = 0.05
"""A difference is told apart from 0 if its p after Holm's correction is below this."""

_POINTS = Column(
    "points",
    "SRCC points",
    decimals=2,
    interval=True,
    signed=True,
    missing="unknown",
    explanation="mean SRCC after the change less that before it, x 100, with its 95 % interval",
)

SPLIT_TITLES: dict[SplitName, str] = {"grouped": "Grouped split", "image": "Image split"}
_SELECT_TITLES = {"validation": "validation", "last": "last epoch", "test": "test (optimistic)"}


def srcc_table(study: StudyResults, target: str) -> Table:
    """SRCC of each method under each protocol that was begun, mean and standard deviation over repeats."""
    labels = _ordered(study, target)
    protocols, choosing = _distinct(study, labels), _chooses(study, labels)
    numbers = {label: {protocol: _srcc(study, protocol, label, target) for protocol in protocols} for label in labels}
    marks = {
        protocol: best_two({label: numbers[label][protocol].value for label in labels}, METRICS[METRIC])
        for protocol in protocols
    }
    methods = study.rows()
    rows = []
    for label in labels:
        cells = tuple(
            replace(number, marks=marks[protocol].get(label, frozenset()))
            for protocol, number in numbers[label].items()
        )
        rows.append(Row(label, methods[label].display, cells, "", methods[label].diagnostic))
    return Table(
        key=anchor("", "srcc", target),
        title=f"{study.first.title}, {target}: SRCC under each protocol",
        columns=tuple(
            Column(
                f"{protocol.split}_{protocol.select}",
                _SELECT_TITLES[protocol.select] if choosing else "SRCC",
                over=(_split_heading(study, protocol.split),),
                spread=True,
                better="higher",
                missing="–",
                explanation=f"--split {protocol.split} --select {protocol.select}",
            )
            for protocol in protocols
        ),
        rows=tuple(rows),
        notes=(
            "best in bold, second best underlined; ± is the standard deviation over repeats",
            "leaked: share of the test images whose prompt is in the training part; below it, what the epoch is "
            "chosen by",
            *(_unchoosing(study, labels) if choosing else ["no method here chooses an epoch"]),
        ),
    )


def effect_table(study: StudyResults, target: str, found: Sequence[Effect]) -> Table:
    """What each change is worth in points of SRCC, by change and method; `found` comes from `effects`."""
    methods = study.rows()
    labels = _ordered(study, target)
    rows = []
    for change in CHANGES:
        own = [effect for effect in found if effect.change is change]
        for effect in sorted(own, key=lambda one: labels.index(one.label) if one.label else -1):
            cells = (
                _points(effect),
                Number(effect.difference.p, reason=_why_untested(effect)),
                Number(effect.p_adjusted, reason=_why_untested(effect)),
                Number(float(min(effect.difference.n_a, effect.difference.n_b))),
            )
            diagnostic = bool(effect.label) and methods[effect.label].diagnostic
            rows.append(Row(effect.label or "mean", _name(study, effect), cells, change.title, diagnostic))
    return Table(
        key=anchor("", "worth", target),
        title=f"{study.first.title}, {target}: what each choice is worth",
        columns=(
            _POINTS,
            Column("p", "p", decimals=4, p_value=True, missing="–", explanation="two-sided, of the difference being 0"),
            Column("p_holm", "p (Holm)", decimals=4, p_value=True, missing="–", explanation="after Holm's correction"),
            Column("repeats", "Repeats", decimals=0),
        ),
        rows=tuple(rows),
        notes=_effect_notes(found),
    )


def effect_figure(study: StudyResults, target: str, found: Sequence[Effect]) -> Figure | None:
    """The changes from the project's own protocol, drawn with their intervals; None if there is none."""
    shown = [effect for effect in found if effect.change.series]
    if not shown:
        return None
    methods, labels = study.rows(), ["", *_ordered(study, target)]

    def draw() -> Drawing:
        from agiqa_bench.figures.effects import Effect as Dot
        from agiqa_bench.figures.effects import effects as dots

        rows = []
        for effect in sorted(shown, key=lambda one: labels.index(one.label)):
            name = methods[effect.label].display if effect.label else "Mean over methods"
            number = _points(effect)
            rows.append(Dot(name, effect.change.series, number.value, number.low, number.high))
        return dots(rows, "difference in points of SRCC (x 100)")

    return Figure(
        key=anchor("", "worth", target, "figure"),
        title=f"{study.first.title}, {target}: what each choice is worth",
        alt=" ".join(in_words(study, found)) or "Differences of SRCC between protocols, by method.",
        draw=draw,
        caption="Difference of mean SRCC to the project's own protocol (grouped split, epoch chosen on validation), "
        f"x 100, over {counted(study.repeats, 'repeat')}, with 95 % intervals. Methods that choose no epoch differ by "
        "the split alone.",
    )


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
            what = f"{_say(mean)} on average over {len(mean.methods)} methods"
        else:
            listed = [f"{_say(effect)} for {methods[effect.label].display}" for effect in own[:3]]
            listed += [f"{len(own) - 3} more in the table"] if own[3:] else []
            what = "; ".join(listed)
        sentences.append(f"{change.title}: {what}.")
    return tuple(sentences)


def _say(effect: Effect) -> str:
    text = number_text(_points(effect), _POINTS)
    interval = f" (95 % interval {text.low} to {text.high})" if text.low else ""
    told = effect.p_adjusted is None or effect.p_adjusted < LEVEL
    return f"{text.value} points of SRCC{interval}{'' if told else ', not told apart from 0 after correction,'}"


def _points(effect: Effect) -> Number:
    """An effect in points."""
    found = effect.difference
    n = min(found.n_a, found.n_b)
    if found.mean is None:
        return Number(None, n=n, reason="there is no value under one of the two protocols")
    if found.low is None or found.high is None:
        return Number(POINTS * found.mean, n=n)
    return Number(POINTS * found.mean, None, POINTS * found.low, POINTS * found.high, n)


def _why_untested(effect: Effect) -> str:
    if effect.difference.p is not None:
        return ""
    n = min(effect.difference.n_a, effect.difference.n_b)
    if n < 2:
        return f"a test needs 2 repeats with a value under both protocols, there are {n}"
    return "the difference is the same in every repeat: there is no variance to judge it by"


def _srcc(study: StudyResults, protocol: Protocol, label: str, target: str) -> Number:
    method = study.method(protocol, label)
    if method is None or target not in method.targets or not method.cells:
        return Number(None, reason="no repeat is finished under this protocol")
    return as_number(
        summary_of(study.by_protocol[protocol], method, target, METRIC), why_undefined(method, target, METRIC)
    )


def _ordered(study: StudyResults, target: str) -> list[str]:
    """Labels of the methods with a finished cell for a target, the best under the first protocol first."""
    protocol = next(iter(study.by_protocol))
    found = [label for label, row in study.rows().items() if target in row.targets]
    srcc = {label: _srcc(study, protocol, label, target).value for label in found}
    return sorted(found, key=lambda label: -2.0 if (value := srcc[label]) is None else value, reverse=True)


def _split_heading(study: StudyResults, split: SplitName) -> str:
    leaked = study.leaked(split)
    return SPLIT_TITLES[split] if leaked is None else f"{SPLIT_TITLES[split]}, {leaked:.0%} leaked"


def _chooses(study: StudyResults, labels: Sequence[str]) -> bool:
    return any(study.rows()[label].selects_epoch for label in labels)


def _distinct(study: StudyResults, labels: Sequence[str]) -> tuple[Protocol, ...]:
    """The protocols that can differ: where no method chooses an epoch, the selection changes nothing."""
    if _chooses(study, labels):
        return tuple(study.by_protocol)
    by_split = {protocol.split: protocol for protocol in reversed(study.by_protocol)}
    return tuple(protocol for protocol in study.by_protocol if protocol in by_split.values())


def _unchoosing(study: StudyResults, labels: Sequence[str]) -> list[str]:
    names = [row.display for label, row in study.rows().items() if label in labels and not row.selects_epoch]
    if not names:
        return []
    return [f"choose no epoch, so that their numbers do not depend on the selection: {', '.join(names)}"]


def _effect_notes(found: Sequence[Effect]) -> tuple[str, ...]:
    tests = sum(effect.p_adjusted is not None for effect in found if effect.label)
    means = sum(effect.p_adjusted is not None for effect in found if not effect.label)
    notes = [
        "in points of SRCC (x 100), mean over repeats, in brackets the 95 % interval",
        "selections of one split are compared on the same test images: paired by repeats, corrected resampled t-test "
        "(Nadeau and Bengio, 2003); the two splits have other test images: not paired, Welch's t-test with the "
        "corrected variance of each mean, which is rather too careful, because both are splits of one data set",
    ]
    if tests:
        also = f", and for the {counted(means, 'test')} of means" if means else ""
        notes.append(f"p (Holm) is corrected for the {counted(tests, 'test')} of single methods in this table{also}")
    if means:
        notes.append(
            "the mean over methods is taken in each repeat, without baselines that see no pixel and without methods "
            "that lack a repeat: its interval says how far it varies with the splits, for these methods and no others"
        )
    if any(effect.change.paired for effect in found):
        notes.append(
            "choosing on validation holds 1/8 of the training groups back, while the last epoch and the one that is "
            "best on test come from training on all of them: that is part of what the choice is worth; test against "
            "last compares what was trained on the same images"
        )
    return tuple(notes)


def counted(number: int, what: str) -> str:
    """A number of things, in the singular for one.

    >>> counted(1, "test"), counted(2, "test")
    ('1 test', '2 tests')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def tidy_srcc(study: StudyResults) -> Table:
    """SRCC in one long table for CSV: a row per target, method and protocol."""
    texts = ("target", "split", "select")
    columns = [Column(name, name, text=True) for name in texts]
    columns += [Column("leaked_prompts", "leaked_prompts"), Column(METRIC, METRIC, spread=True)]
    rows = []
    for target in study.targets:
        for label in _ordered(study, target):
            method = study.rows()[label]
            for protocol in study.by_protocol:
                numbers = (Number(study.leaked(protocol.split)), _srcc(study, protocol, label, target))
                cells = (target, protocol.split, protocol.select, *numbers)
                rows.append(Row(label, method.display, cells, "", method.diagnostic))
    return Table("study", "SRCC under each protocol", tuple(columns), tuple(rows))


def tidy_effects(study: StudyResults) -> Table:
    """The differences in one long table for CSV: a row per target, change and method or mean."""
    texts = ("target", "change", "from_split", "from_select", "to_split", "to_select", "paired")
    numbers = (_POINTS, Column("p", "p"), Column("p_holm", "p_holm"))
    rows = []
    for target in study.targets:
        for effect in effects(study, target):
            start, end = effect.change.start, effect.change.end
            cells = (target, effect.change.key, start.split, start.select, end.split, end.select)
            paired = "yes" if effect.change.paired else "no"
            tests = (_points(effect), Number(effect.difference.p), Number(effect.p_adjusted))
            rows.append(Row(effect.label or "mean", _name(study, effect), (*cells, paired, *tests)))
    columns = (*(Column(name, name, text=True) for name in texts), *numbers)
    return Table("effects", "What each choice is worth", columns, tuple(rows))


def _name(study: StudyResults, effect: Effect) -> str:
    """Who an effect is about, for people."""
    return study.rows()[effect.label].display if effect.label else f"Mean over {len(effect.methods)} methods"
