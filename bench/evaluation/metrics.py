"""Metrics: how well scores agree with MOS. Scores are higher-is-better, correlations keep their sign.

A value that is not defined (nothing varies, too few images, a fit that does not converge or that falls) is None, and
the reason is kept; it is never NaN, and never 0 by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import PredictionError
from agiqa_bench.evaluation.correlations import Vector, constant, krcc, plcc, srcc, undefined_reason, vectors

Metric = Callable[[npt.ArrayLike, npt.ArrayLike], float | None]

MIN_FIT = 5
"""Fewest images for a fit with four parameters."""
MAX_EVALUATIONS = 10_000


@dataclass(frozen=True)
class MetricInfo:
    """How a metric is shown.

    Attributes:
        key: Its key in `Metrics`.
        title: Column heading.
        better: Whether a higher or a lower value is better.
        decimals: Decimals in tables.
        explanation: One line for legends.
    """

    key: str
    title: str
    better: Literal["higher", "lower"]
    decimals: int
    explanation: str


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo("srcc", "SRCC", "higher", 4, "Spearman's rank correlation of scores and MOS"),
    MetricInfo("plcc", "PLCC", "higher", 4, "Pearson's linear correlation of scores and MOS, nothing fitted"),
    MetricInfo(
        "plcc_fitted", "PLCC (fit)", "higher", 4, "PLCC after a rising 4-parameter logistic fit on the test images"
    ),
    MetricInfo("krcc", "KRCC", "higher", 4, "Kendall's rank correlation (tau-b)"),
    MetricInfo(
        "rmse_fitted",
        "RMSE (fit)",
        "lower",
        4,
        "root mean square error after a rising 4-parameter logistic fit on the test images, in units of MOS",
    ),
    MetricInfo(
        "srcc_within_generator",
        "SRCC in generator",
        "higher",
        4,
        "SRCC among the images of one generator, averaged over the generators by their number of images",
    ),
    MetricInfo(
        "srcc_within_prompt",
        "SRCC in prompt",
        "higher",
        4,
        "SRCC among the images of one prompt, averaged over the prompts by their number of images",
    ),
)


class Metrics(TypedDict):
    """All metrics of one target on one set of images; can be written as JSON.

    `undefined` gives the reason for each value that is None. `per_generator` holds n, srcc, plcc, krcc and a dict
    `undefined` for each generator, in the order of their names. `within` says what the two within-values rest on.
    """

    n: int
    srcc: float | None
    plcc: float | None
    plcc_fitted: float | None
    krcc: float | None
    rmse_fitted: float | None
    srcc_within_generator: float | None
    srcc_within_prompt: float | None
    undefined: dict[str, str]
    per_generator: dict[str, GeneratorMetrics]
    within: dict[str, WithinDetail]


class GeneratorMetrics(TypedDict):
    """The correlations inside one generator's images."""

    n: int
    srcc: float | None
    plcc: float | None
    krcc: float | None
    undefined: dict[str, str]


class WithinDetail(TypedDict):
    """What a value of `within` rests on.

    `labels` and `rows` count what was averaged; `left_out` counts the labels in which there is nothing to rank (one
    row, or constant MOS); `flat` counts those among `labels` in which the scores do not vary, taken as 0; `reason`
    says why the value is None, and is empty otherwise.
    """

    labels: int
    rows: int
    left_out: int
    flat: int
    reason: str


@dataclass(frozen=True)
class LogisticFit:
    """The 4-parameter logistic f(s) = (b1 - b2) / (1 + exp(-(s - b3) / |b4|)) + b2 of VQEG's reports.

    Attributes:
        b1: Limit for high scores, in units of MOS.
        b2: Limit for low scores, in units of MOS.
        b3: Score in the middle.
        b4: Width in units of the score, not 0.
    """

    b1: float
    b2: float
    b3: float
    b4: float

    def __call__(self, scores: npt.ArrayLike) -> Vector:
        """Map scores (n,) to the scale of MOS, float64 (n,)."""
        return _logistic(np.array([self.b1, self.b2, self.b3, self.b4]), np.asarray(scores, dtype=np.float64))


def _logistic(b: Vector, x: Vector) -> Vector:
    from scipy.special import expit

    return np.asarray((b[0] - b[1]) * expit((x - b[2]) / abs(b[3])) + b[1])


