"""The training loop: epochs, steps that fit the memory, choice of the epoch, continuation after a kill.

Nothing that is drawn depends on what ran before: the order of samples, the views and the dropout masks of an epoch are
seeded by the cell and the epoch. So a training that goes on from its last finished epoch ends as an undisturbed one,
and one that runs in step with others ends as it would alone, but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from agiqa_bench.errors import TrainingError
from agiqa_bench.method import Context
from agiqa_bench.seeds import derive_seed
from agiqa_bench.stopping import unbroken
from agiqa_bench.training.continuation import Continuation
from agiqa_bench.training.learner import Learner
from agiqa_bench.training.memory import free, halved, is_out_of_memory
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.under_way import History, TrainingUnderWay

__all__ = ["History", "seed_weights", "train", "train_together"]


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
        recipe: Epochs, batch, optimiser and schedule; `context.batch_size` wins over its batch, and in a second fit
            `context.epochs_of` ends the schedule behind the epoch that the first has chosen.
        context: Device, precision, seed, scratch folder and progress. `context.kept` is told what was chosen.
        validate: Choose the epoch that is best on the validation samples (the first of equals); otherwise the last.
        name: Of this training, if a method trains several models.

    Returns:
        One entry per epoch that was run: `epoch` (from 1), `loss` (mean over its steps), `learning_rate`,
        `micro_batch` (samples at a time), `batch` (only if memory was short, so that these are fewer) and, if
        validating, `validation` (NaN where it is not defined) and `chosen` (1 for the epoch whose state was kept).

    Raises:
        TrainingError: A loss is not finite, or there is no memory for a single sample.
    """
    (outcome,) = train_together([learner], [n], recipe, [context], 1, validate=validate, name=name)
    if isinstance(outcome, TrainingError):
        raise outcome
    return outcome


def train_together(
    learners: Sequence[Learner],
    counts: Sequence[int],
    recipe: Recipe,
    contexts: Sequence[Context],
    places: int,
    *,
    validate: bool,
    name: str = "model",
) -> list[History | TrainingError]:
    """Train the models of several learners of one class, step by step side by side.

    What they share in a step (`Learner.shared_of`) is computed for all of them at once, which is faster where one alone
    does not keep the processor or the device busy. As long as memory lasts, that pass has the same number of places,
    and a training the same place in it, whoever sits in the others: rounding depends on the shapes of what is
    multiplied, so each learns to the last digit what it would alone, where it pays for all places.

    Args:
        learners: One per training.
        counts: Number of training samples of each.
        recipe: As in `train`, for all of them.
        contexts: As in `train`; the repeats of no two may leave the same remainder on division by `places`.
        places: Trainings that one pass is for, at least as many as there are.
        validate: As in `train`.
        name: As in `train`.

    Returns:
        As `train`, for each learner; where a training failed, why: the others are not harmed.

    Raises:
        TrainingError: There is no memory for a single sample: then there is none for the others either.
        ValueError: Two repeats want the same place.
    """
    if len({context.repeat % places for context in contexts}) < len(contexts):
        raise ValueError("two repeats want the same place: train fewer together")
    given = zip(learners, counts, contexts, strict=True)
    trainings = [TrainingUnderWay(learner, n, recipe, context, name, places) for learner, n, context in given]
    files = [Continuation(context.scratch, name, len(contexts)) for context in contexts]
    for one, file in zip(trainings, files, strict=True):
        saved = file.load()
        if saved is not None:
            one.restore(saved)
    passes = _Passes(places, min(one.places for one in trainings))
    while active := [one for one in trainings if not one.is_over]:
        with unbroken() as stopping:
            # After a kill some may be an epoch behind: they catch up first.
            epoch = min(one.epoch for one in active)
            _one_epoch([one for one in active if one.epoch == epoch], passes, validate=validate)
            for one, file in zip(trainings, files, strict=True):
                if one.epoch == epoch + 1 and one in active and one.failure is None:
                    one.places = passes.places
                    file.save(one.state(), now=stopping())
    return [one.failure or one.finish(validate=validate) for one in trainings]


def _one_epoch(trainings: Sequence[TrainingUnderWay], passes: _Passes, *, validate: bool) -> None:
    for one in trainings:
        one.begin_epoch()
    steps, epoch = max(one.steps for one in trainings), trainings[0].epoch
    epochs = max(one.epochs for one in trainings)
    what = f"epoch {epoch + 1}/{epochs}" + (f" of {len(trainings)} repeats" if len(trainings) > 1 else "")
    for step in range(steps):
        # Their training parts need not be of one size.
        passes.step([one for one in trainings if step < one.steps and one.failure is None], step)
        trainings[0].context.progress(epoch * steps + step + 1, epochs * steps, what)
    for one in trainings:
        if one.failure is not None:
            continue
        try:
            one.finish_epoch(validate=validate)
        except TrainingError as error:
            one.failure = error


class _Passes:
    """Steps of several trainings, with what they share computed in one pass, or in more where memory is short.

    Attributes:
        places: Of a pass.
    """

    def __init__(self, asked: int, places: int) -> None:
        """Begin with `places`, of those that were asked for."""
        self._asked, self.places = asked, places

    def step(self, trainings: Sequence[TrainingUnderWay], step: int) -> None:
        """One step of each; short memory is answered by fewer places, and within each by smaller pieces."""
        passes: dict[int, dict[int, TrainingUnderWay]] = {}
        for one in trainings:
            number, place = divmod(one.context.repeat % self._asked, self.places)
            passes.setdefault(number, {})[place] = one
        for seated in passes.values():
            self._pass(seated, step)

    def _pass(self, seated: Mapping[int, TrainingUnderWay], step: int) -> None:
        some = list(seated.values())
        for one in some:
            one.begin_step()
        try:
            losses = _backward(seated, self.places, step)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.places = halved(self.places, "training")
        else:
            for one, loss in zip(some, losses, strict=True):
                if loss is not None:
                    one.finish_step(loss)
            return
        for one in some:
            one.undo()
        free(some[0].context.device)  # out of the except block, whose traceback holds the tensors
        self.step(some, step)


def _backward(seated: Mapping[int, TrainingUnderWay], places: int, step: int) -> list[torch.Tensor | None]:
    """Gradients of the loss of each training, by its place in the pass.

    What is shared is computed once, for all of them and for all pieces of a batch: gradients gather at copies cut off
    from their history, and go through it once, at the end.

    Returns:
        The losses; None of a training that has failed.
    """
    some = list(seated.values())
    anyone = some[0]  # sits in the empty places, where no gradient comes back
    with arithmetic(anyone.context.device, anyone.context.precision):
        everyone = [seated.get(place, anyone).learner for place in range(places)]
        shared_of_all = type(anyone.learner).shared_of(everyone)
    losses: list[torch.Tensor | None] = []
    outputs, gradients = [], []
    for place, one in seated.items():
        shared = shared_of_all[place]
        own = {key: tensor.detach().requires_grad_(tensor.requires_grad) for key, tensor in shared.items()}
        try:
            losses.append(one.backward(step, own))
        except TrainingError as error:
            one.failure = error
            losses.append(None)
            continue
        for key, tensor in shared.items():
            if own[key].grad is not None:
                outputs.append(tensor)
                gradients.append(own[key].grad)
    if outputs:
        torch.autograd.backward(outputs, gradients)
    return losses
