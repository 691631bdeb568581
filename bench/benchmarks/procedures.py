"""Published procedures: a method trained as its authors' script trains it, to measure the method of this package by.

Distributions register a procedure under the name of its method in the entry-point group
`agiqa_bench.published_procedures`.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agiqa_bench.benchmarks.model import Scale
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Method, Scores
from agiqa_bench.registry import Registry
from agiqa_bench.seeds import derive_seed
from agiqa_bench.training.learner import agreement


@dataclass(frozen=True)
class Workload:
    """How much a benchmark asks of a method and of its published procedure.

    Attributes:
        pictures: In the data set of the complete work, 80 % of them for training.
        size: Height and width of a picture, a multiple of 32.
        epochs: Of the complete work.
        repeats: Of the complete work.
        batch_size: Pictures per step; None means the method's own.
        steps: Training steps that are timed and compared, at least 2.
        scored: Pictures that are scored, and their scores compared.
        architecture: Of the CLIP, whose weights are random; empty where `settings` name a backbone.
        settings: Of the method, which must have the settings `epochs` and `batch_size` too.
    """

    pictures: int
    size: int
    epochs: int
    repeats: int = 1
    batch_size: int | None = None
    steps: int = 20
    scored: int = 4
    architecture: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


class PublishedProcedure(ABC):
    """One repeat of a method by the published procedure, without anything done for speed.

    It computes in float32. What is random is what `Method.fit` draws: initial weights, order of the samples, views of
    the pictures and dropout masks, so that losses and scores are those of the method, but for rounding.

    Attributes:
        name: Of the method.
        title: Of the procedure, in tables.
        workloads: How much a benchmark of each scale asks for.
        training: Name under which the method's training draws its seeds.
        drop_last: Leave out the last batch of an epoch if it is not full.
        sum_all: Choose the epoch by SRCC + PLCC + KRCC; otherwise by SRCC, each summed over the targets.
        patience: Stop after so many epochs without gain; None means never.
        batch_size: Pictures per step.
        model: What is trained.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    workloads: ClassVar[Mapping[Scale, Workload]]
    training: str = "model"
    drop_last: bool = False
    sum_all: bool = False
    patience: int | None = None
    batch_size: int
    model: nn.Module

    def __init__(self, method: Method, train: Samples, test: Samples) -> None:
        """Take over settings and context of a method; nothing is trained yet.

        Args:
            method: Configured, and not fitted.
            train: Training samples.
            test: Samples whose MOS may be read: the published procedures choose the epoch by them.

        Raises:
            ConfigError: A setting that the procedure does not know.
        """
        self.config, self.context = method.config, method.context
        self.samples, self.test = train, test

    @abstractmethod
    def restart(self) -> None:
        """Put the model to its initial weights, with a new optimiser."""

    @abstractmethod
    def set_rate(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 0."""

    @abstractmethod
    def step(self, positions: npt.NDArray[np.int64], epoch: int) -> float:
        """One step of the optimiser on the training samples at `positions`; returns the loss before it."""

    @abstractmethod
    def score(self, samples: Samples) -> Scores:
        """Predicted MOS, float64 (n, n_targets)."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """What is trained, as `Method.restore` takes it over."""
        return self.model.state_dict()

    def epoch(self, epoch: int) -> Iterator[float]:
        """Train for an epoch, a step for each loss that is asked for."""
        self.set_rate(epoch)
        torch.manual_seed(derive_seed(self.context.seed, self.training, "epoch", epoch))
        self.model.train()
        draws = np.random.default_rng(derive_seed(self.context.seed, self.training, "order", epoch))
        order = draws.permutation(len(self.samples))
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.drop_last and len(batches) > 1 and len(batches[-1]) < self.batch_size:
            batches.pop()
        for positions in batches:
            yield self.step(positions, epoch)

    def losses(self, steps: int) -> list[float]:
        """Train anew for so many steps; the loss before each."""
        self.restart()
        found: list[float] = []
        epoch = 0
        while len(found) < steps:
            found += islice(self.epoch(epoch), steps - len(found))
            epoch += 1
        self.model.eval()
        return found

    def train(self, epochs: int) -> list[float]:
        """The complete work of one repeat: the test split is scored after every epoch, and the best epoch kept.

        Returns:
            The mean loss of each epoch.
        """
        self.restart()
        best, best_epoch, kept = -math.inf, 0, copy.deepcopy(self.model.state_dict())
        means: list[float] = []
        wanted = self.test.mos
        for epoch in range(epochs):
            means.append(float(np.mean(list(self.epoch(epoch)))))
            self.model.eval()
            value = agreement(self.score(self.test), wanted, sum_all=self.sum_all)
            if value is not None and value > best:
                best, best_epoch, kept = value, epoch, copy.deepcopy(self.model.state_dict())
            if self.patience is not None and epoch - best_epoch >= self.patience:
                break
        if best > -math.inf:
            self.model.load_state_dict(kept)
        return means


@cache
def published_procedures() -> Registry[PublishedProcedure]:
    """The published procedures by the name of their method."""
    return Registry(
        "published procedure",
        "agiqa_bench.published_procedures",
        "agiqa_bench.benchmarks.procedures:PublishedProcedure",
    )
