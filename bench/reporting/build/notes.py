"""What must be said beside the numbers of a run: facts of its protocol, warnings and remarks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from agiqa_bench.reporting.digits import counted, share_text, shared_lines
from agiqa_bench.reporting.homes import without_home
from agiqa_bench.reporting.results import MethodResults, RunResults, differences

Facts = tuple[tuple[str, str], ...]

FEW = 3
"""So many repeats, or fewer, leave a test next to no power."""

FEW_CANDIDATES = 10
"""With fewer images the SRCC of one prompt has a standard error of more than 1/3, about 1 / sqrt(n - 1)."""


def design(results: RunResults) -> str:
    """How the repeats were made, in a few words."""
    protocol = results.protocol
    if protocol["split"] == "generator":
        return f"each of {protocol['repeats']} generators left out once"
    return f"{counted(protocol['repeats'], 'repeat')}, {protocol['split']} split"


def chapter_names(all_results: Sequence[RunResults]) -> list[str]:
    """A name for each of several results that no two share: the data set, and where needed split, selection, seed."""
    names = [results.title for results in all_results]
    for key in ("split", "select", "seed", "annotations", "splits_digest"):
        for name in {name for name in names if names.count(name) > 1}:
            same = [place for place, other in enumerate(names) if other == name]
            values = [str(all_results[place].protocol[key])[:12] for place in same]
            if len(set(values)) > 1:
                for place, value in zip(same, values, strict=True):
                    names[place] += f", {key.removesuffix('_digest')} {value}"
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def facts(results: RunResults) -> Facts:
    """(name, value) of the protocol."""
    protocol = results.protocol
    choosing = any(method.selects_epoch for method in results.methods)
    fit, test = (_range([sizes[part] for sizes in results.sizes.values()]) for part in (0, 1))
    return (
        ("Data set", results.title),
        ("Design", design(results)),
        ("Images to learn from, to test", f"{fit}, {test}"),
        ("Epoch chosen by", _chosen_by(protocol["select"]) if choosing else "no method chooses an epoch"),
        *(
            (f"Test images whose {what} is in the training part", share_text(protocol[f"leaked_{what}s"]))
            for what in ("prompt", "group", "generator")
            if what != "group" or "train_on" not in protocol  # groups of two data sets are never the same
        ),
        ("Seed", str(protocol["seed"])),
    )


def _chosen_by(select: str) -> str:
    return "validation, then refit on training and validation part" if select == "refit" else select


def _range(numbers: list[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def warnings(results: RunResults) -> tuple[str, ...]:
    """What a reader must know before believing a number."""
    protocol, found = results.protocol, []
    methods = [method for method in results.methods if method.cells]
    if not methods:
        found.append("no cell is finished yet")
    if protocol["synthetic"]:
        found.append("synthetic data: rendered by code and rated by a simulated panel, not by people")
    stand_ins = sorted({mark for method in methods for mark in method.stand_ins})
    if stand_ins:
        found.append(
            f"stand-ins for real weights or networks, which say nothing about their method: {', '.join(stand_ins)}"
        )
    found.extend(_shared(results))
    found.extend(dict.fromkeys(without_home(warning) for plan in results.plans for warning in plan.get("warnings", ())))
    choosing = [method.display for method in methods if method.selects_epoch]
    if choosing and protocol["select"] == "test":
        found.append(f"epoch chosen on the test part, which is optimistic: {', '.join(choosing)}")
    most = max((len(method.cells) for method in methods), default=0)
    if most == 1:
        found.append("one repeat: there is no spread, no interval and no test, and the order may be chance")
    elif 1 < most <= FEW:
        found.append(f"only {most} repeats: intervals are wide, and tests can hardly tell anything apart")
    unfinished = [
        f"{method.display} (only {len(method.cells)} of {counted(method.expected, 'repeat')})"
        for method in methods
        if len(method.cells) < method.expected
    ]
    if unfinished:
        line = f"not all repeats are finished: {', '.join(unfinished)}"
        if any(len(method.cells) < most for method in methods):
            line += "; rows with fewer than others stand below them, without marks"
        found.append(line)
    return tuple(found)


def _shared(results: RunResults) -> list[str]:
    """That test images share prompts or groups with the training part, if they do; the rule alone says nothing."""
    protocol = results.protocol
    # Across data sets, and where generators are left out, the notes say it: it is what such a design asks.
    if "train_on" in protocol or protocol["split"] == "generator":
        return []
    shares = {what: protocol[f"leaked_{what}s"] for what in ("prompt", "group") if protocol[f"leaked_{what}s"]}
    rule = "image-level split" if protocol["split"] == "image" else "groups that divide prompts"
    return [f"{rule}: optimistic, {line}" for line in shared_lines(**shares)]


def notes(results: RunResults) -> tuple[str, ...]:
    """Remarks on the rows and on how to read them."""
    protocol, found = results.protocol, []
    methods = [method for method in results.methods if method.cells]
    found.append("the same splits for every method; correlations keep their sign; scores are higher-is-better")
    if "train_on" not in protocol:  # across data sets other words say it
        found += shared_lines(**{what: protocol[f"leaked_{what}s"] for what in ("prompt", "group", "generator")})
    if protocol["split"] == "generator":
        if any(len(method.cells) > 1 for method in methods):
            found.append("± is the spread over the generators that were left out")
        found.append("the prompts of a generator that was left out are known from the others")
    found += [*_selection(results), *not_refitted(results)]
    for preset in dict.fromkeys(method.preset for method in methods if method.preset):
        names = [method.display for method in methods if method.preset == preset]
        found.append(f"with the settings of the {preset} preset, not those of the paper: {', '.join(names)}")
    blind = [method.display for method in methods if method.diagnostic]
    if blind:
        found.append(f"sees no pixel, there to show what a number is worth: {', '.join(blind)}")
    found.extend(_same_numbers(results))
    found.extend(_few_candidates(results))
    for note in dict.fromkeys(method.note for method in methods if method.note):
        names = [method.display for method in methods if method.note == note]
        found.append(f"{', '.join(names)}: {note}")
    if results.earlier:
        found.append(f"of other commands, as they were then: {', '.join(results.earlier)}")
    failed = {name for name, _ in results.left_out}
    waiting = [m.display for m in results.methods if not m.cells and m.expected and m.display not in failed]
    if waiting:
        who = "the same command goes on"
        if results.plans and results.plans[-1]["request"].get("shard"):
            who = "other shards have them, or this one goes on; 'agiqa-bench merge' joins shards in several folders"
        found.append(f"not finished yet, {who}: {', '.join(waiting)}")
    return tuple(found)


def not_refitted(results: RunResults) -> tuple[str, ...]:
    """Which methods should have been fitted anew and could not; empty if none, or if nothing is fitted anew."""
    once = [method.display for method in _choosing(results) if not method.is_refitted]
    if results.protocol["select"] != "refit" or not once:
        return ()
    return (
        "tells no epoch that it chose, so it was not trained anew and has learnt from the training part alone, as "
        f"under --select validation: {', '.join(once)}",
    )


def _choosing(results: RunResults) -> list[MethodResults]:
    return [method for method in results.methods if method.cells and method.selects_epoch]


def _selection(results: RunResults) -> list[str]:
    """How the epoch was chosen by those that choose one, and from what they have learnt; of `test` a warning tells."""
    select = results.protocol["select"]
    names = [method.display for method in _choosing(results) if select != "refit" or method.is_refitted]
    how = {
        "refit": "epoch chosen on the validation part, then trained anew for as many epochs on training and "
        "validation part (--select refit)",
        "validation": "epoch chosen by --select validation, and learnt from the training part alone, where methods "
        "that choose none learn from the validation part too",
    }.get(select, f"epoch chosen by --select {select}")
    return [f"{how}: {', '.join(names)}"] if names and select != "test" else []


def apart(all_results: Sequence[RunResults]) -> tuple[str, ...]:
    """What cannot stand in one table, and why: one line for each data set with results under several protocols."""
    by_dataset: dict[str, list[RunResults]] = {}
    for results in all_results:
        by_dataset.setdefault(str(results.protocol["dataset"]), []).append(results)
    return tuple(_apart(group) for group in by_dataset.values() if len(group) > 1)


def _apart(group: Sequence[RunResults]) -> str:
    """One line on all results on one data set."""
    why = dict.fromkeys(why for one, other in combinations(group, 2) for why in differences(one, other))
    seeds = len({results.protocol["seed"] for results in group}) > 1
    names = [f"{results.where} ({_way(results, with_seed=seeds)})" for results in group]
    return (
        f"{group[0].title}: {', '.join(names[:-1])} and {names[-1]} cannot be compared, they have other "
        f"{', '.join(why)}; they are reported apart, and no number of one is to be read against one of another"
    )


def _way(results: RunResults, *, with_seed: bool) -> str:
    """Split rule and, where they matter, what chose the epoch and the seed."""
    protocol = results.protocol
    words = [f"{protocol['split']} split"]
    if any(method.selects_epoch for method in results.methods):
        words.append(f"epoch by {protocol['select']}")
    if with_seed:
        words.append(f"seed {protocol['seed']}")
    return ", ".join(words)


def _same_numbers(results: RunResults) -> list[str]:
    """Baselines without pixels that cannot be told from each other here, and why."""
    alike: dict[tuple[object, ...], list[MethodResults]] = {}
    for method in results.methods:
        if method.diagnostic and method.cells:
            shown = tuple(
                (repeat, target, *(cell.metrics[target][key] for key in ("srcc", "plcc", "krcc")))
                for target in method.targets
                for repeat, cell in sorted(method.cells.items())
            )
            alike.setdefault(shown, []).append(method)
    why = (
        ": no test image has its group in the training part, so that nothing but its generator tells of it"
        if not results.protocol["leaked_groups"]
        else ""
    )
    return [
        f"the same numbers in every repeat: {' and '.join(method.display for method in methods)}{why}"
        for methods in alike.values()
        if len(methods) > 1
    ]


def _few_candidates(results: RunResults) -> list[str]:
    """What the SRCC in prompt is computed among where that is no prompt, and how many images that is where few."""
    kind = results.protocol["candidates"]
    details = [
        cell.metrics[target].get("within", {}).get("prompt", {})
        for method in results.methods
        for cell in method.cells.values()
        for target in method.targets
    ]
    labels, rows = (sum(detail.get(key, 0) for detail in details) for key in ("labels", "rows"))
    if not labels:
        return []
    size = rows / labels
    among = "among the images of one group, because hardly any two have one prompt" if kind == "group" else ""
    few = f"{size:.1f} images per {kind} on average, fewer than {FEW_CANDIDATES}: of a single {kind} it says little"
    said = "; ".join(filter(None, (among, few if size < FEW_CANDIDATES else "")))
    return [f"SRCC in prompt: {said}"] if said else []
