"""Where saved models look: attention maps over test images, for methods that give them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.errors import AgiqaError
from agiqa_bench.harmless import one_line
from agiqa_bench.method import Method
from agiqa_bench.registry import method_registry
from agiqa_bench.reporting.build.summaries import anchor, row_title
from agiqa_bench.reporting.model import Figure
from agiqa_bench.reporting.results import MethodResults, RunResults

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

IMAGES = 2
"""Images that are drawn for each method: those that people rated best and worst in the repeat whose model was saved."""


def attention_figures(results: RunResults, samples: pd.DataFrame | None, prefix: str) -> list[Figure]:
    """Attention maps of each method that has them, by the model of its first repeat that `--save-models` kept.

    Models are loaded when a figure is drawn; one that cannot be says why in its place.

    Args:
        results: Under one protocol.
        samples: See `RunResults.samples`; None: no figures, because nobody knows where the images lie.
        prefix: Goes before the figures' keys.
    """
    if samples is None:
        return []
    figures = []
    for method in results.methods:
        found = next(((repeat, cell.model) for repeat, cell in sorted(method.cells.items()) if cell.model), None)
        if found is None or not _gives_maps(method):
            continue
        repeat, model = found
        for place, row in enumerate(_rows(method, repeat)):
            sample = samples.set_index("row").loc[row]
            if not sample["path"] or not Path(sample["path"]).is_file():
                continue
            figures.append(
                Figure(
                    key=anchor(prefix, "attention", method.label, str(place)),
                    title=f"Where {row_title(results, method)} looks: {sample['image']}",
                    alt=f"Attention of each head over the image {sample['image']}, made from the prompt "
                    f"'{sample['prompt']}'.",
                    draw=partial(_draw, model, Path(sample["path"]), str(sample["prompt"])),
                    caption=f"A test image of repeat {repeat}, by the model that was saved with it; brighter is more "
                    "attention. 'agiqa-bench attention' draws any other image.",
                    free=bool(results.protocol["synthetic"]) and "train_on" not in results.protocol,
                )
            )
    return figures


def _gives_maps(method: MethodResults) -> bool:
    try:
        cls = method_registry().load(method.name)
    except AgiqaError:
        return False  # a plugin that is not there now
    return cls.attention is not Method.attention


def _rows(method: MethodResults, repeat: int) -> list[int]:
    """The test images that people rated best and worst."""
    table = method.cells[repeat].predictions().sort_values(f"mos_{method.targets[0]}", kind="stable")
    rows = [int(row) for row in table["row"]]
    return [rows[-1], rows[0]][:IMAGES] if len(rows) > 1 else rows


def _draw(model: Path, image: Path, prompt: str) -> Drawing:
    import numpy as np

    from agiqa_bench.data.images import decode
    from agiqa_bench.data.loose_files import open_samples
    from agiqa_bench.figures.attention_maps import draw_maps
    from agiqa_bench.figures.style import style
    from agiqa_bench.saved import load_model

    try:
        loaded = load_model(model)
    except AgiqaError as error:
        return _why_not(error)
    with open_samples([image], [prompt], loaded.context.targets) as samples:
        weights = loaded.attention(samples)
    with style():
        return draw_maps(decode(image), np.asarray(weights, dtype=np.float32)[0], prompt)


def _why_not(error: AgiqaError) -> Drawing:
    """A picture that says why there is none: a report does not fail for a model that cannot be loaded any more."""
    import textwrap

    from agiqa_bench.figures.style import new_figure, style

    with style():
        drawing = new_figure(1.2)
        text = "\n".join(textwrap.wrap(one_line(f"not drawn: {error}"), 110))
        drawing.text(0.01, 0.9, text, va="top")
    return drawing
