"""Tables and figures of a protocol study: SRCC under each protocol, and what each choice is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agiqa_bench.evaluation.statistics import no_test_reason
from agiqa_bench.reporting.build.summaries import METRIC as METRICS
from agiqa_bench.reporting.build.summaries import anchor, best_of_most, number_of
from agiqa_bench.reporting.digits import counted, share_text
from agiqa_bench.reporting.model import Column, Figure, Number, Row, Table
from agiqa_bench.studies.effects import CHANGES, Effect, effects
from agiqa_bench.studies.protocols import Protocol, SplitName
from agiqa_bench.studies.results import METRIC, StudyResults
from agiqa_bench.studies.words import POINTS, effect_notes, in_words, points, repeats_of, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SPLIT_TITLES: dict[SplitName, str] = {"grouped": "Grouped split", "image": "Image split"}
_SELECT_TITLES = {"refit": "validation, refit", "last": "last epoch", "test": "test (optimistic)"}


def srcc_table(study: StudyResults, target: str) -> Table:
    """SRCC of each method under each protocol that was begun, mean and standard deviation over repeats."""
    labels = _ordered(study, target)
    choosing = any(study.rows()[label].selects_epoch for label in labels)
    protocols = tuple(study.by_protocol) if choosing else one_of_each_split(study)
    numbers = {label: {protocol: _srcc(study, protocol, label, target) for protocol in protocols} for label in labels}
    marks = {
        protocol: best_of_most({label: numbers[label][protocol] for label in labels}, METRICS[METRIC])
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
            "best in bold, second best underlined; "
            + ("± is the standard deviation over repeats" if study.repeats > 1 else "one repeat"),
            "leaked: share of the test images whose prompt, and of those whose group, is in the training part"
            + ("; below it, what the epoch is chosen by" if choosing else ""),
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
            untested = _why_untested(effect)
            cells = (
                points(effect),
                Number(effect.difference.p, reason=untested),
                Number(effect.p_adjusted, reason=untested),
                Number(float(repeats_of(effect))),
            )
            diagnostic = bool(effect.label) and methods[effect.label].diagnostic
            rows.append(Row(effect.label or "mean", _name(study, effect), cells, title_of(study, change), diagnostic))
    return Table(
        key=anchor("", "worth", target),
        title=f"{study.first.title}, {target}: what each choice is worth",
        columns=(
            POINTS,
            Column("p", "p", decimals=4, p_value=True, missing="–", explanation="two-sided, of the difference being 0"),
            Column("p_holm", "p (Holm)", decimals=4, p_value=True, missing="–", explanation="after Holm's correction"),
            Column("repeats", "Repeats", decimals=0),
        ),
        rows=tuple(rows),
        notes=effect_notes(study, found),
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
            number = points(effect)
            rows.append(Dot(name, effect.change.series, number.value, number.low, number.high))
        return dots(rows, "difference in points of SRCC (x 100)")

    return Figure(
        key=anchor("", "worth", target, "figure"),
        title=f"{study.first.title}, {target}: what each choice is worth",
        alt=" ".join(in_words(study, found)) or "Differences of SRCC between protocols, by method.",
        draw=draw,
        caption=_caption(study, shown),
    )


def _caption(study: StudyResults, shown: Sequence[Effect]) -> str:
    drawn = (
        "with 95 % intervals, each of one effect alone: they are not adjusted for their number, so one that leaves out "
        "0 does not yet tell the effect apart from 0; the tests in the table do"
        if any(effect.difference.low is not None for effect in shown)
        else "without intervals, which need two repeats"
    )
    return (
        "Difference of mean SRCC to the project's own protocol (grouped split, epoch chosen on validation, refit), x "
        f"100, over {counted(study.repeats, 'repeat')}, {drawn}. "
        "Methods that choose no epoch differ by the split alone."
    )


def _why_untested(effect: Effect) -> str:
    if effect.change.never_negative and effect.difference.mean is not None:
        return "the last epoch is one of those to choose from, so it cannot be below 0: there is nothing to test"
    return no_test_reason(effect.difference, "protocols")


def _srcc(study: StudyResults, protocol: Protocol, label: str, target: str) -> Number:
    method = study.method(protocol, label)
    if method is None or target not in method.targets or not method.cells:
        return Number(None, reason="no repeat is finished under this protocol")
    return number_of(study.by_protocol[protocol], method, target, METRIC)


def _ordered(study: StudyResults, target: str) -> list[str]:
    """Labels of the methods with a finished cell for a target, the best under the first protocol first.

    Those that lack a repeat stand below the others: a mean over fewer repeats is ahead of nobody.
    """
    protocol = next(iter(study.by_protocol))
    labels = [label for label, row in study.rows().items() if target in row.targets]
    found = {label: _srcc(study, protocol, label, target) for label in labels}
    most = max((number.n for number in found.values()), default=0)

    def place(label: str) -> tuple[bool, float]:
        value = found[label].value
        return found[label].n < most, 2.0 if value is None else -value

    return sorted(found, key=place)


def _split_heading(study: StudyResults, split: SplitName) -> str:
    prompts, groups = study.leaked(split, "prompts"), study.leaked(split, "groups")
    if prompts is None or groups is None:
        return SPLIT_TITLES[split]
    return f"{SPLIT_TITLES[split]}, {share_text(prompts)} and {share_text(groups)} leaked"


def one_of_each_split(study: StudyResults) -> tuple[Protocol, ...]:
    """The protocols that differ where no method chooses an epoch: the first of each split."""
    by_split = {protocol.split: protocol for protocol in reversed(study.by_protocol)}
    return tuple(protocol for protocol in study.by_protocol if protocol in by_split.values())


def _unchoosing(study: StudyResults, labels: Sequence[str]) -> list[str]:
    names = [row.display for label, row in study.rows().items() if label in labels and not row.selects_epoch]
    if not names:
        return []
    return [f"choose no epoch, so that their numbers do not depend on the selection: {', '.join(names)}"]


def tidy_srcc(study: StudyResults) -> Table:
    """SRCC in one long table for CSV: a row per target, method and protocol."""
    texts = ("target", "split", "select")
    columns = [Column(name, name, text=True) for name in texts]
    columns += [Column(name, name) for name in ("leaked_prompts", "leaked_groups")]
    columns.append(Column(METRIC, METRIC, spread=True))
    rows = []
    for target in study.targets:
        for label in _ordered(study, target):
            method = study.rows()[label]
            for protocol in study.by_protocol:
                prompts, groups = study.leaked(protocol.split, "prompts"), study.leaked(protocol.split, "groups")
                numbers = (Number(prompts), Number(groups), _srcc(study, protocol, label, target))
                cells = (target, protocol.split, protocol.select, *numbers)
                rows.append(Row(label, method.display, cells, "", method.diagnostic))
    return Table("study", "SRCC under each protocol", tuple(columns), tuple(rows))


def tidy_effects(study: StudyResults) -> Table:
    """The differences in one long table for CSV: a row per target, change and method or mean."""
    texts = ("target", "change", "from_split", "from_select", "to_split", "to_select", "paired")
    numbers = (POINTS, Column("p", "p"), Column("p_holm", "p_holm"))
    rows = []
    for target in study.targets:
        for effect in effects(study, target):
            start, end = effect.change.start, effect.change.end
            cells = (target, effect.change.key, start.split, start.select, end.split, end.select)
            paired = "yes" if effect.change.paired else "no"
            tests = (points(effect), Number(effect.difference.p), Number(effect.p_adjusted))
            rows.append(Row(effect.label or "mean", _name(study, effect), (*cells, paired, *tests)))
    columns = (*(Column(name, name, text=True) for name in texts), *numbers)
    return Table("effects", "What each choice is worth", columns, tuple(rows))


def _name(study: StudyResults, effect: Effect) -> str:
    """Who an effect is about, for people."""
    return study.rows()[effect.label].display if effect.label else f"Mean over {len(effect.methods)} methods"
