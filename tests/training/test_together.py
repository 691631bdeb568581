"""Trainings side by side: each learns what it would alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from agiqa_bench.errors import TrainingError
from agiqa_bench.method import Context
from agiqa_bench.training.continuation import Continuation
from agiqa_bench.training.learner import Shared
from agiqa_bench.training.loop import train, train_together
from agiqa_bench.training.recipe import Recipe

PLACES = 4
RECIPE = Recipe(4, 4, 0.05, "sgd", weight_decay=1e-3, schedule="cosine", warm_up_epochs=1, patience=2)
SIZES = (12, 7, 10)


@pytest.fixture
def stacked(tiny: Any) -> Any:
    """A learner whose shared part is one product for all, and that remembers in what company it was."""

    class Stacked(tiny):  # type: ignore[misc]
        company: list[int] = []  # noqa: RUF012
        limit: int | None = None

        @classmethod
        def shared_of(cls, learners: Sequence[Any]) -> Sequence[Shared]:
            cls.company.append(len({id(learner) for learner in learners}))
            assert cls.limit is None or cls.limit >= len(learners) or oom()
            texts = torch.tanh(2 * torch.stack([learner.model.text for learner in learners]))
            return [{"text": text, "constant": torch.ones(1)} for text in texts]

    return Stacked


def oom() -> bool:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def contexts(folder: Path | None = None, repeats: Sequence[int] = (0, 1, 2)) -> list[Context]:
    return [
        Context(seed=repeat, repeat=repeat, scratch=None if folder is None else folder / str(repeat))
        for repeat in repeats
    ]


def run(learners: Sequence[Any], given: Sequence[Context], sizes: Sequence[int] = SIZES, **options: Any) -> list[Any]:
    return train_together(learners, sizes, RECIPE, given, PLACES, **{"validate": True} | options)


def assert_same(one: Any, other: Any) -> None:
    for key, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[key]), key


def test_each_learns_to_the_last_digit_what_it_would_alone(stacked: Any) -> None:
    settings = [
        {"dropout": 0.3, "norm": True},
        {"values": [0.5, 0.1, 0.2, 0.9]},  # out of patience after three epochs
        {"values": [0.1, 0.5, 0.2, 0.9]},
    ]
    together = [stacked(n, **each) for n, each in zip(SIZES, settings, strict=True)]
    histories = run(together, contexts())
    assert [len(history) for history in histories] == [4, 3, 4]
    assert set(stacked.company) == {3, 2}
    for number, (n, each) in enumerate(zip(SIZES, settings, strict=True)):
        alone = stacked(n, **each)
        (history,) = run([alone], [contexts()[number]], [n])
        assert repr(history) == repr(histories[number])
        assert alone.seen == together[number].seen
        assert_same(alone, together[number])


def test_a_pass_of_one_place_is_plain_training(tiny: Any) -> None:
    one, other = tiny(10, dropout=0.3), tiny(10, dropout=0.3)
    (history,) = train_together([one], [10], RECIPE, [Context(seed=3, repeat=5)], 1, validate=False)
    assert train(other, 10, RECIPE, Context(seed=3), validate=False) == history
    assert_same(one, other)


def test_the_numbers_are_those_of_plain_training_but_for_rounding(stacked: Any, tiny: Any) -> None:
    together = [stacked(n, dropout=0.3) for n in SIZES]
    histories = run(together, contexts(), validate=False)
    for n, learner, history, context in zip(SIZES, together, histories, contexts(), strict=True):
        plain = tiny(n, dropout=0.3)
        expected = train(plain, n, RECIPE, context, validate=False)
        assert [entry["loss"] for entry in history] == pytest.approx([entry["loss"] for entry in expected], rel=1e-5)
        torch.testing.assert_close(learner.model.text, plain.model.text, rtol=1e-5, atol=1e-6)


def test_one_that_fails_harms_no_other(stacked: Any) -> None:
    def broken(epoch: int, step: int) -> float:
        return math.nan if epoch == 1 else 1.0

    together = [stacked(12), stacked(7, factor=broken), stacked(10)]
    first, failed, third = run(together, contexts())
    assert isinstance(failed, TrainingError)
    assert str(failed) == "the loss became nan in epoch 2, step 1: lower the learning rate"
    assert len(first) == len(third) == 4
    alone = stacked(10)
    run([alone], [contexts()[2]], [10])
    assert_same(alone, together[2])


def test_one_with_too_few_values_for_batch_norm_harms_no_other(stacked: Any) -> None:
    sizes = (12, 9, 10)  # the second ends with a batch of one
    together = [stacked(n, norm=True) for n in sizes]
    first, failed, third = run(together, contexts(), sizes)
    assert str(failed).startswith("batch norm cannot learn from so few values")
    assert len(first) == len(third) == 4
    alone = stacked(10, norm=True)
    run([alone], [contexts()[2]], [10])
    assert_same(alone, together[2])


def test_a_kill_between_two_trainings_ends_with_the_same_bytes(
    stacked: Any, killed: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    undisturbed = [stacked(n, dropout=0.3) for n in SIZES]
    expected = run(undisturbed, contexts())
    dying = [stacked(n, dropout=0.3, dies=2 if n == 7 else None) for n in SIZES]
    with pytest.raises(killed):
        run(dying, contexts(tmp_path))
    # As if the kill had come after the first one's second epoch was written down, and before the others' was.
    for late in ("1", "2"):
        (tmp_path / late / "model.pt").unlink()
    again = [stacked(n, dropout=0.3) for n in SIZES]
    stacked.company.clear()
    assert repr(run(again, contexts(tmp_path))) == repr(expected)
    assert stacked.company[0] == 2
    assert max(stacked.company) == 3
    assert [len(learner.seen) for learner in again] == [2, 4, 4]
    for one, other in zip(again, undisturbed, strict=True):
        assert_same(one, other)


def test_short_memory_is_answered_by_fewer_places(
    stacked: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = [stacked(n, dropout=0.3, norm=True) for n in SIZES]
    histories = run(expected, contexts())
    monkeypatch.setattr(stacked, "limit", 2)
    short = [stacked(n, dropout=0.3, norm=True) for n in SIZES]
    stacked.company.clear()
    for history, wanted in zip(run(short, contexts()), histories, strict=True):
        assert [entry["loss"] for entry in history] == pytest.approx([entry["loss"] for entry in wanted], rel=1e-5)
    assert stacked.company[:3] == [3, 2, 1]  # one attempt with four places, then two passes of two
    (alone,) = run([stacked(12, dropout=0.3, norm=True)], contexts()[:1], [12])
    assert [entry["loss"] for entry in alone] == pytest.approx([entry["loss"] for entry in histories[0]], rel=1e-5)
    # A process that goes on behind a kill knows how few places there were.
    folder = tmp_path / "kept"
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    run([stacked(n, dropout=0.3, norm=True) for n in SIZES], contexts(folder))
    for number in range(3):
        state = Continuation(folder / str(number), "model").load()
        assert state is not None
        assert state["places"] == 2
    monkeypatch.setattr(stacked, "limit", 0)
    with pytest.raises(TrainingError, match=r"^training: no memory for a single sample"):
        run([stacked(n) for n in SIZES], contexts())


def test_memory_is_saved_before_the_batch_is_cut(stacked: Any) -> None:
    class Saving(stacked):  # type: ignore[misc]
        saved = 0

        def save_memory(self) -> bool:
            self.saved += 1
            self._limit = 4
            return self.saved == 1

    learner, plain = Saving(12, limit=3, dropout=0.3, norm=True), stacked(12, dropout=0.3, norm=True)
    (history,) = run([learner], contexts()[:1], [12])
    assert learner.saved == 1
    assert {entry["micro_batch"] for entry in history} == {4.0}
    run([plain], contexts()[:1], [12])
    assert_same(learner, plain)


def test_a_later_process_saves_memory_from_the_beginning(
    stacked: Any, killed: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Saving(stacked):  # type: ignore[misc]
        saved = 0

        def save_memory(self) -> bool:
            self.saved += 1
            self._limit = None
            return True

    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    with pytest.raises(killed):
        run([Saving(12, limit=3, dies=2)], contexts(tmp_path)[:1], [12])
    again = Saving(12, limit=3)
    run([again], contexts(tmp_path)[:1], [12])
    assert again.saved == 1


def test_two_repeats_in_one_place_are_refused(tiny: Any) -> None:
    with pytest.raises(ValueError, match="the same place"):
        run([tiny(), tiny()], contexts(repeats=(1, 5)), [12, 12])
