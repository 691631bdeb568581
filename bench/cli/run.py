"""`agiqa-bench run`: plan, compute what is missing, show the table."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from agiqa_bench.execution.plan import Plan
    from agiqa_bench.execution.request import RunRequest
    from agiqa_bench.execution.runner import Outcome

_WHAT, _PROTOCOL, _COMPUTE = "What to compare", "Protocol", "How to compute"


def run(
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            "-m",
            metavar="NAMES",
            help="all, or names and groups separated by commas (proposed, deep, handcrafted, svr, zero-shot, "
            "alignment, no-pixel; -NAME leaves one out); name\\[key=value] changes a setting; name\\[ablation] runs "
            "each row of a method's ablation table, name\\[ablation=ROW] one. (default: all)",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", metavar="NAME", help="A name, or a table file.", rich_help_panel=_WHAT),
    ] = None,
    train_on: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead of --dataset: learn from this one ...", rich_help_panel=_WHAT),
    ] = None,
    test_on: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="... and be judged on this one.", rich_help_panel=_WHAT),
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
        Path | None,
        typer.Option(help="Folder with the data sets; also AGIQA_DATA.", rich_help_panel=_WHAT),
    ] = None,
    annotations_only: Annotated[
        bool | None,
        typer.Option(
            "--annotations-only/--with-images", help="Use no image: only methods that need none.", rich_help_panel=_WHAT
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download the data set if it is not there.", rich_help_panel=_WHAT)
    ] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="Python file with methods or data sets; may be repeated.", rich_help_panel=_WHAT),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="grouped, image or generator. (default: grouped)", rich_help_panel=_PROTOCOL),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="Splits from a file of 'splits export' instead.", rich_help_panel=_PROTOCOL),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Number of random splits. (default: 10)", rich_help_panel=_PROTOCOL)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Changes splits and training. (default: 0)", rich_help_panel=_PROTOCOL)
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Which epoch counts: refit (chosen on a validation part, then trained anew for as many epochs on "
            "training and validation part), validation (without that), last, or test (optimistic). (default: refit)",
            rich_help_panel=_PROTOCOL,
        ),
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
        typer.Option(
            help="CLIP for methods that have one: ViT-B-32:openai, ViT-B-32:/path/to/file, demo-vit ...",
            rich_help_panel=_PROTOCOL,
        ),
    ] = None,
    stand_ins: Annotated[
        bool | None,
        typer.Option(
            "--stand-ins/--no-stand-ins",
            help="Where weights cannot be had: run with a stand-in under its own name, or skip. (default: stand-ins)",
            rich_help_panel=_PROTOCOL,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.KEY=VALUE", help="May be repeated.", rich_help_panel=_PROTOCOL),
    ] = None,
    python_for: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD=PATH",
            help="Interpreter of another environment for a method whose package cannot live in this one; "
            "may be repeated.",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with these options; the command line wins.", rich_help_panel=_PROTOCOL),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda:N. (default: auto)", rich_help_panel=_COMPUTE)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, bf16 or fp16. (default: float32)", rich_help_panel=_COMPUTE)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="For every method.", rich_help_panel=_COMPUTE)] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            help="The same numbers each time on CUDA, at some cost; the CPU gives them anyway.",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Processes. (default: 1)", rich_help_panel=_COMPUTE)
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Where cells are computed: local, or ray (a cluster). (default: local)", rich_help_panel=_COMPUTE
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of a Ray cluster that is there, e.g. auto; without it, --executor ray starts one on this machine.",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Compute only the I-th of N parts, e.g. of a SLURM array; 'agiqa-bench merge' joins them.",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    cell_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="End a cell that takes longer, loading its libraries included, and go on; repeats that are trained "
            "together have the sum of theirs. (default: never)",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder. (default: results/runs/<data set>)", rich_help_panel=_COMPUTE),
    ] = None,
    save_models: Annotated[
        bool | None,
        typer.Option(
            "--save-models/--no-save-models",
            help="Keep fitted models beside their results, for 'agiqa-bench score'.",
            rich_help_panel=_COMPUTE,
        ),
    ] = None,
    offline: Annotated[
        bool | None, typer.Option("--offline/--online", help="Never touch the network.", rich_help_panel=_COMPUTE)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and stop.", rich_help_panel=_COMPUTE)
    ] = False,
) -> None:
    """Compare methods on a data set and show the table. The same command again computes only what is missing."""
    from agiqa_bench.cli.console import say_on_stderr
    from agiqa_bench.execution.request import build_request, parse_python_for, parse_setting
    from agiqa_bench.offline import is_offline
    from agiqa_bench.stopping import EXIT_CODE, Terminated, stop_signals

    parsed: dict[str, dict[str, Any]] = {}
    for text in settings or ():
        method, key, value = parse_setting(text)
        parsed.setdefault(method, {})[key] = value
    options: dict[str, Any] = {
        "methods": methods,
        "dataset": dataset,
        "train_on": train_on,
        "test_on": test_on,
        "targets": None if targets is None else tuple(part.strip() for part in targets.split(",") if part.strip()),
        "mos_range": mos_range or None,
        "data_root": data_root,
        "annotations_only": annotations_only,
        "plugins": tuple(plugin) if plugin else None,
        "split": split,
        "splits_file": splits,
        "repeats": repeats,
        "seed": seed,
        "select": select,
        "preset": preset,
        "backbone": backbone,
        "stand_ins": stand_ins,
        "settings": parsed or None,
        "python_for": dict(map(parse_python_for, python_for)) if python_for else None,
        "device": device,
        "precision": precision,
        "batch_size": batch_size,
        "deterministic": deterministic,
        "jobs": jobs,
        "executor": executor,
        "ray_address": ray_address,
        "shard": shard,
        "cell_timeout": cell_timeout,
        "output": output,
        "save_models": save_models,
        "offline": offline if offline is not None or not is_offline() else True,
    }
    request = build_request(config, {key: value for key, value in options.items() if value is not None})
    try:
        with stop_signals(say_on_stderr):
            code = run_request(request, download=download, dry_run=dry_run)
    except Terminated:
        say_on_stderr("stopped by SIGTERM")
        code = EXIT_CODE
    raise typer.Exit(code)


def run_request(request: RunRequest, *, download: bool, dry_run: bool) -> int:
    """Plan, compute what is missing, show and write the tables.

    Args:
        request: What was asked for.
        download: Whether a data set that is not there is downloaded.
        dry_run: Show the plan and stop.

    Returns:
        The exit code of a request that could be met: 0, 1 if a cell failed, or that of an interruption.

    Raises:
        AgiqaError: It cannot be met.
    """
    from agiqa_bench.cli.console import stderr_console, wide_console
    from agiqa_bench.cli.folders import default_output
    from agiqa_bench.cli.plan import show_plan
    from agiqa_bench.cli.progress import TerminalWatcher, forward_log
    from agiqa_bench.errors import ConfigError, StoreError
    from agiqa_bench.execution.inputs import store_inputs
    from agiqa_bench.execution.runner import executor_of
    from agiqa_bench.execution.runner import run as run_plan
    from agiqa_bench.execution.store import Store
    from agiqa_bench.offline import go_offline
    from agiqa_bench.plugins import load_plugin
    from agiqa_bench.reporting.files import write_run_tables
    from agiqa_bench.reporting.results import read_results
    from agiqa_bench.stopping import EXIT_CODE, INTERRUPTED

    go_offline(request.offline)
    for file in request.plugins:
        load_plugin(file)
    shown, told = wide_console(), stderr_console()
    watcher = TerminalWatcher(told)
    forward_log(watcher)
    with told.status("planning"):
        asks = sys.stdin.isatty() and told.is_terminal and not request.offline
        plan = None if download else _plan_or_none(request, watcher, asks=asks)
    if plan is None:
        plan = _download_and_plan(request, watcher, told, agreed=download)
    store = Store(request.output or default_output(plan))
    plan.find_results(store)
    show_plan(plan, store.root, shown)
    if not any(method.cells for method in plan.methods):
        why = "every method that was asked for is skipped; the plan above says why"
        if len(plan.methods) == 1 and not plan.unusable:
            why = f"{plan.methods[0].display} is skipped: {plan.methods[0].skip}"
        raise ConfigError(f"nothing to compare: {why}")
    if dry_run:
        return 0
    store.prepare()
    store_inputs(plan, store)
    try:
        with watcher:
            outcome = run_plan(plan, store, watcher, executor_of(request))
    except StoreError:
        # What was finished is kept: show it, though nothing more can be written.
        with suppress(StoreError):
            shown.print(_table(store, None, shown))
        raise
    shown.print()
    # Another command may have begun on the folder meanwhile: what is shown is this one's, and so are the files.
    write_run_tables(read_results(store, plan_id=outcome.plan_id), store.root)
    shown.print(_table(store, outcome.plan_id, shown))
    _show_ending(outcome, plan, store, told)
    if outcome.interrupted:
        return EXIT_CODE if outcome.terminated else INTERRUPTED
    return 1 if outcome.failures else 0


def _plan_or_none(request: RunRequest, watcher: Any, *, asks: bool) -> Plan | None:
    """The plan; None if the data set is not there and somebody can be asked whether to download it."""
    from agiqa_bench.errors import DataNotFoundError
    from agiqa_bench.execution.planning import make_plan

    try:
        return make_plan(request, watcher.say)
    except DataNotFoundError:
        if asks:
            return None
        raise


def _download_and_plan(request: RunRequest, watcher: Any, console: Console, *, agreed: bool) -> Plan:
    from agiqa_bench.cli.datasets import download_shown
    from agiqa_bench.errors import DataNotFoundError
    from agiqa_bench.execution.planning import make_plan, requested_dataset

    for dataset in requested_dataset(request).parts:
        try:
            complete = request.annotations_only or dataset.has_images
            reason = f"images of '{dataset.name}' are missing"
        except DataNotFoundError as error:
            complete, reason = False, str(error)
        if not complete:
            if not agreed:
                watcher.say(reason)
                if not typer.confirm(f"Download {dataset.title} now?", err=True):
                    raise DataNotFoundError(reason)
            download_shown(dataset, request.data_root, console)
    return make_plan(request, watcher.say)


def _table(store: Any, plan_id: str | None, console: Console) -> Any:
    """What a command asked for, for the terminal; the files in the folder hold all that is comparable with it."""
    from agiqa_bench.reporting.build.report import build_report
    from agiqa_bench.reporting.render.terminal import to_terminal
    from agiqa_bench.reporting.results import read_results

    brief = build_report([read_results(store, plan_id=plan_id, alone=True)], brief=True)
    return to_terminal(brief, console.width, console.encoding)


def _show_ending(outcome: Outcome, plan: Plan, store: Any, console: Console) -> None:
    alike: dict[tuple[str, str], list[str]] = {}
    for label, what, line in outcome.failures:
        alike.setdefault((label, line), []).append(what)
    for (label, line), parts in alike.items():
        what = parts[0] if len(parts) == 1 else f"{parts[0]} and {len(parts) - 1} more"
        console.print(f"failed: {label}, {what}: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    counts = f"{outcome.computed} cells computed, {outcome.reused} reused"
    if outcome.failures:
        counts += f"; details in {store.root / 'failures'}"
    if outcome.interrupted:
        counts += f"; stopped by {'SIGTERM' if outcome.terminated else 'Ctrl-C'}: the same command goes on from here"
    where = f"Tables: {store.root / 'table.csv'}, table.md, costs.csv"
    console.print(f"{counts}. {where}", markup=False, highlight=False, soft_wrap=True)
    if plan.request.save_models:
        models = [cell.result.model for method in plan.methods for cell in method.cells if cell.result is not None]
        count = sum(model is not None for model in models)
        where = f"{count} in {store.root / 'cells'}/<row>/<repeat>-<key>/model.safetensors"
        line = where if count else "none, because no finished method of this run has one that can be saved"
        console.print(f"Models: {line}", markup=False, highlight=False, soft_wrap=True)