def _logistic_jacobian(b: Vector, x: Vector) -> Vector:
    from scipy.special import expit

    z = (x - b[2]) / abs(b[3])
    p = expit(z)
    slope = (b[0] - b[1]) * p * (1 - p)
    return np.stack([p, 1 - p, -slope / abs(b[3]), -slope * z / b[3]], axis=1)


_TOLERANCE = 1e-8
"""Of MINPACK: relative change of the squares and of the parameters, and the cosine between residuals and slopes."""

_CONVERGED = (1, 2, 3, 4)
"""What MINPACK says when one of the tolerances is met."""


def fit_logistic(scores: npt.ArrayLike, mos: npt.ArrayLike) -> LogisticFit | None:
    """Fit the 4-parameter logistic to MOS by least squares (Levenberg-Marquardt).

    It starts at b1 = highest MOS, b2 = lowest MOS, b3 = mean score, b4 = standard deviation of the scores / 4, so
    equal input gives equal output.

    The fit may bend a method's scale and must not turn it round: scores are higher-is-better, and a falling curve would
    make a good method of one that ranks the wrong way. So a falling fit counts as none.

    Args:
        scores: Finite scores (n,), higher is better.
        mos: Finite MOS (n,).

    Returns:
        The fit, with b1 >= b2, or None if there are fewer than 5 images, nothing varies, or the fit does not converge
        or falls.

    Raises:
        PredictionError: As `srcc`.
    """
    return _fit_or_reason(*vectors(scores, mos))[0]


def _fit_or_reason(x: Vector, y: Vector) -> tuple[LogisticFit | None, str]:
    """The fit, or why there is none."""
    from scipy.optimize import leastsq

    if x.size < MIN_FIT:
        return None, f"a 4-parameter fit needs at least {MIN_FIT} images, there are {x.size}"
    if reason := undefined_reason(x, y):
        return None, reason

    def residual(b: Vector) -> Vector:
        return _logistic(b, x) - y

    def jacobian(b: Vector) -> Vector:
        return np.concatenate([_logistic_jacobian(b, x), np.zeros((x.size, 1))], axis=1)

    # A fifth parameter that nothing depends on. MINPACK in scipy 1.15 to 1.17 (qrfac) takes norms of one number more
    # than a column of the Jacobian has. Behind the last column that is whatever memory holds there, and the result
    # would change from process to process, in its last digits or in the minimum where fits are badly determined. A
    # column of zeros is never the pivot and needs no norm, and what is read in front of it is always the same.
    start = np.array([y.max(), y.min(), x.mean(), x.std() / 4, 0.0])
    with np.errstate(all="ignore"):
        found, _, _, _, status = leastsq(
            residual,
            start,
            Dfun=jacobian,
            full_output=True,
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            gtol=_TOLERANCE,
            maxfev=MAX_EVALUATIONS,
        )
    if status not in _CONVERGED or not np.all(np.isfinite(found)) or found[3] == 0:
        return None, "the logistic fit did not converge"
    fit = LogisticFit(*(float(value) for value in found[:4]))
    return (fit, "") if fit.b1 >= fit.b2 else (None, "the fitted logistic falls with the score")


def plcc_fitted(scores: npt.ArrayLike, mos: npt.ArrayLike) -> float | None:
    """PLCC of MOS and the scores mapped by `fit_logistic`; arguments and errors as `srcc`.

    Returns:
        A value in [-1, 1], above 0 but for rounding and fits that end in a poor place; None where there is no fit, or a
        constant one.
    """
    return _after_fit(*vectors(scores, mos))[0]


def rmse_fitted(scores: npt.ArrayLike, mos: npt.ArrayLike) -> float | None:
    """Root mean square error, in units of MOS, after `fit_logistic`; None where there is no fit; as `srcc` else."""
    return _after_fit(*vectors(scores, mos))[1]


def _after_fit(scores: Vector, mos: Vector) -> tuple[float | None, float | None, str]:
    """PLCC and RMSE after the fit, and why the first or both are None."""
    fit, reason = _fit_or_reason(scores, mos)
    if fit is None:
        return None, None, reason
    mapped = fit(scores)
    correlation = plcc(mapped, mos)
    reason = "the fitted logistic is constant" if correlation is None else ""
    return correlation, float(np.sqrt(np.mean((mapped - mos) ** 2))), reason


