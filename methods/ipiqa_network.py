"""IP-IQA's network (Qu et al. 2024): what is fine-tuned of a CLIP, the cross-modality pool and the head."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.backbones.text import encode_embeddings, require_plain_text
from agiqa_bench.backbones.vision import AttentionPool, feature_map, is_residual, require_vit, resize_positions
from agiqa_bench.errors import ConfigError, WeightsUnavailableError
from agiqa_bench.training.checkpointing import recompute, recompute_blocks

if TYPE_CHECKING:
    from agiqa_bench.methods.ipiqa import IPIQA

_NAME = "ipiqa"


class IPIQANetwork(nn.Module):
    """All that is fine-tuned: image encoder, pools, head, and parts of the text encoder, whose rest stays frozen.

    81,918,306 parameters in the official variant on RN50 at 512 pixels with two targets.
    """

    def __init__(
        self,
        clip: ClipBackbone,
        config: IPIQA.Config,
        n_targets: int,
        encoder: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Copy what is trained out of a loaded CLIP, which stays as it is.

        Args:
            clip: The backbone.
            config: The method's settings.
            n_targets: Number of outputs.
            encoder: Weights of the image encoder in place of CLIP's own.

        Raises:
            ConfigError: The resolution does not fit the image encoder, or the CLIP is not of OpenAI's kind.
            WeightsUnavailableError: `encoder` is that of another CLIP.
        """
        super().__init__()
        require_plain_text(clip.model, clip.tokenizer, _NAME)
        self._clip = [clip.model]  # in a list: its frozen weights are none of this module's
        official, width = config.variant == "official", clip.width
        self.visual: Any = copy.deepcopy(clip.model.visual).requires_grad_(True)
        if encoder is not None:
            try:
                self.visual.load_state_dict(dict(encoder))
            except RuntimeError as error:
                raise WeightsUnavailableError(
                    "image2prompt_weights: that image encoder is not of this CLIP; pretrain one with the same backbone"
                ) from error
        channels, heads, grid = self._to_resolution(config.resolution)
        self.cross_pool = (
            AttentionPool(grid * grid, channels, heads, width, query=width) if config.integral_prompt else None
        )
        if self.cross_pool is not None and config.pool_init == "clip":
            self._start_from_clip(self.cross_pool)
        text = clip.model
        learns_text = config.integral_prompt and official
        self.qa: nn.Parameter | None = None
        if config.integral_prompt and config.qa_token and not official:
            self.qa = nn.Parameter(text.token_embedding.weight[clip.tokenizer.eot_token_id].detach().clone())
        self.positions = _copied(text.positional_embedding) if learns_text else None
        self.projection = _copied(text.text_projection) if learns_text else None
        self.tokens = _copied(text.token_embedding.weight) if learns_text and config.qa_token else None
        inputs = 2 * width if config.integral_prompt else width
        kind = config.head or ("mlp" if official else "linear")
        self.head = _mlp(inputs, n_targets, config.dropout) if kind == "mlp" else nn.Linear(inputs, n_targets)
        self.head_factor = config.head_factor or (10.0 if official else 1.0)
        self.to(clip.device)

    def _to_resolution(self, resolution: int) -> tuple[int, int, int]:
        """Resize the position embedding; channels and heads of the feature map's pool, and its side in cells."""
        visual, is_resnet = self.visual, is_residual(self.visual)
        if not is_resnet:
            require_vit(visual, _NAME)
        patch = 32 if is_resnet else visual.patch_size[0]
        grid, left = divmod(resolution, patch)
        if left:
            raise ConfigError(f"ipiqa: resolution={resolution} is not a multiple of {patch}, as this CLIP needs")
        self.own_pool: AttentionPool | None = None
        if is_resnet:
            # With the channels next to each other a step takes four fifths of the time on the CPU.
            visual.to(memory_format=torch.channels_last)
            pool, visual.attnpool = visual.attnpool, nn.Identity()
            self.own_pool = AttentionPool.of_clip(pool, grid)
            return pool.k_proj.in_features, pool.num_heads, grid
        visual.positional_embedding = nn.Parameter(resize_positions(visual.positional_embedding.detach(), grid).clone())
        return visual.transformer.width, visual.transformer.resblocks[0].attn.num_heads, grid

    @torch.no_grad()
    def _start_from_clip(self, pool: AttentionPool) -> None:
        """Let a prompt attend to a cell by the inner product of CLIP's embeddings of both, spread over the heads."""
        if self.own_pool is not None:
            values, out = self.own_pool.v_proj, self.own_pool.c_proj.weight
            pool.k_proj.load_state_dict(values.state_dict())
            pool.v_proj.load_state_dict(values.state_dict())
            pool.c_proj.load_state_dict(self.own_pool.c_proj.state_dict())
            pool.positional_embedding.copy_(self.own_pool.positional_embedding)
        else:
            out = self.visual.proj.T
            for layer in (pool.k_proj, pool.v_proj):
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)
            pool.c_proj.weight.copy_(out)
            nn.init.zeros_(pool.c_proj.bias)
            nn.init.zeros_(pool.positional_embedding)
        # CLIP's embeddings have a length of about the root of their width; the prompt's counts as one of length 1.
        pool.q_proj.weight.copy_(out.T / len(out) ** 0.5)
        nn.init.zeros_(pool.q_proj.bias)

    def forward(self, images: torch.Tensor, texts: torch.Tensor | None) -> torch.Tensor:
        """Predicted MOS (n, n_targets) of normalised images with their prompts' embeddings (n, width)."""
        cells, read = feature_map(self.visual, images)
        features = self.own_pool(cells) if self.own_pool is not None else read
        assert features is not None  # a tower has one or the other
        if self.cross_pool is not None:
            features = torch.cat([features, self.cross_pool(cells, texts)], dim=-1)
        # In float32 whatever the precision: bfloat16 knows eight bits, and scores that are rounded so are tied.
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())  # type: ignore[no-any-return]

    def attention(self, images: torch.Tensor, texts: torch.Tensor | None) -> torch.Tensor:
        """Weights of the cross-modality pool without those of the mean token, (n, heads, cells)."""
        assert self.cross_pool is not None
        cells, _ = feature_map(self.visual, images)
        return self.cross_pool.weights(cells, texts)[..., 1:]

    def save_memory(self) -> bool:
        """Compute the image encoder's blocks twice in a step from now on, and keep their inputs alone.

        Returns:
            False if that is so already.
        """
        stem = is_residual(self.visual) and recompute(self.visual, "stem")
        return recompute_blocks(self.visual) or stem

    @property
    def learns_text(self) -> bool:
        """Whether an embedding of a prompt changes with training."""
        return any(part is not None for part in (self.qa, self.tokens, self.positions, self.projection))

    def frozen_text(self) -> nn.ParameterList:
        """CLIP's own parameters that an embedding of a prompt is computed with; none without integral prompt."""
        if self.cross_pool is None:
            return nn.ParameterList()
        (clip,) = self._clip
        own = (
            (self.tokens, clip.token_embedding.weight),
            (self.positions, clip.positional_embedding),
            (self.projection, clip.text_projection),
        )
        read = [frozen for learnt, frozen in own if learnt is None]
        return nn.ParameterList([*read, *clip.transformer.parameters(), *clip.ln_final.parameters()])

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings (n, width) of prompts given as tokens (n, length), read at the end token or [QA] in its place."""
        (clip,) = self._clip
        table = clip.token_embedding.weight if self.tokens is None else self.tokens
        embeddings, ends = F.embedding(tokens, table), tokens.argmax(dim=1)
        if self.qa is not None:
            place = torch.arange(tokens.shape[1], device=tokens.device) == ends[:, None]
            embeddings = torch.where(place[..., None], self.qa, embeddings)
        return encode_embeddings(clip, embeddings, ends, positions=self.positions, projection=self.projection)


def _copied(parameter: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone())


def _mlp(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(inputs, inputs), nn.Tanh(), nn.Dropout(dropout), nn.Linear(inputs, outputs)
    )
