"""The training pictures, rendered once and kept as one array."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from agiqa_bench.backbones.demo.captions import FAMILY, Picture, is_held_out, random_damages, random_family
from agiqa_bench.backbones.demo.models import IMAGE_SIZE
from agiqa_bench.synthetic.damage import damage
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.scenes import describe, random_scene, render

RENDERED_SIZE = 128
"""Pictures are rendered and damaged at the size of the `demo` data set's and reduced as CLIP's preprocessing does."""

_CHUNK = 64

Images = npt.NDArray[np.uint8]


def reduced(image: Images) -> Images:
    """A picture at the demo CLIPs' input size, uint8 (64, 64, 3), by Pillow's bicubic filter."""
    return np.asarray(Image.fromarray(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def rendered(picture: Picture) -> Images:
    """A picture with its damages, uint8 (64, 64, 3)."""
    image = render(picture.scene, RENDERED_SIZE)
    for index, fault in enumerate(picture.damages):
        image = damage(image, fault.kind, fault.severity, Draws("demo clip damage", picture.scene.layout, index))
    return reduced(image)


def training_family(seed: int, index: int) -> list[Picture]:
    """The pictures of family `index`; `seed` names one of the endless banks."""
    return random_family(Draws("demo clip training", seed, index))


def held_out_pictures(count: int, seed: int = 0) -> list[Picture]:
    """Pictures of scenes that are never trained on, no two with the same description, lightly damaged or clean."""
    draws = Draws("demo clip held out", seed)
    pictures: dict[str, Picture] = {}
    while len(pictures) < count:
        scene = random_scene(draws)
        if is_held_out(scene) and describe(scene) not in pictures:
            pictures[describe(scene)] = Picture(scene, random_damages(draws))
    return list(pictures.values())


def render_all(pictures: Sequence[Picture]) -> Images:
    """Render pictures in this process, uint8 (n, 64, 64, 3)."""
    return np.stack([rendered(picture) for picture in pictures])


def _render_families(seed: int, first: int, last: int) -> Images:
    return render_all([picture for index in range(first, last) for picture in training_family(seed, index)])


def _render_chunk(seed: int, families: int, first: int) -> Images:
    return _render_families(seed, first, min(first + _CHUNK, families))


def render_bank(seed: int, families: int, workers: int) -> Images:
    """Render the families 0 to `families` - 1, uint8 (families * FAMILY, 64, 64, 3); the same for any `workers`."""
    bank = np.empty((families * FAMILY, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    starts = range(0, families, _CHUNK)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for first, part in zip(starts, pool.imap(partial(_render_chunk, seed, families), starts), strict=True):
            bank[first * FAMILY : first * FAMILY + len(part)] = part
    return bank
