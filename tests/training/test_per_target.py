from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agiqa_bench.errors import CheckpointError
from agiqa_bench.method import Context
from agiqa_bench.training.learner import Learner
from agiqa_bench.training.loop import train
from agiqa_bench.training.per_target import NetworkMethod, PerTarget, RegressionLearner, numbers_of
from agiqa_bench.training.recipe import Recipe

INPUTS = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 3))).float()
MOS = INPUTS @ torch.tensor([1.0, -2.0, 0.5])


class Linear(NetworkMethod):
    """A line per target; the samples are rows of INPUTS, and the MOS of the target `minus` is turned round."""

    name = "linear"
    title = "Linear"
    built = 0

    def build(self) -> nn.Module:
        type(self).built += 1
        return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))

    def blank(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))

    def train(self, network, target, train_samples, validation):
        mos = -MOS if target == "minus" else MOS
        learner = RegressionLearner(network, lambda positions, epoch: INPUTS[positions], mos, F.mse_loss)
        return train(learner, 12, Recipe(60, 4, 0.1), self.context, validate=False, name=target)

    def score(self, network, samples):
        with torch.no_grad():
            return network(INPUTS).double().numpy()


@pytest.fixture(scope="module")
def fitted():
    return Linear(context=Context(targets=("plus", "minus"), seed=3)).fit(None)


def test_each_target_has_a_network_that_learns_its_own_mos(fitted):
    scores = fitted.predict(None)
    np.testing.assert_allclose(scores, np.stack([MOS, -MOS], axis=1), atol=0.05)
    assert [entry["target"] for entry in fitted.history] == [0.0] * 60 + [1.0] * 60
    assert fitted.state().keys() == {
        f"{target}.0.{part}" for target in ("plus", "minus") for part in ("weight", "bias")
    }


def test_what_a_target_learns_does_not_depend_on_the_others(fitted):
    alone = Linear(context=Context(targets=("minus",), seed=3)).fit(None)
    assert np.array_equal(alone.predict(None)[:, 0], fitted.predict(None)[:, 1])


def test_a_restored_method_is_filled_without_building(fitted):
    built = Linear.built
    restored = Linear(context=fitted.context).restore(fitted.state())
    assert Linear.built == built
    assert np.array_equal(restored.predict(None), fitted.predict(None))
    assert not any(network.training for network in restored.networks.values())


@pytest.mark.parametrize("change", [{"plus.0.weight": torch.zeros(1, 4)}, {"other": torch.zeros(1)}])
def test_tensors_of_other_settings_are_refused(fitted, change):
    with pytest.raises(CheckpointError, match=r"^linear: the saved tensors do not fit these settings and weights$"):
        Linear(context=fitted.context).restore(dict(fitted.state()) | change)


def test_groups_outlast_the_first_optimiser():
    network = nn.Linear(3, 1)
    frozen = nn.Linear(3, 1).requires_grad_(False)
    learner = RegressionLearner(network, None, MOS, F.mse_loss, groups=[(2.0, network.parameters())])
    for _ in range(2):
        assert [(factor, len(list(group))) for factor, group in learner.groups()] == [(2.0, 2)]
    both = RegressionLearner(nn.Sequential(network, frozen), None, MOS, F.mse_loss)
    assert [list(group) for _, group in both.groups()] == [[network.weight, network.bias]]


def test_what_is_held_back_is_scored_by_ranks():
    """Spearman's correlation: 1 - 6 * 2 / (4 * 15) with one swap among four."""
    network = nn.Linear(3, 1)
    held_back = lambda: np.array([1.0, 2.0, 40.0, 30.0]), np.array([1.0, 2.0, 3.0, 4.0])
    learner = RegressionLearner(network, None, MOS, F.mse_loss, held_back=held_back)
    assert learner.validate() == pytest.approx(0.8)
    with pytest.raises(AssertionError):
        RegressionLearner(network, None, MOS, F.mse_loss).validate()


def test_numbers_of_a_network_are_float64_without_gradients():
    network = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    found = numbers_of(network, INPUTS)
    assert (found.dtype, found.shape) == (np.float64, (12,))
    np.testing.assert_array_equal(found, network(INPUTS).detach().double().numpy())


@pytest.mark.parametrize(
    ("cls", "wanted"),
    [(Learner, {"loss", "validate"}), (PerTarget, {"build", "predict"}), (NetworkMethod, {"build", "train", "score"})],
)
def test_what_a_subclass_must_bring(cls, wanted):
    assert cls.__abstractmethods__ == wanted


def test_a_group_of_factor_zero_stays_and_a_renewed_optimiser_has_no_memory():
    """Against torch's own Adam, made anew for each epoch."""

    class Halting(RegressionLearner):
        def factors(self, epoch):
            return 1.0, 10.0 if epoch == 0 else 0.0

    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))

    ours, theirs = network(), network()
    seen = []

    def inputs(positions, epoch):
        seen.append((positions, epoch))
        return INPUTS[positions]

    groups = [(1.0, ours[0].parameters()), (10.0, ours[2].parameters())]
    learner = Halting(ours, inputs, MOS, F.mse_loss, groups=groups)
    train(learner, 12, Recipe(3, 4, 0.01, weight_decay=0.1, renew=True), Context(), validate=False)
    for epoch in range(3):
        head = [{"params": theirs[2].parameters(), "lr": 0.1}] if epoch == 0 else []
        adam = torch.optim.Adam([{"params": theirs[0].parameters(), "lr": 0.01}, *head], weight_decay=0.1)
        for positions in (positions for positions, of in seen if of == epoch):
            theirs.zero_grad()
            F.mse_loss(theirs(INPUTS[positions]), MOS[positions]).backward()
            adam.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
