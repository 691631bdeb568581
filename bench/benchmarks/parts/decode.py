"""Part `decode`: images per second of the image cache, beside Pillow alone on all cores.

The cache reads, hashes, checks, decodes and stores every image; the yardstick only opens, converts to RGB and makes an
array, in threads and in processes, of which the faster counts. All in turns, on files that the system has in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from agiqa_bench.benchmarks.clock import Took, in_turns, timed
from agiqa_bench.benchmarks.model import Entry, PartResult, Say, Settings

SUMMARY = "images per second that the image cache decodes, over Pillow alone on all cores; reading back and resizing"

SIZES = {"tiny": (16, 64), "full": (1000, 512), "paper": (2982, 512)}
"""Pictures, and their height and width, by scale."""
FORMATS = {"JPEG": {"quality": 90}, "PNG": {}}
"""Formats with what Pillow is told when it writes them."""
RESIZED = 224
"""Side to which images are resized, as most networks want them."""

_NOISE = 6.0
"""Standard deviation: plain areas, which no photograph has, would be decoded too fast."""


def measure(settings: Settings, say: Say) -> PartResult:
    """Time the image cache and Pillow alone for each format, then reading back and resizing what was decoded."""
    from multiprocessing import get_context

    from agiqa_bench.data.parallel import default_workers

    images, size = SIZES[settings.scale]
    cores = default_workers()
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"painting {images} pictures")
        files = write_pictures(folder, images, size)
        threads = ThreadPoolExecutor(cores)
        # Forked processes would inherit the locks of threads that they do not have.
        with threads, ProcessPoolExecutor(cores, get_context("spawn")) as processes:
            for format_, paths in files.items():
                say(format_)
                ways = {
                    "Pillow alone, threads": partial(_with_pillow, threads, paths, 1),
                    "Pillow alone, processes": partial(_with_pillow, processes, paths, -(-images // (8 * cores))),
                    "image cache": partial(_with_cache, paths, folder / format_),
                }
                entries += _beside_pillow(format_, in_turns(ways, settings.rounds, say), images)
        say(f"reading back, resizing to {RESIZED}")
        entries += _decoded(files["JPEG"], folder, settings.rounds, say)
    title = (
        f"{images} pictures of {size} x {size} per format, {cores} cores; "
        "the cache: read, hash, check, decode, write to the disk"
    )
    return PartResult("decode", title, entries)


def write_pictures(folder: Path, images: int, size: int) -> dict[str, list[str]]:
    """Write pictures with noise like that of a photograph in every format; no two are alike.

    Args:
        folder: Where they go.
        images: How many.
        size: Height and width, a multiple of 32.

    Returns:
        The files of each format.
    """
    from PIL import Image

    from agiqa_bench.benchmarks.painted import painted_images

    files: dict[str, list[str]] = {format_: [] for format_ in FORMATS}
    for number, image in enumerate(islice(painted_images(size, noise=_NOISE), images)):
        for format_, options in FORMATS.items():
            path = folder / f"{number}.{format_.lower()}"
            Image.fromarray(image).save(path, format_, **options)
            files[format_].append(str(path))
    return files


def decode_alone(path: str) -> tuple[int, ...]:
    """The yardstick: open, convert to RGB, make an array; its shape."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).shape


def _with_pillow(pool: Executor, paths: Sequence[str], chunk: int, round_: int) -> Took:  # noqa: ARG001
    return timed(lambda: list(pool.map(decode_alone, paths, chunksize=chunk)))


def _with_cache(paths: Sequence[str], folder: Path, round_: int) -> Took:
    import shutil

    from agiqa_bench.data.image_cache import ImageCache

    # A cache per round: nothing is known of the files, and no digest of an earlier round is remembered. Each is removed
    # at once: with all of them kept, a small machine would run out of fresh memory for the system's file cache.
    place = folder / str(round_)
    took = timed(lambda: ImageCache(paths, place).store)
    shutil.rmtree(place)
    return took


def _beside_pillow(format_: str, took: dict[str, list[Took]], images: int) -> list[Entry]:
    rates = {name: tuple(images / each.seconds for each in every) for name, every in took.items()}
    *alone, cache = rates.values()
    over = tuple(ours / max(theirs) for ours, *theirs in zip(cache, *alone, strict=True))
    processor = tuple(1000 * each.processor / images for each in took["image cache"])
    return [
        *(Entry(f"{format_}: {name}", "images/s", values, "higher") for name, values in rates.items()),
        Entry(f"{format_}: image cache over the faster Pillow", "x", over, "higher", "wanted: at least 0.8"),
        Entry(f"{format_}: image cache, processor per image", "ms", processor),
    ]


def _decoded(paths: Sequence[str], folder: Path, rounds: int, say: Say) -> list[Entry]:
    """Entries for reading what is decoded, and for resizing it."""
    import shutil

    import numpy as np

    from agiqa_bench.data.image_cache import ImageCache
    from agiqa_bench.data.resizing import Resizing

    place = folder / "decoded"
    store = ImageCache(paths, place).store
    bytes_ = sum(store[number].nbytes for number in range(len(store)))

    def read() -> None:
        for number in range(len(store)):
            np.array(store[number])

    def resize() -> None:
        cache = ImageCache(paths, place)
        shutil.rmtree(cache.resized(Resizing(RESIZED)).folder)

    took = in_turns({"read": lambda _: timed(read), "resize": lambda _: timed(resize)}, rounds, say)
    gigabytes = tuple(bytes_ / each.seconds / 1e9 for each in took["read"])
    resized = tuple(len(store) / each.seconds for each in took["resize"])
    busy = tuple(each.processor / each.seconds for each in took["resize"])
    return [
        Entry("reading decoded images, one thread", "GB/s", gigabytes, "higher", "from memory; copied image by image"),
        Entry(f"resizing to {RESIZED}", "images/s", resized, "higher", "stored on the disk"),
        Entry(f"resizing to {RESIZED}: cores that are busy", "cores", busy, "neither", "processor time over wall time"),
    ]
