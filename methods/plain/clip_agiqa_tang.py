"""CLIP-AGIQA of Tang et al. (ICPR 2024; arXiv 2408.15098) by the published procedure.

In every epoch of every repeat each picture is decoded, cut and encoded by the frozen image tower; the six categories
are encoded at the full context length in every step; the regressor's input is built one picture at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from agiqa_bench.benchmarks.model import Scale
from agiqa_bench.benchmarks.procedures import PublishedProcedure, Workload
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Method, Scores
from agiqa_bench.methods.clip_agiqa_tang import CLIPAGIQATang
from agiqa_bench.methods.plain.pictures import normalised, opened, pixels, resized_middle
from agiqa_bench.methods.plain.texts import LearntContext
from agiqa_bench.training import views
from agiqa_bench.training.loop import seed_weights

_ARCHITECTURE = "ViT-B-16-quickgelu"


class PlainTang(PublishedProcedure):
    """One repeat for one target."""

    name = "clip_agiqa_tang"
    title = "CLIP-AGIQA (Tang et al.), as published"
    workloads: ClassVar[Mapping[Scale, Workload]] = {
        "tiny": Workload(10, 64, 2, repeats=10, steps=5, settings={"backbone": "demo-vit", "n_ctx": 8, "hidden": 128}),
        "full": Workload(20, 512, 4, repeats=10, batch_size=16, steps=3, architecture=_ARCHITECTURE),
        "paper": Workload(2982, 512, 2, repeats=10, architecture=_ARCHITECTURE),
    }

    def __init__(self, method: Method, train: Samples, test: Samples) -> None:
        """Take over a method for one target.

        Raises:
            ConfigError: It is for several.
        """
        super().__init__(method, train, test)
        assert isinstance(method, CLIPAGIQATang)
        if len(self.context.targets) != 1:
            raise ConfigError(f"{self.name}: the published procedure trains one target; ask for one")
        (self.training,) = self.context.targets
        self.batch_size, self.drop_last = self.context.batch_size or self.config.batch_size, True
        self._method, self._clip = method, method.clip()
        self._files, self._mos = train.images.files, train.mos_of(self.training)

    def restart(self) -> None:
        """Put context and regressor to their initial weights."""
        seed_weights(self.context, self.training)
        fresh = self._method.build().state_dict()
        self.model = _Model(self._clip, self.config).to(self._clip.device)
        self.model.load_state_dict(fresh)
        self._optimiser = torch.optim.SGD(
            self.model.parameters(),
            lr=self.config.learning_rate,
            momentum=0.9,
            weight_decay=self.config.weight_decay,
        )

    def state(self) -> Mapping[str, torch.Tensor]:
        """Context and regressor under the name of their target."""
        return {f"{self.training}.{name}": tensor for name, tensor in self.model.state_dict().items()}

    def set_rate(self, epoch: int) -> None:
        """One epoch of warm-up, then a cosine."""
        config = self.config
        cosine = 0.5 * config.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))
        self._optimiser.param_groups[0]["lr"] = config.warm_up_rate if epoch == 0 else cosine

    def step(self, positions: npt.NDArray[np.int64], epoch: int) -> float:
        """One step on the raw MOS."""
        uniform = views.draws(self.context.shared_seed, epoch, self.samples.rows[positions], 23)
        chosen = [self._view(self._files[position], drawn) for position, drawn in zip(positions, uniform, strict=True)]
        images = torch.stack(chosen).to(self._clip.device)
        wanted = torch.tensor(self._mos[positions], dtype=torch.float32, device=self._clip.device)
        self._optimiser.zero_grad()
        loss = F.mse_loss(self.model(images), wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.item()

    def _view(self, file: str, drawn: npt.NDArray[np.float64]) -> torch.Tensor:
        """A random part of a training picture, mirrored or not, normalised; `drawn`: 23 numbers in [0, 1)."""
        image = pixels(opened(file))
        (box,) = views.random_resized_crops(drawn[None, :22], np.array([image.shape[1:]]), self.config.scale)
        wanted = self._clip.resolved.preprocess
        # Torchvision's for tensors, as the method's: Pillow's is one level off in one value of a thousand.
        view = views.resized(image, box, wanted.size)
        return normalised(view.flip(-1) if drawn[22] < 0.5 else view, wanted.mean, wanted.std)

    @torch.no_grad()
    def score(self, samples: Samples) -> Scores:
        """Predicted MOS (n, 1) of whole pictures, a batch at a time."""
        wanted = self._clip.resolved.preprocess
        files, found = samples.images.files, []
        for start in range(0, len(files), self.batch_size):
            pictures = [resized_middle(opened(file), wanted.size) for file in files[start : start + self.batch_size]]
            images = torch.stack([normalised(pixels(picture), wanted.mean, wanted.std) for picture in pictures])
            found.append(self.model(images.to(self._clip.device)).double().cpu().numpy())
        return np.concatenate(found)[:, None]


class _Model(nn.Module):
    """Context vectors and regressor, on a frozen CLIP."""

    def __init__(self, clip: Any, config: CLIPAGIQATang.Config) -> None:
        super().__init__()
        self._clip = [clip.model]  # in a list: its frozen weights are none of this module's
        width = clip.model.positional_embedding.shape[1]
        self.context = nn.Parameter(torch.empty(config.n_ctx, width)) if config.n_ctx else None
        self._categories = LearntContext(clip, [f"{category}." for category in config.categories], config.n_ctx)
        self.regressor = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(clip.width * (1 + len(config.categories)), config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = F.normalize(self._clip[0].encode_image(images), dim=-1)
        texts = F.normalize(self._categories.encode(self.context), dim=-1)
        inputs = [torch.cat([feature, *texts]) for feature in features]
        scores: torch.Tensor = self.regressor(torch.stack(inputs))
        return scores[:, 0]
