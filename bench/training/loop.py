"""The training loop: epochs, steps that fit the memory, choice of the epoch, continuation after a kill.

Nothing that is drawn depends on what ran before: the order of samples, the views and the dropout masks of an epoch are
seeded by the cell and the epoch. So a training that goes on from its last finished epoch ends as an undisturbed one.
"""

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
from agiqa_bench.training.continuation import Continuation
from agiqa_bench.training.learner import Learner, Shared
from agiqa_bench.training.memory import free, generator_states, halved, is_out_of_memory, pieces, set_generator_states
from agiqa_bench.training.precision import arithmetic, loss_scaler
from agiqa_bench.training.recipe import Recipe, build_optimiser, set_rate

History = list[dict[str, float]]
State = dict[str, torch.Tensor]


def seed_weights(context: Context, name: str = "model") -> None:
    """Seed the generator that initial weights are drawn from; called before a model is built."""
    torch.manual_seed(derive_seed(context.seed, name, "weights"))


def train(
    learner: Learner, n: int, recipe: Recipe, context: Context, *, validate: bool, name: str = "model"
) -> History:
    """Train a learner's model in place, and leave it in the state of the chosen epoch.

    Args:
        learner: The method's model and loss.
        n: Number of training samples.
        recipe: Epochs, batch, optimiser and schedule; `context.batch_size` wins over its batch.
        context: Device, precision, seed, scratch folder and progress.
        validate: Choose the epoch that is best on the validation samples (the first of equals); otherwise the last.
        name: Of this training, if a method trains several models.

    Returns:
        One entry per epoch that was run: `epoch` (from 1), `loss` (mean over its steps), `learning_rate`,
        `micro_batch` (samples at a time; less than the batch if memory was short) and, if validating, `validation`
        (NaN where it is not defined) and `chosen` (1 for the epoch whose state was kept).

    Raises:
        TrainingError: A loss is not finite, or there is no memory for a single sample.
    """
    run = _Run(learner, n, recipe, context, name)
    file = Continuation(context.scratch, name)
    saved = file.load()
    if saved is not None and saved.get("of") == run.identity:
        run.restore(saved)
    while run.epoch < recipe.epochs and not run.out_of_patience:
        run.one_epoch(validate=validate)
        file.save(run.state())
    return run.finish(validate=validate)


@dataclass
class _Best:
    """The best epoch so far, counted from 1."""

    epoch: int = 0
    value: float = -math.inf
    state: State = field(default_factory=dict)


