"""CLIP's text tower from the inside: embeddings in, learnable tokens at every layer, features out.

Everything here is a function of open_clip's modules, whose weights are shared and stay frozen; gradients flow through
them to whatever is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from torch import nn

from agiqa_bench.backbones.blocks import are_plain, layer
from agiqa_bench.errors import ConfigError


def can_cut(model: nn.Module) -> bool:
    """Whether what follows a text's end token cannot change its features: causal mask, read at that token."""
    return (
        isinstance(model, open_clip.CLIP)
        and model.attn_mask is not None
        and model.text_pool_type == "argmax"
        and isinstance(model.text_projection, nn.Parameter)
        and model.transformer.batch_first
    )


def require_plain_text(model: nn.Module, tokenizer: Any, method: str) -> None:
    """Refuse a CLIP whose text tower or tokenizer is not of OpenAI's kind.

    Raises:
        ConfigError: It is not.
    """
    plain = can_cut(model) and are_plain(cast(Any, model).transformer.resblocks)
    if not plain or not isinstance(tokenizer, open_clip.SimpleTokenizer):
        raise ConfigError(f"{method} needs a CLIP with OpenAI's kind of text tower, e.g. --backbone ViT-B-32:openai")


def encode_embeddings(
    model: Any,
    embeddings: torch.Tensor,
    ends: torch.Tensor,
    deep: Sequence[torch.Tensor] = (),
    *,
    positions: torch.Tensor | None = None,
    projection: torch.Tensor | None = None,
) -> torch.Tensor:
    """Features of texts that are given as token embeddings.

    Args:
        model: open_clip's CLIP, for which `can_cut` holds.
        embeddings: Without positions, (n, length, width); the length may end after the last end token.
        ends: Position of each text's end token, where its features are read, int64 (n,).
        deep: Learnable tokens (k, width) that replace positions 1..k at the input of layers 2, 3, ... (deep prompts,
            Khattak et al. 2023, section 3.2).
        positions: Position embedding (context length, width) in place of the model's own.
        projection: Projection (width, embed_dim) in place of the model's own.

    Returns:
        (n, embed_dim), not normalised.
    """
    length = embeddings.shape[1]
    hidden = embeddings + (model.positional_embedding if positions is None else positions)[:length]
    mask = model.attn_mask[:length, :length]
    for place, block in enumerate(model.transformer.resblocks):
        hidden = block(_with_deep(hidden, deep, place), attn_mask=mask)
    last = model.ln_final(hidden[torch.arange(len(hidden), device=hidden.device), ends])
    features: torch.Tensor = last @ (model.text_projection if projection is None else projection)
    return features


def _with_deep(hidden: torch.Tensor, deep: Sequence[torch.Tensor], place: int) -> torch.Tensor:
    """The input (n, length, width) of the layer at `place`, with the deep tokens that belong to it."""
    if not 1 <= place <= len(deep):
        return hidden
    prompt = deep[place - 1]
    shared = prompt.to(hidden.dtype).expand(len(hidden), -1, -1)
    return torch.cat([hidden[:, :1], shared, hidden[:, 1 + len(prompt) :]], dim=1)


