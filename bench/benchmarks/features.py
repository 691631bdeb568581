"""Images per second of the handcrafted methods: `python -m agiqa_bench.benchmarks.features`.

Each round scores pictures that the method has not seen, so that nothing comes out of a cache; they are decoded before
the clock starts. The pictures are painted by the code that paints the demo data set.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agiqa_bench.benchmarks.report import Measurement, show, timed, write
from agiqa_bench.errors import AgiqaError, WeightsUnavailableError
from agiqa_bench.method import Context, Method
from agiqa_bench.registry import method_registry

if TYPE_CHECKING:
    from agiqa_bench.data.samples import Samples

GROUP = "handcrafted"

_GRID = 32
"""What the sides of painted pictures are multiples of."""


def main(
    methods: Annotated[
        str | None, typer.Option(help="Names, separated by commas.", show_default=f"the group {GROUP}")
    ] = None,
    size: Annotated[int, typer.Option(min=_GRID, help="Height and width of the pictures, a multiple of 32.")] = 512,
    images: Annotated[int, typer.Option(min=2, help="Pictures per round.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are timed, after one that is not.")] = 5,
    output: Annotated[Path | None, typer.Option(help="JSON file for the result.", show_default="none")] = None,
) -> None:
    """Time methods on pictures that they have not seen and print images per second."""
    from agiqa_bench.data.parallel import default_workers

    if size % _GRID:
        raise typer.BadParameter(f"{size} is not a multiple of {_GRID}", param_hint="--size")
    try:
        names = methods.split(",") if methods else in_group(GROUP)
        classes = [method_registry().load(name) for name in names]
        with tempfile.TemporaryDirectory() as folder:
            painted = list(paint_rounds(Path(folder), rounds + 1, images, size))
            measured = [measure(cls, painted) for cls in classes]
        title = f"{size} x {size} pixels, {default_workers()} cores, median of {rounds} rounds of {images} images"
        show(title, "images/s", measured)
        if output:
            write(output, "features", {"size": size, "images": images, "rounds": rounds}, measured)
    except AgiqaError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error


def in_group(group: str) -> list[str]:
    """Names of the registered methods of a group, sorted."""
    return [entry.name for entry in method_registry().entries() if group in entry.facts.get("groups", ())]


def measure(cls: type[Method], rounds: Sequence[Samples]) -> Measurement:
    """Time a method's `predict` with its default settings.

    Args:
        cls: The method. What is trained is fitted to the first round.
        rounds: Samples of one data set each; the first is not timed.

    Returns:
        Timings of each further round; none if the method cannot run here.
    """
    context = Context(dataset="demo", offline=True)
    config, note = cls.Config(), ""
    try:
        cls.weights(config, context)
    except WeightsUnavailableError as unavailable:
        if not unavailable.stand_in:
            return Measurement(cls.name, note=str(unavailable))
        config, note = cls.Config(**unavailable.stand_in), "with a stand-in's weights"
    reason = cls.skip(config, context)
    if reason is not None:
        return Measurement(cls.name, note=reason)
    method = cls(config, context)
    method.prepare()
    method.fit(rounds[0])
    hidden = [samples.hidden() for samples in rounds]
    method.predict(hidden[0])
    return Measurement(cls.name, tuple(timed(partial(method.predict, each), len(each)) for each in hidden[1:]), note)


def paint_rounds(folder: Path, rounds: int, images: int, size: int) -> Iterator[Samples]:
    """Paint the pictures of each round into a data set of its own, decoded and ready.

    Args:
        folder: Where pictures and caches go.
        rounds: Number of data sets; no picture is in two of them.
        images: Pictures in each.
        size: Height and width of a picture, a multiple of 32.

    Yields:
        Samples with made-up ratings of quality.
    """
    import pandas as pd

    from agiqa_bench.data.image_cache import ImageCache
    from agiqa_bench.data.samples import Samples
    from agiqa_bench.synthetic.draws import Draws
    from agiqa_bench.synthetic.generators import GENERATORS, paint, plan_picture
    from agiqa_bench.synthetic.png import encode_png
    from agiqa_bench.synthetic.scenes import Item, Scene

    scene = Scene((Item("house", "yellow"), Item("tree", "green", 2)), "meadow")
    for number in range(rounds):
        rows = []
        for picture in range(images):
            generator = GENERATORS[picture % len(GENERATORS)]
            plan = plan_picture(generator, scene, Draws("benchmark", number, picture))
            path = folder / f"{number}-{picture}.png"
            path.write_bytes(encode_png(paint(plan, size)))
            rows.append((path.name, str(path), "a house and trees", generator.name, "house", float(picture % 6)))
        columns = ["image", "path", "prompt", "generator", "group", "mos_quality"]
        table = pd.DataFrame(rows, columns=columns)
        cache = ImageCache(list(table["path"]), folder / f"cache-{number}")
        _ = cache.store
        yield Samples(table, ["quality"], cache)


if __name__ == "__main__":
    typer.run(main)
