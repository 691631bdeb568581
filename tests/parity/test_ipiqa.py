"""IP-IQA against its official code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from agiqa_bench.backbones.vision import feature_map
from agiqa_bench.methods.ipiqa import IPIQA, IPIQANetwork

TEXT = {"positions": "txt_pos", "projection": "text_projection", "tokens": "wte.weight"}
PARTS = {
    "visual.": "resnet50.",
    "own_pool.": "attnpool.",
    "cross_pool.positional_embedding": "txt_attnpool.positional_embedding",
    "cross_pool.c_proj.": "txt_attnpool.cross_attn.out_proj.",
    "cross_pool.": "txt_attnpool.cross_attn.",
    "head.1.": "head.dense.",
    "head.4.": "head.out_proj.",
}


def official_name(name: str) -> str:
    start = next((start for start in PARTS if name.startswith(start)), None)
    return TEXT[name] if start is None else PARTS[start] + name.removeprefix(start)


@pytest.fixture(scope="module")
def fixture(official) -> Any:
    return official("ipiqa")


@pytest.fixture(scope="module")
def clip(fixture) -> Any:
    return fixture.clip()


@pytest.fixture(scope="module")
def tokens(fixture, clip) -> torch.Tensor:
    return clip.tokenizer(fixture.figures["prompts"])


def build(fixture: Any, clip: Any, resolution: int, k: int) -> IPIQANetwork:
    """The official variant; what it takes out of CLIP is seeded already, the rest by its official names."""
    network = IPIQANetwork(clip, IPIQA.Config(variant="official", resolution=resolution, dropout=0), k)
    for part in ("cross_pool", "head"):
        fixture.fill(getattr(network, part), lambda name, part=part: official_name(f"{part}.{name}"))
    return network


class Forward:
    """One pass without gradients, opened up."""

    def __init__(self, fixture: Any, clip: Any, tokens: torch.Tensor) -> None:
        _, self.size = fixture.batches[0]
        self.wanted = fixture.figures[f"forward_{self.size}"]
        self.k = len(self.wanted[f"scores_{self.size}"][0])
        self.network = build(fixture, clip, self.size, self.k).eval()
        images = fixture.images()
        with torch.no_grad():
            self.texts = self.network.encode(tokens)
            self.scores = self.network(images, self.texts)
            self.cells, _ = feature_map(self.network.visual, images)


@pytest.fixture(scope="module")
def passed(fixture, clip, tokens) -> Forward:
    return Forward(fixture, clip, tokens)


def near(wanted: Any) -> Any:
    return pytest.approx(np.array(wanted), rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_what_is_trained(passed, clip, fixture):
    found = {official_name(name): tuple(tensor.shape) for name, tensor in passed.network.named_parameters()}
    visual = {
        f"resnet50.{name}": tuple(tensor.shape)
        for name, tensor in clip.model.visual.named_parameters()
        if not name.startswith("attnpool.")
    }
    assert found == fixture.trainable | visual
    count = sum(tensor.numel() for tensor in passed.network.parameters())
    assert count == fixture.figures[f"n_trainable_k{passed.k}_{passed.size}"]
    assert all(tensor.requires_grad for tensor in passed.network.parameters())


@pytest.mark.slow
def test_text_embeddings(passed, tokens):
    assert passed.texts.norm(dim=1).numpy() == near(passed.wanted["text_embedding_norms"])
    head = np.array(passed.wanted["text_embedding_head"])
    assert passed.texts[:, : head.shape[1]].numpy() == near(head)
    used = int(tokens.argmax(dim=1).max()) + 1
    assert used < tokens.shape[1]
    with torch.no_grad():
        assert passed.network.encode(tokens[:, :used]).numpy() == near(passed.texts.tolist())


@pytest.mark.slow
def test_the_feature_map(passed):
    assert passed.cells.abs().mean(dim=(1, 2)).numpy() == near(passed.wanted["feature_mean_abs"])


@pytest.mark.slow
def test_both_pools(passed):
    network = passed.network
    with torch.no_grad():
        pools = {"visual": network.own_pool(passed.cells), "cross": network.cross_pool(passed.cells, passed.texts)}
    for name, pooled in pools.items():
        wanted = np.array(passed.wanted[f"{name}_pool_head"])
        assert pooled[:, : wanted.shape[1]].numpy() == near(wanted), name


@pytest.mark.slow
def test_attention_of_the_prompt(passed):
    with torch.no_grad():
        weights = passed.network.cross_pool.weights(passed.cells, passed.texts)
    n, heads, queries, positions = passed.wanted["attention_shape"]
    assert queries == 1
    assert weights.shape == (n, heads, positions)
    wanted = np.array(passed.wanted["attention_mean_first_tokens"])
    # The weights are around 1 / positions, so an absolute tolerance would say little.
    assert weights.mean(dim=1)[:, : wanted.shape[1]].numpy() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_scores(passed):
    assert passed.scores.numpy() == near(passed.wanted[f"scores_{passed.size}"])


@pytest.mark.slow
def test_the_first_step(fixture, clip, tokens, gradient_norms, threads):
    (_, size), mos = fixture.batches[1], fixture.mos()
    network = build(fixture, clip, size, mos.shape[1]).train()
    # Batch norms on few values make the first layers' gradients hang on float32's rounding, and the figures were
    # computed on two threads, with the channels first.
    network.to(memory_format=torch.contiguous_format)
    with threads(2):
        loss = F.mse_loss(network(fixture.images(1), network.encode(tokens)), mos)
        loss.backward()
    wanted = fixture.figures[f"train_{size}_first_step"]
    found = gradient_norms(network, official_name)
    assert found.keys() == {official_name(name) for name, _ in network.named_parameters()}
    assert fixture.trainable.keys() <= wanted["grad_norms"].keys() <= found.keys()
    assert loss.item() == close_to(wanted["loss"], "loss")
    assert {name: found[name] for name in wanted["grad_norms"]} == {
        name: close_to(figure, name) for name, figure in wanted["grad_norms"].items()
    }


@pytest.mark.slow
def test_how_channels_lie_in_memory_changes_rounding_alone(fixture, clip, tokens):
    (_, size), mos = fixture.batches[1], fixture.mos().double()
    found = []
    for layout in (torch.channels_last, torch.contiguous_format):
        network = build(fixture, clip, size, mos.shape[1]).train()
        texts = network.encode(tokens).detach().double()
        network.double().to(memory_format=layout)
        # The head computes in float32, whatever the rest does.
        network.head.float()
        loss = F.mse_loss(network(fixture.images(1).double(), texts), mos)
        loss.backward()
        found.append([loss.item(), *(part.grad.norm().item() for part in network.visual.parameters())])
    assert network.visual.conv1.weight.is_contiguous()
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def close_to(figure: float, name: str) -> Any:
    # A key's bias moves all logits of a query alike, which softmax does not see: its gradient is rounding.
    if name.endswith("k_proj.bias"):
        return pytest.approx(figure, abs=1e-6)
    return pytest.approx(figure, rel=1e-4 if name == "loss" else 1e-3)
