"""Methods that train one network per target: what they share beside the loop itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import CheckpointError
from agiqa_bench.method import Method
from agiqa_bench.training.checkpointing import recompute_blocks
from agiqa_bench.training.learner import Learner, Shared, agreement
from agiqa_bench.training.loop import History, seed_weights
from agiqa_bench.training.threads import threads_for

Inputs = Callable[[npt.NDArray[np.int64], int], torch.Tensor]
"""Positions among the training samples and the epoch (from 0) to what the network is given."""

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Predicted and wanted MOS, both (b,), to a mean loss."""


def numbers_of(network: nn.Module, *inputs: torch.Tensor) -> npt.NDArray[np.float64]:
    """What a network makes of inputs, without gradients and in one go: float64 (n,), on the CPU."""
    with torch.inference_mode():
        found: npt.NDArray[np.float64] = network(*inputs).double().cpu().numpy()
    return found


class PerTarget(Method):
    """A method with one network per target: how they are saved and restored."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A network before training, on the method's device; what is random in it is drawn from torch's generator."""

    def blank(self) -> nn.Module:
        """A network of the same shape for a saved model to fill; one that needs no weights if `build` loads any."""
        return self.build()

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by target; empty before `fit`."""
        if not hasattr(self, "_networks"):
            self._networks: dict[str, nn.Module] = {}
        return self._networks

    def state(self) -> Mapping[str, torch.Tensor]:
        """The network of each target."""
        return {
            f"{target}.{name}": tensor
            for target, network in self.networks.items()
            for name, tensor in network.state_dict().items()
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take over the network of each target."""
        self.networks.update({target: self.blank() for target in self.context.targets})
        wanted = {f"{target}.{name}" for target, network in self.networks.items() for name in network.state_dict()}
        try:
            if wanted != state.keys():
                raise RuntimeError("other names")
            for target, network in self.networks.items():
                network.load_state_dict({name: state[f"{target}.{name}"] for name in network.state_dict()})
                network.eval()
        except RuntimeError as error:
            raise CheckpointError(f"{self.name}: the saved tensors do not fit these settings and weights") from error
        return self


class NetworkMethod(PerTarget):
    """A method that trains a network of its own for each target; one number per image is what a network predicts."""

    @abstractmethod
    def train(self, network: nn.Module, target: str, train: Samples, validation: Samples | None) -> History:
        """Train `network` in place on the MOS of one target, as a rule by `agiqa_bench.training.loop.train`.

        Trainings that may be continued after a kill need names that differ: `target`, and `target` with the stage.
        """

    @abstractmethod
    def score(self, network: nn.Module, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS by a network in evaluation mode, float64 (n,)."""

    def threads(self, network: nn.Module) -> AbstractContextManager[None]:
        """Torch's number of threads for `network`; a method with a frozen encoder beside it says so here."""
        return threads_for(network)

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        """Train one network per target."""
        self.networks.clear()
        self.history = []
        for column, target in enumerate(self.context.targets):
            seed_weights(self.context, target)
            network = self.networks[target] = self.build()
            with self.threads(network):
                history = self.train(network, target, train, validation)
            network.eval()
            self.history += [{"target": float(column)} | entry for entry in history]
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS of each target, float64 (n, n_targets)."""
        columns = []
        for target in self.context.targets:
            with self.threads(self.networks[target]):
                columns.append(self.score(self.networks[target], samples))
        return np.stack(columns, axis=1)


class RegressionLearner(Learner):
    """A network that maps an input to one number, and its error to the MOS of one target."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Inputs,
        mos: torch.Tensor,
        criterion: Criterion,
        *,
        held_back: tuple[Callable[[], npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None = None,
        groups: Iterable[tuple[float, Iterable[nn.Parameter]]] | None = None,
    ) -> None:
        """Describe the training.

        Args:
            network: Inputs (b, ...) to numbers (b,).
            inputs: What the network sees of the training samples.
            mos: Of each training sample, float32 (n,), on the network's device.
            criterion: Mean loss.
            held_back: What scores the validation samples by `network` as it is then, and their MOS (m,).
            groups: As `Learner.groups`; by default all parameters that are not frozen, at the recipe's learning rate.
        """
        self.model = network
        self._inputs, self._mos, self._criterion, self._held_back = inputs, mos, criterion, held_back
        # An iterator would be exhausted by the time an optimiser is built anew.
        self._groups = None if groups is None else [(factor, list(group)) for factor, group in groups]

    def groups(self) -> Iterable[tuple[float, Iterable[nn.Parameter]]]:
        """Parameters with the factor on their learning rate."""
        if self._groups is not None:
            return self._groups
        return [(1.0, [parameter for parameter in self.model.parameters() if parameter.requires_grad])]

    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:  # noqa: ARG002
        """Mean error of some training samples; the loss in float32 whatever the precision."""
        predicted = self.model(self._inputs(positions, epoch)).float()
        wanted = self._mos[torch.from_numpy(positions).to(self._mos.device)]
        return self._criterion(predicted, wanted)

    def save_memory(self) -> bool:
        """Compute the network's blocks twice in a step from now on, and keep their inputs alone; False without any."""
        return recompute_blocks(self.model)

    def validate(self) -> float | None:
        """SRCC on the validation samples."""
        assert self._held_back is not None
        score, wanted = self._held_back
        return agreement(score()[:, None], wanted[:, None])
