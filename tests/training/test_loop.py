from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from agiqa_bench.errors import TrainingError
from agiqa_bench.method import Context
from agiqa_bench.training.loop import seed_weights, train
from agiqa_bench.training.recipe import Recipe


def weights(learner: Any) -> dict[str, torch.Tensor]:
    return dict(learner.model.state_dict())


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, other[key], rtol=0, atol=tolerance, msg=key)


def test_steps_are_those_of_a_loop_by_hand(tiny) -> None:
    learner, by_hand = tiny(10), tiny(10)
    history = train(learner, 10, Recipe(3, 4, 0.05, "sgd"), Context(seed=7), validate=False)
    optimiser = torch.optim.SGD(by_hand.model.parameters(), lr=0.05, momentum=0.9)
    for epoch, steps in enumerate(learner.seen):
        losses = []
        for positions in steps:
            optimiser.zero_grad()
            loss = by_hand.loss(np.array(positions), epoch, by_hand.shared())
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert history[epoch]["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert_same(weights(learner), weights(by_hand), 1e-6)
    assert history[2]["loss"] < history[0]["loss"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert {(entry["learning_rate"], entry["micro_batch"]) for entry in history} == {(0.05, 4)}
    assert set(history[0]) == {"epoch", "loss", "learning_rate", "micro_batch"}


def test_an_epoch_is_a_new_order_that_only_seed_and_name_decide(tiny) -> None:
    def orders(seed: int, name: str) -> list[list[list[int]]]:
        learner = tiny(10)
        np.random.seed(len(name) + seed)
        train(learner, 10, Recipe(2, 4, 0.05), Context(seed=seed), validate=False, name=name)
        return learner.seen

    first, second = orders(0, "model")
    for steps in (first, second):
        assert [len(step) for step in steps] == [4, 4, 2]
        assert sorted(chain(*steps)) == list(range(10))
    assert first != second
    assert orders(0, "model") == [first, second]
    assert orders(1, "model") != [first, second]
    assert orders(0, "other") != [first, second]


@pytest.mark.parametrize(("n", "steps"), [(10, [4, 4]), (8, [4, 4]), (3, [3])])
def test_drop_last_leaves_out_a_batch_that_is_not_full_but_never_all(tiny, n: int, steps: list[int]) -> None:
    learner = tiny(n)
    train(learner, n, Recipe(1, 4, 0.05, drop_last=True), Context(), validate=False)
    assert [len(step) for step in learner.seen[0]] == steps


def test_the_users_batch_size_wins(tiny) -> None:
    learner = tiny(10)
    history = train(learner, 10, Recipe(1, 4, 0.05), Context(batch_size=5), validate=False)
    assert [len(step) for step in learner.seen[0]] == [5, 5]
    assert history[0]["micro_batch"] == 5


def test_rates_follow_the_schedule(tiny) -> None:
    recipe = Recipe(3, 4, 0.05, "sgd", schedule="cosine", warm_up_epochs=1, warm_up_rate=0.0)
    learner = tiny(4, values=[1.0, 2.0, 3.0])
    before = {key: tensor.clone() for key, tensor in weights(learner).items()}
    history = train(learner, 4, recipe, Context(), validate=True)
    assert [entry["learning_rate"] for entry in history] == pytest.approx([0.0, 0.05, 0.0375])
    assert_same(learner.states[0], before)
    assert not torch.equal(learner.states[1]["text"], before["text"])


def test_the_first_of_the_best_epochs_is_kept(tiny) -> None:
    learner = tiny(values=[0.1, 0.5, 0.2, 0.5, 0.4])
    history = train(learner, 12, Recipe(5, 4, 0.05), Context(), validate=True)
    assert [entry["validation"] for entry in history] == [0.1, 0.5, 0.2, 0.5, 0.4]
    assert [entry["chosen"] for entry in history] == [0, 1, 0, 0, 0]
    assert_same(weights(learner), learner.states[1])
    assert not torch.equal(learner.states[1]["text"], learner.states[3]["text"])
    assert not learner.model.training


def test_without_validation_the_last_epoch_is_kept_and_patience_has_no_say(tiny) -> None:
    learner, watched = tiny(), tiny(values=[0.0, 1.0, 2.0])
    recipe = Recipe(3, 4, 0.05, patience=1)
    assert len(train(learner, 12, recipe, Context(), validate=False)) == 3
    train(watched, 12, recipe, Context(), validate=True)
    assert learner.states == []
    assert not learner.model.training
    # Validating changes nothing of what is learnt.
    assert_same(weights(learner), watched.states[2])


def test_patience_counts_epochs_without_gain(tiny) -> None:
    learner = tiny(values=[0.1, 0.5, 0.2, 0.5, 0.9])
    history = train(learner, 12, Recipe(5, 4, 0.05, patience=2), Context(), validate=True)
    assert [entry["chosen"] for entry in history] == [0, 1, 0, 0]
    assert_same(weights(learner), learner.states[1])


def test_a_validation_that_is_not_defined_is_never_the_best(tiny) -> None:
    learner = tiny(values=[None, -0.5, None])
    history = train(learner, 12, Recipe(3, 4, 0.05), Context(), validate=True)
    assert math.isnan(history[0]["validation"])
    assert [entry["chosen"] for entry in history] == [0, 1, 0]
    assert_same(weights(learner), learner.states[1])


def test_if_no_validation_is_defined_the_last_epoch_is_kept(tiny) -> None:
    learner = tiny(values=[None, None, None])
    history = train(learner, 12, Recipe(3, 4, 0.05, patience=1), Context(), validate=True)
    assert [entry["chosen"] for entry in history] == [0, 0, 1]
    assert_same(weights(learner), learner.states[2])


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_short_memory_changes_the_pieces_and_not_the_result(tiny, optimiser) -> None:
    plain, short = tiny(20), tiny(20, limit=3)
    recipe = Recipe(3, 8, 0.01, optimiser)
    expected = train(plain, 20, recipe, Context(), validate=False)
    history = train(short, 20, recipe, Context(), validate=False)
    assert_same(weights(short), weights(plain), 1e-6)
    # 8 do not fit, and 4 neither; from then on two at a time.
    assert [len(step) for step in short.seen[0]] == [8, 4, *[2] * 10]
    assert [(entry["micro_batch"], entry["batch"]) for entry in history] == [(2, 8)] * 3
    assert [entry["loss"] for entry in history] == pytest.approx([entry["loss"] for entry in expected], rel=1e-5)
    start = tiny(20)
    for name, tensor in weights(short).items():
        assert not torch.equal(tensor, weights(start)[name]), name


def test_pieces_of_unequal_size_count_by_their_samples(tiny) -> None:
    plain, short = tiny(7), tiny(7, limit=4)
    recipe = Recipe(2, 7, 0.05, "sgd")
    train(plain, 7, recipe, Context(), validate=False)
    train(short, 7, recipe, Context(), validate=False)
    assert [len(step) for step in short.seen[1]] == [4, 3]
    assert_same(weights(short), weights(plain), 1e-6)


def test_a_failed_attempt_leaves_no_trace_in_running_averages(tiny) -> None:
    learner, by_hand = tiny(6, norm=True, limit=3), tiny(6, norm=True)
    train(learner, 6, Recipe(1, 6, 0.0, "sgd"), Context(), validate=False)
    assert [len(step) for step in learner.seen[0]] == [6, 3, 3]
    by_hand.model.train()
    for positions in learner.seen[0][1:]:
        by_hand.model.hidden(by_hand.inputs[positions])
    assert_same(weights(learner), weights(by_hand), 1e-7)
    assert int(weights(learner)["between.0.num_batches_tracked"]) == 2


def test_a_sample_that_does_not_fit_alone_ends_the_training(tiny) -> None:
    with pytest.raises(TrainingError) as caught:
        train(tiny(limit=0), 12, Recipe(1, 4, 0.05), Context(), validate=False)
    assert str(caught.value) == (
        "training: no memory for a single sample; use --precision bf16 or a machine with more memory"
    )


def test_other_errors_are_not_taken_for_short_memory(tiny) -> None:
    learner = tiny()
    learner.inputs = learner.inputs[:, :2]
    with pytest.raises(RuntimeError, match="shapes"):
        train(learner, 12, Recipe(1, 4, 0.05), Context(), validate=False)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_training_and_is_placed(tiny, wrong: float) -> None:
    learner = tiny(factor=lambda epoch, step: wrong if (epoch, step) == (1, 2) else 1.0)
    with pytest.raises(TrainingError) as caught:
        train(learner, 12, Recipe(5, 4, 0.05), Context(), validate=False)
    assert str(caught.value) == f"the loss became {wrong} in epoch 2, step 3: lower the learning rate"
    assert len(learner.seen) == 2


def test_dropout_depends_on_the_seed_and_not_on_what_ran_before(tiny) -> None:
    def trained(seed: int, before: int) -> dict[str, torch.Tensor]:
        learner = tiny(dropout=0.5)
        torch.manual_seed(before)
        train(learner, 12, Recipe(2, 4, 0.05), Context(seed=seed), validate=False)
        return weights(learner)

    assert_same(trained(3, before=0), trained(3, before=99))
    assert not torch.equal(trained(3, before=0)["text"], trained(4, before=0)["text"])


def test_initial_weights_depend_on_the_seed_and_the_name() -> None:
    def drawn(seed: int, name: str) -> list[float]:
        seed_weights(Context(seed=seed), name)
        return torch.randn(3).tolist()  # type: ignore[no-any-return]

    assert drawn(0, "quality") == drawn(0, "quality")
    assert drawn(0, "quality") != drawn(1, "quality")
    assert drawn(0, "quality") != drawn(0, "authenticity")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_weights_of_float32(tiny, precision) -> None:
    def low(limit: int | None = None) -> tuple[Any, list[dict[str, float]]]:
        learner = tiny(limit=limit)
        context = Context(precision=precision)
        return learner, train(learner, 12, Recipe(20, 12, 0.02), context, validate=False)

    learner, history = low()
    assert {tensor.dtype for tensor in weights(learner).values()} == {torch.float32}
    full = tiny()
    expected = train(full, 12, Recipe(20, 12, 0.02), Context(), validate=False)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[0]["loss"] == pytest.approx(expected[0]["loss"], rel=0.02)
    assert history[0]["loss"] != expected[0]["loss"]
    # The gradients of pieces and of what they share are scaled alike.
    _, in_pieces = low(limit=6)
    assert in_pieces[-1]["micro_batch"] == 6
    assert in_pieces[-1]["loss"] == pytest.approx(history[-1]["loss"], rel=0.1)


def test_float16_gradients_that_overflow_skip_a_step_and_not_the_training(tiny) -> None:
    # The scale begins at 65536: a loss a thousand times as large overflows float16 until the scale has come down.
    learner = tiny(factor=lambda epoch, step: 1000.0)
    history = train(learner, 12, Recipe(30, 12, 1e-4, "sgd"), Context(precision="fp16"), validate=False)
    assert history[1]["loss"] == history[0]["loss"]
    assert history[-1]["loss"] < history[0]["loss"]


def test_float16_suggests_float32_where_the_loss_is_not_finite(tiny) -> None:
    learner = tiny(factor=lambda epoch, step: math.inf)
    with pytest.raises(TrainingError, match=r"lower the learning rate or use --precision float32$"):
        train(learner, 12, Recipe(1, 12, 0.1), Context(precision="fp16"), validate=False)


def test_progress_counts_steps_to_the_end(tiny) -> None:
    said: list[tuple[int, int, str]] = []
    context = Context(progress=lambda *call: said.append(call))
    train(tiny(10), 10, Recipe(2, 4, 0.05), context, validate=False)
    assert [(done, total) for done, total, _ in said] == [(step, 6) for step in range(1, 7)]
    assert [what for _, _, what in said] == ["epoch 1/2"] * 3 + ["epoch 2/2"] * 3


def test_a_step_that_ran_out_of_memory_draws_the_same_again(tiny):
    class Drawing(type(tiny())):
        def __init__(self):
            super().__init__()
            self.drawn = []

        def loss(self, positions, epoch, shared):
            self.drawn.append(torch.rand(()).item())
            if len(self.drawn) == 1:
                raise torch.OutOfMemoryError("once")
            return super().loss(positions, epoch, shared)

    learner = Drawing()
    train(learner, 12, Recipe(1, 12, 0.1), Context(), validate=False)
    assert learner.drawn[0] == learner.drawn[1]
    assert learner.drawn[1] != learner.drawn[2]


def test_batch_norm_over_a_single_value_is_told_in_one_line(tiny) -> None:
    learner = tiny(4)
    norm = torch.nn.BatchNorm1d(3)
    learner.loss = lambda positions, epoch, shared: norm(torch.ones(len(positions), 3)).sum()
    with pytest.raises(TrainingError, match=r"batch norm cannot learn from so few values: take a larger --batch-size"):
        train(learner, 4, Recipe(1, 1, 0.05), Context(), validate=False)


def test_a_second_fit_ends_behind_the_chosen_epoch_of_the_same_schedule(tiny) -> None:
    recipe = Recipe(5, 4, 0.05, "sgd", schedule="cosine", warm_up_epochs=1, patience=1)
    told: list[tuple[str, int, int]] = []
    context = Context(seed=7, kept=lambda *what: told.append(what))
    train(tiny(10, values=[0.1, 0.2, 0.3, 0.2]), 10, recipe, context, validate=True)
    second = tiny(12, dropout=0.3)
    history = train(second, 12, recipe, replace(context, chosen={"model": (3, 5)}), validate=False)
    assert told == [("model", 3, 5), ("model", 3, 5)]
    whole = tiny(12, dropout=0.3)
    assert train(whole, 12, recipe, Context(seed=7), validate=False)[:3] == history
    assert len(whole.seen) == 5
    assert second.seen == whole.seen[:3]
    by_itself = tiny(12, dropout=0.3)
    train(by_itself, 12, replace(recipe, schedule="constant"), replace(context, chosen={"x": (1, 5)}), validate=False)
    assert len(by_itself.seen) == 5
    assert len(told) == 2, "a training that nothing was chosen of tells nothing"


@pytest.mark.parametrize(("epochs", "expected"), [(67, 40), (50, 30), (1, 1)])
def test_a_schedule_in_steps_keeps_its_share_of_epochs(epochs: int, expected: int) -> None:
    assert Context(chosen={"model": (40, 67)}).epochs_of("model", epochs) == expected