def within(
    scores: npt.ArrayLike, mos: npt.ArrayLike, labels: Sequence[str], metric: Metric = srcc, kind: str = "label"
) -> tuple[float | None, WithinDetail]:
    """Correlation inside the rows of each label, averaged with their numbers of rows.

    Labels with one row or constant MOS are left out: there is nothing to rank. Where only the scores are constant a
    label counts as 0, because the method fails to rank there, unless that is so everywhere: then it does not claim
    to rank inside a label at all, and the value is not defined. Rows with an empty label belong to none.

    Args:
        scores: Finite scores (n,), higher is better.
        mos: Finite MOS (n,).
        labels: Label of each row, length n; empty: the row has none.
        metric: The correlation.
        kind: What a label is, for the reason, e.g. `prompt`.

    Returns:
        The average or None, and what it rests on.

    Raises:
        PredictionError: As `srcc`, or there are not n labels.
    """
    x, y = vectors(scores, mos)
    total, detail = 0.0, WithinDetail(labels=0, rows=0, left_out=0, flat=0, reason="")
    by_label = _rows_by_label(labels, x.size)
    for rows in by_label.values():
        if rows.size < 2 or constant(y[rows]):
            detail["left_out"] += 1
            continue
        value = metric(x[rows], y[rows])
        detail["labels"] += 1
        detail["rows"] += rows.size
        detail["flat"] += value is None
        total += rows.size * (value or 0.0)
    if x.size and not by_label:
        detail["reason"] = f"no image has a {kind}"
    elif not detail["labels"]:
        detail["reason"] = f"no {kind} has two images with different MOS"
    elif detail["flat"] == detail["labels"]:
        detail["reason"] = f"the scores do not vary inside any {kind}"
    return None if detail["reason"] else total / detail["rows"], detail


def _rows_by_label(labels: Sequence[str], n: int) -> dict[str, npt.NDArray[np.int64]]:
    """Row numbers of each label, in the order of the labels; rows with an empty label have none in common."""
    if len(labels) != n:
        raise PredictionError(f"{len(labels)} labels for {n} scores: give one for each")
    if not n:
        return {}
    names, codes = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    return {str(name): rows for name, rows in zip(names, parts, strict=True) if name}


def evaluate(scores: npt.ArrayLike, mos: npt.ArrayLike, generators: Sequence[str], prompts: Sequence[str]) -> Metrics:
    """Compute all metrics of one target.

    Args:
        scores: Finite scores (n,), higher is better.
        mos: Finite MOS (n,).
        generators: Generator configuration of each image, length n; empty: not known.
        prompts: Label of the prompt of each image, length n; empty: it has none.

    Raises:
        PredictionError: As `within`.
    """
    x, y = vectors(scores, mos)
    fitted, rmse, no_fit = _after_fit(x, y)
    by_generator, generator_detail = within(x, y, generators, kind="generator")
    by_prompt, prompt_detail = within(x, y, prompts, kind="prompt")
    plain = _correlations(x, y)
    undefined = dict(plain["undefined"])
    undefined |= {key: no_fit for key, value in (("plcc_fitted", fitted), ("rmse_fitted", rmse)) if value is None}
    for name, detail in (("generator", generator_detail), ("prompt", prompt_detail)):
        if detail["reason"]:
            undefined[f"srcc_within_{name}"] = detail["reason"]
    rows = _rows_by_label(generators, x.size)
    return Metrics(
        n=x.size,
        srcc=plain["srcc"],
        plcc=plain["plcc"],
        plcc_fitted=fitted,
        krcc=plain["krcc"],
        rmse_fitted=rmse,
        srcc_within_generator=by_generator,
        srcc_within_prompt=by_prompt,
        undefined=undefined,
        per_generator={name: _correlations(x[part], y[part]) for name, part in rows.items()},
        within={"generator": generator_detail, "prompt": prompt_detail},
    )


def _correlations(x: Vector, y: Vector) -> GeneratorMetrics:
    values = {"srcc": srcc(x, y), "plcc": plcc(x, y), "krcc": krcc(x, y)}
    reason = undefined_reason(x, y) or "the values are too small or too large to compute with"
    undefined = {key: reason for key, value in values.items() if value is None}
    return GeneratorMetrics(
        n=x.size, srcc=values["srcc"], plcc=values["plcc"], krcc=values["krcc"], undefined=undefined
    )
