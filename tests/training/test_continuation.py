from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context
from agiqa_bench.training.continuation import Continuation
from agiqa_bench.training.loop import History, train
from agiqa_bench.training.recipe import Recipe

N, EPOCHS = 14, 6


@pytest.fixture(autouse=True)
def after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # a power cut is not what is tested here


def assert_same(one: tuple[Any, History], other: tuple[Any, History]) -> None:
    """Weights and history to the last bit."""
    for key, tensor in one[0].model.state_dict().items():
        assert torch.equal(tensor, other[0].model.state_dict()[key]), key
    assert repr(one[1]) == repr(other[1])


@pytest.mark.parametrize("validate", [False, True], ids=["last", "validation"])
@pytest.mark.parametrize(
    ("optimiser", "precision"), [("adam", "float32"), ("adamw", "float32"), ("sgd", "float32"), ("sgd", "fp16")]
)
def test_a_killed_training_ends_as_an_undisturbed_one(
    tiny, killed, tmp_path: Path, optimiser, precision, validate: bool
) -> None:
    recipe = Recipe(EPOCHS, 4, 0.05, optimiser, weight_decay=1e-3, schedule="cosine", warm_up_epochs=1)
    settings = {"dropout": 0.3, "norm": True}

    def run(folder: Path | None, **more: Any) -> tuple[Any, History]:
        learner = tiny(N, **settings, **more)
        context = Context(seed=5, precision=precision, scratch=folder)
        return learner, train(learner, N, recipe, context, validate=validate)

    undisturbed = run(None)
    for dies in (1, 3, EPOCHS - 1):
        folder = tmp_path / str(dies)
        with pytest.raises(killed):
            run(folder, dies=dies)
        torch.randn(dies)  # another process has other numbers behind it
        again = run(folder)
        assert len(again[0].seen) == EPOCHS - dies
        assert_same(again, undisturbed)
    finished = run(tmp_path / "1")
    assert finished[0].seen == []
    assert_same(finished, undisturbed)


def test_the_chosen_epoch_may_lie_before_the_kill(tiny, killed, tmp_path: Path) -> None:
    recipe = Recipe(8, 4, 0.05, patience=3)
    undisturbed = tiny(N, values=[0.1, 0.9, 0.2, 0.3, 0.4, 1.0])
    history = train(undisturbed, N, recipe, Context(), validate=True)
    assert [entry["chosen"] for entry in history] == [0, 1, 0, 0, 0]
    context = Context(scratch=tmp_path)
    with pytest.raises(killed):
        train(tiny(N, values=[0.1, 0.9, 0.2], dies=3), N, recipe, context, validate=True)
    again = tiny(N, values=[0.3, 0.4, 1.0])
    assert_same((again, train(again, N, recipe, context, validate=True)), (undisturbed, history))
    assert len(again.states) == 2


def test_a_kill_where_memory_is_short(tiny, killed, tmp_path: Path) -> None:
    recipe = Recipe(3, 8, 0.05)
    undisturbed = tiny(N, dropout=0.3, norm=True, limit=3)
    history = train(undisturbed, N, recipe, Context(), validate=False)
    context = Context(scratch=tmp_path)
    with pytest.raises(killed):
        train(tiny(N, dropout=0.3, norm=True, limit=3, dies=2), N, recipe, context, validate=False)
    again = tiny(N, dropout=0.3, norm=True, limit=3)
    assert_same((again, train(again, N, recipe, context, validate=False)), (undisturbed, history))
    assert {len(step) for step in again.seen[0]} == {2}


def test_a_validation_of_numpys_type_can_be_read_back(tiny, killed, tmp_path: Path) -> None:
    context = Context(scratch=tmp_path)
    with pytest.raises(killed):
        train(tiny(N, values=np.array([0.5, 0.25]), dies=2), N, Recipe(3, 4, 0.05), context, validate=True)
    again = tiny(N, values=[0.75])
    history = train(again, N, Recipe(3, 4, 0.05), context, validate=True)
    assert [entry["validation"] for entry in history] == [0.5, 0.25, 0.75]


