"""CLIP-AGIQA of Fu et al. (IEEE SPL 2024; arXiv 2406.16641) by the published procedure.

Every picture passes the image tower twice, once for each task, also where quality alone is scored; the texts of both
tasks are encoded at the full context length with every batch; test pictures are scored one at a time, all crops of one
in a batch; the whole test split is scored after every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional as F

from agiqa_bench.benchmarks.model import Scale
from agiqa_bench.benchmarks.procedures import PublishedProcedure, Workload
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Method, Scores
from agiqa_bench.methods.clip_agiqa_fu import (
    ALIGNMENT_PHRASES,
    AUXILIARY,
    QUALITY_PHRASES,
    CLIPAGIQAFu,
    PromptedCLIP,
    Prompts,
    TaskPrompts,
)
from agiqa_bench.methods.plain.pictures import normalised, opened, pixels, resized_middle
from agiqa_bench.methods.plain.texts import LearntContext
from agiqa_bench.training import views
from agiqa_bench.training.loop import seed_weights

_ARCHITECTURE = "ViT-B-32-quickgelu"


class PlainFu(PublishedProcedure):
    """One repeat."""

    name = "clip_agiqa_fu"
    title = "CLIP-AGIQA (Fu et al.), as published"
    workloads: ClassVar[Mapping[Scale, Workload]] = {
        "tiny": Workload(10, 96, 2, batch_size=4, steps=5, settings={"backbone": "demo-vit", "n_ctx": 4, "stride": 32}),
        "full": Workload(10, 512, 2, batch_size=8, steps=4, scored=3, architecture=_ARCHITECTURE),
        "paper": Workload(2982, 512, 2, architecture=_ARCHITECTURE),
    }
    model: Prompts

    def __init__(self, method: Method, train: Samples, test: Samples) -> None:
        """Take over a method."""
        super().__init__(method, train, test)
        assert isinstance(method, CLIPAGIQAFu)
        self.batch_size = self.context.batch_size or self.config.batch_size
        self.patience = self.config.patience
        self._clip, self._uses_aux = method.clip(), method.uses_aux
        self._files, self._range = train.images.files, method.mos_range("quality")
        self._quality = self._scaled(train.mos_of("quality"), self._range)
        self._alignment = (
            self._scaled(train.mos_of(AUXILIARY), method.mos_range(AUXILIARY)) if self._uses_aux else self._quality
        )
        self._texts = LearntContext(self._clip, QUALITY_PHRASES, self.config.n_ctx)
        self._aux_texts = LearntContext(self._clip, ALIGNMENT_PHRASES, self.config.n_ctx)

    @staticmethod
    def _scaled(mos: npt.NDArray[np.float64], limits: tuple[float, float]) -> npt.NDArray[np.float64]:
        return (mos - limits[0]) / (limits[1] - limits[0])

    def restart(self) -> None:
        """Put the prompts to their initial weights."""
        seed_weights(self.context)
        self.model = PromptedCLIP(self._clip, self.config, use_aux=self._uses_aux).prompts
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=self.config.learning_rate)

    def set_rate(self, epoch: int) -> None:
        """It is constant."""

    def step(self, positions: npt.NDArray[np.int64], epoch: int) -> float:
        """One step on both losses."""
        device = self._clip.device
        uniform = views.draws(self.context.seed, epoch, self.samples.rows[positions], 3)
        crops = [self._view(self._files[position], drawn) for position, drawn in zip(positions, uniform, strict=True)]
        images = torch.stack(crops).to(device)
        self._optimiser.zero_grad()
        quality, alignment = self._forward(images)
        wanted = torch.tensor(self._quality[positions], dtype=torch.float32, device=device)
        loss = F.mse_loss(quality, wanted)
        if alignment is not None:
            wanted = torch.tensor(self._alignment[positions], dtype=torch.float32, device=device)
            loss = loss + self.config.aux_weight * F.mse_loss(alignment, wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.item()

    def _opened(self, file: str) -> Image.Image:
        image = opened(file)
        return image if self.config.resize is None else resized_middle(image, self.config.resize)

    def _view(self, file: str, drawn: npt.NDArray[np.float64]) -> torch.Tensor:
        """A random crop of a training picture, mirrored or not, normalised; `drawn`: 3 numbers in [0, 1)."""
        image, size = pixels(self._opened(file)), self._clip.resolved.image_size
        ((top, left, _, _),) = views.random_crops(drawn[None, :2], np.array([image.shape[1:]]), size)
        crop = image[:, top : top + size, left : left + size]
        return normalised(crop.flip(-1) if drawn[2] < 0.5 else crop, self.config.mean, self.config.std)

    @torch.no_grad()
    def score(self, samples: Samples) -> Scores:
        """Predicted MOS (n, 1): the mean over all crops of a picture, one picture at a time."""
        size, stride = self._clip.resolved.image_size, self.config.stride
        found = []
        for file in samples.images.files:
            image = normalised(pixels(self._opened(file)), self.config.mean, self.config.std)
            _, height, width = image.shape
            crops = [
                image[:, top : top + size, left : left + size]
                for top in range(0, height - size + 1, stride)
                for left in range(0, width - size + 1, stride)
            ]
            quality, _ = self._forward(torch.stack(crops).to(self._clip.device))
            found.append(quality.mean().item())
        lowest, highest = self._range
        return lowest + (highest - lowest) * np.array(found)[:, None]

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Probabilities of "good photo" and, with the second task, of "aligned photo"."""
        main, aux = self.model.main, self.model.aux
        if aux is None:
            return self._probability(images, list(main.vision), self._features(self._texts, main)), None
        visual = [
            layer(torch.cat([own, other], dim=1))
            for layer, own, other in zip(self.model.guidance, main.vision, aux.vision, strict=True)
        ]
        alignment = self._probability(images, list(aux.vision), self._features(self._aux_texts, aux))
        return self._probability(images, visual, self._features(self._texts, main)), alignment

    def _features(self, texts: LearntContext, prompts: TaskPrompts) -> torch.Tensor:
        return F.normalize(texts.encode(prompts.context, self._rounded(list(prompts.text))), dim=-1)

    def _probability(self, images: torch.Tensor, visual: Sequence[torch.Tensor], texts: torch.Tensor) -> torch.Tensor:
        features = F.normalize(_encode(self._clip.model.visual, images, self._rounded(visual)), dim=-1)
        logits: torch.Tensor = self._clip.model.logit_scale.exp() * features @ texts.t()
        return logits.softmax(dim=-1)[:, 0]

    def _rounded(self, tokens: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The official code inserts the tokens in float16."""
        return [token.half().float() for token in tokens] if self.config.variant == "official" else list(tokens)


def _encode(visual: Any, images: torch.Tensor, prompts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Features of images by the image tower with tokens of its own at every layer, (n, embed_dim)."""
    n = len(images)
    hidden = visual.conv1(images).flatten(2).permute(0, 2, 1)
    hidden = torch.cat([visual.class_embedding.expand(n, 1, -1), hidden], dim=1) + visual.positional_embedding
    if prompts:
        hidden = torch.cat([hidden, prompts[0].expand(n, -1, -1)], dim=1)
    hidden = visual.ln_pre(hidden)
    for layer, block in enumerate(visual.transformer.resblocks):
        if 1 <= layer < len(prompts):
            hidden = torch.cat([hidden[:, : -len(prompts[layer])], prompts[layer].expand(n, -1, -1)], dim=1)
        hidden = block(hidden)
    features: torch.Tensor = visual.ln_post(hidden)[:, 0] @ visual.proj
    return features
