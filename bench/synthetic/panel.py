"""A simulated panel of observers: opinions follow from what is known to be wrong with a picture, never from its pixels.

Nobody looked at anything. The model: damages leave a share of the quality (or of the alignment) each, and the shares
multiply; an observer stretches that common impression by a gain, adds a bias and noise, and answers on a scale from 0
to 5. The MOS is the mean answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agiqa_bench.synthetic.damage import Damage
from agiqa_bench.synthetic.draws import Draws

LOWEST, HIGHEST = 0.0, 5.0
OBSERVERS = 20

# How much of the quality a damage of full severity takes away.
_WEIGHTS: Mapping[str, float] = {
    "blur": 0.86,
    "noise": 0.84,
    "blocking": 0.80,
    "colour_cast": 0.66,
    "washed_out": 0.80,
    "broken_geometry": 0.96,
}

# What the panel likes apart from damages, in points of MOS.
_TASTE: Mapping[str, float] = {
    "soft": 0.10,
    "poster": 0.05,
    "pixel": -0.20,
    "watercolour": 0.15,
    "neon": 0.0,
    "pencil": -0.05,
}


@dataclass(frozen=True)
class Observer:
    """A simulated observer.

    Attributes:
        bias: Points added to every answer.
        gain: Stretch of the scale around its middle.
        noise: Standard deviation of an answer.
    """

    bias: float
    gain: float
    noise: float


def recruit(draws: Draws, count: int = OBSERVERS) -> tuple[Observer, ...]:
    """Draw a panel of `count` observers."""
    return tuple(
        Observer(0.25 * draws.gauss(), draws.uniform(0.85, 1.2), draws.uniform(0.35, 0.8)) for _ in range(count)
    )


def quality_share(damages: Sequence[Damage]) -> float:
    """Share of the quality that image damages leave, in [0, 1]; damages of what is shown do not count."""
    share = 1.0
    for damage in damages:
        severity = damage.severity
        # Small damages are noticed early, large ones saturate.
        share *= 1.0 - _WEIGHTS.get(damage.kind, 0.0) * severity * (1.5 - 0.5 * severity)
    return share


def alignment_share(damages: Sequence[Damage]) -> float:
    """Share of the alignment that is left, in [0, 1]: what is shown counts, and whether it can still be recognised."""
    share = 1.0
    for damage in damages:
        if damage.kind not in _WEIGHTS:
            share *= 1.0 - damage.severity
    return share * (1.0 - 0.3 * (1.0 - quality_share(damages)))


def impression(damages: Sequence[Damage], target: str, style: str = "soft") -> float:
    """What an observer without bias or noise would answer, about 0.3 to 4.7.

    Args:
        damages: Everything that is wrong with the picture.
        target: "quality" or "alignment".
        style: Style of the picture; quality depends on it a little.
    """
    if target == "quality":
        return 0.45 + 4.0 * quality_share(damages) + _TASTE[style]
    return 0.4 + 4.2 * alignment_share(damages)


def mean_opinion(panel: Sequence[Observer], value: float, draws: Draws) -> float:
    """Ask every observer of the panel about a picture with the common impression `value`.

    Returns:
        The MOS in [0, 5], rounded to four decimals.
    """
    answers = []
    for observer in panel:
        answer = 2.5 + observer.gain * (value - 2.5) + observer.bias + observer.noise * draws.gauss()
        answers.append(min(HIGHEST, max(LOWEST, answer)))
    # The built-in sum adds differently from Python 3.12 on; fsum is exactly rounded everywhere.
    return round(math.fsum(answers) / len(answers), 4)
