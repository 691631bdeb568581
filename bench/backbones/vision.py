"""CLIP's image towers from the inside: learnable tokens, feature maps, attention pools, other image sizes.

Everything here is a function of open_clip's modules, or a module of our own that starts from their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.blocks import are_plain, layer
from agiqa_bench.errors import ConfigError

RESIDUAL_STRIDE = 32
"""Pixels along a side that one cell of a ModifiedResNet's feature map stands for; it cannot see smaller images."""


def is_plain_vit(visual: nn.Module) -> bool:
    """Whether an image tower is OpenAI's kind of Vision Transformer: features read at the class token."""
    return (
        isinstance(visual, VisionTransformer)
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and isinstance(visual.proj, nn.Parameter)
        and are_plain(visual.transformer.resblocks)
    )


def require_vit(visual: nn.Module, method: str) -> None:
    """Refuse an image tower without tokens.

    Raises:
        ConfigError: It is not OpenAI's kind of Vision Transformer.
    """
    if not is_plain_vit(visual):
        raise ConfigError(f"{method} needs a CLIP with a Vision Transformer, e.g. --backbone ViT-B-32:openai")


def encode_image(visual: Any, images: torch.Tensor, prompts: Sequence[torch.Tensor] = ()) -> torch.Tensor:
    """Features of images by a Vision Transformer with learnable tokens of its own at every layer.

    Args:
        visual: open_clip's VisionTransformer, for which `is_plain_vit` holds.
        images: Normalised, (n, 3, size, size).
        prompts: Tokens (k, width) for layers 1, 2, ...: the first are appended behind the patch tokens before the
            first layer norm, the others take their places at the input of the layer that they belong to. Layers
            beyond the last keep what the layer before made of them. Empty: CLIP's own `encode_image`.

    Returns:
        (n, embed_dim), not normalised.
    """
    hidden = visual.ln_pre(_patch_tokens(visual, images))
    # Tokens that the next layer replaces are seen in their own layer, and nothing reads what it makes of them.
    replaced = [visual.ln_pre(prompts[0]), *prompts[1:]] if prompts else []
    *blocks, last = visual.transformer.resblocks
    for place, block in enumerate(blocks):
        prompt = replaced[place] if place < len(replaced) else None
        if prompt is not None and place + 1 == len(replaced):
            hidden, prompt = torch.cat([hidden, prompt.to(hidden.dtype).expand(len(hidden), -1, -1)], dim=1), None
        hidden = layer(block, hidden, prompt)
    prompt = replaced[len(blocks)] if len(replaced) > len(blocks) else None
    pooled = layer(last, hidden, prompt, wanted=slice(1))
    features: torch.Tensor = visual.ln_post(pooled[:, 0]) @ visual.proj
    return features


