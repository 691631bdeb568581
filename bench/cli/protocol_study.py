"""`agiqa-bench protocol-study`: the same methods under several protocols, and what each choice is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from agiqa_bench.execution.plan import Plan
    from agiqa_bench.execution.request import RunRequest
    from agiqa_bench.execution.runner import Outcome
    from agiqa_bench.execution.store import Store
    from agiqa_bench.studies.protocols import Protocol
    from agiqa_bench.studies.results import StudyResults

_WHAT, _PROTOCOL, _COMPUTE = "What to compare", "Protocol", "How to compute"


def protocol_study(
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            "-m",
            metavar="NAMES",
            help="As in 'agiqa-bench run': all, or names and groups separated by commas. (default: all)",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", metavar="NAME", help="A name, or a table file.", rich_help_panel=_WHAT),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Only these targets, e.g. quality.", rich_help_panel=_WHAT),
    ] = None,
    mos_range: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]LOW,HIGH",
            help="Lowest and highest rating of a table's scale, e.g. 1,5; may be repeated. (default: those of each "
            "training part)",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with the data sets; also AGIQA_DATA.", rich_help_panel=_WHAT)
    ] = None,
    annotations_only: Annotated[
        bool | None,
        typer.Option(
            "--annotations-only/--with-images", help="Use no image: only methods that need none.", rich_help_panel=_WHAT
        ),
    ] = None,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="Python file with methods or data sets; may be repeated.", rich_help_panel=_WHAT),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(help="Number of random splits of each kind. (default: 10)", rich_help_panel=_PROTOCOL),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Changes splits and training. (default: 0)", rich_help_panel=_PROTOCOL)
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings of methods: paper, quick, or auto (quick on the demo). (default: auto)",
            rich_help_panel=_PROTOCOL,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="CLIP for methods that have one, as in 'agiqa-bench run'.", rich_help_panel=_PROTOCOL),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.KEY=VALUE", help="May be repeated.", rich_help_panel=_PROTOCOL),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with these options and others of 'agiqa-bench run' that have no option here: stand_ins, "
            "python_for, deterministic, save_models. The command line wins.",
            rich_help_panel=_PROTOCOL,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda:N. (default: auto)", rich_help_panel=_COMPUTE)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, bf16 or fp16. (default: float32)", rich_help_panel=_COMPUTE)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="For every method.", rich_help_panel=_COMPUTE)] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Processes. (default: 1)", rich_help_panel=_COMPUTE)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder. (default: results/runs/<data set>-protocol-study)", rich_help_panel=_COMPUTE
        ),
    ] = None,
    offline: Annotated[
        bool | None, typer.Option("--offline/--online", help="Never touch the network.", rich_help_panel=_COMPUTE)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show how many cells are to be computed and stop.", rich_help_panel=_COMPUTE),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option(
            "--report-only", help="Report what the folder holds and compute nothing.", rich_help_panel=_COMPUTE
        ),
    ] = False,
) -> None:
    """Show what the split and the choice of the epoch are worth, in points of SRCC: the same methods run under grouped
    and image-level splits, each with the epoch chosen on validation (--select refit), the last one, and the one that is
    best on test.
    The same command again computes only what is missing. A data set that is not there comes with
    'agiqa-bench datasets download NAME'.
    """  # noqa: D205 - a blank line would make paragraphs, and the help keeps the line breaks of all but the first
    from agiqa_bench.cli.console import say_on_stderr
    from agiqa_bench.execution.request import build_request, parse_setting
    from agiqa_bench.offline import is_offline
    from agiqa_bench.stopping import EXIT_CODE, Terminated, stop_signals

    if report_only:
        _report_only(_folder(dataset, output))
        return
    parsed: dict[str, dict[str, Any]] = {}
    for text in settings or ():
        method, key, value = parse_setting(text)
        parsed.setdefault(method, {})[key] = value
    options: dict[str, Any] = {
        "methods": methods,
        "dataset": dataset,
        "targets": None if targets is None else tuple(part.strip() for part in targets.split(",") if part.strip()),
        "mos_range": mos_range or None,
        "data_root": data_root,
        "annotations_only": annotations_only,
        "plugins": tuple(plugin) if plugin else None,
        "repeats": repeats,
        "seed": seed,
        "preset": preset,
        "backbone": backbone,
        "settings": parsed or None,
        "device": device,
        "precision": precision,
        "batch_size": batch_size,
        "jobs": jobs,
        "output": output,
        "offline": offline if offline is not None or not is_offline() else True,
    }
    request = build_request(config, {key: value for key, value in options.items() if value is not None})
    try:
        with stop_signals(say_on_stderr):
            code = _study(request, dry_run=dry_run)
    except Terminated:
        say_on_stderr("stopped by SIGTERM")
        code = EXIT_CODE
    raise typer.Exit(code)


def _folder(dataset: str | None, output: Path | None) -> Path:
    """The folder to report: the one that is named, or the default one of a data set."""
    from agiqa_bench.errors import ConfigError

    if output is None and dataset is None:
        raise ConfigError("which study? give --output FOLDER or --dataset NAME with --report-only")
    return output or Path("results") / "runs" / f"{Path(str(dataset)).stem}-protocol-study"


def _report_only(folder: Path) -> None:
    from agiqa_bench.cli.console import stderr_console, wide_console
    from agiqa_bench.errors import StoreError
    from agiqa_bench.execution.store import Store
    from agiqa_bench.studies.results import read_study

    store = Store(folder)
    study = read_study(store)
    if len(study.by_protocol) < 2:
        (protocol,) = study.by_protocol
        raise StoreError(
            f"{folder}: holds a run, not a study: results under {protocol.split}/{protocol.select} alone; show them "
            "with 'agiqa-bench report', or run 'agiqa-bench protocol-study' with this --output"
        )
    if not study.targets:
        raise StoreError(f"{folder}: no cell of the study is finished yet; run 'agiqa-bench protocol-study' again")
    _show_results(study, store, wide_console(), stderr_console())


def _study(request: RunRequest, *, dry_run: bool) -> int:
    from agiqa_bench.cli.console import stderr_console, wide_console
    from agiqa_bench.cli.folders import default_output
    from agiqa_bench.cli.progress import TerminalWatcher, forward_log
    from agiqa_bench.errors import ConfigError
    from agiqa_bench.execution.runner import Outcome
    from agiqa_bench.execution.store import Store
    from agiqa_bench.offline import go_offline
    from agiqa_bench.plugins import load_plugin
    from agiqa_bench.stopping import EXIT_CODE, INTERRUPTED
    from agiqa_bench.studies.protocols import DEFAULT, missing_cells, plan_study, shared_cells
    from agiqa_bench.studies.results import read_study

    go_offline(request.offline)
    for file in request.plugins:
        load_plugin(file)
    shown, told = wide_console(), stderr_console()
    watcher = TerminalWatcher(told)
    forward_log(watcher)
    with told.status("planning"):
        plans = plan_study(request, watcher.say)
    default = default_output(plans[DEFAULT])
    store = Store(request.output or default.with_name(f"{default.name}-protocol-study"))
    for plan in plans.values():
        plan.find_results(store)
    counts = missing_cells(plans)
    _show_plan(plans, counts, store.root, shown)
    if not any(method.cells for method in plans[DEFAULT].methods):
        raise ConfigError("nothing to compare: every method that was asked for is skipped; the plan above says why")
    if dry_run:
        return 0
    store.prepare()
    total = Outcome()
    for protocol, plan in plans.items():
        count = sum(own.get(protocol, 0) for own in counts.values())
        if count:
            told.print(f"{protocol.split} split, epoch by {protocol.select}: {count} cells", highlight=False)
        _add(total, _run(plan, store, told))
        if total.interrupted:
            break
    study = read_study(store)
    if study.targets:
        shown.print()
        _show_results(study, store, shown, told)
    else:
        told.print("no cell is finished: there is nothing to report yet", highlight=False)
    total.reused = sum(len(method.cells) for plan in plans.values() for method in plan.methods)
    total.reused -= shared_cells(plans) + sum(sum(own.values()) for own in counts.values())
    _show_ending(total, shared_cells(plans), store, told)
    if total.interrupted:
        return EXIT_CODE if total.terminated else INTERRUPTED
    return 1 if total.failures else 0


def _run(plan: Plan, store: Store, told: Console) -> Outcome:
    """Run one protocol, with bars of its own."""
    from agiqa_bench.cli.progress import TerminalWatcher, forward_log
    from agiqa_bench.execution.inputs import store_inputs
    from agiqa_bench.execution.runner import executor_of, run

    plan.find_results(store)  # what an earlier protocol has computed may be in this one too
    store_inputs(plan, store)
    watcher = TerminalWatcher(told)
    forward_log(watcher)
    with watcher:
        return run(plan, store, watcher, executor_of(plan.request))


def _add(total: Outcome, one: Outcome) -> None:
    total.computed += one.computed
    total.failures += [failure for failure in one.failures if failure not in total.failures]
    total.interrupted |= one.interrupted
    total.terminated |= one.terminated


def _show_plan(
    plans: dict[Protocol, Plan], counts: dict[str, dict[Protocol, int]], folder: Path, console: Console
) -> None:
    """Print the data set, how much each split leaks, what each protocol adds to compute, and what is left out."""
    from rich.table import Table
    from rich.text import Text

    from agiqa_bench.cli.plan import leakage_lines
    from agiqa_bench.harmless import one_line

    first = next(iter(plans.values()))
    dataset = first.dataset
    synthetic = " · synthetic, rated by a simulated panel" if dataset.synthetic else ""
    console.print(Text(f"{dataset.title}: {len(dataset.samples)} rows{synthetic}"))
    for split, plan in {protocol.split: plan for protocol, plan in plans.items()}.items():
        for line in leakage_lines(plan):
            console.print(Text(f"{len(plan.splits)} splits, {split}: {line}"))
    for fault in dataset.faults:
        if fault.warning:
            console.print(Text(f"  warning: {one_line(fault.message)}", style="yellow"), soft_wrap=True)
    running = [method for method in first.methods if method.skip is None]
    if running:
        grid = Table(title=f"Cells to compute · {first.device} · {folder}", title_style="bold", title_justify="left")
        grid.add_column("Method", overflow="fold")
        for protocol in plans:
            grid.add_column(f"{protocol.split}\n{protocol.select}", justify="right")
        grid.add_column("Note", overflow="fold")
        for method in running:
            note = "; ".join(
                filter(None, ("" if method.cls.chooses_epoch(method.config) else "chooses no epoch", method.note))
            )
            numbers = [str(counts[method.label][protocol]) for protocol in plans]
            grid.add_row(Text(method.display), *numbers, Text(note))
        console.print(grid)
    new = sum(count for own in counts.values() for count in own.values())
    console.print(Text(f"{new} cells to compute; what protocols share is computed once"))
    left_out = [(method.display, f"skipped: {method.skip}") for method in first.methods if method.skip is not None]
    left_out += [(name, f"cannot be used: {reason}") for name, reason in first.unusable.items()]
    for name, reason in left_out:
        console.print(Text(f"left out: {name}: {reason}"), soft_wrap=True)


def _show_results(study: StudyResults, store: Store, shown: Console, told: Console) -> None:
    from agiqa_bench.reporting.render.terminal import to_terminal
    from agiqa_bench.studies.files import write_study
    from agiqa_bench.studies.report import study_report

    report = study_report(study)
    written = write_study(study, report, store.root)
    shown.print(to_terminal(report, shown.width))
    line = f"wrote {written[0]} and {len(written) - 1} other files to {store.root}"
    told.print(line, markup=False, highlight=False, soft_wrap=True)


def _show_ending(total: Outcome, shared: int, store: Store, console: Console) -> None:
    for label, what, line in total.failures:
        console.print(f"failed: {label}, {what}: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    counts = f"{total.computed} cells computed, {total.reused} reused, {shared} shared between protocols"
    if total.failures:
        counts += f"; details in {store.root / 'failures'}"
    if total.interrupted:
        counts += f"; stopped by {'SIGTERM' if total.terminated else 'Ctrl-C'}: the same command goes on from here"
    console.print(f"{counts}.", markup=False, highlight=False, soft_wrap=True)
