"""What can go wrong with a picture: damages to its pixels, and to what it shows.

Severities are in [0, 1]. Damage to pixels scales with the size of the picture, so a picture of 64 pixels and one of 128
look equally damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.filters import Image, blur, resample, smooth_noise
from agiqa_bench.synthetic.objects import COLOURS, OBJECTS
from agiqa_bench.synthetic.scenes import Scene
from agiqa_bench.synthetic.settings import SETTINGS
from agiqa_bench.synthetic.styles import STYLES

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Damage:
    """One thing that went wrong.

    Attributes:
        kind: One of `IMAGE_DAMAGES` or `SCENE_DAMAGES`.
        severity: In [0, 1].
    """

    kind: str
    severity: float


def _clipped(values: Integers) -> Image:
    return np.clip(values, 0, 255).astype(np.uint8)


def _blurred(image: Image, severity: float, draws: Draws) -> Image:  # noqa: ARG001
    return blur(image, severity * image.shape[0] / 40.0)


def _noisy(image: Image, severity: float, draws: Draws) -> Image:
    size = image.shape[0]
    # Drawn at 128 pixels and averaged for smaller pictures, as if the noisy picture had been reduced.
    factor = max(1, 128 // size)
    noise = draws.gaussians(size, factor, size, factor, 3).sum(axis=(1, 3))
    # One deviation of `gaussians` is 37837; at full severity it becomes 54 grey levels.
    amplitude = int(severity * 54.0 * 65536.0 / 37837.0)
    scale = factor * factor * 65536
    values = image.astype(np.int64) + (noise * amplitude + scale // 2) // scale
    return _clipped(values)


# HEVC's integer cosine transform of length 8: each row has norm 64 * sqrt(8), to within 0.05 %.
_COSINES: Integers = np.array(
    [
        [64, 64, 64, 64, 64, 64, 64, 64],
        [89, 75, 50, 18, -18, -50, -75, -89],
        [83, 36, -36, -83, -83, -36, 36, 83],
        [75, -18, -89, -50, 50, 89, 18, -75],
        [64, -64, -64, 64, 64, -64, -64, 64],
        [50, -89, 18, 75, -75, -18, 89, -50],
        [36, -83, 83, -36, -36, 83, -83, 36],
        [18, -50, 75, -89, 89, -75, 50, -18],
    ],
    dtype=np.int64,
)


def _blocky(image: Image, severity: float, draws: Draws) -> Image:  # noqa: ARG001
    size = image.shape[0]
    # Blocks of 8 pixels at 128: smaller pictures are enlarged for the transform, and reduced again.
    factor = max(1, 128 // size)
    large = image.repeat(factor, axis=0).repeat(factor, axis=1).astype(np.int64) - 128
    count = large.shape[0] // 8
    blocks = large.reshape(count, 8, count, 8, 3).transpose(0, 2, 4, 1, 3)
    coefficients = _COSINES @ blocks @ _COSINES.T
    order = np.arange(8, dtype=np.int64)
    # The transform's values are 2**15 times those of an orthonormal one; high frequencies lose more, as in JPEG.
    step = int(severity * 32768.0) * (64 + 44 * (order[:, None] + order[None, :])) + 1
    levels = np.sign(coefficients) * ((np.abs(coefficients) + step // 2) // step)
    restored = _COSINES.T @ (levels * step) @ _COSINES
    values = ((restored + (1 << 29)) >> 30).transpose(0, 3, 1, 4, 2).reshape(large.shape) + 128
    small = np.clip(values, 0, 255).reshape(size, factor, size, factor, 3)
    area = factor * factor
    return _clipped((small.sum(axis=(1, 3)) + area // 2) // area)


_CASTS = ((70, 10, -70), (-70, 5, 70), (-45, 60, -45), (60, -50, 50))


def _tinted(image: Image, severity: float, draws: Draws) -> Image:
    strength = int(severity * 256.0)
    cast = np.array(draws.choice(_CASTS), dtype=np.int64)
    values = image.astype(np.int64) + ((cast * strength) >> 8)
    return _clipped(values)


def _washed_out(image: Image, severity: float, draws: Draws) -> Image:  # noqa: ARG001
    keep = 256 - int(severity * 195.0)
    values = image.astype(np.int64)
    grey = (values[..., :1] * 77 + values[..., 1:2] * 151 + values[..., 2:] * 28) >> 8
    pale = grey + (((values - grey) * keep) >> 8)
    return _clipped((pale * keep + 188 * (256 - keep)) >> 8)


def _broken(image: Image, severity: float, draws: Draws) -> Image:
    """Bend the picture, and shift some of its strips sideways."""
    size = image.shape[0]
    line = np.arange(size, dtype=np.float64)
    bend = severity * 0.11 * size
    x = line[None, :] + bend * smooth_noise(draws.child("x"), size, 5)
    y = line[:, None] + bend * smooth_noise(draws.child("y"), size, 5)
    shift = np.zeros(size)
    for _ in range(1 + int(severity * 5.0)):
        start = draws.uniform(0.1, 0.85)
        height = draws.uniform(0.03, 0.12)
        offset = draws.uniform(0.5, 1.0) * draws.choice((-1.0, 1.0)) * severity * 0.16 * size
        shift[int(start * size) : int((start + height) * size)] = offset
    return resample(image, x + shift[:, None], y)


IMAGE_DAMAGES: Mapping[str, Callable[[Image, float, Draws], Image]] = {
    "blur": _blurred,
    "noise": _noisy,
    "blocking": _blocky,
    "colour_cast": _tinted,
    "washed_out": _washed_out,
    "broken_geometry": _broken,
}

SCENE_DAMAGES = ("missing", "wrong_object", "wrong_colour", "wrong_count", "wrong_setting", "wrong_style")


def possible_scene_damages(scene: Scene) -> tuple[str, ...]:
    """Scene damages that the caption of `scene` gives away: no place or style is wrong if nobody asked for one."""
    unasked = {
        *(SCENE_DAMAGES[:4] if not scene.items else ()),
        *(("wrong_setting",) if scene.setting == "plain" else ()),
        *(("wrong_style",) if scene.style == "soft" else ()),
    }
    return tuple(kind for kind in SCENE_DAMAGES if kind not in unasked)


def damage(image: Image, kind: str, severity: float, draws: Draws) -> Image:
    """Damage a picture.

    Args:
        image: uint8 (size, size, 3); not changed.
        kind: Key of `IMAGE_DAMAGES`.
        severity: In [0, 1]; 0 changes nothing.
        draws: Where the damage falls.

    Returns:
        uint8 (size, size, 3).
    """
    if severity <= 0.0:
        return image.copy()
    return IMAGE_DAMAGES[kind](image, severity, draws)


def damage_scene(scene: Scene, kind: str, draws: Draws) -> tuple[Scene, Damage]:
    """Make a scene differ from what was asked for.

    Args:
        scene: What was asked for.
        kind: One of `possible_scene_damages(scene)`. `missing` takes all objects of one item away.
        draws: What becomes of it.

    Returns:
        The scene to paint, and the damage with the severity that an observer who knows the prompt would give it.

    Raises:
        ValueError: `kind` is not possible here.
    """
    if kind not in possible_scene_damages(scene):
        raise ValueError(f"scene damage '{kind}' is not among {', '.join(possible_scene_damages(scene)) or 'none'}")
    if kind == "wrong_setting":
        setting = draws.choice([name for name in SETTINGS if name not in (scene.setting, "plain")])
        return replace(scene, setting=setting), Damage(kind, 0.55)
    if kind == "wrong_style":
        return replace(scene, style=draws.choice([name for name in STYLES if name != scene.style])), Damage(kind, 0.5)
    index = draws.integer(0, len(scene.items))
    item, share = scene.items[index], 1.0 / len(scene.items)
    if kind == "missing":
        items = scene.items[:index] + scene.items[index + 1 :]
        return replace(scene, items=items), Damage(kind, 0.3 + 0.7 * share)
    if kind == "wrong_object":
        taken = {other.kind for other in scene.items}
        changed = replace(item, kind=draws.choice([name for name in OBJECTS if name not in taken]))
        severity = 0.25 + 0.65 * share
    elif kind == "wrong_colour":
        changed = replace(item, colour=draws.choice([name for name in COLOURS if name != item.colour]))
        severity = 0.15 + 0.45 * share
    else:
        changed = replace(item, count=draws.choice([count for count in (1, 2, 3, 4) if count != item.count]))
        severity = (0.2 + 0.12 * abs(changed.count - item.count)) * (0.4 + 0.6 * share)
    return replace(scene, items=(*scene.items[:index], changed, *scene.items[index + 1 :])), Damage(kind, severity)


_WORDS: Mapping[str, tuple[str, str]] = {
    "blur": ("a slightly blurry picture", "a very blurry picture"),
    "noise": ("a slightly noisy picture", "a very noisy picture"),
    "blocking": ("a slightly blocky picture", "a very blocky picture"),
    "colour_cast": ("a slightly tinted picture", "a badly tinted picture"),
    "washed_out": ("a slightly faded picture", "a badly faded picture"),
    "broken_geometry": ("a slightly distorted picture", "a badly distorted picture"),
}


def quality_words(kind: str = "", severity: float = 0.0) -> str:
    """How a caption speaks of a picture's quality, e.g. "a very blurry picture"; append " of " and what it shows.

    Args:
        kind: Key of `IMAGE_DAMAGES`, or "" for an undamaged picture.
        severity: In [0, 1]; below 0.12 a picture counts as undamaged, from 0.45 as badly damaged.
    """
    if not kind or severity < 0.12:
        return "a clean crisp picture"
    return _WORDS[kind][severity >= 0.45]
