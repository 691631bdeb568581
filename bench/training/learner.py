"""What the training loop asks of a method: a model, a loss, and how good the model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agiqa_bench.evaluation.correlations import krcc, plcc, srcc

Shared = Mapping[str, torch.Tensor]


class Learner(ABC):
    """One method on one set of training samples.

    Attributes:
        model: All that is learnt, and nothing else: its `state_dict` is what is kept per epoch and saved in the end.
    """

    model: nn.Module

    def groups(self) -> Iterable[tuple[float, Iterable[nn.Parameter]]]:
        """Parameters with the factor on their learning rate."""
        return [(1.0, self.model.parameters())]

    def factors(self, epoch: int) -> Sequence[float] | None:  # noqa: ARG002
        """Factor on the learning rate of each group in an epoch, counted from 0; None: those of `groups`, always.

        A group whose factor is 0 stays as it is.
        """
        return None

    def shared(self) -> Shared:
        """What a step needs once, whatever its samples are: features of texts that do not depend on the image.

        Nothing random may be drawn for it, because it may be computed for several trainings at once.
        """
        return {}

    @classmethod
    def shared_of(cls, learners: Sequence[Self]) -> Sequence[Shared]:
        """`shared` of several learners whose models are trained together; a class may compute them in one pass.

        The learners differ in their parameters and samples alone; one may occur more than once. What is computed for
        one may depend on its place among them, but not on the others.
        """
        return [learner.shared() for learner in learners]

    def save_memory(self) -> bool:
        """Make the next steps need less memory, at the cost of time and of nothing else, because a step did not fit.

        Returns:
            False if there is nothing (more) to be saved: then the batch is cut into smaller pieces.
        """
        return False

    @abstractmethod
    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:
        """Mean loss of some training samples, a scalar.

        Args:
            positions: Positions among the training samples, (b,).
            epoch: Counted from 0. Views of an image are drawn by `agiqa_bench.training.views`, from a seed, the epoch
                and the row, so that they depend on nothing else.
            shared: From `shared`, in this step.
        """

    @abstractmethod
    def validate(self) -> float | None:
        """How good the model is on the validation samples, higher is better; None if that is not defined."""


def agreement(scores: npt.NDArray[np.float64], mos: npt.NDArray[np.float64], *, sum_all: bool = False) -> float | None:
    """What an epoch is chosen by.

    Args:
        scores: (n, n_targets).
        mos: (n, n_targets).
        sum_all: If True SRCC + PLCC + KRCC, otherwise SRCC, each summed over the targets.

    Returns:
        None if a correlation is not defined, e.g. because all scores are alike.
    """
    metrics: tuple[Any, ...] = (srcc, plcc, krcc) if sum_all else (srcc,)
    total = 0.0
    for column in range(mos.shape[1]):
        for metric in metrics:
            value = metric(scores[:, column], mos[:, column])
            if value is None:
                return None
            total += value
    return total
