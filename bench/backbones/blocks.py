"""One layer of CLIP's transformers, computed only where something reads it.

Equal to open_clip's `ResidualAttentionBlock`, whose weights are used, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import nn
from torch.nn import functional as F

_SLOPE = 1.702
"""Of the sigmoid in QuickGELU (Hendrycks and Gimpel 2016, section 2)."""

_ALL = slice(None)


def are_plain(blocks: Iterable[nn.Module]) -> bool:
    """Whether layers are of the kind that `layer` computes."""
    return all(isinstance(block, ResidualAttentionBlock) and block.attn.batch_first for block in blocks)


def layer(
    block: Any,
    hidden: torch.Tensor,
    prompt: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    wanted: slice | torch.Tensor = _ALL,
) -> torch.Tensor:
    """What a layer makes of its tokens.

    Args:
        block: A layer for which `are_plain` holds.
        hidden: Tokens (n, length, width).
        prompt: Tokens (k, width) that the others see too, the same for all n; what becomes of them is not computed.
        mask: What is added to the attention of the wanted tokens (w, length + k), the prompt's places last.
        wanted: Places of the tokens whose outcome is read, a slice or int64 (w,).

    Returns:
        (n, w, width).
    """
    attention, width = block.attn, hidden.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    normal = block.ln_1(hidden)
    asked = F.linear(normal[:, wanted], weight[:width], bias[:width])
    seen = F.linear(normal, weight[width:], bias[width:])
    if prompt is not None:
        shown = F.linear(block.ln_1(prompt.to(hidden.dtype)), weight[width:], bias[width:])
        seen = torch.cat([seen, shown.expand(len(seen), -1, -1)], dim=1)
    query, keys, values = (
        each.reshape(*each.shape[:2], attention.num_heads, -1).transpose(1, 2)
        for each in (asked, *seen.chunk(2, dim=-1))
    )
    read = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    hidden = hidden[:, wanted] + block.ls_1(attention.out_proj(read.transpose(1, 2).flatten(2)))
    both: torch.Tensor = hidden + block.ls_2(_mlp(block.mlp, block.ln_2(hidden)))
    return both


def _mlp(mlp: Any, hidden: torch.Tensor) -> torch.Tensor:
    if not isinstance(mlp.gelu, QuickGELU):
        found: torch.Tensor = mlp(hidden)
        return found
    # x * sigmoid(1.702 x) is silu(1.702 x) / 1.702, and a matrix product is scaled for nothing.
    first, second = mlp.c_fc, mlp.c_proj
    wide = torch.addmm(first.bias, hidden.flatten(0, 1), first.weight.T, alpha=_SLOPE, beta=_SLOPE)
    active = F.silu(wide, inplace=not torch.is_grad_enabled())
    return torch.addmm(second.bias, active, second.weight.T, alpha=1 / _SLOPE).view_as(hidden)
