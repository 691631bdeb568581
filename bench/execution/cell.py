"""One cell: fit on training samples, score test samples, compute the metrics."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import PredictionError, StoreError
from agiqa_bench.evaluation.metrics import evaluate
from agiqa_bench.evaluation.splits import Split
from agiqa_bench.execution.code_digest import may_use_torch
from agiqa_bench.execution.device import PeakMemory, repeatable
from agiqa_bench.method import Method
from agiqa_bench.parameters import ParameterCounts
from agiqa_bench.training.cuts import noted_cuts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Costs:
    """What a cell cost.

    Attributes:
        fit_seconds: Wall time of `fit`; of repeats that were trained together, the equal share of one.
        predict_seconds: Wall time of `predict`.
        predicted: Number of samples that were scored in that time.
        peak_device_bytes: Peak memory on the CUDA device; None on the CPU.
        peak_host_bytes: Peak resident memory of the process while the cell ran, with all that was there before; None
            where it cannot be measured. See `agiqa_bench.execution.device.PeakMemory`.
        host_bytes_before: Resident memory of the process when the cell began; None likewise.
        parameters: Of the networks that it computed with; None if there is no such number.
        trainable_parameters: Those of them that were learnt; None likewise. See `Method.parameter_counts`.
        trained_together: Number of repeats that were trained in one go, this one among them.
        micro_batch: Fewest samples that the training loop took at a time because memory was short; None if it was not.
        scoring_batch: Fewest samples that were scored or encoded at a time because memory was short; None likewise. Of
            repeats that were trained together, the fewest of any.
    """

    fit_seconds: float
    predict_seconds: float
    predicted: int
    peak_device_bytes: int | None = None
    peak_host_bytes: int | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None
    host_bytes_before: int | None = None
    trained_together: int = 1
    micro_batch: int | None = None
    scoring_batch: int | None = None


Result = tuple[npt.NDArray[np.float64], Costs]
"""Scores of the test rows, float64 (n_test, n_targets), higher is better, and what they cost."""

_Parts = tuple[Samples, Samples | None]
"""What `fit` is given."""


def fit_and_predict(method: Method, samples: Samples, split: Split) -> Result:
    """Run one repeat of a trained method.

    Args:
        method: A fresh instance; fitted when this returns.
        samples: All rows of the data set.
        split: The repeat's rows.

    Raises:
        PredictionError: The scores are not finite numbers of the right shape.
        Exception: Whatever else the method raises.
    """

    def alone(methods: Sequence[Method], parts: Sequence[_Parts]) -> Sequence[None]:
        method.fit(*parts[0])
        return [None] * len(methods)

    (result,) = _fit_and_predict([method], samples, [split], alone)
    if isinstance(result, Exception):
        raise result
    return result


def fit_together_and_predict(
    methods: Sequence[Method], samples: Samples, splits: Sequence[Split]
) -> list[Result | Exception]:
    """Run several repeats of a method that trains them together.

    Args:
        methods: Fresh instances, one per repeat; fitted when this returns.
        samples: All rows of the data set.
        splits: Each repeat's rows.

    Returns:
        For each repeat scores and costs, or what its own training or prediction raised.

    Raises:
        Exception: Whatever else the method raises.
    """
    return _fit_and_predict(methods, samples, splits, type(methods[0]).fit_together)


def _fit_and_predict(
    methods: Sequence[Method],
    samples: Samples,
    splits: Sequence[Split],
    fit: Callable[[Sequence[Any], Sequence[_Parts]], Sequence[Exception | None]],
) -> list[Result | Exception]:
    cls, context = type(methods[0]), methods[0].context
    for method, split in zip(methods, splits, strict=True):
        ranges = known_ranges(method.context.mos_ranges, samples, split)
        method.context = replace(method.context, mos_ranges=ranges)
    found: list[tuple[npt.NDArray[np.float64], float] | Exception] = []
    with repeatable(context.device, wanted=context.deterministic):
        for method in methods:
            # One that is alone may draw from the global generators in `fit` and `predict` too.
            seed_everything(method.context.seed, cls)
            method.prepare()
        with PeakMemory(context.device) as memory, noted_cuts() as cuts:
            started = time.perf_counter()
            failures = fit(methods, [_to_learn_from(*each, samples) for each in zip(methods, splits, strict=True)])
            share = (time.perf_counter() - started) / len(methods)
            for method, split, failure in zip(methods, splits, failures, strict=True):
                try:
                    if isinstance(failure, StoreError):
                        raise failure
                    found.append(failure or predict(method, samples.subset(split.test)))
                except StoreError:
                    raise  # no method's fault: nothing can be written, and the run cannot go on
                except Exception as error:  # noqa: BLE001 - it fails this repeat, whatever it is, and no other
                    found.append(error)
    results: list[Result | Exception] = []
    for method, each in zip(methods, found, strict=True):
        if isinstance(each, Exception):
            results.append(each)
        else:
            scores, seconds = each
            costs = _costs(method, share, seconds, len(scores), memory, cuts)
            results.append((scores, replace(costs, trained_together=len(methods))))
    return results


def known_ranges(
    stated: Mapping[str, tuple[float, float] | None], samples: Samples, split: Split
) -> dict[str, tuple[float, float]]:
    """Lowest and highest MOS by target that a repeat scales by: as stated, else of its training and validation parts.

    Both parts, because with another selection a method learns from both; no rating of the test part counts.

    Args:
        stated: Of `Context.mos_ranges`; None where nobody states one.
        samples: All rows of the data set.
        split: The repeat's rows.
    """
    learnt = samples.subset(np.union1d(split.train, split.validation))

    def limits(target: str) -> tuple[float, float]:
        mos = learnt.mos_of(target)
        return float(mos.min()), float(mos.max())

    return {target: limits(target) if known is None else known for target, known in stated.items()}


def _to_learn_from(method: Method, split: Split, samples: Samples) -> _Parts:
    """The training and validation samples of a repeat, as the selection asks for them."""
    train, validation = split.training(method.context.selection, selects_epoch=method.selects_epoch)
    return samples.subset(train), None if validation is None else samples.subset(validation)


def score_all(method: Method, samples: Samples) -> Result:
    """Score every row of a data set with a zero-shot method; float64 (n, n_targets), higher is better."""
    context = method.context
    seed_everything(context.seed, type(method))
    with repeatable(context.device, wanted=context.deterministic):
        method.prepare()
        with PeakMemory(context.device) as memory, noted_cuts() as cuts:
            scores, seconds = predict(method, samples)
    return scores, _costs(method, 0.0, seconds, len(samples), memory, cuts)


def _costs(
    method: Method, fit_seconds: float, predict_seconds: float, predicted: int, memory: PeakMemory, cuts: Sequence[int]
) -> Costs:
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
        scoring_batch=min(cuts, default=None),
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
