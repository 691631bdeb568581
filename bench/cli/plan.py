"""The plan of a run on the terminal: what will be computed, and what is left out and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.execution.selection import ALL, family_names
from agiqa_bench.harmless import one_line
from agiqa_bench.registry import method_registry
from agiqa_bench.reporting.digits import counted, share_text, shared_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from agiqa_bench.execution.plan import Plan, PlannedMethod


def show_plan(plan: Plan, folder: Path, console: Console) -> None:
    """Print data set, splits, one row per method that runs, and one line per method that does not.

    Args:
        plan: After `Plan.find_results`.
        folder: Where results go.
        console: Where to print.
    """
    from rich.text import Text

    dataset = plan.dataset
    synthetic = " · synthetic, rated by a simulated panel" if dataset.synthetic else ""
    rows, groups = len(dataset.samples), dataset.samples["group"].nunique()
    console.print(Text(f"{one_line(dataset.title)}: {rows} rows, {groups} groups{synthetic}"))
    begin = f"{counted(len(plan.splits), 'split')}, {plan.rule}: "
    for line in leakage_lines(plan):
        console.print(Text(begin + line), soft_wrap=True)
        begin = " " * len(begin)
    for fault in dataset.faults:
        mark, style = ("warning", "yellow") if fault.warning else ("note", "dim")
        console.print(Text(f"  {mark}: {one_line(fault.message)}", style=style), soft_wrap=True)
    if len(dataset.parts) > 1:
        for line in _roles(plan):
            console.print(Text(f"  {line}"), soft_wrap=True)
    running = [method for method in plan.methods if method.skip is None]
    if running:
        console.print(_table(running, f"Plan · {plan.device} · {folder}"))
        if plan.request.shard is not None:
            console.print(Text(_shard(plan)))
    for line in (line for method in running for line in method.damaged):
        console.print(Text(f"  not used: {line}; it is set aside and computed again", style="yellow"), soft_wrap=True)
    left_out = [(method.display, f"skipped: {method.skip}") for method in plan.methods if method.skip is not None]
    left_out += [(name, f"cannot be used: {reason}") for name, reason in plan.unusable.items()]
    if ALL in plan.request.methods:
        left_out += [(f"{name}:NAME", f"not part of all: --methods all,{name}") for name in _other_families(plan)]
    if left_out:
        console.print(Text("Left out", style="bold"))
    for name, reason in left_out:
        console.print(Text(f"  {name}: ", style="yellow") + Text(reason, style="default"), soft_wrap=True)


def _shard(plan: Plan) -> str:
    """What of the plan is for this command; a task is a repeat, several trained together, or a scoring pass."""
    from agiqa_bench.execution.tasks import all_tasks, own_tasks, tasks_of

    number, shards = plan.request.shard or (1, 1)
    own, left = len(own_tasks(plan)), len(tasks_of(plan))
    skipped = own - len(tasks_of(plan, finished=True))
    return (
        f"shard {number}/{shards}: {own} of {len(all_tasks(plan))} tasks are this command's, {left} of them to compute"
    ) + (f"; {skipped} are of methods that are skipped here" if skipped else "")


def leakage_lines(plan: Plan) -> list[str]:
    """What the test part shares with the training part, in words."""
    if len(plan.dataset.parts) == 1:
        return shared_lines(**{what: plan.protocol[f"leaked_{what}s"] for what in ("prompt", "group", "generator")})
    prompts = f"{share_text(plan.protocol['leaked_prompts'])} of the test images"
    generators = f"{share_text(plan.protocol['leaked_generators'])} a generator"
    shared = plan.protocol["shared_images"]
    same = f"; {shared:.1%} are themselves images of the training part" if shared else ""
    return [f"{prompts} have a prompt, and {generators}, that the training part of the other data set has too{same}"]


def _roles(plan: Plan) -> list[str]:
    """What each of two data sets is there for."""
    train, test = plan.dataset.parts
    fit, chosen, judged = (
        sum(len(getattr(split, part)) for split in plan.splits) / len(plan.splits)
        for part in ("train", "validation", "test")
    )
    rated = " and ".join(target.name for target in plan.dataset.targets)
    lines = [
        f"learn from {train.title}: {fit:.0f} training and {chosen:.0f} validation rows of {len(train.samples)} in "
        "each split, as in a run on it",
        f"judged on {test.title}: {judged:.0f} test rows of {len(test.samples)}, as in a run on it; both rate {rated}",
        f"a zero-shot method learns nothing: its scores are those of a run on {test.title}",
    ]
    if plan.request.preset == "auto" and train.preset != test.preset:
        quick = next(part.title for part in plan.dataset.parts if part.preset == "quick")
        lines.append(f"methods have their paper's settings, because {quick} alone asks for quick ones; see --preset")
    return lines


def _other_families(plan: Plan) -> list[str]:
    return [name for name in family_names(method_registry()) if name not in plan.request.methods]


def _table(methods: list[PlannedMethod], title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title, title_style="bold", title_justify="left")
    for heading in ("Method", "Targets", "Weights"):
        grid.add_column(heading, overflow="fold")
    grid.add_column("Cached", justify="right")
    grid.add_column("To compute", justify="right")
    grid.add_column("Note", overflow="fold")
    for method in methods:
        weights = ", ".join(weights.name for weights in method.weights)
        cells = [str(len(method.cells) - len(method.missing)), str(len(method.missing))]
        targets = ", ".join(method.context.targets)
        changed = f"stored cells differ in {', '.join(method.changed)}" if method.changed else ""
        unsaved = "stored without model" if method.without_model else ""
        note = "; ".join(filter(None, (method.note, changed, unsaved)))
        grid.add_row(Text(method.display), targets, Text(weights or "none"), *cells, Text(note))
    return grid
