"""Part `memory`: the most memory that each method takes, in a process of its own.

Each is trained for one step, at its own batch size but for the scale `full`, and scores a data set. CLIPs have their
full size and random weights, other networks their full size without weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agiqa_bench.benchmarks.anonymous import AnonymousPeak
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings
from agiqa_bench.benchmarks.painted import RANGE, RATED, rated_pictures
from agiqa_bench.benchmarks.runnable import runnable
from agiqa_bench.benchmarks.subprocesses import answer_of, give_answer
from agiqa_bench.errors import BenchmarkError
from agiqa_bench.execution.device import PeakMemory
from agiqa_bench.method import Context, Method, MethodConfig
from agiqa_bench.registry import method_registry

if TYPE_CHECKING:
    from agiqa_bench.data.samples import Samples

SUMMARY = "peak memory of every method, in a process of its own: one step of training and scoring a data set"

SIZES = {"tiny": (12, 64), "full": (16, 512), "paper": (2982, 512)}
"""Images, and their height and width, by scale; AGIQA-3K has 2,982."""
STEP = 40
"""Images that a method learns from whose settings name no batch size."""
STEP_OF_FULL = 8
"""At the scale `full` no step has more: forty images of full size can take all the memory of a workstation."""
SECONDS = 8.0
"""After which no method is measured again: memory hardly varies."""


def measure(settings: Settings, say: Say) -> PartResult:
    """Measure each method as often as there are rounds, within `SECONDS`, each time in a new process."""
    from agiqa_bench.data.image_cache import ImageCache

    images, size = SIZES[settings.scale]
    names = settings.methods or tuple(method_registry().names())
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"painting {images} images")
        table = rated_pictures(folder, images, size)
        table.to_csv(folder / "images.csv", index=False)
        _ = ImageCache(list(table["path"]), folder / "cache").store
        for method in names:
            say(method)
            entries += _of_method(method, folder, settings)
    most = f" of at most {STEP_OF_FULL} images" if settings.scale == "full" else ""
    title = (
        f"{images} images of {size} x {size}, decoded before; {settings.device}, {settings.precision}; "
        f"one step of training{most}, then all images scored"
    )
    return PartResult("memory", title, entries)


def full_size(cls: type[Method], config: MethodConfig) -> MethodConfig:
    """A method's settings with the network of its default settings, without weights, in place of a small stand-in.

    Args:
        cls: The method.
        config: Settings; those of a method without an image backbone of timm are returned as they are.
    """
    from agiqa_bench.backbones.convnet import UNTRAINED, ConvNetConfig, untrained

    if not isinstance(config, ConvNetConfig) or not untrained(config.backbone).stand_in:
        return config
    architecture = str(cls.Config.model_fields["backbone"].default).partition(":")[0].partition(".")[0]
    return cls.Config.model_validate(config.model_dump() | {"backbone": f"{architecture}:{UNTRAINED}"})


def use(name: str, folder: Path, settings: Settings) -> dict[str, Any]:
    """Train a method for a step and score all images: what the process of a method does.

    Args:
        name: Of the method.
        folder: With `images.csv` and the image cache.
        settings: Scale, device and precision.

    Returns:
        `work` (batch and weights), `resident` (MiB, of memory and of mapped files, at most; None where the system does
        not tell), `device` (MiB that torch allocated on a CUDA device, at most; None on the CPU).

    Raises:
        AgiqaError: It cannot run here.
    """
    cls = method_registry().load(name)
    targets = tuple(target for target in RATED if target in cls.targets) or RATED[:1]
    context = Context(
        dataset="benchmark",
        targets=targets,
        mos_ranges=dict.fromkeys(RATED, RANGE),
        device=settings.device,
        precision=settings.precision,
        selection="last",
        offline=True,
    )
    config, work = runnable(cls, context, None if settings.scale == "tiny" else folder)
    if settings.scale != "tiny":
        config = full_size(cls, config)
    samples = _samples(folder, targets)
    own = getattr(config, "batch_size", None) or STEP
    batch = min(own, STEP_OF_FULL if settings.scale == "full" else own, len(samples))
    with PeakMemory(settings.device) as peak:
        method = cls(config, context)
        method.prepare()
        method.fit(samples.subset(range(batch)))
        method.predict(samples.hidden())
    return {
        "work": "; ".join(words for words in (f"batch of {batch}" if cls.trainable else "", work) if words),
        "resident": _mebibytes(peak.host_bytes),
        "device": _mebibytes(peak.device_bytes),
    }


def _mebibytes(bytes_: int | None) -> float | None:
    return None if bytes_ is None else bytes_ / 2**20


def main(name: str, folder: Path, asked: str, answer: Path) -> None:
    """What the process of a method does; see `use`."""
    options = json.loads(asked)
    settings = Settings(**options | {"methods": tuple(options["methods"])})
    give_answer(answer, lambda: use(name, folder, settings))


def _samples(folder: Path, targets: tuple[str, ...]) -> Samples:
    import pandas as pd

    from agiqa_bench.data.image_cache import ImageCache
    from agiqa_bench.data.samples import Samples

    table = pd.read_csv(folder / "images.csv", dtype={"group": str, "prompt": str})
    return Samples(table, targets, ImageCache(list(table["path"]), folder / "cache"))


def _of_method(name: str, folder: Path, settings: Settings) -> list[Entry]:
    rounds: list[Mapping[str, Any]] = []
    started = time.perf_counter()
    while len(rounds) < settings.rounds and (not rounds or time.perf_counter() - started < SECONDS):
        peak = AnonymousPeak()
        try:
            found = answer_of(__name__, name, str(folder), json.dumps(asdict(settings)), watch=peak)
        except BenchmarkError as error:
            # The others are still measured.
            return [Entry(name, "MiB", note=str(error))]
        rounds.append(found | {"anonymous": peak.mebibytes})
    columns = {"": "anonymous", ", with pages of mapped files": "resident", ", on the device": "device"}
    measured = {what: tuple(each[key] for each in rounds if each[key]) for what, key in columns.items()}
    return [
        Entry(f"{name}{what}", "MiB", values, work=rounds[0]["work"]) for what, values in measured.items() if values
    ]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
