"""CLIP-AGIQA of Tang et al. against its official code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from agiqa_bench.methods.clip_agiqa_tang import CategoryRegressor, CLIPAGIQATang
from agiqa_bench.training.recipe import Recipe, build_optimiser


def official_name(name: str) -> str:
    return "prompt_learner.ctx" if name == "context" else name.replace("regressor.", "regression.")


@pytest.fixture(scope="module")
def fixture(official) -> Any:
    return official("clip_agiqa_tang")


class Training:
    """Forward values before and after five steps of the paper's optimiser, and what was seen on the way."""

    def __init__(self, fixture: Any, recipe: Recipe, gradient_norms: Callable[..., dict[str, float]]) -> None:
        clip = fixture.clip()
        hidden, _ = fixture.trainable["regression.1.weight"]
        words = tuple(fixture.config["classes"])
        config = CLIPAGIQATang.Config(n_ctx=fixture.config["n_ctx"], categories=words, hidden=hidden, dropout=0)
        self.network = CategoryRegressor(clip, config)
        fixture.fill(self.network, official_name)
        with torch.no_grad():
            features = F.normalize(clip.model.encode_image(fixture.images()), dim=-1)
        mos = fixture.mos()[:, 0]
        optimiser = build_optimiser(recipe, [(1.0, self.network.parameters())])
        self.losses = []
        for step, _ in enumerate(fixture.figures["losses_5_steps"]):
            found = self.network(features, self.network.texts())
            loss = F.mse_loss(found, mos)
            optimiser.zero_grad()
            loss.backward()
            if step == 0:
                self.before, self.norms = found.tolist(), gradient_norms(self.network, official_name)
            self.losses.append(loss.item())
            optimiser.step()
        with torch.no_grad():
            self.after = self.network(features, self.network.texts()).tolist()


@pytest.fixture(scope="module")
def training(fixture, paper_recipe, gradient_norms, threads) -> Training:
    with threads(1):
        return Training(fixture, paper_recipe(CLIPAGIQATang), gradient_norms)


def test_the_settings_are_the_official_ones():
    config = CLIPAGIQATang.Config()
    assert config.categories == ("terrible", "bad", "poor", "average", "good", "perfect")
    assert (config.n_ctx, config.hidden, config.dropout) == (16, 512, 0.5)


@pytest.mark.slow
def test_what_is_trained(training, fixture):
    found = {official_name(name): tuple(tensor.shape) for name, tensor in training.network.named_parameters()}
    assert found == fixture.trainable
    assert sum(tensor.numel() for tensor in training.network.parameters()) == fixture.figures["n_trainable"]


@pytest.mark.slow
def test_forward_values(training, fixture):
    assert training.before == pytest.approx(fixture.figures["forward"]["quality"], rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_the_first_step(training, fixture):
    wanted = fixture.figures["first_step"]
    assert training.losses[0] == pytest.approx(wanted["loss"], rel=1e-4)
    assert training.norms == pytest.approx(wanted["grad_norms"], rel=1e-3)


@pytest.mark.slow
def test_five_steps_of_the_papers_optimiser(training, fixture):
    assert training.losses == pytest.approx(fixture.figures["losses_5_steps"], rel=1e-3)
    assert training.after == pytest.approx(fixture.figures["forward_after_5_steps"], rel=1e-3)
