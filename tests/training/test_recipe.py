from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from agiqa_bench.training.recipe import OptimiserName, Recipe, build_optimiser, set_rate


def test_a_constant_rate_stays() -> None:
    assert [Recipe(3, 1, 0.25).rate(epoch) for epoch in range(3)] == [0.25] * 3


def test_cosine_equals_torchs_scheduler() -> None:
    recipe = Recipe(30, 1, 0.02, schedule="cosine")
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=30)
    for epoch in range(30):
        assert recipe.rate(epoch) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        scheduler.step()


def test_cosine_behind_a_warm_up_epoch() -> None:
    # Tang et al.: one epoch at 1e-5, then the cosine from its beginning, which is not squeezed: 99 of its 100 epochs.
    recipe = Recipe(100, 32, 0.002, "sgd", schedule="cosine", warm_up_epochs=1)
    assert recipe.rate(0) == 1e-5
    for epoch, angle in ((1, 0.0), (2, math.pi / 100), (26, math.pi / 4), (51, math.pi / 2), (99, 0.98 * math.pi)):
        assert recipe.rate(epoch) == pytest.approx(0.002 * (1 + math.cos(angle)) / 2, rel=1e-12)
    assert recipe.rate(26) == pytest.approx(0.0017071067811865476)
    assert recipe.rate(51) == pytest.approx(0.001)
    assert recipe.rate(99) == pytest.approx(1.9732715717284e-06)


def test_a_longer_warm_up_and_its_rate() -> None:
    recipe = Recipe(10, 1, 1.0, schedule="cosine", warm_up_epochs=3, warm_up_rate=0.125)
    assert [recipe.rate(epoch) for epoch in range(4)] == [0.125, 0.125, 0.125, 1.0]
    assert recipe.rate(8) == pytest.approx(0.5)


PLAIN = {
    "adam": lambda groups: torch.optim.Adam(groups, betas=(0.9, 0.999), weight_decay=0.1, fused=False),
    "adamw": lambda groups: torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=0.1, fused=False),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.8, weight_decay=0.1, fused=False),
}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_steps_with_a_head_factor_equal_those_of_torchs_plain_optimisers(name: OptimiserName) -> None:
    start = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    ours, theirs = ([nn.Parameter(row.clone()) for row in start] for _ in range(2))
    recipe = Recipe(1, 1, 123.0, name, weight_decay=0.1, momentum=0.8)
    built = build_optimiser(recipe, [(1.0, [ours[0]]), (10.0, iter([ours[1]]))])
    plain = PLAIN[name]([{"params": [theirs[0]], "lr": 0.0}, {"params": [theirs[1]], "lr": 0.0}])
    for rate in (0.01, 0.01, 0.003):
        set_rate(built, rate)
        assert [group["lr"] for group in built.param_groups] == pytest.approx([rate, 10 * rate])
        plain.param_groups[0]["lr"], plain.param_groups[1]["lr"] = rate, 10 * rate
        for optimiser, parameters in ((built, ours), (plain, theirs)):
            optimiser.zero_grad()
            sum((parameter.sin() * parameter).sum() for parameter in parameters).backward()
            optimiser.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)
    assert not torch.equal(ours[0], start[0])


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_step_that_a_scaled_loss_leaves_out_leaves_no_trace(name: OptimiserName) -> None:
    """Memory of deleted tensors is full of NaN here: fused SGD took it for its momentum."""

    def trained(overflows: bool) -> torch.Tensor:
        parameter = nn.Parameter(torch.ones(1000))
        optimiser = build_optimiser(Recipe(1, 1, 0.1, name), [(1.0, [parameter])], scaled=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        junk = [torch.full((1000,), math.nan) for _ in range(50)]
        del junk
        for step in range(-1 if overflows else 0, 3):
            optimiser.zero_grad()
            scaler.scale((parameter * (math.inf if step < 0 else 1.5)).sum()).backward()
            scaler.step(optimiser)
            scaler.update()
        return parameter.detach()

    torch.testing.assert_close(trained(overflows=True), trained(overflows=False), rtol=1e-6, atol=0)
