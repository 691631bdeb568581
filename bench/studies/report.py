"""A protocol study as a report: SRCC under each protocol, what each choice is worth, and a figure of it."""

from __future__ import annotations

from agiqa_bench.reporting.build.notes import not_refitted, warnings
from agiqa_bench.reporting.build.summaries import anchor
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.model import Chapter, Report, Section, Table
from agiqa_bench.studies.effects import effects
from agiqa_bench.studies.protocols import DEFAULT, PROTOCOLS
from agiqa_bench.studies.results import StudyResults
from agiqa_bench.studies.tables import SPLIT_TITLES, effect_figure, effect_table, one_of_each_split, srcc_table
from agiqa_bench.studies.words import in_words


def study_report(study: StudyResults) -> Report:
    """Everything about a study: one chapter with a section per target."""
    import agiqa_bench
    from agiqa_bench.reporting.bibliography import references

    results = study.first
    citations = [str(plan.get("dataset_citation", "")) for plan in results.plans]
    citations += [method.citation for method in study.rows().values()]
    chapter = Chapter(
        key="protocol-study",
        title=f"{results.title}: what a choice of protocol is worth",
        sections=tuple(_section(study, target) for target in study.targets),
        facts=_facts(study),
        warnings=_warnings(study),
        notes=_notes(study),
    )
    return Report(
        title=f"Protocol study on {results.title}",
        chapters=(chapter,),
        facts=(
            ("agiqa-bench", agiqa_bench.__version__),
            ("Runs", ", ".join(store.name for store in results.stores)),
        ),
        references=references(filter(None, citations)),
    )


def _section(study: StudyResults, target: str) -> Section:
    found = effects(study, target)
    blocks = (srcc_table(study, target), effect_figure(study, target, found), effect_table(study, target, found))
    return Section(
        key=anchor("", "target", target),
        title=f"Target: {target}",
        blocks=tuple(
            block for block in blocks if block is not None and not (isinstance(block, Table) and not block.rows)
        ),
        text=in_words(study, found),
    )


def _facts(study: StudyResults) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Data set", study.first.title),
        ("Design", f"{counted(study.repeats, 'repeat')} under {_protocols(study)}"),
    ]
    for split, title in SPLIT_TITLES.items():
        prompts, groups = study.leaked(split, "prompts"), study.leaked(split, "groups")
        if prompts is None or groups is None:
            continue
        test, fit = study.sizes(next(protocol for protocol in study.by_protocol if protocol.split == split))
        facts.append((f"{title}: images to learn from, to test", f"{fit:,.0f}, {test:,.0f}"))
        facts.append((f"{title}: test images whose prompt is in the training part", f"{prompts:.1%}"))
        facts.append((f"{title}: test images whose group is in the training part", f"{groups:.1%}"))
    facts.append(("Seed", str(study.first.protocol["seed"])))
    return tuple(facts)


def _protocols(study: StudyResults) -> str:
    if study.chooses:
        return "one protocol" if len(study.by_protocol) == 1 else f"each of {len(study.by_protocol)} protocols"
    splits = len(one_of_each_split(study))
    return f"{'each of 2 splits' if splits > 1 else 'one split'}; no method here chooses an epoch"


def _warnings(study: StudyResults) -> tuple[str, ...]:
    found = list(warnings(study.by_protocol[DEFAULT])) if DEFAULT in study.by_protocol else []
    waiting = [f"{p.split}/{p.select}" for p in PROTOCOLS if p not in study.by_protocol]
    if waiting:
        found.append(f"not begun yet, the same command goes on: {', '.join(waiting)}")
    if study.leaked("image", "prompts") == study.leaked("image", "groups") == 0:
        found.append("no prompt has two images in different parts: both splits keep prompts apart, and cannot differ")
    if study.repeats < 2:
        found.append("one repeat: there are no intervals and no tests; ask for more with --repeats")
    return tuple(found)


def _notes(study: StudyResults) -> tuple[str, ...]:
    found = [
        "the grouped split keeps all images of a group (a prompt, or several) on one side, the image-level split draws "
        "images at random: it can be optimistic for a method that profits from knowing the prompt; choosing the epoch "
        "on the test part is optimistic for every method that chooses one; both are common in published code",
        "seed and number of repeats are the same under every protocol; so are, for each method, its settings, weights, "
        "precision and batch size" + (", as far as they are recorded" if study.unchecked else ""),
    ]
    if study.unchecked:
        found.append(f"this store does not say how they were computed: {', '.join(study.unchecked)}")
    rows = study.rows().values()
    blind = [row.display for row in rows if row.diagnostic]
    if blind:
        found.append(f"sees no pixel, there to show what a number is worth: {', '.join(blind)}")
    for preset in dict.fromkeys(row.preset for row in rows if row.preset):
        names = [row.display for row in rows if row.preset == preset]
        found.append(f"with the settings of the {preset} preset, not those of the paper: {', '.join(names)}")
    for note in dict.fromkeys(row.note for row in rows if row.note):
        names = [row.display for row in rows if row.note == note]
        found.append(f"{', '.join(names)}: {note}")
    found += dict.fromkeys(note for results in study.by_protocol.values() for note in not_refitted(results))
    earlier = dict.fromkeys(name for results in study.by_protocol.values() for name in results.earlier)
    if earlier:
        found.append(f"of other commands, as they were then: {', '.join(earlier)}")
    partial = _partial(study)
    if partial:
        found.append(f"not every repeat is finished: {', '.join(partial)}")
    left_out: dict[tuple[str, str], None] = {}
    for results in study.by_protocol.values():
        left_out |= dict.fromkeys(results.left_out)
    found += [f"left out: {name}, {why}" for name, why in (*left_out, *study.unlike)]
    return tuple(found)


def _partial(study: StudyResults) -> list[str]:
    found = []
    for protocol, results in study.by_protocol.items():
        found += [
            f"{method.display} ({protocol.split}, {protocol.select}: {len(method.cells)} of {method.expected})"
            for method in results.methods
            if len(method.cells) < method.expected
        ]
    return found
