"""`agiqa-bench score`: scores of images by a saved model."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agiqa_bench.cli.saved_model import Backbone, Checkpoint, Device, Offline, Plugin, open_model

if TYPE_CHECKING:
    from rich.console import Console

    from agiqa_bench.data.loose_files import LooseFiles
    from agiqa_bench.method import Method, Scores

FORMATS = ("plain", "json")


def score(
    source: Annotated[
        Path, typer.Argument(metavar="IMAGE|TABLE|FOLDER", help="An image, a table with column 'image', or a folder.")
    ],
    checkpoint: Checkpoint,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The prompt of the image, or of all images of the folder.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", "-f", help="plain (CSV for several images) or json.", metavar="FORMAT")
    ] = "plain",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file; plain means CSV.")] = None,
    device: Device = "auto",
    offline: Offline = False,
    backbone: Backbone = None,
    plugin: Plugin = None,
) -> None:
    """Score an image, the images of a folder, or those that a table lists with their prompts, by a saved model."""
    from agiqa_bench.atomic import write_text
    from agiqa_bench.cli.console import say_on_stderr, stderr_console
    from agiqa_bench.data.loose_files import check_images
    from agiqa_bench.errors import UnknownNameError

    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    files = _files(source, prompt)
    check_images(files.paths)
    console = stderr_console()
    model = open_model(checkpoint, console, device, offline, backbone, plugin)
    _check_prompts(model, files, source)
    scores = _score(model, files, console)
    if form == "json":
        text = _to_json(model, files, scores)
    elif output is None and len(files.names) == 1 and files.paths[0] == source:
        text = _to_plain(model, scores)
    else:
        text = _to_csv(model, files, scores)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
        say_on_stderr(f"wrote {output}: scores of {len(files.names)} image{'s' * (len(files.names) > 1)}")


def _files(source: Path, prompt: str | None) -> LooseFiles:
    from agiqa_bench.data.catalogue import TABLE_SUFFIXES
    from agiqa_bench.data.loose_files import LooseFiles, from_folder, from_table
    from agiqa_bench.errors import ConfigError

    if source.is_dir():
        files = from_folder(source)
    elif source.suffix.lower() in TABLE_SUFFIXES:
        if prompt is not None:
            raise ConfigError(f"table {source} brings its own prompts, in the column 'prompt': leave out the other one")
        return from_table(source)
    else:
        files = LooseFiles((str(source),), (source,))
    return files if prompt is None else replace(files, prompts=(prompt,) * len(files.names))


def _check_prompts(model: Method, files: LooseFiles, source: Path) -> None:
    """Say what to do about prompts that are missing, and that needless ones are not used."""
    from agiqa_bench.cli.console import say_on_stderr
    from agiqa_bench.data.catalogue import TABLE_SUFFIXES
    from agiqa_bench.errors import DataError

    if files.prompts is not None and not model.uses_prompt:
        say_on_stderr(f"note: {model.title} does not look at the prompt")
    if files.prompts is not None or not model.uses_prompt:
        return
    needs = f"{model.title} scores an image together with its prompt"
    if source.is_dir():
        raise DataError(f"{needs}: instead of the folder {source} give a table with the columns image and prompt")
    if source.suffix.lower() in TABLE_SUFFIXES:
        raise DataError(f"table {source} has no column 'prompt', and {needs}")
    raise DataError(f'{needs}: give it behind the image, score {source} "PROMPT"')


def _score(model: Method, files: LooseFiles, console: Console) -> Scores:
    from rich.progress import Progress

    from agiqa_bench.saved import score

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring images", total=len(files.paths))
        return score(model, files.paths, files.prompts, progress=lambda done, _: bar.update(task, completed=done))


def _to_plain(model: Method, scores: Scores) -> str:
    """One image: a line for each target, with the scale that its raters used."""
    lines = [("", "score", "MOS range")]
    for target, value in zip(model.context.targets, scores[0], strict=True):
        ends = model.context.mos_ranges.get(target)
        lines.append((target, f"{value:.4f}", "unknown" if ends is None else f"{ends[0]:g} to {ends[1]:g}"))
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    return "".join(f"{name:<{first}}  {value:>{second}}  {ends}\n" for name, value, ends in lines)


def _to_csv(model: Method, files: LooseFiles, scores: Scores) -> str:
    """Texts as a spreadsheet may open them; in JSON they are as they were."""
    from agiqa_bench.harmless import spreadsheet_text

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(spreadsheet_text, ("image", "prompt", *model.context.targets)))
    prompts = files.prompts or [""] * len(files.names)
    for name, prompt, row in zip(files.names, prompts, scores.tolist(), strict=True):
        writer.writerow([spreadsheet_text(name), spreadsheet_text(prompt), *row])
    return buffer.getvalue()


def _to_json(model: Method, files: LooseFiles, scores: Scores) -> str:
    from agiqa_bench.harmless import json_text

    prompts = files.prompts or [""] * len(files.names)
    targets = model.context.targets
    content: dict[str, Any] = {
        "method": model.name,
        "mos_ranges": {name: model.context.mos_ranges[name] for name in targets if name in model.context.mos_ranges},
        "scores": [
            {"image": name, "prompt": prompt, **dict(zip(targets, row, strict=True))}
            for name, prompt, row in zip(files.names, prompts, scores.tolist(), strict=True)
        ],
    }
    return json_text(content, indent=2)