@pytest.mark.parametrize("damage", ["empty", "short", "long", "cut", "zeros", "a bit", "text"])
def test_a_damaged_file_is_told_and_as_good_as_none(tiny, killed, tmp_path: Path, damage: str, caplog) -> None:
    recipe, context = Recipe(3, 4, 0.05), Context(scratch=tmp_path)
    with pytest.raises(killed):
        train(tiny(N, dies=2), N, recipe, context, validate=False)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "short": content[:40],
        "long": content + b"\0",
        "cut": content[:-1],
        "zeros": bytes(len(content)),
        "a bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "text": b"not a file of weights\n" * 9,
    }
    file.write_bytes(damaged[damage])
    assert Continuation(tmp_path, "model").load() is None
    assert caplog.messages == [f"{file} is not as it was written; training begins anew"]
    again, undisturbed = tiny(N), tiny(N)
    result = again, train(again, N, recipe, context, validate=False)
    assert len(again.seen) == 3
    assert_same(result, (undisturbed, train(undisturbed, N, recipe, Context(), validate=False)))


@pytest.mark.parametrize("other", ["shapes", "samples", "recipe", "seed", "batch", "precision"])
def test_the_state_of_another_training_is_left_alone(tiny, killed, tmp_path: Path, other: str) -> None:
    """Training begins anew: some of another model's weights would fit, and its order of samples would not."""
    learner = tiny(N - 1 if other == "samples" else N, norm=other == "shapes", dies=1)
    context = Context(
        seed=1 if other == "seed" else 0,
        scratch=tmp_path,
        batch_size=5 if other == "batch" else None,
        precision="bf16" if other == "precision" else "float32",
    )
    recipe = Recipe(3, 4, 0.01 if other == "recipe" else 0.05)
    with pytest.raises(killed):
        train(learner, len(learner.inputs), recipe, context, validate=False)
    again, undisturbed = tiny(N), tiny(N)
    result = again, train(again, N, Recipe(3, 4, 0.05), Context(scratch=tmp_path), validate=False)
    assert len(again.seen) == 3
    assert_same(result, (undisturbed, train(undisturbed, N, Recipe(3, 4, 0.05), Context(), validate=False)))


def test_trainings_of_one_cell_are_told_apart_by_name(tiny, tmp_path: Path) -> None:
    for name in ("quality", "authenticity"):
        learner = tiny(N)
        train(learner, N, Recipe(2, 4, 0.05), Context(scratch=tmp_path), validate=False, name=name)
        assert len(learner.seen) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["authenticity.pt", "quality.pt"]


def test_nothing_is_written_without_a_folder_or_before_the_time(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Continuation(None, "model").save({"epoch": 1})
    assert Continuation(None, "model").load() is None
    monkeypatch.delenv("AGIQA_CHECKPOINT_SECONDS")
    train(tiny(N), N, Recipe(2, 4, 0.05), Context(scratch=tmp_path / "scratch"), validate=False)
    assert list(tmp_path.iterdir()) == []


def test_time_is_counted_from_the_last_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "10")
    now = [100.0]
    monkeypatch.setattr("agiqa_bench.training.continuation.time.monotonic", lambda: now[0])
    file = Continuation(tmp_path, "model")
    kept = []
    for epoch, seconds in enumerate((9.0, 10.0, 19.0, 20.5, 29.0, 31.0)):
        now[0] = 100.0 + seconds
        file.save({"epoch": epoch, "best": -math.inf, "weights": torch.full((2,), float(epoch))})
        state = file.load()
        kept.append(None if state is None else state["epoch"])
    assert kept == [None, 1, 1, 3, 3, 5]
    state = file.load()
    assert state is not None
    assert state["weights"].tolist() == [5.0, 5.0]


def test_a_time_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "often")
    with pytest.raises(ConfigError, match="AGIQA_CHECKPOINT_SECONDS is 'often': set it to a number of seconds"):
        Continuation(None, "model")
