"""Images to measure with: painted by the code that paints the demo data set, as many as a benchmark wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count as from_zero
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

    from agiqa_bench.data.samples import Samples

_PAINTED = 10
"""Images that are painted; further ones are these, shifted, because painting takes a second each."""

_PER_PROMPT = 10
"""Images of a prompt, as in AGIQA-3K."""

_PLACES = ("meadow", "hill", "beach", "forest", "desert", "city", "garden", "lake")
_STYLES = ("oil painting", "watercolour", "photograph", "anime", "baroque", "pencil drawing")
_LIGHTS = ("at night", "at dawn", "in the rain", "in winter", "under a blue sky")

RATED = ("quality", "alignment")
RANGE = (0.0, 5.0)
"""Lowest and highest possible rating of both targets."""


def painted_images(size: int, *, noise: float = 0.0) -> Iterator[npt.NDArray[np.uint8]]:
    """Images without end, always the same ones in the same order.

    Args:
        size: Height and width, a multiple of 32.
        noise: Standard deviation of noise, of each image's own, in grey levels.

    Yields:
        Images (size, size, 3); no two are alike among the first `10 * size * size`.
    """
    from agiqa_bench.synthetic.draws import Draws
    from agiqa_bench.synthetic.generators import GENERATORS, paint, plan_picture
    from agiqa_bench.synthetic.scenes import Item, Scene

    scene = Scene((Item("house", "yellow"), Item("tree", "green", 2)), "meadow")
    draw = np.random.default_rng(derive_seed("benchmark", "noise"))
    painted: list[npt.NDArray[np.uint8]] = []
    for number in from_zero():
        round_, which = divmod(number, _PAINTED)
        if len(painted) <= which:
            plan = plan_picture(GENERATORS[which % len(GENERATORS)], scene, Draws("benchmark", 0, which))
            painted.append(paint(plan, size))
        image = np.roll(painted[which], (round_ % size, round_ // size), axis=(0, 1))
        if noise:
            noisy = image + noise * draw.standard_normal(image.shape, dtype=np.float32)
            image = noisy.round().clip(0, 255).astype(np.uint8)
        yield image


def write_rated(folder: Path, images: Iterable[npt.NDArray[np.uint8]]) -> pd.DataFrame:
    """Write images into a folder, as PNG, and make up what else a data set has.

    Args:
        folder: Where the files go; it is there.
        images: Each (height, width, 3).

    Returns:
        Columns image, path, prompt, generator, group, mos_quality and mos_alignment: uniform random ratings in
        `RANGE`. Every tenth image has a prompt of its own; a prompt has about as many words as in AGIQA-3K.
    """
    import pandas as pd
    from PIL import Image

    files = []
    for number, image in enumerate(images):
        files.append(folder / f"painted-{number}.png")
        Image.fromarray(image).save(files[-1], compress_level=1)
    ratings = np.random.default_rng(derive_seed("benchmark", "ratings")).uniform(*RANGE, (len(files), len(RATED)))
    # Dealt out in turn, so that any ten images have as many prompts as they can.
    prompts = [_prompt(number % -(-len(files) // _PER_PROMPT)) for number in range(len(files))]
    return pd.DataFrame({
        "image": [path.name for path in files],
        "path": [str(path) for path in files],
        "prompt": prompts,
        "generator": "painted",
        "group": prompts,
        "mos_quality": ratings[:, 0],
        "mos_alignment": ratings[:, 1],
    })  # fmt: skip


def rated_pictures(folder: Path, count: int, size: int) -> pd.DataFrame:
    """Write the first so many images into a folder; see `write_rated`.

    Args:
        folder: Where the files go.
        count: Number of images; no two files have the same content.
        size: Height and width, a multiple of 32.
    """
    return write_rated(folder, islice(painted_images(size), count))


def decoded_samples(folder: Path, images: Iterable[npt.NDArray[np.uint8]]) -> Samples:
    """A data set of its own, decoded and ready, rated in quality.

    Args:
        folder: Where images and cache go; it is made.
        images: Each (height, width, 3).
    """
    from agiqa_bench.data.image_cache import ImageCache
    from agiqa_bench.data.samples import Samples

    folder.mkdir()
    table = write_rated(folder, images)
    cache = ImageCache(list(table["path"]), folder / "cache")
    _ = cache.store
    return Samples(table, RATED[:1], cache)


def _prompt(number: int) -> str:
    place = _PLACES[number % len(_PLACES)]
    style = _STYLES[number // len(_PLACES) % len(_STYLES)]
    light = _LIGHTS[number // (len(_PLACES) * len(_STYLES)) % len(_LIGHTS)]
    return f"{number} yellow houses and a tall green tree on a {place} {light}, {style}, highly detailed"
