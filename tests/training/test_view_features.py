from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agiqa_bench.errors import StoreError
from agiqa_bench.training.view_features import ViewFeatures

PARTS = {"images": "ab", "seed": 1, "scale": (0.08, 1.0)}


class Encoder:
    """Counts what it encodes."""

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        self.epochs: list[int] = []
        self._wait = wait

    def __call__(self, epoch: int) -> np.ndarray:
        self.epochs.append(epoch)
        self._wait()
        return expected(epoch)


def expected(epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).normal(size=(5, 3)).astype(np.float32)


def test_an_epoch_is_encoded_once_and_read_back_by_others(tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    features = ViewFeatures(PARTS, first, tmp_path)
    for epoch in (0, 1, 1, 0):
        np.testing.assert_array_equal(features.epoch(epoch), expected(epoch))
    again = ViewFeatures(dict(reversed(PARTS.items())), second, tmp_path)
    for epoch in (1, 0):
        got = again.epoch(epoch)
        np.testing.assert_array_equal(got, expected(epoch))
        assert got.dtype == np.float32
    assert (first.epochs, second.epochs) == ([0, 1], [])


def test_features_are_read_only_whether_encoded_or_read_back(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            ViewFeatures(PARTS, Encoder(), tmp_path).epoch(0)[0] = 1.0


def test_within_an_epoch_the_file_is_read_once(tmp_path: Path) -> None:
    features = ViewFeatures(PARTS, Encoder(), tmp_path)
    assert features.epoch(0) is features.epoch(0)


@pytest.mark.parametrize("other", [PARTS | {"seed": 2}, PARTS | {"more": ""}, {"images": "ab", "seed": 1}])
def test_every_part_has_a_say_in_the_place(tmp_path: Path, other: dict[str, object]) -> None:
    encoders = Encoder(), Encoder()
    one, two = (ViewFeatures(parts, encode, tmp_path) for parts, encode in zip((PARTS, other), encoders, strict=True))
    assert one.folder != two.folder
    assert one.folder.parent == two.folder.parent == tmp_path / "features"
    one.epoch(0)
    two.epoch(0)
    assert [encode.epochs for encode in encoders] == [[0], [0]]


@pytest.mark.parametrize("length", [0, 5, 60, -1])
def test_a_file_that_was_cut_is_computed_again(tmp_path: Path, length: int) -> None:
    ViewFeatures(PARTS, Encoder(), tmp_path).epoch(0)
    (file,) = (tmp_path / "features").glob("*/*.array")
    content = file.read_bytes()
    file.write_bytes(content[:length])
    encode = Encoder()
    np.testing.assert_array_equal(ViewFeatures(PARTS, encode, tmp_path).epoch(0), expected(0))
    assert encode.epochs == [0]
    assert file.read_bytes() == content


def test_two_at_once_encode_once(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()
    encode = Encoder(lambda: (inside.set(), go_on.wait(30)))
    found: list[np.ndarray] = []

    def work() -> None:
        found.append(ViewFeatures(PARTS, encode, tmp_path).epoch(3))

    threads = [threading.Thread(target=work) for _ in range(2)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    threads[1].join(0.2)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert encode.epochs == [3]
    for features in found:
        np.testing.assert_array_equal(features, expected(3))
    assert len(found) == 2


def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(epoch: int) -> np.ndarray:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        ViewFeatures(PARTS, fail, tmp_path).epoch(0)
    np.testing.assert_array_equal(ViewFeatures(PARTS, Encoder(), tmp_path).epoch(0), expected(0))


def test_the_default_place_is_the_cache_and_a_file_in_its_way_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    features = ViewFeatures(PARTS, Encoder())
    assert features.folder.parent == tmp_path / "cache" / "features"
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        features.epoch(0)
