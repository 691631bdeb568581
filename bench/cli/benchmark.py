"""`agiqa-bench benchmark`: how fast the harness and its methods are here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from agiqa_bench.benchmarks.model import Settings


def benchmark(
    ctx: typer.Context,
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART...]", help="What to measure; see --list. (default: all)")
    ] = None,
    list_parts: Annotated[bool, typer.Option("--list", help="List the parts and stop.")] = False,
    scale: Annotated[
        str,
        typer.Option(
            help="tiny: to see that it runs; full: full-size shapes on a few pictures, minutes on a CPU; paper: as "
            "many pictures as AGIQA-3K has, for a GPU."
        ),
    ] = "full",
    rounds: Annotated[int, typer.Option(min=1, help="Times that everything is measured.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "cpu",
    precision: Annotated[str, typer.Option(help="float32, bf16 or fp16.")] = "float32",
    methods: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these methods, in the parts that are about methods.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Compare with the last result stored there, and store the new one. (default: neither)",
        ),
    ] = None,
) -> None:
    """Measure speed and memory, compare with the last stored result, and warn of what got worse.

    Compared are results of the same work on the same model of processor, as many cores and the same GPU.

    Every part runs in a process of its own. Nothing is downloaded; what cannot run here is listed with the reason.
    """
    from agiqa_bench.benchmarks.parts import chosen_parts

    wanted = chosen_parts(parts or ())
    if list_parts:
        _show_parts(wanted)
        return
    settings = _settings(scale, rounds, device, precision, methods)
    failed = _measure(wanted, settings, output, debug=bool(ctx.find_root().params.get("debug")))
    raise typer.Exit(1 if failed else 0)


def _show_parts(names: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from agiqa_bench.benchmarks.parts import PARTS, summary_of
    from agiqa_bench.cli.console import wide_console

    grid = Table(box=None, pad_edge=False)
    for title in ("Part", "What it measures"):
        grid.add_column(title, overflow="fold")
    for name in names:
        grid.add_row(Text(name), Text(summary_of(PARTS[name])))
    wide_console().print(grid)


def _settings(scale: str, rounds: int, device: str, precision: str, methods: str | None) -> Settings:
    """What the options ask for.

    Raises:
        AgiqaError: A name is unknown, or there is no such device.
    """
    from agiqa_bench.benchmarks.model import Scale, Settings
    from agiqa_bench.errors import UnknownNameError
    from agiqa_bench.execution.device import resolve_device
    from agiqa_bench.method import Precision
    from agiqa_bench.registry import method_registry

    for kind, given, known in (("scale", scale, get_args(Scale)), ("precision", precision, get_args(Precision))):
        if given not in known:
            raise UnknownNameError(kind, given, known)
    names = tuple(name.strip() for name in (methods or "").split(",") if name.strip())
    for name in names:
        if name not in method_registry():
            raise UnknownNameError("method", name, method_registry().names(), "(see 'agiqa-bench methods list')")
    checked: dict[str, Any] = {"scale": scale, "precision": precision}
    return Settings(rounds=rounds, device=resolve_device(device), methods=names, **checked)


def _measure(wanted: Sequence[str], settings: Settings, output: Path | None, *, debug: bool) -> list[str]:
    """Measure, show, compare and store part after part; the names of those that failed.

    Raises:
        StoreError: Results cannot be read or written.
    """
    from agiqa_bench.atomic import write_json, write_text
    from agiqa_bench.benchmarks.part_process import measure_apart
    from agiqa_bench.benchmarks.parts import PARTS
    from agiqa_bench.benchmarks.stored import conditions_of, merged, provenance_of, read_stored
    from agiqa_bench.benchmarks.table import terminal_table, to_markdown, warnings
    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.errors import BenchmarkError

    conditions = conditions_of(settings)
    file = None if output is None else output / f"{conditions.slug}.json"
    stored = {} if file is None else read_stored(file)
    typer.echo(f"{conditions.words}; {settings.rounds} rounds", err=True)
    failed: list[str] = []
    warned: list[str] = []
    for name in wanted:
        typer.echo(f"{name} ...", err=True)
        try:
            found = measure_apart(PARTS[name], settings, debug=debug)
        except BenchmarkError as error:
            failed.append(name)
            typer.echo(f"failed: {name}: {error}", err=True)
            continue
        wide_console().print(terminal_table(found, stored))
        warned += warnings(found, stored)
        if file is not None:
            stored = merged(read_stored(file), found, conditions, provenance_of(settings))
            write_json(file, stored)
            write_text(file.with_suffix(".md"), to_markdown(stored))
    for line in warned:
        typer.echo(f"warning: {line}", err=True)
    if file is not None and len(failed) < len(wanted):
        typer.echo(f"stored: {file} and {file.with_suffix('.md').name}", err=True)
    return failed
