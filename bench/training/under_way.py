"""One training under way: a learner, its optimiser, its random numbers, what it has learnt and how good it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agiqa_bench.errors import PredictionError, TrainingError
from agiqa_bench.method import Context
from agiqa_bench.seeds import derive_seed
from agiqa_bench.training.learner import Learner, Shared
from agiqa_bench.training.memory import free, generator_states, halved, is_out_of_memory, pieces, set_generator_states
from agiqa_bench.training.precision import arithmetic, loss_scaler
from agiqa_bench.training.recipe import Recipe, build_optimiser, set_rate

History = list[dict[str, float]]
State = dict[str, torch.Tensor]


@dataclass
class _Best:
    """The best epoch so far, counted from 1."""

    epoch: int = 0
    value: float = -math.inf
    state: State = field(default_factory=dict)


class TrainingUnderWay:
    """A training, one epoch and one step at a time; everything that changes is in `state`.

    Several may be under way at once: each draws from random numbers of its own.

    Attributes:
        epochs: How many it has at most: the recipe's, or fewer in a second fit; the schedule is the recipe's.
        epoch: Finished epochs.
        steps: Steps of the epoch that was begun last.
        places: Of the passes that it shares with others; fewer than were asked for once memory was short. See
            `agiqa_bench.training.loop.train_together`.
        failure: Why the training cannot go on; None if it can.
    """

    def __init__(self, learner: Learner, n: int, recipe: Recipe, context: Context, name: str, places: int = 1) -> None:
        """Begin a training of `learner` on `n` samples; nothing is learnt yet."""
        self.learner, self.context, self.places = learner, context, places
        self._savings = 0
        self.epoch = self.steps = 0
        self.failure: TrainingError | None = None
        self._n, self._recipe, self._name = n, recipe, name
        self.epochs = context.epochs_of(name, recipe.epochs)
        self._batch = context.batch_size or recipe.batch_size
        self._micro = self._batch
        self._scaler = loss_scaler(context.device, context.precision)
        self._optimiser = self._new_optimiser()
        self._history: History = []
        self._best = _Best()
        self._batches: list[npt.NDArray[np.int64]] = []
        self._losses: list[torch.Tensor] = []
        self._drawn: list[torch.Tensor] = []
        self._drawn_after: list[torch.Tensor] = []
        self._buffers: list[torch.Tensor] = []

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return build_optimiser(self._recipe, self.learner.groups(), scaled=self._scaler.is_enabled())

    @property
    def is_over(self) -> bool:
        """Whether all epochs were run, or patience ran out, or it failed."""
        patience, best = self._recipe.patience, self._best.epoch
        impatient = patience is not None and best > 0 and self.epoch - best >= patience
        return self.epoch >= self.epochs or impatient or self.failure is not None

    @property
    def identity(self) -> str:
        """What a saved state must be of, or else training begins anew: half of another model's weights would fit."""
        shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in self.learner.model.state_dict().items()}
        context = self.context
        return repr((self._recipe, self.epochs, self._n, self._batch, context.seed, context.precision, shapes))

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on behind the last finished epoch."""
        return {
            "of": self.identity,
            "epoch": self.epoch,
            "model": self.learner.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "micro": self._micro,
            "places": self.places,
            "savings": self._savings,
            "history": self._history,
            "best": (self._best.epoch, self._best.value, self._best.state),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`, if it is of the same identity."""
        if state.get("of") != self.identity:
            return
        self.learner.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.epoch, self._micro, self._history = state["epoch"], state["micro"], state["history"]
        self._best = _Best(*state["best"])
        self.places, self._savings = state["places"], state["savings"]
        for _ in range(self._savings):
            self.learner.save_memory()

    def begin_epoch(self) -> None:
        """Set the learning rate and draw the order of the samples."""
        if self._recipe.renew:
            self._optimiser = self._new_optimiser()
        set_rate(self._optimiser, self._recipe.rate(self.epoch), self.learner.factors(self.epoch))
        torch.manual_seed(derive_seed(self.context.seed, self._name, "epoch", self.epoch))
        self._drawn = generator_states(self.context.device)
        self.learner.model.train()
        self._batches, self._losses = self._new_batches(), []
        self.steps = len(self._batches)

    def _new_batches(self) -> list[npt.NDArray[np.int64]]:
        draws = np.random.default_rng(derive_seed(self.context.seed, self._name, "order", self.epoch))
        batches = list(pieces(draws.permutation(self._n), self._batch))
        if self._recipe.drop_last and len(batches) > 1 and len(batches[-1]) < self._batch:
            batches.pop()
        return batches

    def begin_step(self) -> None:
        """Forget the last step's gradients, and remember what an attempt that fails for want of memory would spoil."""
        self._buffers = [buffer.clone() for buffer in self.learner.model.buffers()]
        self._optimiser.zero_grad(set_to_none=True)

    def undo(self) -> None:
        """Take back what an attempt at this step has left; `backward` draws the same dropout masks again anyway."""
        for buffer, before in zip(self.learner.model.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        self._optimiser.zero_grad(set_to_none=True)

    def backward(self, step: int, shared: Shared) -> torch.Tensor:
        """Gradients of a step's mean loss, piece by piece if the batch is larger than memory allows.

        Args:
            step: Of this epoch, from 0.
            shared: What the learner shares between pieces; gradients gather at it.

        Returns:
            The loss, a scalar.

        Raises:
            RuntimeError: There is no memory, even for a single sample.
            TrainingError: Batch norm has too few values to learn from.
        """
        positions = self._batches[step]
        while True:
            set_generator_states(self.context.device, self._drawn)
            try:
                parts = list(pieces(positions, self._micro))
                losses = [self._backward_piece(part, len(part) / len(positions), shared) for part in parts]
                break
            except ValueError as error:
                # Torch's batch norm over a single value, e.g. of one image that it has reduced to one cell.
                if "more than 1 value per channel" not in str(error):
                    raise
                raise TrainingError(
                    "batch norm cannot learn from so few values: take a larger --batch-size or larger images"
                ) from error
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                size = min(self._micro, len(positions))
                if self.learner.save_memory():
                    self._savings += 1
                elif size == 1:
                    raise
                else:
                    self._micro = halved(size, "training")
            self.undo()
            for leaf in shared.values():
                leaf.grad = None
            free(self.context.device)
        self._drawn_after = generator_states(self.context.device)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _backward_piece(self, positions: npt.NDArray[np.int64], share: float, shared: Shared) -> torch.Tensor:
        with arithmetic(self.context.device, self.context.precision):
            loss = self.learner.loss(positions, self.epoch, shared) * share
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach().float()

    def finish_step(self, loss: torch.Tensor) -> None:
        """Let the optimiser take its step by the gradients that have gathered."""
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._losses.append(loss)
        self._drawn = self._drawn_after

    def finish_epoch(self, *, validate: bool) -> None:
        """Note the mean loss, and look whether the epoch is the best one.

        Raises:
            TrainingError: A loss, or a score of the validation samples, is not finite.
        """
        loss = self._mean_loss()
        rate = self._recipe.rate(self.epoch)
        self.epoch += 1
        entry = {"epoch": self.epoch, "loss": loss, "learning_rate": rate, "micro_batch": self._micro}
        if self._micro < min(self._batch, self._n):
            entry["batch"] = self._batch
        if validate:
            model = self.learner.model
            model.eval()
            try:
                value = self.learner.validate()
            except PredictionError as error:
                raise TrainingError(f"after epoch {self.epoch} the model is broken: {error}") from error
            entry["validation"] = math.nan if value is None else float(value)
            if value is not None and value > self._best.value:
                kept = {key: tensor.clone() for key, tensor in model.state_dict().items()}
                self._best = _Best(self.epoch, float(value), kept)
        self._history.append(entry)

    def finish(self, *, validate: bool) -> History:
        """Put the model into the chosen epoch's state and tell which; if no validation was defined, it is the last."""
        model, chosen = self.learner.model, self._best.epoch or self.epoch
        if self._best.epoch:
            model.load_state_dict(self._best.state)
        if validate:
            for entry in self._history:
                entry["chosen"] = float(entry["epoch"] == chosen)
        if validate or self._name in self.context.chosen:
            self.context.kept(self._name, chosen, self._recipe.epochs)
        model.eval()
        return self._history

    def _mean_loss(self) -> float:
        """Mean loss of the epoch; the device is asked once per epoch, because each question waits for it."""
        values = torch.stack(self._losses).cpu()
        wrong = (~values.isfinite()).nonzero()
        if len(wrong):
            step = int(wrong[0])
            remedy = "lower the learning rate" + (" or use --precision float32" if self._scaler.is_enabled() else "")
            raise TrainingError(
                f"the loss became {values[step].item()} in epoch {self.epoch + 1}, step {step + 1}: {remedy}"
            )
        return float(values.mean())
