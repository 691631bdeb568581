"""Six make-believe generators: each paints scenes with faults of its own. None stands for a real model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agiqa_bench.synthetic.damage import IMAGE_DAMAGES, Damage, damage, damage_scene, possible_scene_damages
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.filters import Image
from agiqa_bench.synthetic.scenes import Scene, render
from agiqa_bench.synthetic.settings import SETTINGS


@dataclass(frozen=True)
class Flaw:
    """A damage that a generator tends to do to pixels.

    Attributes:
        kind: Key of `agiqa_bench.synthetic.damage.IMAGE_DAMAGES`.
        probability: How often.
        low: Least severity when it happens.
        high: Largest severity.
    """

    kind: str
    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class Generator:
    """A make-believe generator.

    Attributes:
        name: Invented name.
        family: The "model" that it is a configuration of.
        flaws: What it does to pixels.
        carelessness: Probability that something shown is not what was asked for.
        habits: How it fails then: integer weights of scene damages.
    """

    name: str
    family: str
    flaws: tuple[Flaw, ...]
    carelessness: float
    habits: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """All that decides how one picture looks, known before a pixel is painted.

    Attributes:
        scene: What is painted, with what is wrong about it.
        damages: Everything that is wrong, with what is shown and with the pixels.
    """

    scene: Scene
    damages: tuple[Damage, ...]


GENERATORS: tuple[Generator, ...] = (
    Generator(
        "toy-gan",
        "toy-gan",
        (Flaw("broken_geometry", 0.92, 0.2, 0.9), Flaw("colour_cast", 0.35, 0.1, 0.7), Flaw("blur", 0.3, 0.05, 0.4)),
        0.75,
        {"missing": 1, "wrong_object": 6, "wrong_colour": 3, "wrong_count": 2, "wrong_setting": 4, "wrong_style": 4},
    ),
    Generator(
        "toy-vae",
        "toy-vae",
        (Flaw("blur", 0.9, 0.05, 0.95), Flaw("washed_out", 0.3, 0.1, 0.6)),
        0.65,
        {"missing": 1, "wrong_object": 2, "wrong_colour": 6, "wrong_count": 2, "wrong_setting": 2, "wrong_style": 5},
    ),
    Generator(
        "toy-autoregressive",
        "toy-autoregressive",
        (Flaw("blocking", 0.85, 0.05, 1.0), Flaw("broken_geometry", 0.2, 0.05, 0.4)),
        0.55,
        {"missing": 3, "wrong_object": 2, "wrong_colour": 2, "wrong_count": 4, "wrong_setting": 2, "wrong_style": 2},
    ),
    Generator(
        "toy-diffusion-lowstep",
        "toy-diffusion",
        (Flaw("noise", 0.9, 0.05, 0.95), Flaw("blur", 0.25, 0.05, 0.3)),
        0.6,
        {"missing": 2, "wrong_object": 3, "wrong_colour": 3, "wrong_count": 4, "wrong_setting": 2, "wrong_style": 3},
    ),
    Generator(
        "toy-diffusion",
        "toy-diffusion",
        (Flaw("noise", 0.3, 0.03, 0.35), Flaw("broken_geometry", 0.25, 0.05, 0.4)),
        0.4,
        {"missing": 1, "wrong_object": 2, "wrong_colour": 3, "wrong_count": 6, "wrong_setting": 1, "wrong_style": 1},
    ),
    Generator(
        "toy-flow",
        "toy-flow",
        (Flaw("colour_cast", 0.45, 0.1, 0.8), Flaw("washed_out", 0.25, 0.1, 0.5)),
        0.45,
        {"missing": 1, "wrong_object": 1, "wrong_colour": 5, "wrong_count": 3, "wrong_setting": 2, "wrong_style": 2},
    ),
)


def plan_picture(generator: Generator, asked: Scene, draws: Draws) -> Plan:
    """Decide what a generator makes of a scene; paints nothing.

    Args:
        generator: Who paints.
        asked: The scene of the prompt. Its plain backdrop means that the prompt names no place: the generator chooses.
        draws: Everything left to chance.
    """
    damages: list[Damage] = []
    scene = replace(asked, layout=draws.integer(0, 1 << 32))
    faults = draws.chance(generator.carelessness) + draws.chance(0.4 * generator.carelessness)
    for _ in range(faults):
        kinds = possible_scene_damages(scene)
        kinds = tuple(kind for kind in kinds if kind not in [damage.kind for damage in damages])
        kind = draws.weighted(kinds, [generator.habits[kind] for kind in kinds])
        scene, fault = damage_scene(scene, kind, draws)
        damages.append(fault)
        if not scene.items:
            break
    if scene.setting == "plain" and (draws.chance(0.6) or not scene.items):
        # Nothing on the plain backdrop would be a blank picture, in which some measures have nothing to measure.
        scene = replace(scene, setting=draws.choice([name for name in SETTINGS if name != "plain"]))
    damages += [
        Damage(flaw.kind, draws.uniform(flaw.low, flaw.high))
        for flaw in generator.flaws
        if draws.chance(flaw.probability)
    ]
    return Plan(scene, tuple(damages))


def paint(plan: Plan, size: int = 128) -> Image:
    """Paint a planned picture, uint8 (size, size, 3)."""
    image = render(plan.scene, size)
    for number, fault in enumerate(plan.damages):
        if fault.kind in IMAGE_DAMAGES:
            image = damage(image, fault.kind, fault.severity, Draws("damage", plan.scene.layout, number))
    return image
