"""What the commands that use a saved model share: its options, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from agiqa_bench.method import Method

Checkpoint = Annotated[
    Path, typer.Option("--checkpoint", "-c", metavar="FILE", help="A model that 'run --save-models' wrote.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda:N.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
Backbone = Annotated[
    str | None, typer.Option("--backbone", help="Where the frozen CLIP is, if not where it was, e.g. RN50:FILE.")
]
Plugin = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file with the method; may be repeated.")]


def open_model(
    checkpoint: Path, console: Console, device: str, offline: bool, backbone: str | None, plugins: list[Path] | None
) -> Method:
    """Load a saved model and say on `console` (of stderr) which it is.

    Raises:
        ConfigError: `--backbone` is given for a method that has none.
        AgiqaError: As `agiqa_bench.saved.load_model`.
    """
    from agiqa_bench.cli.progress import TerminalWatcher, forward_log
    from agiqa_bench.errors import ConfigError
    from agiqa_bench.offline import go_offline
    from agiqa_bench.plugins import load_plugin
    from agiqa_bench.saved import load_model, read_saved

    go_offline(offline)
    watcher = TerminalWatcher(console)
    forward_log(watcher)
    for file in plugins or ():
        load_plugin(file)
    saved = read_saved(checkpoint)
    settings: dict[str, Any] = {}
    if backbone is not None:
        if "backbone" not in saved.config:
            raise ConfigError(f"--backbone {backbone}: method '{saved.method}' of {checkpoint} has no backbone")
        settings["backbone"] = backbone
    model = load_model(checkpoint, device=device, offline=offline, settings=settings)
    stand_ins = ", ".join(dict.fromkeys(weights.stand_in for weights in saved.weights if weights.stand_in))
    mark = f" ({stand_ins})" if stand_ins else ""
    watcher.say(f"{saved.title}{mark}, fitted on {saved.context.dataset or 'unnamed data'}")
    return model
