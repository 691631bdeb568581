"""A layer computed only where it is read, against open_clip's own on all tokens."""

from __future__ import annotations

import pytest
import torch
from open_clip.transformer import CustomResidualAttentionBlock, QuickGELU, ResidualAttentionBlock

from agiqa_bench.backbones.blocks import are_plain, layer

WIDTH, HEADS = 24, 3


def build(activation, scale=None):
    torch.manual_seed(0)
    block = ResidualAttentionBlock(WIDTH, HEADS, ls_init_value=scale, act_layer=activation).eval().requires_grad_(False)
    for parameter in block.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return block


@pytest.fixture(params=[(QuickGELU, None), (torch.nn.GELU, None), (QuickGELU, 0.5)], ids=["quick", "gelu", "scaled"])
def block(request):
    return build(*request.param)


def gradients(outcome, inputs):
    weights = torch.arange(outcome.numel()).view_as(outcome).sin()
    return torch.autograd.grad((outcome * weights).sum(), inputs)


@pytest.mark.parametrize("wanted", [slice(None), slice(1), torch.tensor([4, 1])], ids=["all", "first", "two"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_is_open_clips(wanted, masked, block):
    hidden = torch.randn(2, 6, WIDTH, requires_grad=True)
    mask = torch.full((6, 6), -torch.inf).triu(1) if masked else None
    expected = block(hidden, attn_mask=mask)[:, wanted]
    found = layer(block, hidden, mask=None if mask is None else mask[wanted], wanted=wanted)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(found, hidden), gradients(expected, hidden), rtol=1e-4, atol=1e-4)
    kept = hidden.detach().clone()
    with torch.inference_mode():
        torch.testing.assert_close(layer(block, kept, mask=mask), block(kept, attn_mask=mask), rtol=1e-5, atol=1e-5)
    assert torch.equal(kept, hidden)


def test_a_prompt_is_seen_by_the_others(block):
    hidden, prompt = torch.randn(2, 5, WIDTH, requires_grad=True), torch.randn(3, WIDTH, requires_grad=True)
    expected = block(torch.cat([hidden, prompt.expand(2, -1, -1)], dim=1))[:, :5]
    found = layer(block, hidden, prompt)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    both = [hidden, prompt]
    torch.testing.assert_close(gradients(found, both), gradients(expected, both), rtol=1e-4, atol=1e-4)


def test_other_layers_are_told():
    assert are_plain([build(QuickGELU)])
    assert not are_plain([build(QuickGELU), CustomResidualAttentionBlock(WIDTH, HEADS)])
    assert not are_plain([ResidualAttentionBlock(WIDTH, HEADS, batch_first=False)])
