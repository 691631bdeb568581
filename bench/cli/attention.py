"""`agiqa-bench attention`: where a saved model looks, drawn over an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agiqa_bench.cli.saved_model import Backbone, Checkpoint, Device, Offline, Plugin, open_model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from agiqa_bench.method import Method


def attention(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image.")],
    checkpoint: Checkpoint,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A picture (.png, .svg, .pdf), or .npz for the weights themselves.")
    ],
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="Its prompt.")] = None,
    heads: Annotated[str | None, typer.Option(metavar="NUMBERS", help="Only these heads, e.g. 0,3,5.")] = None,
    columns: Annotated[int | None, typer.Option(min=1, help="Heads in a row of the picture.")] = None,
    device: Device = "auto",
    offline: Offline = False,
    backbone: Backbone = None,
    plugin: Plugin = None,
) -> None:
    """Draw the attention maps of a saved model over an image: the mean, and one per head."""
    from agiqa_bench.cli.console import say_on_stderr, stderr_console
    from agiqa_bench.data.images import decode
    from agiqa_bench.figures.attention_maps import check_suffix, write_maps
    from agiqa_bench.saved import check_prompts

    check_suffix(output)
    wanted = None if heads is None else _numbers(heads)
    pixels = decode(image)
    model = open_model(checkpoint, stderr_console(), device, offline, backbone, plugin)
    prompts = check_prompts(model, [image], None if prompt is None else [prompt])
    maps = _maps(model, image, prompts[0])
    write_maps(output, pixels, maps, prompts[0], heads=wanted, columns=columns)
    say_on_stderr(f"wrote {output}: {len(maps if wanted is None else wanted)} of {len(maps)} heads")


def _numbers(text: str) -> list[int]:
    from agiqa_bench.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--heads {text}: write numbers separated by commas, e.g. 0,3,5")
    return [int(part) for part in parts]


def _maps(model: Method, image: Path, prompt: str) -> npt.NDArray[np.float32]:
    """The weights of each head, float32 (heads, rows, columns)."""
    import numpy as np

    from agiqa_bench.data.loose_files import open_samples
    from agiqa_bench.errors import ConfigError, PredictionError

    with open_samples([image], [prompt], model.context.targets) as samples:
        returned = model.attention(samples)
    if returned is None:
        raise ConfigError(f"{model.title} has no attention maps; ipiqa, for one, has")
    found = np.asarray(returned)
    if found.ndim != 4 or len(found) != 1 or 0 in found.shape:
        raise PredictionError(
            f"method '{model.name}': attention returned shape {found.shape} for one sample; "
            "return (1, heads, rows, columns)"
        )
    if not np.isfinite(found).all() or found.min() < 0:
        raise PredictionError(f"method '{model.name}': attention returned weights that are not finite numbers >= 0")
    return np.asarray(found[0], dtype=np.float32)
