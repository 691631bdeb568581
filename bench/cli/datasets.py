"""`agiqa-bench datasets`: list, info, verify, download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from agiqa_bench.data.dataset import Dataset
    from agiqa_bench.data.describe import Description, TargetSummary
    from agiqa_bench.data.verify import VerificationReport

app = typer.Typer(name="datasets", no_args_is_help=True, help="List, describe, check and download data sets.")

Name = Annotated[str, typer.Argument(help="Name of a data set (see `datasets list`), or the path of a table.")]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder with the data sets. Default: $AGIQA_DATA, else the user's data folder."),
]
MOSRange = Annotated[
    list[str] | None,
    typer.Option(
        "--mos-range", metavar="[TARGET=]LOW,HIGH", help="Scale of a table's ratings, e.g. 1,5; may be repeated."
    ),
]
Plugin = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file with data sets; may be repeated.")]

_BARS = " ▁▂▃▄▅▆▇█"
_STYLES = {"error": "red", "warning": "yellow", "known": "cyan"}


@app.command("list")
def list_datasets(plugin: Plugin = None) -> None:
    """List every registered data set; a broken one with its reason."""
    from rich.table import Table
    from rich.text import Text

    from agiqa_bench.registry import dataset_registry

    _load(plugin)
    grid = Table(box=None, pad_edge=False)
    for title in ("Name", "Title", "Licence", "From", "Summary"):
        grid.add_column(title, overflow="fold")
    for entry in dataset_registry().entries():
        if entry.error is not None:
            grid.add_row(Text(entry.name), Text("broken", style="red"), "", Text(entry.origin), Text(entry.error))
            continue
        facts: dict[str, Any] = entry.facts
        shown = [facts.get("title", ""), facts.get("licence", ""), entry.origin, facts.get("summary", "")]
        grid.add_row(Text(entry.name), *(Text(str(value)) for value in shown))
    console = _console()
    console.print(grid)
    console.print("\nA table of your own works too: --dataset my.csv (columns image, prompt, mos or mos_<target>).")


@app.command()
def info(name: Name, data_root: DataRoot = None, mos_range: MOSRange = None, plugin: Plugin = None) -> None:
    """Describe a data set: rows, targets, groups, generators, MOS, faults, licence, citation."""
    from agiqa_bench.data.describe import describe

    _load(plugin)
    print_description(describe(_open(name, data_root, mos_range)), _console())


@app.command()
def verify(name: Name, data_root: DataRoot = None, mos_range: MOSRange = None, plugin: Plugin = None) -> None:
    """Check every row and decode every image; exit code 1 if something is found that matters."""
    from rich.progress import Progress

    from agiqa_bench.data import verify as verification

    _load(plugin)
    console = _console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding images", total=None)
        report = verification.verify(
            _open(name, data_root, mos_range), lambda done, total: bar.update(task, completed=done, total=total)
        )
    print_report(report, console)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def download(name: Name, data_root: DataRoot = None, plugin: Plugin = None) -> None:
    """Download a data set from where its authors publish it; goes on where an earlier download was cut."""
    from agiqa_bench.data.catalogue import open_dataset

    _load(plugin)
    console = _console()
    dataset = open_dataset(name, data_root, annotations_only=True)
    folder = download_shown(dataset, data_root, console)
    console.print(_plain(f"{dataset.title} is in {folder}; check it with `agiqa-bench datasets verify {name}`"))


def download_shown(dataset: Dataset, root: Path | None, console: Console) -> Path:
    """Download `dataset` into the folder of `root` (None: the default), with a progress bar on a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from agiqa_bench.data import download as downloading
    from agiqa_bench.data.roots import data_root

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("download", total=None)
        return downloading.download(
            dataset,
            data_root(root),
            lambda line: console.print(_plain(line)),
            lambda done, total: bar.update(task, completed=done, total=total),
        )


