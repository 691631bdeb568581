"""`agiqa-bench splits`: look at splits, write them to a file, check a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agiqa_bench.harmless import one_line

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset
    from agiqa_bench.evaluation.rules import SplitRule
    from agiqa_bench.evaluation.splits import Split

app = typer.Typer(help="Splits: show, export, import.", no_args_is_help=True)

DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's name, or a table file.")]
Rule = Annotated[str, typer.Option("--split", metavar="RULE", help="grouped, image or generator.")]
Repeats = Annotated[int, typer.Option("--repeats", help="Number of splits (generator: one per family).")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed gives other splits.")]
DataRoot = Annotated[Path | None, typer.Option("--data-root", help="Folder with the data sets.")]


@app.command()
def show(
    dataset: DatasetName, split: Rule = "grouped", repeats: Repeats = 10, seed: Seed = 0, data_root: DataRoot = None
) -> None:
    """Show the sizes, groups, leakage and digests of a data set's splits."""
    data = _open(dataset, data_root)
    rule, splits = _make(data, split, repeats, seed)
    _print_splits(data, rule, splits)


@app.command()
def export(
    dataset: DatasetName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")],
    split: Rule = "grouped",
    repeats: Repeats = 10,
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Write a data set's splits to a JSON file."""
    from agiqa_bench.evaluation.split_file import export_splits
    from agiqa_bench.evaluation.splits import TEST_SHARE, VALIDATION_SHARE

    data = _open(dataset, data_root)
    rule, splits = _make(data, split, repeats, seed)
    export_splits(
        output,
        splits,
        data.samples,
        dataset=data.name,
        fingerprint=data.fingerprint,
        rule=rule,
        seed=seed,
        test_share=None if rule == "generator" else TEST_SHARE,
        validation_share=VALIDATION_SHARE,
    )
    _print_shared(data, splits)
    typer.echo(one_line(f"wrote {len(splits)} {rule} splits of {data.name} to {output}"))


@app.command("import")
def import_file(
    dataset: DatasetName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `splits export`.")],
    data_root: DataRoot = None,
) -> None:
    """Check a split file against a data set; `run --splits FILE` uses it."""
    from agiqa_bench.evaluation.split_file import import_splits

    data = _open(dataset, data_root)
    imported = import_splits(file, data.samples, dataset=data.name, fingerprint=data.fingerprint)
    _print_splits(data, imported.rule, imported.splits)
    typer.echo(one_line(f"{file} is valid; to use it: agiqa-bench run --dataset {dataset} --splits {file}"))


def _open(name: str, root: Path | None) -> Dataset:
    from agiqa_bench.data.catalogue import open_dataset

    return open_dataset(name, root, annotations_only=True)


def _make(data: Dataset, rule_name: str, repeats: int, seed: int) -> tuple[SplitRule, tuple[Split, ...]]:
    from agiqa_bench.evaluation.splits import as_rule, make_splits

    rule = as_rule(rule_name)
    return rule, make_splits(data.samples, data.name, rule, repeats, seed)


def _print_splits(data: Dataset, rule: SplitRule, splits: Sequence[Split]) -> None:
    from rich import box
    from rich.table import Table

    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.evaluation.rules import RULES
    from agiqa_bench.evaluation.splits import splits_digest

    groups = data.samples["group"]
    table = Table(title=f"{data.name}: {rule} splits, images (groups)", caption=RULES[rule], box=box.SIMPLE_HEAD)
    table.add_column("held out" if rule == "generator" else "repeat")
    for title in ("train", "validation", "test", "leak\nprompt", "leak\ngroup", "leak\ngenerator"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("digest", no_wrap=True)
    for split in splits:
        sizes = [
            f"{len(part):,} ({groups.iloc[part].nunique():,})" for part in (split.train, split.validation, split.test)
        ]
        leakage = split.leakage
        leaks = [f"{100 * share:.1f} %" for share in (leakage.prompt, leakage.group, leakage.generator)]
        name = f"{split.repeat} {split.held_out}".rstrip()
        table.add_row(name, *sizes, *leaks, split.digest[:8])
    wide_console().print(table)
    typer.echo("leak: share of test images whose prompt, group or generator is also in train or validation")
    _print_shared(data, splits)
    typer.echo(f"digest of all splits: {splits_digest(splits)}")


def _print_shared(data: Dataset, splits: Sequence[Split]) -> None:
    """Say what the test parts share with the training parts, and what of the data set can be the reason."""
    from statistics import fmean

    from agiqa_bench.reporting.digits import shared_lines

    leaks = [split.leakage for split in splits]
    shares = {what: fmean(getattr(leak, what) for leak in leaks) for what in ("prompt", "group", "generator")}
    for line in shared_lines(**shares):
        typer.echo(line)
    for fault in data.faults:
        if fault.warning:
            typer.echo(one_line(f"warning: {fault.message}"))