def encode_tokens(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Features of tokens (n, used length), as `open_clip.CLIP.encode_text` gives them for the full context length."""
    return encode_embeddings(model, model.token_embedding(tokens), tokens.argmax(dim=1))


class DistinctPrompts:
    """The distinct prompts of some samples as tokens.

    Attributes:
        count: Number of distinct prompts.
        number: Which of them each sample has, int64 (n,).
    """

    def __init__(self, tokenizer: Any, prompts: Sequence[str], device: str) -> None:
        """Tokenise each distinct prompt once; one that is too long is cut."""
        distinct = sorted(set(prompts))
        place = {prompt: index for index, prompt in enumerate(distinct)}
        self.number = np.array([place[prompt] for prompt in prompts], dtype=np.int64)
        self.count = len(distinct)
        self._tokens: torch.Tensor = tokenizer(distinct).to(device)
        self._lengths = (self._tokens.argmax(dim=1) + 1).cpu().numpy()

    def batch(self, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
        """Tokens of some distinct prompts, int64 (b, length), cut behind the longest."""
        rows = self._tokens[torch.from_numpy(numbers).to(self._tokens.device)]
        return rows[:, : int(self._lengths[numbers].max())]


class ContextTexts:
    """Texts with learnable vectors before a phrase, and behind it: [start] [v1] ... phrase ... [vk] [end].

    All stand before it (Zhou et al. 2022, equation 2) unless some are asked to stand behind (their equation 3).

    The texts are encoded as one sequence: what they begin with, once, because under a causal mask it is the same in
    every text at every layer, then the rest of each text, which sees that beginning and itself.

    Attributes:
        count: Number of texts.
        length: Positions of the longest text, up to its end token; nothing behind it is computed.
    """

    def __init__(
        self, model: Any, tokenizer: Any, phrases: Sequence[str], n_ctx: int, before: int | None = None
    ) -> None:
        """Tokenise the phrases and look up their embeddings, once.

        Args:
            model: open_clip's CLIP, for which `can_cut` holds.
            tokenizer: Its `open_clip.SimpleTokenizer`.
            phrases: What the learnable vectors surround, e.g. "good photo."
            n_ctx: Number of learnable vectors.
            before: How many of them, the first, stand before the phrase; None means all.

        Raises:
            ConfigError: The longest text does not fit the context length.
        """
        words = [tokenizer.encode(phrase) for phrase in phrases]
        self.count, self.length = len(phrases), n_ctx + 2 + max(map(len, words))
        limit = len(model.positional_embedding)
        if self.length > limit:
            raise ConfigError(f"n_ctx={n_ctx}: '{phrases[0]}' and its context need {self.length} of {limit} tokens")
        first = n_ctx if before is None else before
        vectors = [-1 - number for number in range(n_ctx)]  # told from tokens by their sign
        beginning = [tokenizer.sot_token_id, *vectors[:first]]
        rests = [[*word, *vectors[first:], tokenizer.eot_token_id] for word in words]
        device = model.positional_embedding.device
        tokens = [*beginning, *chain(*rests)]
        row = torch.tensor(tokens, device=device)
        places = [*range(len(beginning)), *(len(beginning) + place for rest in rests for place in range(len(rest)))]
        texts = [*[-1] * len(beginning), *(text for text, rest in enumerate(rests) for _ in rest)]
        self._model = model
        with torch.no_grad():
            self._embeddings = model.token_embedding(row.clamp_min(0))
            self._positions = model.positional_embedding[torch.tensor(places, device=device)]
        self._mask = _tree_mask(torch.tensor(texts, device=device))
        self._ends = len(beginning) - 1 + torch.tensor([len(rest) for rest in rests], device=device).cumsum(0)
        where = [place for place, token in enumerate(tokens) if token < 0]
        self._where = torch.tensor(where, dtype=torch.int64, device=device)
        self._vectors = torch.tensor([-1 - tokens[place] for place in where], dtype=torch.int64, device=device)

    def encode(self, context: torch.Tensor | None, deep: Sequence[torch.Tensor] = ()) -> torch.Tensor:
        """Features (count, embed_dim) with the vectors (k, width) that all texts share; None where k is 0.

        Deep tokens take the places of vectors that all stand before the phrase.
        """
        return self._encode(self._embeddings[None] if context is None else self._filled(context[None]), deep)[0]

    def encode_together(self, contexts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features (r, count, embed_dim), not normalised, with each of r sets of vectors (k, width), in one pass."""
        return self._encode(self._filled(torch.stack(list(contexts))), ())

    def _filled(self, contexts: torch.Tensor) -> torch.Tensor:
        """Embeddings (r, positions, width) with vectors (r, k, width) in their places."""
        embeddings = self._embeddings.expand(len(contexts), -1, -1)
        filled: torch.Tensor = embeddings.index_copy(1, self._where, contexts.to(embeddings.dtype)[:, self._vectors])
        return filled

    def _encode(self, embeddings: torch.Tensor, deep: Sequence[torch.Tensor]) -> torch.Tensor:
        model, mask = self._model, self._mask
        hidden = embeddings + self._positions
        *blocks, last = model.transformer.resblocks
        for place, block in enumerate(blocks):
            hidden = layer(block, _with_deep(hidden, deep, place), mask=mask)
        hidden = layer(last, _with_deep(hidden, deep, len(blocks)), mask=mask[self._ends], wanted=self._ends)
        features: torch.Tensor = model.ln_final(hidden) @ model.text_projection
        return features


def _tree_mask(texts: torch.Tensor) -> torch.Tensor:
    """What is added to the attention of positions, given the text of each; -1: of all: 0 for what one sees, else -inf.

    A position sees those before it that belong to all texts or to its own.
    """
    order = torch.arange(len(texts), device=texts.device)
    sees = (order <= order[:, None]) & ((texts < 0) | (texts == texts[:, None]))
    return torch.zeros(sees.shape, device=texts.device).masked_fill(~sees, -torch.inf)
