"""`agiqa-bench methods`: list, describe, start and check methods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from agiqa_bench.method import Method
    from agiqa_bench.registry import Entry

app = typer.Typer(help="Methods: list, info, new, check.", no_args_is_help=True)

Plugin = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file with methods; may be repeated.")]


@app.command("list")
def list_methods(
    plugin: Plugin = None,
    family: Annotated[str | None, typer.Option("--family", help="List the members of a family instead.")] = None,
    pyiqa: Annotated[bool, typer.Option("--pyiqa", help="The same as --family pyiqa.")] = False,
) -> None:
    """List every registered method and family; a broken one with its reason."""
    from rich.table import Table

    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.registry import BUILT_IN, method_registry

    _load(plugin)
    if family is not None or pyiqa:
        _list_family(family or "pyiqa")
        return
    registry = method_registry()
    families = registry.families.entries() if registry.families is not None else []
    entries = registry.entries()
    # Where all are ours, their origin would take the room of the summaries.
    foreign = any(not entry.origin.startswith(f"{BUILT_IN} ") for entry in [*entries, *families])
    grid = Table(box=None, pad_edge=False)
    for title in ("Name", "Title", "Predicts", "Kind", *(["From"] if foreign else []), "Summary"):
        grid.add_column(title, overflow="fold")
    for entry in entries:
        kind, summary = _kind(entry), str(entry.facts.get("summary", ""))
        grid.add_row(*_cells(entry, entry.name, kind, summary, foreign=foreign))
    for entry in families:
        summary = f"{entry.facts.get('summary', '')}: methods list --family {entry.name}"
        grid.add_row(*_cells(entry, f"{entry.name}:NAME", "family", summary, foreign=foreign))
    wide_console().print(grid)


def _cells(entry: Entry, name: str, kind: str, summary: str, *, foreign: bool) -> list[Text]:
    from rich.text import Text

    broken = entry.error is not None
    targets = "" if broken or kind == "family" else ", ".join(entry.facts.get("targets", ("quality",)))
    return [
        Text(name),
        Text(str(entry.facts.get("title", ""))),
        Text(targets.replace("*", "any")),
        Text("broken", style="red") if broken else Text(kind),
        *([Text(entry.origin)] if foreign else []),
        Text(entry.error or summary),
    ]


def _list_family(family: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.registry import method_registry

    registry = method_registry()
    rows = {name: registry.describe(name) for name in registry.members(family)}
    titles = list(dict.fromkeys(title for row in rows.values() for title in row))
    grid = Table(box=None, pad_edge=False)
    for title in ("Name", *titles):
        grid.add_column(title, overflow="fold")
    for name, row in rows.items():
        grid.add_row(Text(name), *(Text(row.get(title, "")) for title in titles))
    wide_console().print(grid)


@app.command()
def info(name: Annotated[str, typer.Argument(help="A method's name.")], plugin: Plugin = None) -> None:
    """Describe a method: what it needs, its settings and their defaults, its ablations, its source."""
    import inspect

    from rich.table import Table
    from rich.text import Text

    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.registry import method_registry

    _load(plugin)
    cls = method_registry().load(name)
    console = wide_console()
    console.print(Text(f"{cls.title} ({cls.name})", style="bold"))
    console.print(Text(inspect.getdoc(cls) or cls.summary))
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_row("predicts", ", ".join(cls.targets).replace("*", "anything"))
    facts.add_row("looks at", ", ".join(_inputs(cls)) or "generator names only")
    facts.add_row("trained", "on each repeat's training part" if cls.trainable else "no: zero-shot")
    for title, value in method_registry().describe(name).items():
        if value:
            facts.add_row(title.lower(), Text(value))
    facts.add_row("from", Text(method_registry().entry(name).origin))
    console.print(facts)
    if cls.Config.model_fields:
        settings = Table(title="Settings", title_justify="left")
        for title in ("Key", "Default", "In presets", "Meaning"):
            settings.add_column(title, overflow="fold")
        for key, field in cls.Config.model_fields.items():
            presets = ", ".join(f"{p}: {values[key]}" for p, values in cls.presets.items() if key in values)
            default = "required" if field.is_required() else repr(field.default)
            settings.add_row(key, Text(default), Text(presets), Text(field.description or ""))
        console.print(settings)
    if cls.ablations:
        ablations = Table(title="Ablations", title_justify="left")
        for title in ("Row", "Settings"):
            ablations.add_column(title, overflow="fold")
        for row, values in cls.ablations.items():
            changed = ", ".join(f"{key}: {value}" for key, value in values.items())
            ablations.add_row(Text(row), Text(changed or "no change"))
        console.print(ablations)
        console.print(Text(f'run them all with --methods "{name}[ablation]", one with "{name}[ablation=ROW]"'))
    if cls.citation:
        console.print(Text(cls.citation.strip(), style="dim"))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the method, e.g. my_method.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where the two files go.")] = Path(),
) -> None:
    """Write NAME.py, a complete working method, and test_NAME.py, its test."""
    from agiqa_bench.atomic import write_text
    from agiqa_bench.cli.template import METHOD, TEST
    from agiqa_bench.errors import ConfigError
    from agiqa_bench.registry import method_registry

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"method name '{name}': use small letters, digits and _, beginning with a letter")
    if name in method_registry():
        raise ConfigError(f"method name '{name}' is taken by {method_registry().entry(name).origin}: choose another")
    files = {folder / f"{name}.py": METHOD, folder / f"test_{name}.py": TEST}
    for file in files:
        if file.exists():
            raise ConfigError(f"{file} exists already: choose another name or --folder")
    names = {"{{name}}": name, "{{class}}": "".join(part.capitalize() for part in name.split("_"))}
    for file, text in files.items():
        for placeholder, value in names.items():
            text = text.replace(placeholder, value)
        write_text(file, text)
    method, test = files
    typer.echo(f"wrote {method} and {test}. Next:")
    typer.echo(f"  agiqa-bench methods check {method}")
    typer.echo(f"  agiqa-bench run --plugin {method} --methods {name},niqe,generator_mean --dataset demo")


@app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="NAME-OR-FILE", help="A method's name, or a file with methods.")],
    plugin: Plugin = None,
) -> None:
    """Check that a method keeps the contract; the exit code is 1 if it does not."""
    from rich.text import Text

    from agiqa_bench.cli.console import wide_console
    from agiqa_bench.contract import check_method
    from agiqa_bench.errors import PluginError
    from agiqa_bench.plugins import load_plugin
    from agiqa_bench.registry import method_registry

    _load(plugin)
    registry = method_registry()
    names = [target]
    if target.endswith(".py") or Path(target).is_file():
        names = [name for name in load_plugin(Path(target)) if name in registry]
        if not names:
            raise PluginError(f"plugin {target}: defines no method to check")
    console = wide_console()
    kept = True
    for name in names:
        console.print(Text(name, style="bold"))
        for result in check_method(registry.load(name)):
            mark, style = {True: ("ok", "green"), False: ("BROKEN", "red"), None: ("-", "dim")}[result.passed]
            console.print(Text(f"  {mark:<7}", style=style) + Text(f"{result.name}: {result.detail}", style=""))
            kept = kept and result.passed is not False
    raise typer.Exit(0 if kept else 1)


def _load(plugins: list[Path] | None) -> None:
    if plugins:
        from agiqa_bench.plugins import load_plugin

        for file in plugins:
            load_plugin(file)


def _kind(entry: Entry) -> str:
    """How it comes to its scores, and the other groups that it belongs to."""
    from agiqa_bench.execution.selection import groups_of

    groups = [group for group in groups_of(entry.facts) if group not in ("alignment", "zero-shot")]
    return ", ".join(["trained" if entry.facts.get("trainable", True) else "zero-shot", *groups])


def _inputs(cls: type[Method]) -> list[Any]:
    return [what for what, used in (("the image", cls.uses_images), ("its prompt", cls.uses_prompt)) if used]
