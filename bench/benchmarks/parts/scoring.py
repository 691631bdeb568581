"""Part `scoring`: images per second of every method, and what ten repeats of a zero-shot method cost.

Each round scores images that the method has not seen, so that nothing comes out of a cache; they are decoded before
the clock starts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agiqa_bench.benchmarks.clock import timed
from agiqa_bench.benchmarks.made_up_runs import planned, run_planned
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings
from agiqa_bench.benchmarks.painted import decoded_samples, painted_images, write_rated
from agiqa_bench.benchmarks.runnable import runnable
from agiqa_bench.benchmarks.subprocesses import in_one_line
from agiqa_bench.errors import AgiqaError
from agiqa_bench.method import Context, Method
from agiqa_bench.registry import method_registry

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from agiqa_bench.data.samples import Samples

SUMMARY = "images per second of every method that can run here; ten repeats of a zero-shot method over one pass"

SIZES = {"tiny": (4, 128), "full": (16, 512), "paper": (256, 512)}
"""Images per round, at most, and their height and width, by scale."""
SECONDS = 6.0
"""For which each method is scored, in all rounds; slower ones score fewer images per round."""
FEW = 4
"""Images that are scored at first, to see how long it takes; no round has fewer."""
FITTED = 12
"""Images of the first round that a trained method is fitted to, at most."""
REPEATS = 10


def measure(settings: Settings, say: Say) -> PartResult:
    """Time `predict` of each registered method, and compare ten repeats of each zero-shot one with one pass.

    A trained method has its default settings (at the scale `tiny` its preset `quick`), but learns for one epoch, from a
    few pictures: what it learns does not change how long it scores. Nor do weights: a CLIP that cannot be had is one of
    the same size with random weights (at the scale `tiny` the method's stand-in).
    """
    images, size = SIZES[settings.scale]
    names = settings.methods or tuple(method_registry().names())
    rates: list[Entry] = []
    ratios: list[Entry] = []
    source = painted_images(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"painting {settings.rounds + 1} x {images} images")
        painted = [
            decoded_samples(folder / f"round-{number}", islice(source, images)) for number in range(settings.rounds + 1)
        ]
        for method in names:
            say(method)
            cls = method_registry().load(method)
            rates += throughput(cls, painted, settings, folder)
            if not cls.trainable and rates[-1].values:
                say(f"{method}: {REPEATS} repeats over one pass")
                ratios.append(repeats_over_one(cls, source, folder, settings))
    title = (
        f"{size} x {size} pixels, at most {images} images per round, {settings.device}, {settings.precision}; "
        "images are decoded, weights loaded"
    )
    return PartResult("scoring", title, [*rates, *ratios])


def throughput(cls: type[Method], painted: Sequence[Samples], settings: Settings, folder: Path) -> list[Entry]:
    """Images per second, and processor time per image, of a method's `predict`.

    Args:
        cls: The method.
        painted: Samples of one data set per round; the first is what a trained method is fitted to, and is not counted.
        settings: Device, precision and scale.
        folder: Where files of random weights go.

    Returns:
        Two entries with a value per further round, of as many images as can be scored in `SECONDS`; one without values,
        that says why, if the method cannot run here.
    """
    context = Context(
        dataset="benchmark",
        mos_ranges={"quality": (0.0, 5.0)},
        device=settings.device,
        precision=settings.precision,
        offline=True,
    )
    images = len(painted[0])
    first, *rounds = (samples.hidden() for samples in painted)
    few = min(FEW, images)
    try:
        config, work = runnable(cls, context, None if settings.scale == "tiny" else folder)
        method = cls(config, context)
        method.prepare()
        method.fit(painted[0].subset(range(min(images, FITTED))))
        tried = timed(partial(method.predict, first.subset(range(few))))
        possible = int(SECONDS / len(rounds) * few / max(tried.seconds, 1e-9))
        scored = min(images, max(few, possible))
        took = [timed(partial(method.predict, each.subset(range(scored)))) for each in rounds]
    except AgiqaError as error:
        return [Entry(cls.name, "images/s", (), "higher", in_one_line(error))]
    except Exception as error:  # noqa: BLE001 - whatever one method raises must not keep the others from being measured
        why = " ".join(f"failed: {type(error).__name__}: {error}".split())
        return [Entry(cls.name, "images/s", (), "higher", why)]
    note = f"slow: only {scored} images per round" if scored < images else ""
    processor = tuple(1000 * each.processor / scored for each in took)
    return [
        Entry(cls.name, "images/s", tuple(scored / each.seconds for each in took), "higher", note, work),
        Entry(f"{cls.name}, processor per image", "ms", processor, work=work),
    ]


def repeats_over_one(
    cls: type[Method], source: Iterator[npt.NDArray[np.uint8]], folder: Path, settings: Settings
) -> Entry:
    """Compare ten repeats of a zero-shot method with one pass, through the real runner.

    Args:
        cls: The method, registered under its name.
        source: Images that no cache knows.
        folder: For files and runs.
        settings: Rounds, device, precision and scale.

    Returns:
        By round: time in `predict` of a run of ten repeats over that of a run of one, on other images in each run; no
        further rounds after `SECONDS`; no values, and why, if a run fails.
    """
    name = f"{cls.name}, {REPEATS} repeats over one pass"
    # A split needs some images of each kind, and a ratio of two short times would say nothing.
    images = max(SIZES[settings.scale][0], FITTED)
    ratios: list[float] = []
    started = time.perf_counter()
    try:
        while len(ratios) < settings.rounds and (not ratios or time.perf_counter() - started < SECONDS):
            runs = [
                _run(cls, islice(source, images), folder / f"{cls.name}-{len(ratios)}-{repeats}", repeats, settings)
                for repeats in (REPEATS, 1)
            ]
            ratios.append(runs[0][0] / runs[1][0])
    except AgiqaError as error:
        return Entry(name, "x", note=in_one_line(error))
    return Entry(name, "x", tuple(ratios), note=f"time in predict, {images} images", work=runs[0][1])


def _run(
    cls: type[Method], images: Iterable[npt.NDArray[np.uint8]], folder: Path, repeats: int, settings: Settings
) -> tuple[float, str]:
    """Seconds in `predict` of a run on a data set of its own, and the method's name with its stand-ins."""
    folder.mkdir()
    file = folder / "painted.csv"
    write_rated(folder, images).drop(columns="path").to_csv(file, index=False)
    options = {"device": settings.device, "precision": settings.precision, "split": "image"}
    plan, store = planned(file, [cls.name], folder / "run", repeats=repeats, **options)
    with predict_seconds(cls) as spent:
        run_planned(plan, store)
    return sum(spent), plan.methods[0].display


@contextmanager
def predict_seconds(cls: type[Method]) -> Iterator[list[float]]:
    """Time every call of a method's `predict` inside a `with` block; gives the list of seconds, one per call."""
    own = cls.__dict__.get("predict")
    plain = cls.predict
    spent: list[float] = []

    def clocked(self: Method, samples: Samples) -> Any:
        started = time.perf_counter()
        try:
            return plain(self, samples)
        finally:
            spent.append(time.perf_counter() - started)

    setattr(cls, "predict", clocked)  # noqa: B010 - what is assigned to a method is no concern of a type checker
    try:
        yield spent
    finally:
        if own is None:
            delattr(cls, "predict")
        else:
            setattr(cls, "predict", own)  # noqa: B010
