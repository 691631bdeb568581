"""IP-IQA (Qu et al., ICME 2024; arXiv 2403.18714) by the published procedure.

Every picture is decoded and resized in every epoch; its prompt is encoded at the full context length in every step;
the image tower is trained in float32; the test split is scored after every epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from agiqa_bench.backbones.vision import is_residual
from agiqa_bench.benchmarks.model import Scale
from agiqa_bench.benchmarks.procedures import PublishedProcedure, Workload
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Method, Scores
from agiqa_bench.methods.ipiqa import IPIQA
from agiqa_bench.methods.ipiqa_network import IPIQANetwork
from agiqa_bench.methods.plain.pictures import normalised, opened, pixels
from agiqa_bench.training import views
from agiqa_bench.training.loop import seed_weights

_ARCHITECTURE = "RN50-quickgelu"


class PlainIPIQA(PublishedProcedure):
    """One repeat of the method with integral prompt, begun with CLIP's own weights."""

    name = "ipiqa"
    title = "IP-IQA, as published"
    workloads: ClassVar[Mapping[Scale, Workload]] = {
        "tiny": Workload(10, 64, 2, batch_size=4, steps=5, settings={"backbone": "demo-rn", "resolution": 64}),
        "full": Workload(5, 512, 2, batch_size=2, steps=4, scored=2, architecture=_ARCHITECTURE),
        "paper": Workload(2982, 512, 2, architecture=_ARCHITECTURE),
    }
    sum_all = True

    def __init__(self, method: Method, train: Samples, test: Samples) -> None:
        """Take over a method.

        Raises:
            ConfigError: It is without integral prompt, with Image2Prompt, or on a Vision Transformer.
        """
        super().__init__(method, train, test)
        assert isinstance(method, IPIQA)
        config, self._clip = self.config, method.clip()
        if not config.integral_prompt or config.image2prompt or not is_residual(self._clip.model.visual):
            raise ConfigError(
                "ipiqa: the published procedure is there with integral prompt, without Image2Prompt, on a CLIP with a "
                "ResNet; choose these settings"
            )
        official = config.variant == "official"
        self.drop_last = official
        self.batch_size = self.context.batch_size or config.batch_size or (32 if official else 40)
        self._files, self._prompts, self._mos = train.images.files, train.prompts, train.mos

    def restart(self) -> None:
        """Put the network to its initial weights."""
        config = self.config
        seed_weights(self.context)
        fresh = IPIQANetwork(self._clip, config, len(self.context.targets))
        self.model = _Network(self._clip.model, fresh).to(self._clip.device)
        head, pool = list(self.model.head.parameters()), list(self.model.cross_pool.parameters())
        apart = {id(parameter) for parameter in (*head, *pool)}
        body = [parameter for parameter in self.model.parameters() if id(parameter) not in apart]
        rate = config.learning_rate
        groups = [
            {"params": body, "lr": rate},
            {"params": head, "lr": rate * fresh.head_factor},
            {"params": pool, "lr": rate * config.pool_factor},
        ]
        if config.variant == "official":
            self._optimiser: torch.optim.Optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        else:
            self._optimiser = torch.optim.Adam(groups)

    def set_rate(self, epoch: int) -> None:
        """It is constant."""

    def step(self, positions: npt.NDArray[np.int64], epoch: int) -> float:
        """One step on the raw MOS of all targets."""
        device = self._clip.device
        mirrors = views.draws(self.context.seed, epoch, self.samples.rows[positions], 1)[:, 0] < 0.5
        pictures = [self._image(self._files[position]) for position in positions]
        mirrored = [each.flip(-1) if mirror else each for each, mirror in zip(pictures, mirrors, strict=True)]
        images = torch.stack(mirrored).to(device)
        tokens = self._clip.tokenizer([self._prompts[position] for position in positions]).to(device)
        wanted = torch.tensor(self._mos[positions], dtype=torch.float32, device=device)
        self._optimiser.zero_grad()
        loss = F.mse_loss(self.model(images, tokens), wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.item()

    def _image(self, file: str) -> torch.Tensor:
        """A picture, resized and normalised."""
        side, wanted = self.config.resolution, self._clip.resolved.preprocess
        image = transforms.resize(opened(file), [side, side], InterpolationMode.BICUBIC)
        return normalised(pixels(image), wanted.mean, wanted.std)

    @torch.no_grad()
    def score(self, samples: Samples) -> Scores:
        """Predicted MOS, a batch at a time."""
        files, prompts, found = samples.images.files, samples.prompts, []
        for start in range(0, len(files), self.batch_size):
            end = start + self.batch_size
            images = torch.stack([self._image(file) for file in files[start:end]]).to(self._clip.device)
            tokens = self._clip.tokenizer(prompts[start:end]).to(self._clip.device)
            found.append(self.model(images, tokens).double().cpu().numpy())
        return np.concatenate(found)


class _Network(nn.Module):
    """Image tower, both pools and head, with what is learnt of the text tower."""

    def __init__(self, clip: Any, fresh: IPIQANetwork) -> None:
        super().__init__()
        assert fresh.own_pool is not None
        assert fresh.cross_pool is not None
        self._clip = [clip]  # in a list: its frozen weights are none of this module's
        # The method lays a pixel's channels next to each other, which is quicker than what the published code does.
        self.visual = copy.deepcopy(fresh.visual).to(memory_format=torch.contiguous_format)
        self.own_pool = copy.deepcopy(clip.visual.attnpool).requires_grad_(True)
        self.own_pool.positional_embedding = copy.deepcopy(fresh.own_pool.positional_embedding)
        self.cross_pool = _Pool(fresh.cross_pool)
        self.head = copy.deepcopy(fresh.head)
        self.qa, self.tokens = fresh.qa, fresh.tokens
        self.positions, self.projection = fresh.positions, fresh.projection

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (n, n_targets) of images (n, 3, side, side) and tokens (n, context length)."""
        cells = self.visual(images)  # its own pool is not in it
        own = self.own_pool(cells)
        asked = self.cross_pool(cells, self._encode(tokens))
        scores: torch.Tensor = self.head(torch.cat([own, asked], dim=1))
        return scores

    def _encode(self, tokens: torch.Tensor) -> torch.Tensor:
        (clip,) = self._clip
        hidden = F.embedding(tokens, clip.token_embedding.weight if self.tokens is None else self.tokens)
        rows, ends = torch.arange(len(tokens)), tokens.argmax(dim=-1)
        if self.qa is not None:
            hidden = hidden.clone()
            hidden[rows, ends] = self.qa
        hidden = hidden + (clip.positional_embedding if self.positions is None else self.positions)
        hidden = clip.ln_final(clip.transformer(hidden, attn_mask=clip.attn_mask))
        encoded: torch.Tensor = hidden[rows, ends] @ (
            clip.text_projection if self.projection is None else self.projection
        )
        return encoded


class _Pool(nn.Module):
    """The same attention with a foreign query."""

    def __init__(self, fresh: Any) -> None:
        super().__init__()
        self.positional_embedding = copy.deepcopy(fresh.positional_embedding)
        self.q_proj, self.k_proj = copy.deepcopy(fresh.q_proj), copy.deepcopy(fresh.k_proj)
        self.v_proj, self.c_proj = copy.deepcopy(fresh.v_proj), copy.deepcopy(fresh.c_proj)
        self.heads = fresh.heads

    def forward(self, cells: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """Features (n, output) of a feature map (n, width, h, w), asked by (n, query width)."""
        cells = cells.flatten(2).permute(2, 0, 1)
        cells = torch.cat([cells.mean(dim=0, keepdim=True), cells], dim=0) + self.positional_embedding[:, None]
        keys, values = self._split(self.k_proj(cells)), self._split(self.v_proj(cells))
        wanted = self._split(self.q_proj(query[None]))
        weights = (wanted @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(dim=-1)
        read = (weights @ values).permute(2, 0, 1, 3).flatten(2)
        features: torch.Tensor = self.c_proj(read[0])
        return features

    def _split(self, projected: torch.Tensor) -> torch.Tensor:
        """(length, n, width) to (n, heads, length, width / heads)."""
        length, n, width = projected.shape
        return projected.reshape(length, n, self.heads, width // self.heads).permute(1, 2, 0, 3)
