"""Correlations of scores with MOS, with their sign; None where one is not defined, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import PredictionError

Vector = npt.NDArray[np.float64]

ROUNDING = 1e-13
"""Values whose distance from their mean, relative to it, is below this count as equal; scipy's own limit for PLCC."""


def undefined_reason(scores: npt.ArrayLike, mos: npt.ArrayLike) -> str:
    """Why no correlation of these is defined, in one line; empty if it is.

    Raises:
        PredictionError: As `srcc`.
    """
    x, y = vectors(scores, mos)
    if x.size < 2:
        return f"a correlation needs at least 2 images, there are {x.size}"
    if constant(x):
        return "the scores do not vary"
    return "the MOS do not vary" if constant(y) else ""


def vectors(scores: npt.ArrayLike, mos: npt.ArrayLike) -> tuple[Vector, Vector]:
    """Scores and MOS as float64 (n,).

    Raises:
        PredictionError: As `srcc`.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise PredictionError(f"scores {x.shape} and MOS {y.shape} must be two vectors of one length")
    for name, values in (("scores", x), ("MOS", y)):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise PredictionError(f"{bad.size} of {values.size} {name} are not finite numbers, the first at {bad[0]}")
    return x, y


def constant(values: Vector) -> bool:
    """Whether values are equal, or differ by rounding only: their ranks and correlations would be noise."""
    if np.all(values == values[0]):
        return True
    with np.errstate(over="ignore"):
        mean = values.mean()
        return bool(np.linalg.norm(values - mean) < ROUNDING * abs(mean))


def _correlation(compute: Callable[[Vector, Vector], Any], scores: npt.ArrayLike, mos: npt.ArrayLike) -> float | None:
    x, y = vectors(scores, mos)
    if undefined_reason(x, y):
        return None
    with np.errstate(all="ignore"):  # numbers near the limits of float64 end as NaN, which becomes None here
        value = float(compute(x, y))
    return value if np.isfinite(value) else None


def srcc(scores: npt.ArrayLike, mos: npt.ArrayLike) -> float | None:
    """Spearman's rank correlation, ties averaged: `scipy.stats.spearmanr`.

    Args:
        scores: Finite scores (n,), higher is better.
        mos: Finite MOS (n,).

    Returns:
        A value in [-1, 1], or None where it is not defined; see `undefined_reason`.

    Raises:
        PredictionError: The shapes differ, or a value is not a finite number.
    """
    return _correlation(_rank_correlation, scores, mos)


def _rank_correlation(x: Vector, y: Vector) -> float:
    """What spearmanr computes, to the last bit, in half its time: without its p-value and its choice of axes."""
    from scipy.stats import rankdata

    ranks = np.column_stack([rankdata(x), rankdata(y)])
    return float(np.asarray(np.corrcoef(ranks, rowvar=False))[1, 0])


def plcc(scores: npt.ArrayLike, mos: npt.ArrayLike) -> float | None:
    """Pearson's linear correlation: `scipy.stats.pearsonr`; arguments, result and errors as `srcc`."""
    from scipy.stats import pearsonr

    return _correlation(lambda x, y: pearsonr(x, y).statistic, scores, mos)


def krcc(scores: npt.ArrayLike, mos: npt.ArrayLike) -> float | None:
    """Kendall's rank correlation, tau-b: `scipy.stats.kendalltau`; arguments, result and errors as `srcc`."""
    from scipy.stats import kendalltau

    return _correlation(lambda x, y: kendalltau(x, y, variant="b").statistic, scores, mos)