def _patch_tokens(visual: Any, images: torch.Tensor) -> torch.Tensor:
    """Class token and patch tokens with their positions, (n, 1 + patches, width), before the first layer norm."""
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
    tokens: torch.Tensor = torch.cat([first, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    return tokens


def feature_map(visual: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The tokens that an attention pool reads.

    Args:
        visual: A ModifiedResNet or a Vision Transformer of open_clip, the latter with a position embedding for this
            image size.
        images: Normalised, (n, 3, size, size).

    Returns:
        Tokens (n, cells, channels), row by row: a ResNet's last stage, or a Vision Transformer's patch tokens behind
        the last layer norm; and the image features (n, embed_dim) that a Vision Transformer reads at its class token,
        None for a ResNet, which reads them by its attention pool.
    """
    if is_residual(visual):
        hidden = visual.stem(images)
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            hidden = stage(hidden)
        return hidden.flatten(2).transpose(1, 2), None
    hidden = visual.ln_pre(_patch_tokens(visual, images))
    for block in visual.transformer.resblocks:
        hidden = block(hidden)
    hidden = visual.ln_post(hidden)
    return hidden[:, 1:], hidden[:, 0] @ visual.proj


def is_residual(visual: nn.Module) -> bool:
    """Whether an image tower is OpenAI's kind of residual network, whose attention pool can do without positions."""
    return isinstance(visual, open_clip.modified_resnet.ModifiedResNet)


def encode_any_size(visual: Any, images: torch.Tensor) -> torch.Tensor:
    """Features of images of any size, by an attention pool that is told no positions (CLIP-IQA, section 3.2).

    Args:
        visual: open_clip's ModifiedResNet.
        images: Normalised, (n, 3, h, w), both sides at least `RESIDUAL_STRIDE`.

    Returns:
        (n, embed_dim), not normalised.
    """
    tokens, _ = feature_map(visual, images)
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
    pool = visual.attnpool
    asked, keys, values = _projected(pool, pool.num_heads, tokens[:, :1], tokens)
    return _pooled(pool, asked, keys, values)


def resize_positions(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """A position embedding for a grid of another size.

    Args:
        positions: (1 + g * g, width); the first belongs to the class or mean token and is kept.
        grid: Cells along a side of the new grid.

    Returns:
        (1 + grid * grid, width), interpolated bicubically without aligned corners.
    """
    side = round((len(positions) - 1) ** 0.5)
    if side == grid:
        return positions
    cells = positions[1:].T.reshape(1, -1, side, side)
    cells = F.interpolate(cells, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], cells.flatten(2)[0].T])


class AttentionPool(nn.Module):
    """Multi-head attention of one query over an image's tokens: CLIP's own pool, or one with a foreign query.

    Keys and values are the mean of the tokens and the tokens, plus a position embedding. Without a query of its own
    the mean token asks, as in CLIP (Radford et al. 2021, section 2.4): only its row is computed.

    Attributes:
        positional_embedding: (1 + cells, width).
        heads: Number of heads.
    """

    def __init__(self, cells: int, width: int, heads: int, output: int, query: int | None = None) -> None:
        """Build a pool with random weights.

        Args:
            cells: Number of tokens.
            width: Channels of the tokens.
            heads: Number of heads.
            output: Number of features.
            query: Width of the query; None means that the tokens' mean asks.
        """
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(1 + cells, width) / width**0.5)
        self.q_proj = nn.Linear(query or width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, output)
        self.heads = heads

    @classmethod
    def of_clip(cls, pool: Any, grid: int) -> AttentionPool:
        """A copy of a ModifiedResNet's `attnpool` for a feature map of grid x grid cells."""
        copied = cls(grid * grid, pool.k_proj.in_features, pool.num_heads, pool.c_proj.out_features)
        positions = resize_positions(pool.positional_embedding.detach(), grid)
        copied.load_state_dict(pool.state_dict() | {"positional_embedding": positions})
        return copied

    def forward(self, tokens: torch.Tensor, query: torch.Tensor | None = None) -> torch.Tensor:
        """Features (n, output) of tokens (n, cells, width), asked by `query` (n, query width)."""
        return _pooled(self, *self._projected(tokens, query))

    def weights(self, tokens: torch.Tensor, query: torch.Tensor | None = None) -> torch.Tensor:
        """Attention weights, (n, heads, 1 + cells), which sum to 1 over the last axis; the mean token comes first."""
        asked, keys, _ = self._projected(tokens, query)
        weights: torch.Tensor = (asked @ keys.transpose(-1, -2) / asked.shape[-1] ** 0.5).softmax(dim=-1)
        return weights[:, :, 0]

    def _projected(
        self, tokens: torch.Tensor, query: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, keys and values, each (n, heads, positions, width / heads)."""
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        tokens = tokens + self.positional_embedding.to(tokens.dtype)
        return _projected(self, self.heads, tokens[:, :1] if query is None else query[:, None], tokens)


def _projected(
    pool: Any, heads: int, asked: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, keys and values, each (n, heads, positions, width / heads), of CLIP's pool or ours."""
    projected = (pool.q_proj(asked), pool.k_proj(tokens), pool.v_proj(tokens))
    query, keys, values = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in projected)
    return query, keys, values


def _pooled(pool: Any, asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Features (n, output) that one query per image reads from its tokens."""
    read = F.scaled_dot_product_attention(asked, keys, values)
    features: torch.Tensor = pool.c_proj(read.transpose(1, 2).flatten(1))
    return features