class _Run:
    """A training under way; everything that changes is in `state`."""

    def __init__(self, learner: Learner, n: int, recipe: Recipe, context: Context, name: str) -> None:
        self.epoch = 0
        self._learner, self._n, self._recipe, self._context, self._name = learner, n, recipe, context, name
        self._batch = context.batch_size or recipe.batch_size
        self._micro = self._batch
        self._scaler = loss_scaler(context.device, context.precision)
        self._optimiser = self._new_optimiser()
        self._history: History = []
        self._best = _Best()

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return build_optimiser(self._recipe, self._learner.groups(), scaled=self._scaler.is_enabled())

    @property
    def out_of_patience(self) -> bool:
        patience = self._recipe.patience
        return patience is not None and self._best.epoch > 0 and self.epoch - self._best.epoch >= patience

    @property
    def identity(self) -> str:
        """What a saved state must be of, or else training begins anew: half of another model's weights would fit."""
        shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in self._learner.model.state_dict().items()}
        context = self._context
        return repr((self._recipe, self._n, self._batch, context.seed, context.precision, shapes))

    def state(self) -> dict[str, Any]:
        return {
            "of": self.identity,
            "epoch": self.epoch,
            "model": self._learner.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "micro": self._micro,
            "history": self._history,
            "best": (self._best.epoch, self._best.value, self._best.state),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._learner.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.epoch, self._micro, self._history = state["epoch"], state["micro"], state["history"]
        self._best = _Best(*state["best"])

    def one_epoch(self, *, validate: bool) -> None:
        """Train for one epoch, and look whether it is the best one."""
        recipe, context, model = self._recipe, self._context, self._learner.model
        rate = recipe.rate(self.epoch)
        if recipe.renew:
            self._optimiser = self._new_optimiser()
        set_rate(self._optimiser, rate, self._learner.factors(self.epoch))
        torch.manual_seed(derive_seed(context.seed, self._name, "epoch", self.epoch))
        model.train()
        batches = self._batches()
        losses = []
        for step, positions in enumerate(batches):
            losses.append(self._step(positions))
            done = self.epoch * len(batches) + step + 1
            context.progress(done, recipe.epochs * len(batches), f"epoch {self.epoch + 1}/{recipe.epochs}")
        loss = self._mean(losses)
        self.epoch += 1
        entry = {"epoch": self.epoch, "loss": loss, "learning_rate": rate, "micro_batch": self._micro}
        if validate:
            model.eval()
            try:
                value = self._learner.validate()
            except PredictionError as error:
                raise TrainingError(f"after epoch {self.epoch} the model is broken: {error}") from error
            entry["validation"] = math.nan if value is None else float(value)
            if value is not None and value > self._best.value:
                kept = {key: tensor.clone() for key, tensor in model.state_dict().items()}
                self._best = _Best(self.epoch, float(value), kept)
        self._history.append(entry)

    def finish(self, *, validate: bool) -> History:
        """Put the model into the chosen epoch's state; if no validation was defined, that is the last one's."""
        model = self._learner.model
        if self._best.epoch:
            model.load_state_dict(self._best.state)
        if validate:
            chosen = self._best.epoch or self.epoch
            for entry in self._history:
                entry["chosen"] = float(entry["epoch"] == chosen)
        model.eval()
        return self._history

    def _batches(self) -> list[npt.NDArray[np.int64]]:
        draws = np.random.default_rng(derive_seed(self._context.seed, self._name, "order", self.epoch))
        batches = list(pieces(draws.permutation(self._n), self._batch))
        if self._recipe.drop_last and len(batches) > 1 and len(batches[-1]) < self._batch:
            batches.pop()
        return batches

    def _step(self, positions: npt.NDArray[np.int64]) -> torch.Tensor:
        """One step of the optimiser; returns the loss before it. Short memory is answered by smaller pieces."""
        buffers = [buffer.clone() for buffer in self._learner.model.buffers()]
        drawn = generator_states(self._context.device)
        while True:
            self._optimiser.zero_grad(set_to_none=True)
            try:
                loss = self._backward(positions)
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
                self._micro = halved(min(self._micro, len(positions)), "training")
            # What the failed attempt has left: running averages, gradients, drawn dropout masks, blocks of memory.
            set_generator_states(self._context.device, drawn)
            for buffer, before in zip(self._learner.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            self._optimiser.zero_grad(set_to_none=True)
            free(self._context.device)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return loss

    def _backward(self, positions: npt.NDArray[np.int64]) -> torch.Tensor:
        """Gradients of the mean loss, piece by piece if the batch is larger than the micro-batch."""
        with arithmetic(self._context.device, self._context.precision):
            shared = self._learner.shared()
        if len(positions) <= self._micro:
            return self._backward_piece(positions, 1.0, shared)
        # The shared features are computed once for all pieces: gradients gather at copies cut off from their history,
        # and go through it once, at the end.
        leaves = {key: tensor.detach().requires_grad_(tensor.requires_grad) for key, tensor in shared.items()}
        parts = list(pieces(positions, self._micro))
        losses = [self._backward_piece(part, len(part) / len(positions), leaves) for part in parts]
        learnt = [key for key, leaf in leaves.items() if leaf.grad is not None]
        if learnt:
            torch.autograd.backward([shared[key] for key in learnt], [leaves[key].grad for key in learnt])
        return torch.stack(losses).sum()

    def _backward_piece(self, positions: npt.NDArray[np.int64], share: float, shared: Shared) -> torch.Tensor:
        with arithmetic(self._context.device, self._context.precision):
            loss = self._learner.loss(positions, self.epoch, shared) * share
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach().float()

    def _mean(self, losses: list[torch.Tensor]) -> float:
        """Mean loss of the epoch; the device is asked once per epoch, because each question waits for it."""
        values = torch.stack(losses).cpu()
        wrong = (~values.isfinite()).nonzero()
        if len(wrong):
            step = int(wrong[0])
            remedy = "lower the learning rate" + (" or use --precision float32" if self._scaler.is_enabled() else "")
            raise TrainingError(
                f"the loss became {values[step].item()} in epoch {self.epoch + 1}, step {step + 1}: {remedy}"
            )
        return float(values.mean())
