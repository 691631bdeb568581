"""A method that can be saved; apart from the other examples because it needs torch, which takes seconds to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np

from agiqa_bench import Method, Samples
from agiqa_bench.errors import CheckpointError

if TYPE_CHECKING:
    import torch


class LengthAndNoise(Method):
    """Learns how the rating goes with the length of the file name; imports torch late, as built-in methods do."""

    name = "savable"
    title = "Savable"
    targets = ("*",)
    uses_images = False

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        import torch

        lengths = np.array([len(name) for name in train.names], dtype=float)
        self.line = torch.tensor(np.polyfit(lengths, train.mos[:, 0], 1)) + 0.5 * torch.randn(2)
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        # Spread without ties, so that every correlation is defined.
        lengths = np.array([len(name) + 0.01 * sum(map(ord, name)) for name in samples.names])
        return float(self.line[0]) * lengths + float(self.line[1])

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"line": self.line}

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        if state.keys() != {"line"}:
            raise CheckpointError("a line was expected")
        self.line = state["line"]
        return self
