"""CLIP-IQA+ (Wang, Chan and Loy 2023): CLIP-IQA whose pair of prompts stands between vectors learnt from ratings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.backbones.frozen import stored_features
from agiqa_bench.backbones.method import ClipMethod
from agiqa_bench.backbones.text import ContextTexts, require_plain_text
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Context, MethodConfig
from agiqa_bench.methods.clipiqa import CLIPIQAConfig, note_on_positions, view
from agiqa_bench.training import views
from agiqa_bench.training.loop import History
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.per_target import NetworkMethod, RegressionLearner, numbers_of
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.threads import threads_for

LOWEST_RATE = 1e-7
"""Where the official cosine ends."""


class CLIPIQAPlus(ClipMethod, NetworkMethod):
    """Softmax probability of "Good photo." against "Bad photo." behind learnt context (AAAI 2023; section 3.3).

    Learnt are 16 vectors that both prompts share, half of them before the words and half behind, one model per target;
    both encoders of the CLIP are frozen. As in the official code (IceClear/CLIP-IQA, clipiqa_coop_koniq.py): mean
    squared error to the MOS scaled to [0, 1], plain SGD on two GPUs' batches of 64, images at their own size without
    position embedding, mirrored at random.

    The released model is that of step 80,000 of a training on KonIQ-10k; its schedule is a cosine over 300,000 steps.
    Here as many steps are taken whatever the size of the training part, so that there are more epochs where it is
    smaller, and the epoch with the best SRCC on the validation samples is kept. Each image is encoded once, and once
    mirrored, for all repeats.
    """

    name = "clipiqa_plus"
    title = "CLIPIQA+"
    summary = "CLIP's choice between a good and a bad photo, behind learnt context"
    targets = ("quality", "authenticity")
    selects_epoch = True
    keeps_features = True
    groups = ("deep",)
    citation = """@inproceedings{wang2023clipiqa,
  title = {Exploring {CLIP} for Assessing the Look and Feel of Images},
  author = {Wang, Jianyi and Chan, Kelvin C. K. and Loy, Chen Change},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume = {37},
  pages = {2555--2563},
  year = {2023}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-rn",
            "side": 64,
            "iterations": 200,
            "period": 200,
            "batch_size": 64,
            "learning_rate": 0.1,
        }
    }

    class Config(CLIPIQAConfig):
        """The paper's settings."""

        n_ctx: int = Field(default=16, ge=1, description="context vectors that both prompts share")
        iterations: int = Field(default=80_000, ge=1, description="steps, rounded to whole epochs")
        period: int = Field(default=300_000, ge=1, description="steps after which the cosine schedule has ended")
        batch_size: int = Field(default=128, ge=1, description="images per step; official: 64 on each of two GPUs")
        learning_rate: float = Field(default=0.002, gt=0, description="of plain SGD at the first step")
        mirror: bool = Field(default=True, description="mirror half of the training images, drawn anew each epoch")

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:
        """Say for how long it is trained, which the paper settles for its own data set alone, and by what it scales."""
        assert isinstance(config, cls.Config)
        length = f"trained for {config.iterations:,} steps, whatever the size of the training part"
        return "; ".join(
            filter(None, (length, note_on_positions(config, context), context.range_note(context.targets)))
        )

    def threads(self, network: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        """Those that suit the CLIP, which encodes the images."""
        return threads_for(self.clip().model)

    def build(self) -> nn.Module:
        """Context drawn from N(0, 0.02)."""
        clip = self.clip()
        require_plain_text(clip.model, clip.tokenizer, self.name)
        return PromptPair(clip, self.config).to(clip.device)

    def train(self, network: nn.Module, target: str, train: Samples, validation: Samples | None) -> History:
        """Train the context; the epoch with the best SRCC on `validation` is kept."""
        context, config = self.context, self.config
        lowest, highest = self.mos_range(target)
        mos = torch.from_numpy((train.mos_of(target) - lowest) / (highest - lowest)).float().to(context.device)
        plain = self._features(train)
        mirrored = self._features(train, mirrored=True) if config.mirror else plain

        def inputs(positions: npt.NDArray[np.int64], epoch: int) -> torch.Tensor:
            chosen = torch.from_numpy(views.draws(context.seed, epoch, train.rows[positions], 1) < 0.5)
            where = torch.from_numpy(positions).to(context.device)
            return torch.where(chosen.to(context.device), mirrored[where], plain[where])

        held_back = None
        if validation is not None:
            features, wanted = self._features(validation), validation.mos_of(target)
            held_back = (lambda: numbers_of(network, features), wanted)
        learner = RegressionLearner(network, inputs, mos, F.mse_loss, held_back=held_back)
        steps = max(1, len(train) // (context.batch_size or config.batch_size))
        recipe = PartOfCosine(
            max(1, round(config.iterations / steps)),
            config.batch_size,
            config.learning_rate,
            "sgd",
            momentum=0.0,
            drop_last=True,
            period=config.period / steps,
        )
        # A step is two short texts: the threads of a large network would wait for each other.
        with threads_for(network):
            return run_training(learner, len(train), recipe, context, validate=validation is not None, name=target)

    def score(self, network: nn.Module, samples: Samples) -> npt.NDArray[np.float64]:
        """Probability of the positive prompt in [0, 1], float64 (n,)."""
        return numbers_of(network, self._features(samples))

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Probability of the positive prompt on the scale of each target's MOS, float64 (n, n_targets).

        Raises:
            BadImageError: An image of the data set is smaller than 32 pixels.
            ConfigError: The CLIP cannot do without positions, or the range of a MOS is not known.
        """
        lowest, highest = np.transpose([self.mos_range(target) for target in self.context.targets])
        return lowest + (highest - lowest) * super().predict(samples)  # type: ignore[no-any-return]

    def _features(self, samples: Samples, *, mirrored: bool = False) -> torch.Tensor:
        """Image features (n, width) of length 1, on the device."""
        clip, context = self.clip(), self.context
        shown = replace(view(clip, self.config, self.name), mirrored=mirrored)
        features = stored_features(clip, samples.images, shown, context, self.name)[samples.rows]
        return torch.from_numpy(features).to(context.device)


class PromptPair(nn.Module):
    """Two prompts between learnt vectors, and the softmax of an image feature's likeness to them.

    8,192 parameters on RN50.
    """

    def __init__(self, clip: ClipBackbone, config: CLIPIQAPlus.Config) -> None:
        """Draw the context from N(0, 0.02)."""
        super().__init__()
        width = clip.model.positional_embedding.shape[1]
        self.context = nn.Parameter(0.02 * torch.randn(config.n_ctx, width))
        # The official code writes a full stop of its own behind the words.
        phrases = [f"{config.positive}.", f"{config.negative}."]
        self._texts = ContextTexts(clip.model, clip.tokenizer, phrases, config.n_ctx, before=config.n_ctx // 2)
        self._scale = clip.model.logit_scale.detach().exp().float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Probability (n,) of the positive prompt by image features (n, width) of length 1."""
        texts = self._texts.encode(self.context)
        # In float32 whatever the precision: bfloat16 knows eight bits, and scores that are rounded so are tied.
        with torch.autocast(images.device.type, enabled=False):
            positive, negative = F.normalize(texts.float(), dim=-1)
            return torch.sigmoid(self._scale * (images @ (positive - negative)))


@dataclass(frozen=True)
class PartOfCosine(Recipe):
    """The first epochs of a cosine from the learning rate to `LOWEST_RATE` that ends later, or not at all here.

    Attributes:
        period: Epochs after which it ends.
    """

    period: float = math.inf

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        turn = math.pi * min(1.0, epoch / self.period)
        return LOWEST_RATE + 0.5 * (self.learning_rate - LOWEST_RATE) * (1.0 + math.cos(turn))