def print_description(about: Description, console: Console) -> None:
    """Print what `datasets info` says."""
    console.print(f"[bold]{_plain(about.title)}[/] ({_plain(about.name)})")
    if about.synthetic:
        console.print("[yellow]synthetic: rendered and rated by code, no person ever rated it[/]")
    missing = f", {about.missing} of them missing here" if about.missing else ", all here"
    console.print(f"{about.rows:,} rows, {about.images:,} images{missing}, {about.groups:,} groups")
    sizes = ", ".join(f"{count} of {size} rows" for size, count in about.group_sizes.items())
    console.print(f"group sizes: {sizes}")
    console.print("\n[bold]Generators[/]")
    for generator, count in about.generators.items():
        title = about.generator_titles.get(generator, "")
        console.print(_plain(f"  {count:5,}  {generator}{f'  {title}' if title else ''}"))
    console.print("\n[bold]MOS[/]")
    for summary in about.targets:
        _print_target(summary, console)
    console.print("\n[bold]Faults[/]" if about.faults else "\nno fault was found in the files")
    for fault in about.faults:
        mark = "[yellow]warning[/]" if fault.warning else "[cyan]known[/]" if fault.known else "[red]this copy[/]"
        console.print(f"  {mark} {fault.code}: {_plain(fault.message)}")
    # What is there to be copied is not wrapped.
    console.print(f"\nlicence: {_plain(about.licence)}\nannotations: sha256 {about.fingerprint}", soft_wrap=True)
    if about.citation:
        console.print(f"\n{_plain(about.citation)}", soft_wrap=True)


def _print_target(summary: TargetSummary, console: Console) -> None:
    target = summary.target
    limits = target.mos_range
    scale = "scale not stated; --mos-range states it" if limits is None else f"scale {limits[0]:g} to {limits[1]:g}"
    judges = f", judges {' and '.join(target.measures)}" if target.measures else ""
    console.print(
        f"  {_plain(target.name)}: {summary.minimum:.3f} to {summary.maximum:.3f}, mean {summary.mean:.3f}, "
        f"std {summary.std:.3f} ({scale}{judges})"
    )
    console.print(f"    {summary.minimum:.2f} {histogram_bar(summary.histogram)} {summary.maximum:.2f}")


def histogram_bar(counts: tuple[int, ...]) -> str:
    """One block character per bin, the fullest bin highest; a bin with any row is never blank.

    >>> histogram_bar((0, 1, 4, 8))
    ' ▁▄█'
    """
    top = max(counts, default=0)
    return "".join(_BARS[-(-8 * count // top)] if count else " " for count in counts)


def print_report(report: VerificationReport, console: Console) -> None:
    """Print what `datasets verify` found."""
    console.print(f"[bold]{_plain(report.name)}[/]: {report.rows:,} rows, {report.decoded:,} images decode")
    sizes = sorted(report.sizes.items(), key=lambda item: -item[1])
    if sizes:
        more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
        console.print("sizes: " + ", ".join(f"{w} x {h} ({n:,})" for (w, h), n in sizes[:5]) + more)
        console.print("modes: " + ", ".join(f"{mode} ({n:,})" for mode, n in sorted(report.modes.items())))
    for finding in report.findings:
        style = _STYLES[finding.severity]
        console.print(f"[{style}]{finding.severity}[/] {finding.code}: {_plain(finding.message)}")
        for example in finding.examples:
            console.print(_plain(f"    {example}"))
        if finding.examples and finding.count > len(finding.examples):
            console.print(f"    and {finding.count - len(finding.examples)} more")
    console.print("[green]nothing was found that matters[/]" if report.ok else "[red]not fit for use as it is[/]")


def _console() -> Console:
    from agiqa_bench.cli.console import wide_console

    return wide_console(highlight=False, markup=True)


def _open(name: str, root: Path | None, mos_range: list[str] | None) -> Dataset:
    from agiqa_bench.data.catalogue import open_dataset
    from agiqa_bench.data.dataset import parse_mos_range

    return open_dataset(name, root, mos_ranges=dict(map(parse_mos_range, mos_range or ())))


def _load(plugins: list[Path] | None) -> None:
    if plugins:
        from agiqa_bench.plugins import load_plugin

        for file in plugins:
            load_plugin(file)


def _plain(text: object) -> str:
    from rich.markup import escape

    return escape(str(text))
