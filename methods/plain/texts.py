"""CLIP's text tower as the published codes run it: at its full context length, in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class LearntContext:
    """Phrases behind learnt vectors, at the full context length: [start] [v1] ... [vk] phrase [end] [pad] ..."""

    def __init__(self, clip: Any, phrases: Sequence[str], n_ctx: int) -> None:
        """Tokenise the phrases behind `n_ctx` place holders, as CoOp (Zhou et al. 2022) does.

        Args:
            clip: A loaded `agiqa_bench.backbones.clip.ClipBackbone`.
            phrases: E.g. "good photo."
            n_ctx: Number of learnt vectors.
        """
        self._model = clip.model
        self._tokens = clip.tokenizer([" ".join(["x"] * n_ctx + [phrase]) for phrase in phrases]).to(clip.device)

    def encode(self, context: torch.Tensor | None, deep: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Features (phrases, embed_dim), not normalised.

        Args:
            context: The vectors (k, width); None without any.
            deep: Vectors (k, width) that take their places at the input of layers 2, 3, ...
        """
        hidden = self._model.token_embedding(self._tokens)
        if context is not None:
            hidden = _replaced(hidden, context)
        hidden = hidden + self._model.positional_embedding
        for layer, block in enumerate(self._model.transformer.resblocks):
            if 1 <= layer <= len(deep):
                hidden = _replaced(hidden, deep[layer - 1])
            hidden = block(hidden, attn_mask=self._model.attn_mask)
        hidden = self._model.ln_final(hidden)
        ends = self._tokens.argmax(dim=-1)
        features: torch.Tensor = hidden[torch.arange(len(hidden)), ends] @ self._model.text_projection
        return features


def _replaced(hidden: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Positions 1..k of (n, length, width) replaced by (k, width)."""
    shared = vectors.unsqueeze(0).expand(len(hidden), -1, -1)
    return torch.cat([hidden[:, :1], shared, hidden[:, 1 + len(vectors) :]], dim=1)
