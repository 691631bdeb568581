"""A learner that is small enough to be followed by hand, and can be told when to fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agiqa_bench.training.learner import Learner, Shared


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


class Network(nn.Module):
    """Two layers; the second is made from what a step computes once."""

    def __init__(self, dropout: float, norm: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.between = nn.Sequential(nn.BatchNorm1d(4) if norm else nn.Identity(), nn.Tanh(), nn.Dropout(dropout))
        self.text = nn.Parameter(torch.randn(4))

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.between(self.first(inputs))  # type: ignore[no-any-return]


class Tiny(Learner):
    """Regression of the sum of three numbers.

    Args:
        n: Number of samples.
        dropout, norm: Of the network.
        limit: More samples at once raise torch.OutOfMemoryError, after the forward pass.
        values: What `validate` says, epoch by epoch; None: minus the mean error.
        factor: Of (epoch, step), on the loss.
        dies: Epoch, from 0, in whose last step the process is killed.
    """

    model: Network

    def __init__(
        self,
        n: int = 12,
        *,
        dropout: float = 0.0,
        norm: bool = False,
        limit: int | None = None,
        values: Sequence[float | None] | None = None,
        factor: Callable[[int, int], float] = lambda epoch, step: 1.0,
        dies: int | None = None,
    ) -> None:
        torch.manual_seed(1)
        self.model = Network(dropout, norm)
        self.inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 3))).float()
        self.wanted = self.inputs.sum(dim=1)
        self.seen: list[list[list[int]]] = []
        self.states: list[dict[str, torch.Tensor]] = []
        self._n, self._limit, self._values, self._factor, self._dies = n, limit, values, factor, dies
        self._epoch = -1

    def shared(self) -> Shared:
        return {"text": torch.tanh(2 * self.model.text), "constant": torch.ones(1)}

    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:
        if epoch != self._epoch:
            self._epoch = epoch
            self.seen.append([])
        self.seen[-1].append(positions.tolist())
        hidden = self.model.hidden(self.inputs[positions])
        if self._limit is not None and len(positions) > self._limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if epoch == self._dies and sum(map(len, self.seen[-1])) == self._n:
            raise Killed
        scores = (hidden * shared["text"]).sum(dim=1) * shared["constant"]
        return F.mse_loss(scores.float(), self.wanted[positions]) * self._factor(epoch, len(self.seen[-1]) - 1)

    def validate(self) -> float | None:
        assert not self.model.training
        self.states.append({key: tensor.clone() for key, tensor in self.model.state_dict().items()})
        if self._values is not None:
            return self._values[len(self.states) - 1]
        with torch.no_grad():
            scores = (self.model.hidden(self.inputs) * self.shared()["text"]).sum(dim=1)
        return -float((scores - self.wanted).square().mean())


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Steps as small as these want no more."""


@pytest.fixture
def tiny() -> type[Tiny]:
    return Tiny


@pytest.fixture
def killed() -> type[Killed]:
    return Killed
