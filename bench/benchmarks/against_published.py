"""One trained method against its published procedure: the same work by both, in turns, and whether they agree."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from agiqa_bench.benchmarks.clock import Took, timed
from agiqa_bench.benchmarks.flops import count_flops, wait_for
from agiqa_bench.benchmarks.model import Better, Entry, Settings
from agiqa_bench.benchmarks.painted import RANGE, RATED, rated_pictures
from agiqa_bench.benchmarks.procedures import PublishedProcedure, Workload, published_procedures
from agiqa_bench.benchmarks.seeded_weights import write_seeded_weights
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Context, Method
from agiqa_bench.registry import method_registry
from agiqa_bench.seeds import derive_seed

LOSSES_AGREE = 1e-3
SCORES_AGREE = 1e-4
"""Largest differences in float32 on the CPU with which a ratio of times says anything."""

ROUGHLY = 0.05
"""The same on other devices and in lower precision: of the largest loss, and of the range of the MOS."""

_HIDDEN = "many training steps took no longer than one: measure again when the machine is quiet"

_TRAINED = 0.8
_VALIDATED = 8
"""One of so many training pictures is held back for validation."""


@dataclass(frozen=True)
class Round:
    """What one round has found.

    Attributes:
        took: Of the plain and of the fast path, by what was done; None if other work on the machine hid it.
        complete: The same of the complete work.
        validating: The complete work of the fast path under `--select validation`.
        losses: Largest difference of a step's loss, or of an epoch's mean loss.
        scores: Largest difference of a score, for the same weights.
        largest: Largest loss of a step of the plain path.
        mebibytes: Peak of the CUDA device's memory in the complete work, plain and fast; None on the CPU.
    """

    took: Mapping[str, tuple[Took, Took] | None]
    complete: tuple[Took, Took]
    validating: Took
    losses: float
    scores: float
    largest: float
    mebibytes: tuple[float, float] | None


class AgainstPublished:
    """Measures one method."""

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        """Write pictures and weights.

        Args:
            name: Of the method.
            settings: Of the benchmark.
            folder: For all files; the caller deletes it.

        Raises:
            UnknownNameError: There is no such method, or no published procedure of it.
        """
        self.name = name
        self._cls: type[Method] = method_registry().load(name)
        self._procedure: type[PublishedProcedure] = published_procedures().load(name)
        self.work: Workload = self._procedure.workloads[settings.scale]
        self._settings, self._folder = settings, folder / name
        self._folder.mkdir()
        own = dict(self.work.settings)
        if self.work.architecture:
            own["backbone"] = write_seeded_weights(self.work.architecture, folder)
        if self.work.batch_size is not None:
            own["batch_size"] = self.work.batch_size
        self._own: dict[str, Any] = own
        self._targets = tuple(target for target in RATED if target in self._cls.targets)
        self._table = rated_pictures(self._folder, self.work.pictures, self.work.size)
        self._trained = round(_TRAINED * self.work.pictures)
        self._held_back = max(2, self._trained // _VALIDATED)
        self._together = min(self._cls.trains_together, self.work.repeats)

    @property
    def complete(self) -> str:
        """The complete work, in words."""
        repeats = "1 repeat" if self.work.repeats == 1 else f"{self.work.repeats} repeats"
        epochs = "1 epoch" if self.work.epochs == 1 else f"{self.work.epochs} epochs"
        return f"{repeats} of {epochs} on {self.work.pictures} pictures"

    def round(self) -> Round:
        """Do everything once, the plain path before the fast one."""
        took: dict[str, tuple[Took, Took] | None] = {}
        procedure, losses, losses_apart = self._steps(took)
        scores_apart = self._scoring(took, procedure)
        plain, means, plain_peak = self._complete_plain()
        with self._fresh_cache():
            fast, fast_means, fast_peak = self._complete_fast(validating=False)
        with self._fresh_cache():
            validating, _, _ = self._complete_fast(validating=True)
        means_apart = max(_apart(one, other) for one, other in zip(means, fast_means, strict=True))
        peaks = None if plain_peak is None or fast_peak is None else (plain_peak, fast_peak)
        apart = max(losses_apart, means_apart), scores_apart
        return Round(took, (plain, fast), validating, *apart, max(losses), peaks)

    def flops(self) -> int:
        """Floating-point operations of the fast path in the complete work."""
        with self._fresh_cache():
            return count_flops(lambda: self._complete_fast(validating=False))

    def entries(self, rounds: Sequence[Round], flops: int, product_rate: float) -> list[Entry]:
        """What a table shows.

        Args:
            rounds: At least one.
            flops: From `flops`.
            product_rate: Floating-point operations per second of a large matrix product.
        """
        trouble = self._disagreement(rounds)
        found: list[Entry] = []
        done = {self.complete: [one.complete for one in rounds]}
        for what in rounds[0].took:
            done[what] = [pair for one in rounds if (pair := one.took[what]) is not None]
        for what, pairs in done.items():
            found += [
                _seconds(f"{self.name}: {what}, plain", [plain for plain, _ in pairs], "neither"),
                _seconds(f"{self.name}: {what}, fast", [fast for _, fast in pairs]),
                self._ratio(f"{self.name}: {what}, plain / fast", pairs, trouble),
            ]
        validating = [(one.complete[0], one.validating) for one in rounds]
        default = f"{self.name}: {self.complete}, --select validation"
        found += [
            _seconds(f"{default}, fast", [fast for _, fast in validating]),
            self._ratio(
                f"{default}, plain / fast",
                validating,
                trouble,
                f"the fast path trains on {self._trained - self._held_back} of the {self._trained} pictures that the "
                "plain path trains on, and validates by the others",
            ),
        ]
        rates = [flops / one.complete[1].seconds for one in rounds]
        arithmetic = f"{self.name}: arithmetic of the fast path"
        found += [
            Entry(
                f"{self.name}: largest difference of losses",
                "",
                tuple(one.losses for one in rounds),
                "neither",
                f"of the first {self.work.steps} steps, and of the mean of each epoch in the complete work; no loss of "
                f"a step is above {max(one.largest for one in rounds):.3g}",
            ),
            Entry(
                f"{self.name}: largest difference of scores",
                "",
                tuple(one.scores for one in rounds),
                "neither",
                f"of the same pictures by the same weights, those behind {self.work.steps} steps of the plain path",
            ),
            Entry(arithmetic, "GFLOP/s", tuple(rate / 1e9 for rate in rates), "higher"),
            Entry(
                f"{arithmetic}, share of a large matrix product",
                "%",
                tuple(100 * rate / product_rate for rate in rates),
                "higher",
                f"{flops / 1e9:.4g} GFLOP in the complete work",
            ),
        ]
        peaks = [one.mebibytes for one in rounds if one.mebibytes is not None]
        for place, path in enumerate(("plain", "fast") if peaks else ()):
            values = tuple(peak[place] for peak in peaks)
            better: Better = "neither" if path == "plain" else "lower"
            found.append(Entry(f"{self.name}: peak memory of the device, {path}", "MiB", values, better))
        return found

    def _disagreement(self, rounds: Sequence[Round]) -> str:
        """Why a ratio would say nothing; empty if both paths agree, as closely as their arithmetic lets them."""
        losses, scores = max(one.losses for one in rounds), max(one.scores for one in rounds)
        bounds = LOSSES_AGREE, SCORES_AGREE
        if self._settings.device != "cpu" or self._settings.precision != "float32":
            bounds = ROUGHLY * max(one.largest for one in rounds), ROUGHLY * (RANGE[1] - RANGE[0])
        if losses <= bounds[0] and scores <= bounds[1]:
            return ""
        return (
            f"not shown: the paths do not agree (losses differ by {losses:.2g}, scores by {scores:.2g}, where "
            f"{bounds[0]:.2g} and {bounds[1]:.2g} are let pass)"
        )

    def _ratio(self, name: str, pairs: Sequence[tuple[Took, Took]], trouble: str, note: str = "") -> Entry:
        if not pairs or trouble:
            return Entry(name, "x", better="higher", note=trouble or _HIDDEN)
        values = tuple(plain.seconds / fast.seconds for plain, fast in pairs)
        processor = median(plain.processor / fast.processor for plain, fast in pairs)
        by_processor = f"{processor:.3g} x by processor time"
        return Entry(name, "x", values, "higher", f"{by_processor}; {note}" if note else by_processor)

    @contextmanager
    def _fresh_cache(self) -> Iterator[None]:
        """A cache folder of its own: what a round keeps must not serve the next one."""
        before = os.environ.get("AGIQA_CACHE")
        with tempfile.TemporaryDirectory(dir=self._folder) as cache:
            os.environ["AGIQA_CACHE"] = cache
            try:
                yield
            finally:
                if before is None:
                    del os.environ["AGIQA_CACHE"]
                else:
                    os.environ["AGIQA_CACHE"] = before

    def _samples(self, start: int, stop: int) -> Samples:
        """Some of the pictures as a data set of their own."""
        table = self._table.iloc[start:stop].reset_index(drop=True)
        return Samples(table, self._targets, ImageCache(list(table["path"])))

    def _parts(self) -> tuple[Samples, Samples]:
        """Training and test part."""
        samples = self._samples(0, self.work.pictures)
        return samples.subset(range(self._trained)), samples.subset(range(self._trained, self.work.pictures))

    @property
    def _batch_size(self) -> int:
        return self._procedure(self._method(1, plain=True), *self._parts()).batch_size

    def _method(self, epochs: int, repeat: int = 0, *, plain: bool = False) -> Method:
        """A prepared method; one for the plain path computes in float32."""
        context = Context(
            "benchmark",
            self._targets,
            dict.fromkeys(RATED, RANGE),
            device=self._settings.device,
            precision="float32" if plain else self._settings.precision,
            seed=derive_seed("benchmark", self.name, repeat),
            shared_seed=derive_seed("benchmark", self.name),
            repeat=repeat,
            selection="test",
            offline=True,
        )
        method = self._cls(self._cls.Config(**self._own | {"epochs": epochs}), context)
        method.prepare()
        return method

    def _timed(self, run: Callable[[], object]) -> Took:
        def finished() -> None:
            run()
            wait_for(self._settings.device)

        wait_for(self._settings.device)
        return timed(finished)

    def _steps(self, took: dict[str, tuple[Took, Took] | None]) -> tuple[PublishedProcedure, list[float], float]:
        """Time training steps; the plain path behind them, its losses, and their largest difference."""
        batch = self._samples(0, min(self._batch_size, self._trained))
        plain = self._procedure(self._method(self.work.steps, plain=True), batch, batch)
        losses: list[float] = []
        # What a training costs once is in one step as in many, and falls out of their difference.
        plain_one = self._timed(lambda: plain.losses(1))
        fast_one, _ = self._fast_steps(1, len(batch))
        plain_many = self._timed(lambda: losses.extend(plain.losses(self.work.steps)))
        fast_many, fast_losses = self._fast_steps(self.work.steps, len(batch))
        number, together = self.work.steps - 1, self._together
        step = f"a training step on {len(batch)} pictures" + (f", of {together} repeats together" * (together > 1))
        more = _less(plain_many, plain_one), _less(fast_many, fast_one)
        hidden_by_others = min(min(each.seconds, each.processor) for each in more) <= 0
        took[step] = None if hidden_by_others else (_per(more[0], number), _per(more[1], number * together))
        return plain, losses, _apart(losses, fast_losses)

    def _fast_steps(self, steps: int, pictures: int) -> tuple[Took, list[float]]:
        """Time steps of the fast path, which keeps nothing for any others; the loss of each in the first repeat."""
        with self._fresh_cache():
            batch = self._samples(0, pictures)
            batch.images.sizes  # noqa: B018 - decoded once for all epochs and repeats
            methods = [self._method(steps, repeat) for repeat in range(self._together)]
            took = self._timed(lambda: _fit_all(methods, batch))
        # An epoch of these is one step, so that the history tells the loss of each.
        return took, [entry["loss"] for entry in methods[0].history]

    def _scoring(self, took: dict[str, tuple[Took, Took] | None], plain: PublishedProcedure) -> float:
        """Time the scoring of picture files that neither path has read; the largest difference for the same weights."""
        start, stop = self.work.pictures - self.work.scored, self.work.pictures
        wanted: list[Any] = []
        found: list[Any] = []
        method = self._method(self.work.steps).restore(plain.state())
        plain_took = self._timed(lambda: wanted.append(plain.score(self._samples(start, stop))))
        with self._fresh_cache():
            fast_took = self._timed(lambda: found.append(method.predict(self._samples(start, stop).hidden())))
        number = stop - start
        took[f"scoring a picture from its file, of {number}"] = _per(plain_took, number), _per(fast_took, number)
        return _apart(wanted[0], np.reshape(found[0], wanted[0].shape))

    def _complete_plain(self) -> tuple[Took, list[list[float]], float | None]:
        """Time the complete work of the plain path; the mean loss of each epoch of each repeat, and peak memory."""
        train, test = self._parts()
        epochs = self.work.epochs
        repeats = [
            self._procedure(self._method(epochs, repeat, plain=True), train, test)
            for repeat in range(self.work.repeats)
        ]
        means: list[list[float]] = []
        self._reset_peak()
        took = self._timed(lambda: means.extend(repeat.train(epochs) for repeat in repeats))
        return took, means, self._peak()

    def _complete_fast(self, *, validating: bool) -> tuple[Took, list[list[float]], float | None]:
        """The same of the fast path; `validating` holds training pictures back instead of choosing by the test part."""
        train, test = self._parts()
        held_back = test
        if validating:
            count = self._held_back
            train, held_back = train.subset(range(count, len(train))), train.subset(range(count))
        methods = [self._method(self.work.epochs, repeat) for repeat in range(self.work.repeats)]

        def run() -> None:
            _fit_all(methods, train, held_back)
            for method in methods:
                method.predict(test.hidden())

        self._reset_peak()
        took = self._timed(run)
        return took, [[entry["loss"] for entry in method.history] for method in methods], self._peak()

    def _reset_peak(self) -> None:
        if self._settings.device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._settings.device)

    def _peak(self) -> float | None:
        """Peak memory of a CUDA device in MiB."""
        if not self._settings.device.startswith("cuda"):
            return None
        return float(torch.cuda.max_memory_allocated(self._settings.device)) / 2**20


def _fit_all(methods: Sequence[Method], train: Samples, held_back: Samples | None = None) -> None:
    """Fit all repeats, as many together as the method can."""
    cls = type(methods[0])
    if cls.trains_together == 1:
        for method in methods:
            method.fit(train, held_back)
        return
    for start in range(0, len(methods), cls.trains_together):
        some = methods[start : start + cls.trains_together]
        for failure in cls.fit_together(some, [(train, held_back)] * len(some)):
            if failure is not None:
                raise failure


def _less(took: Took, other: Took) -> Took:
    return replace(took, seconds=took.seconds - other.seconds, processor=took.processor - other.processor)


def _per(took: Took, count: int) -> Took:
    return replace(took, seconds=took.seconds / count, processor=took.processor / count)


def _apart(one: Any, other: Any) -> float:
    """Largest difference of two arrays of one shape."""
    return float(np.abs(np.subtract(one, other)).max())


def _seconds(name: str, all_took: Sequence[Took], better: Better = "lower") -> Entry:
    if not all_took:
        return Entry(name, "s", better=better, note=_HIDDEN)
    processor = median(took.processor for took in all_took)
    note = f"{processor:.3g} s of processor"
    return Entry(name, "s", tuple(took.seconds for took in all_took), better, note)
