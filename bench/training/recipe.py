"""Recipes: optimiser, learning rate and schedule of a training, as a paper states them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

OptimiserName = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples per step of the optimiser.
        learning_rate: Of the first epoch behind the warm-up.
        optimiser: Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), both with betas (0.9, 0.999), or SGD.
        weight_decay: On every parameter.
        momentum: Of SGD.
        schedule: `constant`; `cosine`: per epoch, from the learning rate down towards 0 at `epochs`.
        renew: Begin each epoch with a new optimiser, without its averages of the gradients.
        warm_up_epochs: Epochs at `warm_up_rate` before the schedule begins.
        warm_up_rate: Learning rate while warming up.
        drop_last: Leave out the last batch of an epoch if it is not full; a set smaller than one batch is kept whole.
        patience: Stop after so many epochs without gain on the validation samples; None means never.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimiser: OptimiserName = "adam"
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Schedule = "constant"
    renew: bool = False
    warm_up_epochs: int = 0
    warm_up_rate: float = 1e-5
    drop_last: bool = False
    patience: int | None = None

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0.

        >>> recipe = Recipe(100, 32, 0.002, "sgd", schedule="cosine", warm_up_epochs=1)
        >>> [round(recipe.rate(epoch), 6) for epoch in (0, 1, 51)]
        [1e-05, 0.002, 0.001]
        """
        if epoch < self.warm_up_epochs:
            return self.warm_up_rate
        if self.schedule == "constant":
            return self.learning_rate
        elapsed = epoch - self.warm_up_epochs
        return 0.5 * self.learning_rate * (1.0 + math.cos(math.pi * elapsed / self.epochs))


def build_optimiser(
    recipe: Recipe, groups: Iterable[tuple[float, Iterable[nn.Parameter]]], *, scaled: bool = False
) -> torch.optim.Optimizer:
    """The optimiser of a recipe.

    Args:
        recipe: What the paper says.
        groups: Parameters, each group with a factor on the learning rate, e.g. 10 for a head.
        scaled: Whether a scaled loss may have a step left out (float16).
    """
    parameters = [{"params": list(group), "factor": factor} for factor, group in groups]
    # Fused is one pass over each parameter, instead of one per operation: half a step's time for a small model on the
    # CPU. But torch's fused SGD takes whatever is in memory for the momentum if its first step is left out.
    fused = not (scaled and recipe.optimiser == "sgd")
    common: Mapping[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": fused}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, **common)
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, betas=(0.9, 0.999), **common)


def set_rate(optimiser: torch.optim.Optimizer, rate: float, factors: Sequence[float] | None = None) -> None:
    """Set the learning rate of every group, times the group's factor: its own, or that among `factors`."""
    own = [group["factor"] for group in optimiser.param_groups]
    for group, factor in zip(optimiser.param_groups, own if factors is None else factors, strict=True):
        group["lr"] = rate * factor
