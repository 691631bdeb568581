"""Small trained methods that can be saved: a level of brightness and a frozen file that stands for a backbone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from agiqa_bench import Context, Method, MethodConfig, Samples, Weights
from agiqa_bench.errors import CheckpointError, WeightsUnavailableError


class LevelConfig(MethodConfig):
    backbone: str
    gain: float = 1.0


class Level(Method):
    """Each target's score: bias of the target + gain * mean brightness + 0.01 * letters of the prompt."""

    name = "level"
    title = "Level"
    targets = ("*",)
    uses_prompt = True
    Config = LevelConfig

    @classmethod
    def weights(cls, config: Any, context: Context) -> tuple[Weights, ...]:
        file = Path(config.backbone)
        if not file.is_file():
            raise WeightsUnavailableError(f"no weights {file.name}: give a file")
        return (Weights(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), "demo file"),)

    def prepare(self) -> None:
        self.frozen = len(Path(self.config.backbone).read_bytes())

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        self.bias = torch.tensor(train.mos.mean(axis=0), dtype=torch.float32)
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        level = self.config.gain * np.array([image.mean() for image in samples.images])
        letters = np.array([len(prompt) for prompt in samples.prompts]) * self.uses_prompt
        return self.bias.numpy() + (level + 0.01 * letters)[:, None]

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"bias": self.bias, "same": self.bias.view(-1)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        if state["bias"].shape != (len(self.context.targets),):
            raise CheckpointError(f"'bias' has shape {tuple(state['bias'].shape)}")
        self.bias = state["bias"]
        return self

    def attention(self, samples: Samples) -> np.ndarray:
        heads = np.arange(6 * 4 * 4, dtype=np.float32).reshape(1, 6, 4, 4)
        return heads + len(samples.prompts[0])


class Blind(Level):
    """The same without prompt and without attention maps."""

    name = "blind"
    title = "Blind"
    uses_prompt = False

    def attention(self, samples: Samples) -> None:
        return None


class Forgetful(Method):
    """Learns, and cannot be saved."""

    name = "forgetful"
    title = "Forgetful"

    def predict(self, samples: Samples) -> np.ndarray:
        return np.zeros(len(samples))
