from __future__ import annotations

import numpy as np
import pytest

from agiqa_bench.training.learner import agreement

MOS = np.array([[1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0]])
SCORES = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 3.0], [3.0, 4.0]])


def test_rank_correlations_are_summed_over_the_targets() -> None:
    # One swap among four: 1 - 6 * 2 / (4 * 15); and the order turned round.
    assert agreement(SCORES[:, :1], MOS[:, :1]) == pytest.approx(0.8)
    assert agreement(SCORES, MOS) == pytest.approx(0.8 - 1.0)


def test_all_three_correlations_are_summed() -> None:
    # PLCC 4 / 5, KRCC (5 - 1) / 6.
    assert agreement(SCORES[:, :1], MOS[:, :1], sum_all=True) == pytest.approx(0.8 + 0.8 + 4 / 6)
    assert agreement(SCORES, MOS, sum_all=True) == pytest.approx(0.8 + 0.8 + 4 / 6 - 3.0)


def test_scores_that_are_all_alike_have_none() -> None:
    flat = SCORES.copy()
    flat[:, 1] = 0.5
    assert agreement(flat, MOS) is None
    assert agreement(flat[:, :1], MOS[:, :1]) == pytest.approx(0.8)
