"""One cell: fit on training samples, score test samples, compute the metrics."""

from __future__ import annotations

import logging
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import PredictionError
from agiqa_bench.evaluation.metrics import evaluate
from agiqa_bench.evaluation.splits import Split
from agiqa_bench.execution.code_digest import may_use_torch
from agiqa_bench.execution.device import PeakMemory, repeatable
from agiqa_bench.method import Method
from agiqa_bench.parameters import ParameterCounts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Costs:
    """What a cell cost.

    Attributes:
        fit_seconds: Wall time of `fit`.
        predict_seconds: Wall time of `predict`.
        predicted: Number of samples that were scored in that time.
        peak_device_bytes: Peak memory on the CUDA device; None on the CPU.
        peak_host_bytes: Peak resident memory of the process while the cell ran, with all that was there before; None
            where it cannot be measured. See `agiqa_bench.execution.device.PeakMemory`.
        host_bytes_before: Resident memory of the process when the cell began; None likewise.
        parameters: Of the networks that it computed with; None if there is no such number.
        trainable_parameters: Those of them that were learnt; None likewise. See `Method.parameter_counts`.
    """

    fit_seconds: float
    predict_seconds: float
    predicted: int
    peak_device_bytes: int | None = None
    peak_host_bytes: int | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None
    host_bytes_before: int | None = None


def fit_and_predict(method: Method, samples: Samples, split: Split) -> tuple[npt.NDArray[np.float64], Costs]:
    """Run one repeat of a trained method.

    Args:
        method: A fresh instance; fitted when this returns.
        samples: All rows of the data set.
        split: The repeat's rows.

    Returns:
        Scores of the test rows, float64 (n_test, n_targets), higher is better.

    Raises:
        PredictionError: The scores are not finite numbers of the right shape.
    """
    context = method.context
    seed_everything(context.seed, type(method))
    train_rows, validation_rows = split.training(context.selection, selects_epoch=method.selects_epoch)
    train = samples.subset(train_rows)
    validation = None if validation_rows is None else samples.subset(validation_rows)
    with repeatable(context.device, wanted=context.deterministic):
        method.prepare()
        with PeakMemory(context.device) as memory:
            started = time.perf_counter()
            method.fit(train, validation)
            fitted = time.perf_counter()
            scores, predict_seconds = predict(method, samples.subset(split.test))
    return scores, _costs(method, fitted - started, predict_seconds, len(split.test), memory)


def score_all(method: Method, samples: Samples) -> tuple[npt.NDArray[np.float64], Costs]:
    """Score every row of a data set with a zero-shot method; float64 (n, n_targets), higher is better."""
    context = method.context
    seed_everything(context.seed, type(method))
    with repeatable(context.device, wanted=context.deterministic):
        method.prepare()
        with PeakMemory(context.device) as memory:
            scores, seconds = predict(method, samples)
    return scores, _costs(method, 0.0, seconds, len(samples), memory)


def _costs(method: Method, fit_seconds: float, predict_seconds: float, predicted: int, memory: PeakMemory) -> Costs:
    counts = _parameter_counts(method)
    return Costs(
        fit_seconds,
        predict_seconds,
        predicted,
        memory.device_bytes,
        memory.host_bytes,
        None if counts is None else counts.total,
        None if counts is None else counts.trainable,
        memory.host_bytes_before,
    )


def _parameter_counts(method: Method) -> ParameterCounts | None:
    """What the method says of its networks; None if it fails over that, because its scores are good all the same."""
    try:
        return method.parameter_counts()
    except Exception as error:  # noqa: BLE001 - a plugin's own code may raise anything
        _log.warning("%s: parameters are not counted: %s: %s", method.name, type(error).__name__, error)
        return None


def predict(method: Method, samples: Samples) -> tuple[npt.NDArray[np.float64], float]:
    """Scores of samples whose MOS are out of reach, checked, and the seconds that it took."""
    started = time.perf_counter()
    raw = method.predict(samples.hidden())
    seconds = time.perf_counter() - started
    return check_scores(raw, samples, method.name), seconds


def check_scores(raw: npt.ArrayLike, samples: Samples, name: str) -> npt.NDArray[np.float64]:
    """Bring scores to float64 (n, n_targets); one score per sample stands for every target.

    Raises:
        PredictionError: A wrong shape, or a score that is missing or not finite.
    """
    try:
        scores = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionError(f"method '{name}': predict returned something that is not numbers ({error})") from error
    wanted = (len(samples), len(samples.targets))
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim == 2 and scores.shape == (wanted[0], 1):
        scores = np.repeat(scores, wanted[1], axis=1)
    if scores.shape != wanted:
        raise PredictionError(
            f"method '{name}': predict returned shape {np.shape(raw)} for {wanted[0]} samples and {wanted[1]} targets; "
            f"return {wanted}"
        )
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise PredictionError(
            f"method '{name}': {bad.size} of {wanted[0]} scores are not finite (first: {samples.names[int(bad[0])]}); "
            "a method must score every image"
        )
    return scores


def measure(samples: Samples, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    """All metrics of each target on the rows of a test part.

    Args:
        samples: All rows of the data set, MOS readable.
        rows: Row numbers of the test part, int64 (n_test,).
        scores: float64 (n_test, n_targets).

    Returns:
        JSON-ready metrics by target.
    """
    test = samples.subset(rows)
    mos = test.mos
    return {
        target: evaluate(scores[:, column], mos[:, column], test.generators, test.prompts)
        for column, target in enumerate(samples.targets)
    }


def seed_everything(seed: int, cls: type[Method]) -> None:
    """Seed the global generators that a method of class `cls` may fall back on."""
    random.seed(seed)
    np.random.seed(seed)
    # A method that imports torch only when it needs it would draw other numbers in the first cell of a process.
    if "torch" in sys.modules or may_use_torch(cls):
        import torch

        torch.manual_seed(seed)
