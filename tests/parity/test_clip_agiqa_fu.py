"""CLIP-AGIQA of Fu et al. against its official code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from agiqa_bench.methods import clip_agiqa_fu
from agiqa_bench.methods.clip_agiqa_fu import CLIPAGIQAFu, PromptedCLIP
from agiqa_bench.training.recipe import Recipe, build_optimiser

TASKS = ("quality", "alignment")


def official_name(name: str) -> str:
    if name.startswith("guidance."):
        _, layer, leaf = name.split(".")
        if layer == "0":
            return f"prompt_learner_tar.proj.{leaf}"
        return f"prompt_learner_tar.compound_prompt_projections.{int(layer) - 1}.{leaf}"
    task, _, rest = name.partition(".")
    learner = {"main": "prompt_learner_tar", "aux": "prompt_learner_aux"}[task]
    kind, _, layer = rest.partition(".")
    return f"{learner}.ctx" if kind == "context" else f"{learner}.prompts_{kind.replace('vision', 'vis')}.{layer}"


@pytest.fixture(scope="module")
def fixture(official) -> Any:
    return official("clip_agiqa_fu")


class Training:
    """Forward values before and after five steps of the paper's optimiser, and what was seen on the way."""

    def __init__(self, fixture: Any, recipe: Recipe, gradient_norms: Callable[..., dict[str, float]]) -> None:
        config = CLIPAGIQAFu.Config(n_ctx=fixture.config["n_ctx"])
        self.network = PromptedCLIP(fixture.clip(), config, use_aux=True)
        self.images, mos = fixture.images(), fixture.mos()
        self.prompts = self.network.prompts
        fixture.fill(self.prompts, official_name)
        optimiser = build_optimiser(recipe, [(1.0, self.prompts.parameters())])
        self.losses = []
        for step, _ in enumerate(fixture.figures["losses_5_steps"]):
            found = self.forward()
            quality, alignment = (F.mse_loss(found[task], mos[:, column]) for column, task in enumerate(TASKS))
            optimiser.zero_grad()
            (quality + fixture.config["aux_weight"] * alignment).backward()
            if step == 0:
                self.before = {task: values.tolist() for task, values in found.items()}
                self.norms = gradient_norms(self.prompts, official_name)
            self.losses.append([quality.item(), alignment.item()])
            optimiser.step()
        with torch.no_grad():
            self.after = {task: values.tolist() for task, values in self.forward().items()}

    def forward(self) -> dict[str, torch.Tensor]:
        texts = self.network.texts()
        visual = {"quality": self.prompts.visual(), "alignment": list(self.prompts.aux.vision)}
        return {task: self.network.probability(self.images, visual[task], texts[task]) for task in TASKS}


@pytest.fixture(scope="module")
def training(fixture, paper_recipe, gradient_norms, threads) -> Training:
    with threads(1), pytest.MonkeyPatch.context() as patch:
        for constant, classes in (("QUALITY_PHRASES", "classes_main"), ("ALIGNMENT_PHRASES", "classes_aux")):
            patch.setattr(clip_agiqa_fu, constant, tuple(f"{words}." for words in fixture.config[classes]))
        return Training(fixture, paper_recipe(CLIPAGIQAFu), gradient_norms)


def test_the_settings_are_the_official_ones():
    assert clip_agiqa_fu.QUALITY_PHRASES == ("good photo.", "bad photo.")
    assert clip_agiqa_fu.ALIGNMENT_PHRASES == ("aligned photo.", "misaligned photo.")
    assert CLIPAGIQAFu.Config().n_ctx == 8
    assert CLIPAGIQAFu.Config().aux_weight == 0.1


@pytest.mark.slow
def test_what_is_trained(training, fixture):
    found = {official_name(name): tuple(tensor.shape) for name, tensor in training.prompts.named_parameters()}
    assert found == fixture.trainable
    assert sum(tensor.numel() for tensor in training.prompts.parameters()) == fixture.figures["n_trainable"]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_forward_values(task, training, fixture):
    assert training.before[task] == pytest.approx(fixture.figures["forward"][task], rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_the_first_step(training, fixture):
    wanted = fixture.figures["first_step"]
    assert training.losses[0] == pytest.approx([wanted[f"loss_{task}"] for task in TASKS], rel=1e-4)
    assert training.norms == pytest.approx(wanted["grad_norms"], rel=1e-3)


@pytest.mark.slow
def test_five_steps_of_the_papers_optimiser(training, fixture):
    assert np.array(training.losses) == pytest.approx(np.array(fixture.figures["losses_5_steps"]), rel=1e-3)
    for task, wanted in fixture.figures["forward_after_5_steps"].items():
        assert training.after[task] == pytest.approx(wanted, rel=1e-3), task
