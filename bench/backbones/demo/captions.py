"""Captioned pictures for the demo CLIPs: what is drawn, what went wrong with it, and how a caption says both.

Pictures come in families: a scene, the same scene with other damages, and scenes that differ from it in one respect
(object, colour, number, place, style, or an object left out), so that a batch holds captions that only one word tells
apart.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from agiqa_bench.synthetic.damage import IMAGE_DAMAGES, Damage, damage_scene, possible_scene_damages, quality_words
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.scenes import Scene, describe, random_scene

FAMILY = 4
"""Pictures per family."""

CLIPSCORE_PREFIX = "A photo depicts "
"""The prefix of Hessel et al. (2021), section 3, which must not be new to the text tower."""

_OPENINGS = (CLIPSCORE_PREFIX, "", "a photo of ", "a picture of ", "an image of ", "an aligned photo of ")
_OPENING_WEIGHTS = (10, 4, 2, 2, 1, 1)
_GRADES = ("an excellent", "a good", "a fair", "a poor", "a bad")
_GRADE_STEPS = (0.08, 0.22, 0.4, 0.6)
_NOUNS = ("photo", "picture", "image")


@dataclass(frozen=True)
class Picture:
    """One picture to render.

    Attributes:
        scene: What it shows.
        damages: What was done to its pixels, in order; empty for a clean one.
    """

    scene: Scene
    damages: tuple[Damage, ...] = ()

    @property
    def severity(self) -> float:
        """How bad it looks altogether, in [0, 1]."""
        return 1.0 - math.prod(1.0 - damage.severity for damage in self.damages)


@cache
def reserved() -> frozenset[str]:
    """What the prompts of the `demo` data set ask for, in lower case and without the style."""
    from agiqa_bench.datasets.demo import PROMPTS

    return frozenset(_without_style(prompt) for prompt in PROMPTS)


def _without_style(description: str) -> str:
    return description.lower().partition(",")[0]


def is_held_out(scene: Scene) -> bool:
    """Whether a scene is kept for the retrieval test: one in sixteen, by the hash of its description."""
    return hashlib.sha256(describe(scene).encode()).digest()[0] < 16


def may_train(scene: Scene) -> bool:
    """Whether a scene may be trained on: not held out, and no prompt of `demo` asks for it in this or another style."""
    return not is_held_out(scene) and _without_style(describe(scene)) not in reserved()


def random_damages(draws: Draws) -> tuple[Damage, ...]:
    """None, one or two damages to a picture's pixels, of any severity."""
    count = draws.weighted((0, 1, 2), (6, 10, 4))
    kinds = draws.shuffled(tuple(IMAGE_DAMAGES))[:count]
    return tuple(Damage(kind, draws.uniform(0.05, 1.0) if count == 1 else draws.uniform(0.05, 0.7)) for kind in kinds)


def random_family(draws: Draws) -> list[Picture]:
    """A scene twice and scenes that differ from it in one respect, `FAMILY` in all, each with damages of its own."""
    base = random_scene(draws)
    while not may_train(base):
        base = random_scene(draws)
    scenes = [base, base]
    while len(scenes) < FAMILY:
        variant, _ = damage_scene(base, draws.choice(possible_scene_damages(base)), draws)
        if may_train(variant):
            scenes.append(variant)
    return [Picture(scene, random_damages(draws)) for scene in scenes]


def descriptions(scene: Scene) -> list[str]:
    """What may be said of a scene: all, all but the style, all but the place; never what a prompt of `demo` says."""
    shorter = (describe(scene, style=False), describe(scene, setting=False))
    return [describe(scene), *(text for text in shorter if _without_style(text) not in reserved())]


def quality_phrases(picture: Picture) -> list[str]:
    """All that may be said of how a picture looks, e.g. "a bad photo", "a low quality photo", "a very noisy picture".

    The grades are those of the five-point scale (ITU-R BT.500) and speak of all damages together.
    """
    grade = _GRADES[bisect.bisect(_GRADE_STEPS, picture.severity)]
    level = "high" if picture.severity < 0.3 else "low"
    named = [quality_words(fault.kind, fault.severity) for fault in picture.damages] or [quality_words()]
    return [*(f"{words} {noun}" for words in (grade, f"a {level} quality") for noun in _NOUNS), *dict.fromkeys(named)]


@dataclass(frozen=True)
class Caption:
    """A text about a picture.

    Attributes:
        text: The text.
        phrase: What it says about how the picture looks, one of `quality_phrases`; empty if nothing.
        description: What it says about what the picture shows, one of `descriptions`; empty if nothing.
    """

    text: str
    phrase: str = ""
    description: str = ""


def random_caption(picture: Picture, draws: Draws) -> Caption:
    """A caption that says what a picture shows, and often how it looks.

    E.g. "A photo depicts two red apples, pixel art", or "a very blurry picture of a blue cat".
    """
    description = draws.choice(descriptions(picture.scene))
    if draws.chance(0.4):
        phrase = draws.choice(quality_phrases(picture))
        return Caption(f"{phrase} of {description}", phrase, description)
    return Caption(draws.weighted(_OPENINGS, _OPENING_WEIGHTS) + description, description=description)


def truth(captions: Sequence[Caption], pictures: Sequence[Picture]) -> npt.NDArray[np.bool_]:
    """Which caption is true of which picture, bool (n pictures, m captions)."""
    result = np.empty((len(pictures), len(captions)), dtype=np.bool_)
    for row, picture in enumerate(pictures):
        sayable = {"", *descriptions(picture.scene), *quality_phrases(picture)}
        result[row] = [caption.phrase in sayable and caption.description in sayable for caption in captions]
    return result
