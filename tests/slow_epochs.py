"""A method of the training loop: EXAMPLE_FOLDER gets a line per epoch; the second waits while `wait` is there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from agiqa_bench import Method, Samples
from agiqa_bench.training.learner import Learner
from agiqa_bench.training.loop import seed_weights, train
from agiqa_bench.training.recipe import Recipe


def inputs(samples: Samples) -> torch.Tensor:
    return torch.tensor([[len(name), sum(map(ord, name)) / 1000] for name in samples.names])


class Line(Learner):
    def __init__(self, samples: Samples, repeat: int) -> None:
        self.model = torch.nn.Linear(2, samples.mos.shape[1])
        self.inputs, self.wanted, self.repeat = inputs(samples), torch.tensor(samples.mos).float(), repeat
        self.epoch = -1

    def loss(self, positions: Any, epoch: int, shared: Any) -> torch.Tensor:
        folder = Path(os.environ["EXAMPLE_FOLDER"])
        if epoch != self.epoch:
            self.epoch = epoch
            with (folder / "log").open("a", encoding="utf-8") as log:
                log.write(f"repeat {self.repeat} epoch {epoch}\n")
        time.sleep(float(os.environ.get("EXAMPLE_SLEEP", "0")))
        while epoch == 1 and (folder / "wait").exists():
            time.sleep(0.02)
        return (self.model(self.inputs[positions]) - self.wanted[positions]).square().mean()

    def validate(self) -> float | None:
        return None


class SlowEpochs(Method):
    name = title = "slow_epochs"
    targets = ("*",)
    uses_images = False

    def fit(self, samples: Samples, validation: Samples | None = None) -> Self:
        seed_weights(self.context)
        self.learner = Line(samples, self.context.repeat)
        self.history = train(self.learner, len(samples), Recipe(4, 20, 0.01), self.context, validate=False)
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        with torch.inference_mode():
            return self.learner.model(inputs(samples)).numpy()
