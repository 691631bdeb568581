import numpy as np
import pytest

from agiqa_bench.synthetic.draws import Draws


def test_draws_are_pinned():
    draws = Draws("test", 1)
    assert draws.word() == 2768745565042833296
    assert draws.integer(0, 1000) == 31
    assert draws.uniform() == 0.6318924967085142
    assert draws.gauss() == -0.5496826171875
    assert draws.choice("abcdef") == "f"
    assert draws.weighted("xyz", (1, 0, 3)) == "x"
    assert draws.shuffled(range(6)) == [3, 1, 2, 5, 4, 0]
    assert draws.chance(0.5) is True
    assert draws.words(2, 2).tolist() == [
        [12437997392951899435, 12835092959470778415],
        [6639189677526241877, 15660025678291889804],
    ]
    assert draws.gaussians(3).tolist() == [-22143, -5416, 42364]
    assert draws.child("a").word() == 6572259980596165016


def test_a_child_does_not_depend_on_how_far_its_parent_was_read():
    read, unread = Draws("test", 2), Draws("test", 2)
    read.word()
    assert read.child("x", 3).word() == unread.child("x", 3).word()


def test_names_do_not_collide():
    names = [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",)]
    assert len({Draws(*name).word() for name in names}) == len(names)


def test_distributions():
    draws = Draws("distributions")
    gauss = np.array([draws.gauss() for _ in range(20_000)])
    assert abs(gauss.mean()) < 0.03
    assert gauss.std() == pytest.approx(1.0, abs=0.03)
    uniform = np.array([draws.uniform(-1.0, 3.0) for _ in range(20_000)])
    assert uniform.min() >= -1.0
    assert uniform.max() < 3.0
    assert uniform.mean() == pytest.approx(1.0, abs=0.04)
    counts = np.bincount([draws.weighted((0, 1, 2), (1, 0, 3)) for _ in range(8_000)], minlength=3)
    assert counts[1] == 0
    assert counts[2] / counts[0] == pytest.approx(3.0, abs=0.3)
    assert draws.gaussians(200, 200).std() == pytest.approx(37837, rel=0.02)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="zero"):
        Draws("x").weighted("ab", (0, 0))
