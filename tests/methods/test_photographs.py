"""What the training-free quality measures see on real photographs that are blurred, made noisy, and compressed.

What a measure misses, or takes for quality, is asserted as it was found: a reader of its scores must know it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import skimage
import sklearn
from PIL import Image, ImageFilter
from pydantic import ValidationError

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.images import decode
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import AgiqaError
from agiqa_bench.execution.cell import predict
from agiqa_bench.method import Context, Method
from agiqa_bench.methods.pyiqa_files import FILES
from agiqa_bench.registry import method_registry

Pixels = npt.NDArray[np.uint8]
Means = Sequence[float]

SIDE = 256

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "china.jpg", "flower.jpg")
"""In the wheels of scikit-image and scikit-learn; NIQE's refit has seen the first three, undamaged."""


def blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noised(image: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def compressed(image: Pixels, quality: float) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return decode(buffer.getvalue())


DAMAGES: dict[str, tuple[Callable[[Pixels, float], Pixels], tuple[float, ...]]] = {
    "blur": (blurred, (1.0, 2.0, 4.0)),
    "noise": (noised, (8.0, 20.0, 50.0)),
    "jpeg": (compressed, (40, 20, 5)),
}
"""Each kind of damage, and its levels from slight to strong: deviations in pixels, in gray levels, JPEG's quality."""


def falls(means: Means) -> bool:
    """Each step is scored worse: what a measure of quality is for."""
    return all(after < before for before, after in itertools.pairwise(means))


def falls_later(means: Means) -> bool:
    """Slight damage is not told from none, more is scored worse."""
    return falls(means[1:]) and means[2] < means[0] and not falls(means)


def rises(means: Means) -> bool:
    """Damage is taken for quality."""
    return falls([-mean for mean in means])


def hardly_moves(means: Means) -> bool:
    """A measure of [0, 1] does not see it."""
    return max(means) - min(means) < 0.1


BEHAVIOUR: dict[str, dict[str, Callable[[Means], bool]]] = {
    "niqe": {"blur": falls, "noise": falls, "jpeg": falls},
    # The share of sharp edges: noise makes edges, and so does the grid of blocks.
    "dsiqa": {"blur": falls, "noise": rises, "jpeg": hardly_moves},
    # Slight noise breaks up the flat stretches that PIQE takes for blocks.
    "pyiqa:piqe": {"blur": falls, "noise": falls_later, "jpeg": falls},
    # The histogram of gray levels, with no notion of quality: noise fills it, whatever smooths empties it.
    "pyiqa:entropy": {"blur": falls, "noise": rises, "jpeg": falls},
}


def config_of(cls: type[Method]) -> Any:
    """The settings under which a method runs here; NIQE's refit is a stand-in, but made of real photographs."""
    return cls.Config.model_validate({"pristine": "refit"} if cls.name == "niqe" else {})


def runs_here(name: str) -> bool:
    """Whether a method is a training-free measure of quality that needs nothing from the network."""
    cls = method_registry().load(name)
    try:
        config = config_of(cls)
        weights = () if cls.skip(config, Context(offline=True)) else cls.weights(config, Context(offline=True))
    except (AgiqaError, ValidationError):
        return False
    stand_in = any(each.stand_in for each in weights) and cls.name != "niqe"
    return not stand_in and cls.skip(config, Context(offline=True)) is None


def test_every_measure_that_runs_here_is_held_to_its_behaviour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "TORCH_HOME", "HF_HUB_CACHE"):  # whatever this machine has downloaded is another matter
        monkeypatch.setenv(name, str(tmp_path))
    found = {f"pyiqa:{metric}" for metric, files in FILES.items() if not files}
    for entry in method_registry().entries():
        facts = entry.facts
        wanted = not facts.get("trainable", True) and facts.get("uses_images", True)
        if entry.error is None and wanted and "quality" in facts.get("targets", ()) and runs_here(entry.name):
            found.add(entry.name)
    assert found == set(BEHAVIOUR)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Each photograph as it is, then with each damage at each level."""
    folder = tmp_path_factory.mktemp("photographs")
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    rows, paths = [], []
    for name in PHOTOGRAPHS:
        whole = decode(next(each / name for each in folders if (each / name).is_file()))
        top, left = ((side - SIDE) // 2 for side in whole.shape[:2])
        image = whole[top : top + SIDE, left : left + SIDE]
        versions = [("none", 0, image)]
        for damage, (distort, levels) in DAMAGES.items():
            versions += [(damage, step, distort(image, level)) for step, level in enumerate(levels, start=1)]
        for damage, step, pixels in versions:
            paths.append(folder / f"{name}-{damage}-{step}.png")
            Image.fromarray(pixels).save(paths[-1])
            rows.append({"image": paths[-1].name, "damage": damage, "step": step, "mos_quality": np.nan})
    return Samples(pd.DataFrame(rows), ["quality"], ImageCache(paths, folder / "cache"))


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_behaviour_under_growing_damage(name: str, damaged: Samples) -> None:
    cls = method_registry().load(name)
    scores, _ = predict(cls(config_of(cls), Context(offline=True)), damaged)
    parts = [image.rsplit("-", 2) for image in damaged.names]
    table = pd.DataFrame({"damage": [part[1] for part in parts], "step": [part[2] for part in parts]})
    means = table.assign(score=scores[:, 0]).groupby(["damage", "step"], sort=False)["score"].mean()
    for damage, behaves in BEHAVIOUR[name].items():
        found = [float(means["none"].iloc[0]), *means[damage]]
        assert behaves(found), f"{name} under {damage}: {behaves.__name__} expected, found {found}"
