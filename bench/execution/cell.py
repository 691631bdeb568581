"""One cell: fit on training samples, score test samples, compute the metrics."""

from __future__ import annotations

import logging
import math
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import PredictionError, StoreError, TrainingError
from agiqa_bench.evaluation.metrics import evaluate
from agiqa_bench.evaluation.splits import Split, normalised
from agiqa_bench.execution.code_digest import may_use_torch
from agiqa_bench.execution.device import PeakMemory, repeatable
from agiqa_bench.execution.records import first_fit_fault
from agiqa_bench.method import Context, Epoch, Method, MethodConfig
from agiqa_bench.parameters import ParameterCounts
from agiqa_bench.reading import patiently
from agiqa_bench.sealed import unseal, write_sealed
from agiqa_bench.training.cuts import noted_cuts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Costs:
    """What a cell cost.

    Attributes:
        fit_seconds: Wall time of `fit`, of both where there were two; of repeats that were trained together, the equal
            share of one.
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


_Parts = tuple[Samples, Samples | None]
"""What `fit` is given."""

_Fit = Callable[[Sequence[Any], Sequence[_Parts]], Sequence[Exception | None]]

_FIRST_FIT = "first_fit.json"
"""What the first of two fits has found, in the scratch folder: after a kill in the second it is not run again."""


@dataclass(frozen=True)
class Fitted:
    """A repeat of a trained method that has learnt and was judged.

    Attributes:
        method: The instance that has scored the test rows.
        scores: Of the test rows, float64 (n_test, n_targets), higher is better.
        costs: What all this cost, both fits where there were two.
        history: One entry per epoch, as the method keeps them; where there were two fits of both, those of the second
            with `refit` 1.
        chosen: The epoch that was chosen, by name of the training; empty if none was, or if the method does not tell:
            then it was not fitted anew.
    """

    method: Method
    scores: npt.NDArray[np.float64]
    costs: Costs
    history: Sequence[Mapping[str, Any]]
    chosen: Mapping[str, Epoch]


def fit_and_predict(
    cls: type[Method], config: MethodConfig | None, context: Context, samples: Samples, split: Split
) -> Fitted:
    """Run one repeat of a trained method: fit on its samples as the selection asks, and score its test rows.

    Under the selection `refit` a method that chooses an epoch is fitted twice: first on the training part, choosing by
    the validation part; then a new instance with the same seed on both, for as many epochs, choosing nothing.

    Args:
        cls: The method.
        config: Its settings; None means the defaults.
        context: Of the repeat.
        samples: All rows of the data set.
        split: The repeat's rows.

    Raises:
        PredictionError: The scores are not finite numbers of the right shape.
        TrainingError: A second fit did not run as many epochs as the first has chosen.
        Exception: Whatever else the method raises.
    """

    def alone(methods: Sequence[Method], parts: Sequence[_Parts]) -> Sequence[None]:
        methods[0].fit(*parts[0])
        return [None]

    (result,) = _fit_and_predict([_Repeat(cls, config, context, samples, split)], alone)
    if isinstance(result, Exception):
        raise result
    return result


def fit_together_and_predict(
    cls: type[Method],
    config: MethodConfig | None,
    contexts: Sequence[Context],
    samples: Samples,
    splits: Sequence[Split],
) -> list[Fitted | Exception]:
    """Run several repeats of a method that trains them together; see `fit_and_predict`.

    Args:
        cls: The method.
        config: Its settings.
        contexts: One per repeat.
        samples: All rows of the data set.
        splits: Each repeat's rows.

    Returns:
        For each repeat what it came to, or what its own training or prediction raised.

    Raises:
        Exception: Whatever else the method raises.
    """
    repeats = [_Repeat(cls, config, context, samples, split) for context, split in zip(contexts, splits, strict=True)]
    return _fit_and_predict(repeats, cls.fit_together)


def _fit_and_predict(repeats: Sequence[_Repeat], fit: _Fit) -> list[Fitted | Exception]:
    context = repeats[0].context
    with repeatable(context.device, wanted=context.deterministic):
        going = [one for one in repeats if not one.knows_first_fit()] or repeats
        for one in going:
            one.begin()
        with PeakMemory(context.device) as memory, noted_cuts() as cuts:
            _fit(going, fit)
            again = [one for one in repeats if one.is_to_be_refitted]
            for one in again:
                one.begin()
            if again:
                _fit(again, fit)
            for one in repeats:
                one.predict()
    return [one.result(memory, cuts, together=len(repeats)) for one in repeats]


def _fit(repeats: Sequence[_Repeat], fit: _Fit) -> None:
    started = time.perf_counter()
    failures = fit([one.method for one in repeats], [one.parts for one in repeats])
    share = (time.perf_counter() - started) / len(repeats)
    for one, failure in zip(repeats, failures, strict=True):
        one.end_fit(share, failure)


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


class _Repeat:
    """One repeat under way: its instance, and what is known of it.

    Attributes:
        method: The instance that is fitted now, or was last; the first one is let go before there is a second.
    """

    method: Method

    def __init__(
        self, cls: type[Method], config: MethodConfig | None, context: Context, samples: Samples, split: Split
    ) -> None:
        self.context = replace(context, mos_ranges=known_ranges(context.mos_ranges, samples, split))
        self._cls, self._config, self._samples, self._split = cls, config, samples, split
        self._chooses = cls.chooses_epoch(config if config is not None else cls.Config())
        self._chosen: dict[str, Epoch] = {}
        self._told: dict[str, Epoch] = {}
        self._is_second = False
        self._history: list[Mapping[str, Any]] = []
        self._seconds = 0.0
        self._failure: Exception | None = None
        self._scored: tuple[npt.NDArray[np.float64], float] | None = None

    @property
    def is_to_be_refitted(self) -> bool:
        """Whether a first fit has told what it chose, and a second one is wanted and did not begin."""
        wanted = self._chooses and self.context.selection == "refit"
        return wanted and bool(self._chosen) and not self._is_second and self._failure is None

    @property
    def parts(self) -> _Parts:
        """The samples to learn from, and those to choose by, as the selection asks for them."""
        selection = "last" if self._is_second else self.context.selection
        train, validation = self._split.training(selection, selects_epoch=self._chooses)
        return self._samples.subset(train), None if validation is None else self._samples.subset(validation)

    def knows_first_fit(self) -> bool:
        """Whether a process that was ended in the second fit has left what the first found; it is taken over."""
        if self.context.scratch is None:
            return False
        file = self.context.scratch / _FIRST_FIT
        try:
            record, fault = unseal(patiently(Path.read_bytes, file))
        except FileNotFoundError:
            return False
        fault = fault or first_fit_fault(record)
        if record is None or fault:
            _log.warning("%s %s; training begins anew", file, fault)
            return False
        self._chosen = {name: (epoch, of) for name, (epoch, of) in record["chosen"].items()}
        self._history, self._seconds = record["history"], record["seconds"]
        return True

    def begin(self) -> None:
        """Make an instance for the first fit, or for the second if one is due, and let it load what it needs."""
        context = replace(self.context, kept=self._note)
        self._is_second, self._told = self.is_to_be_refitted, {}
        if self._is_second:
            scratch = None if context.scratch is None else context.scratch / "refit"
            context = replace(context, chosen=self._chosen, scratch=scratch, progress=self._second_progress)
            vars(self).pop("method", None)  # two of a large model may not fit the memory
        # One that is alone may draw from the global generators in `fit` and `predict` too.
        seed_everything(context.seed, self._cls)
        self.method = self._cls(self._config, context)
        self.method.prepare()

    def _note(self, name: str, epoch: int, of: int) -> None:
        if not 1 <= epoch <= of:
            raise ValueError(f"Context.kept: epoch {epoch} of {of} of '{name}': epochs are counted from 1")
        self._told[str(name)] = int(epoch), int(of)

    def _second_progress(self, done: int, total: int, what: str) -> None:
        self.context.progress(done, total, f"refit, {what}")

    def end_fit(self, seconds: float, failure: Exception | None) -> None:
        """Keep what a fit has found.

        Raises:
            StoreError: No method's fault: nothing can be written, and the run cannot go on.
        """
        self._seconds += seconds
        if isinstance(failure, StoreError):
            raise failure
        try:
            if failure is not None:
                raise failure
            if self._is_second:
                self._check_second()
            else:
                self._chosen = self._told
            history: list[Mapping[str, Any]] = [*self.method.history]
            if self.is_to_be_refitted:
                history = [plain(entry) for entry in history]
            self._history += [{**entry, "refit": 1.0} for entry in history] if self._is_second else history
        except Exception as error:  # noqa: BLE001 - what a method keeps of itself may be anything
            self._failure = error
            return
        if self.is_to_be_refitted and self.context.scratch is not None:
            found = {"chosen": self._chosen, "history": self._history, "seconds": self._seconds}
            write_sealed(self.context.scratch / _FIRST_FIT, found)

    def _check_second(self) -> None:
        """Raise TrainingError if the second fit was not of the epochs that the first has chosen."""
        for name in self._chosen.keys() | self._told.keys():
            epoch, of = self._told.get(name, (0, 1))
            wanted = self.method.context.epochs_of(name, of)
            if name not in self._chosen or epoch != wanted:
                raise TrainingError(
                    f"method '{self._cls.name}': the second fit did not train '{name}' for the epochs that the first "
                    "has chosen: ask context.epochs_of for their number, and tell context.kept"
                )

    def predict(self) -> None:
        """Score the test rows, unless something has failed."""
        if self._failure is not None:
            return
        try:
            self._scored = predict(self.method, self._samples.subset(self._split.test))
        except StoreError:
            raise  # as in `end_fit`
        except Exception as error:  # noqa: BLE001 - it fails this repeat, whatever it is, and no other
            self._failure = error

    def result(self, memory: PeakMemory, cuts: Sequence[int], *, together: int) -> Fitted | Exception:
        """What the repeat came to."""
        if self._failure is not None:
            return self._failure
        assert self._scored is not None
        scores, seconds = self._scored
        costs = _costs(self.method, self._seconds, seconds, len(scores), memory, cuts)
        return Fitted(self.method, scores, replace(costs, trained_together=together), self._history, self._chosen)


def plain(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """One epoch's record as JSON takes it: numbers of numpy and torch too; what is not finite becomes null."""
    numbers = {str(key): float(value) for key, value in entry.items()}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def score_all(method: Method, samples: Samples) -> tuple[npt.NDArray[np.float64], Costs]:
    """Score every row of a data set with a zero-shot method; float64 (n, n_targets), higher is better; and its cost."""
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


def measure(
    samples: Samples,
    rows: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    candidates: Literal["prompt", "group"] = "prompt",
) -> dict[str, Any]:
    """All metrics of each target on the rows of a test part.

    Args:
        samples: All rows of the data set, MOS readable.
        rows: Row numbers of the test part, int64 (n_test,).
        scores: float64 (n_test, n_targets).
        candidates: See `agiqa_bench.data.dataset.Dataset`.

    Returns:
        JSON-ready metrics by target.
    """
    test = samples.subset(rows)
    labels = test.groups if candidates == "group" else [normalised(prompt) for prompt in test.prompts]
    mos = test.mos
    return {
        target: evaluate(scores[:, column], mos[:, column], test.generators, labels)
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
