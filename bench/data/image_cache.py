"""The image cache: every image of a data set is decoded once, in parallel, and read through a memory map ever after.

Methods meet it as `samples.images`:

    for image in samples.images:            # uint8 (h, w, 3), read-only
        ...
    samples.images.resized(224)             # uint8 (n, 224, 224, 3), resized once for all repeats
"""

from __future__ import annotations

import hashlib
import logging
import operator
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import PIL

from agiqa_bench import atomic
from agiqa_bench.data import images as decoding
from agiqa_bench.data import pixel_store, resizing
from agiqa_bench.data.file_digests import FileContent, file_digests
from agiqa_bench.data.folder_lock import folder_lock
from agiqa_bench.data.parallel import default_workers, map_in_order
from agiqa_bench.data.pixel_store import PixelStore, open_store, write_store
from agiqa_bench.data.resizing import Crop, Interpolation, Resize, Resizing
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.errors import BadImageError, StoreError

Progress = Callable[[int, int, str], None]
Pixels = npt.NDArray[np.uint8]

_log = logging.getLogger(__name__)

_NAMED = 3
"""How many bad images a message names."""


class ImageCache:
    """Decoded images of all rows of a data set, kept on disk; nothing is read before it is needed.

    The store is found by the content of the files, the decoding policy, the code behind it and Pillow's version, so a
    changed file can never meet old pixels, nor mended code the pixels of a mistake, and copies of a data set share one
    store. Files of equal content are decoded once. A damaged store is told of and built again. Several processes may
    use one cache at once: one builds, the others wait for it.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        folder: Path | None = None,
        workers: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Remember where the files are.

        Args:
            paths: Image file of each row, length n; a path may repeat.
            folder: Folder of the cache; None means `agiqa_bench.data.roots.cache_root()`.
            workers: Number of threads; None means one per core.
            progress: Called with (done, total, what) while files are read, decoded or resized.
        """
        self._paths = [str(path) for path in paths]
        self._folder = folder
        self._workers = workers or default_workers()
        self._progress: Progress = progress or (lambda done, total, what: None)  # noqa: ARG005
        self._resized: dict[Resizing, PixelStore] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __reduce__(self) -> tuple[type[ImageCache], tuple[list[str], Path | None, int]]:
        # Another process maps the store itself: a pickled memory map would carry every pixel.
        return ImageCache, (self._paths, self._folder, self._workers)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the files' contents in the order of the rows; locations do not enter.

        Raises:
            BadImageError: A file cannot be read.
        """
        contents, bad = self._read
        self._refuse(bad)
        return _sha256(contents[path].digest for path in self._paths)

    def view(self, rows: npt.ArrayLike) -> Images:
        """The images of `rows` (int, row numbers of the data set), in that order; reads nothing yet."""
        return Images(self, np.asarray(rows, dtype=np.int64))

    @cached_property
    def store(self) -> PixelStore:
        """The decoded images, one per distinct content, decoded now if they are not on disk yet.

        Whether each pixel is as it was written is not looked at again: see `prove`.

        Raises:
            BadImageError: One or more images cannot be decoded; all are counted, the first are named.
            StoreError: The cache folder cannot be written.
        """
        return self._stored(self._key, self._decoded)

    def prove(self) -> None:
        """Look at every byte of the store, and decode again what is damaged; once for all processes of a run.

        Raises:
            BadImageError, StoreError: As `store`.
        """
        self.store = self._stored(self._key, self._decoded, proven=True)

    @cached_property
    def entries(self) -> npt.NDArray[np.int64]:
        """Number of each row's image in the store, int64 (n,)."""
        contents, bad = self._read
        self._refuse(bad)
        numbers = {digest: number for number, digest in enumerate(self._sources)}
        return np.asarray([numbers[contents[path].digest] for path in self._paths], dtype=np.int64)

    def resized(self, resizing: Resizing) -> PixelStore:
        """All images of the store resized to one size; computed once, kept on disk, opened and proven once.

        Raises:
            BadImageError, StoreError: As `store`.
            ConfigError: The images are not square, and `resizing` does not make them so.
        """
        if resizing not in self._resized:
            name = f"{self._key}-{resizing.tag}"
            self._resized[resizing] = self._stored(name, lambda: self._applied(resizing), proven=True)
        return self._resized[resizing]

    @cached_property
    def _read(self) -> tuple[dict[str, FileContent], list[BadImageError]]:
        """What is known of the content of every file that can be read, and why the others cannot."""
        digests = partial(
            file_digests, list(dict.fromkeys(self._paths)), self.folder / "digests", self._workers, self._progress
        )
        contents, bad = digests()
        remembers = any(content.remembered for content in contents.values())
        if remembers and not self._place(_key_of(contents)).exists():
            # A file can change behind its size and time. All are to be read now, so none is taken for what it was.
            return digests(anew=True)
        return contents, bad

    @property
    def paths(self) -> list[str]:
        """Image file of each row, length n."""
        return list(self._paths)

    @property
    def folder(self) -> Path:
        """Folder of the cache; it need not exist."""
        if self._folder is not None:
            return self._folder
        from agiqa_bench.data.roots import cache_root

        return cache_root()

    @cached_property
    def _sources(self) -> dict[str, str]:
        """Per distinct content (digest) the first file that has it, in the order of the rows."""
        sources: dict[str, str] = {}
        for path, content in self._read[0].items():
            sources.setdefault(content.digest, path)
        return sources

    @property
    def _key(self) -> str:
        return _key_of(self._read[0])

    def _place(self, name: str) -> Path:
        return self.folder / "images" / name

    def _stored(
        self, name: str, images: Callable[[], Generator[Pixels, None, None]], *, proven: bool = False
    ) -> PixelStore:
        """The store called `name`, written from `images` if it is not there or damaged.

        Args:
            name: Of its folder.
            images: Gives them, if they are needed.
            proven: Whether to look at every byte of what is there.
        """
        folder = self._place(name)
        # With an unreadable file there is no store; going on finds the undecodable ones too, for one full message.
        is_complete = not self._read[1]
        store = self._opened(folder, proven) if is_complete else None
        if store is None:
            with folder_lock(folder):
                store = self._opened(folder, proven) if is_complete else None
                if store is None:
                    if is_complete and folder.exists():
                        _throw_away(folder)
                    with closing(images()) as produced:  # else a failed one would hold its threads and memory
                        write_store(folder, produced)
                    store = open_store(folder)
        if store is None:
            raise StoreError(f"the image cache {folder} was damaged as it was written; type the same command again")
        return store

    def _opened(self, folder: Path, proven: bool) -> PixelStore | None:
        store = open_store(folder)
        if store is None or not proven:
            return store
        for done, (_, is_whole) in enumerate(map_in_order(store.is_whole, range(len(store)), self._workers), start=1):
            if not is_whole:
                return None
            self._progress(done, len(store), "checking decoded images")
        return store

    def _decoded(self) -> Generator[Pixels, None, None]:
        """Decode every distinct image in order; at the end raise if any is bad."""
        bad = list(self._read[1])
        with decoding.kept_memory(2 * self._workers):
            contents = self._read[0]
            sources = ((path, contents[path]) for path in self._sources.values())
            results = map_in_order(_decode, sources, self._workers)
            for done, (_, result) in enumerate(results, start=1):
                if isinstance(result, BadImageError):
                    bad.append(result)
                elif not bad:
                    yield result
                self._progress(done, len(self._sources), "decoding images")
        self._refuse(bad)

    def _applied(self, resizing: Resizing) -> Generator[Pixels, None, None]:
        store = self.store
        with decoding.kept_memory(2 * self._workers):
            results = map_in_order(lambda number: resizing.apply(store[number]), range(len(store)), self._workers)
            for done, (_, result) in enumerate(results, start=1):
                yield result
                self._progress(done, len(store), f"resizing images to {resizing.size}")

    def _refuse(self, bad: Sequence[BadImageError]) -> None:
        """Raise one error for all bad images, if there are any."""
        if not bad:
            return
        named = "; ".join(str(error) for error in bad[:_NAMED])
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise BadImageError(
            f"{len(bad)} of {len(set(self._paths))} images cannot be used: {named}{more} "
            "(`agiqa-bench datasets verify NAME` lists them all)"
        )


class Images(Sequence[Pixels]):
    """The images of some rows: a sequence of uint8 (h, w, 3) sRGB arrays, each a read-only view of the memory map."""

    def __init__(self, cache: ImageCache, rows: npt.NDArray[np.int64], resizing: Resizing | None = None) -> None:
        """Use `ImageCache.view`."""
        self._cache = cache
        self._rows = rows
        self._resizing = resizing

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Images({len(self)})"

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Pixels | Images:
        """One image, or a view on a slice of them.

        Raises:
            BadImageError, StoreError: As `ImageCache.store`, at the first access.
        """
        if isinstance(index, slice):
            return Images(self._cache, self._rows[index], self._resizing)
        row = self._rows[operator.index(index)]
        return self._store[int(self._cache.entries[row])]

    @property
    def _store(self) -> PixelStore:
        return self._cache.store if self._resizing is None else self._cache.resized(self._resizing)

    @property
    def everything(self) -> Images:
        """The images of all rows of the data set that these are from, in its order."""
        return Images(self._cache, np.arange(len(self._cache)), self._resizing)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the contents of all image files of the data set, in the order of its rows."""
        return self._cache.fingerprint

    @property
    def files(self) -> list[str]:
        """The image file of each row, length n."""
        paths = self._cache.paths
        return [paths[row] for row in self._rows]

    @property
    def folder(self) -> Path:
        """The cache's folder: what is computed from the images and can be computed again is kept beside them."""
        return self._cache.folder

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Height and width of each image, int64 (n, 2)."""
        if not len(self):
            return np.empty((0, 2), dtype=np.int64)
        return self._store.sizes[self._cache.entries[self._rows]]

    @property
    def uniform_size(self) -> tuple[int, int] | None:
        """(height, width) if all images have one size, else None."""
        distinct = np.unique(self.sizes, axis=0)
        return (int(distinct[0, 0]), int(distinct[0, 1])) if len(distinct) == 1 else None

    @property
    def stacked(self) -> tuple[Pixels, npt.NDArray[np.int64]]:
        """Images of one size without a copy: uint8 (m, h, w, 3), read-only, and the place of each row in it, (n,)."""
        return self._store.stacked(), self._cache.entries[self._rows]

    def at(
        self,
        size: int,
        *,
        resize: Resize = "shorter",
        crop: Crop = "center",
        interpolation: Interpolation = "bicubic",
    ) -> Images:
        """The same images at one square size.

        Pixel for pixel what torchvision's `Resize` and `CenterCrop` give for PIL images (with antialiasing). Computed
        once for all rows of the data set, in parallel, and kept on disk; nothing is read before it is needed.

        Args:
            size: Side in pixels.
            resize: `shorter`: the shorter side becomes `size`; `exact`: both sides do, whatever the shape.
            crop: `center`: cut the middle square; `none`: with `shorter` only for square images.
            interpolation: `bicubic` or `bilinear`.

        Raises:
            ConfigError: A setting is not valid; at the first access, an image is not square and nothing makes it so.
            BadImageError, StoreError: At the first access, as `ImageCache.store`.
        """
        return Images(self._cache, self._rows, Resizing(size, resize, crop, interpolation))

    def resized(
        self,
        size: int,
        *,
        resize: Resize = "shorter",
        crop: Crop = "center",
        interpolation: Interpolation = "bicubic",
    ) -> Pixels:
        """The images at one square size as an array, uint8 (n, size, size, 3), read-only; see `at`.

        Where the rows follow one another in the store, as all rows of a data set do, nothing is copied: a data set of
        some thousand images would else take as much memory again as it takes on the disk.
        """
        images = self.at(size, resize=resize, crop=crop, interpolation=interpolation)
        if not len(self):
            return np.empty((0, size, size, 3), dtype=np.uint8)
        array, rows = images.stacked
        if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return array[rows[0] : rows[0] + len(rows)]
        chosen = array[rows]
        chosen.flags.writeable = False
        return chosen


def require_minimum_size(images: Images, names: Sequence[str], pixels: int, method: str) -> None:
    """Refuse images that are too small for a method, before it starts.

    Args:
        images: The images.
        names: Their names for the message, length n.
        pixels: Smallest height and width that the method can use.
        method: Its name.

    Raises:
        BadImageError: An image is smaller; the first is named.
    """
    small = np.flatnonzero((images.sizes < pixels).any(axis=1))
    if small.size:
        first = int(small[0])
        height, width = images.sizes[first]
        others = f" ({small.size - 1} more are too small)" if small.size > 1 else ""
        raise BadImageError(
            f"{method} needs at least {pixels} x {pixels} pixels; image {names[first]} is {width} x {height}{others}"
        )


def _decode(source: tuple[str, FileContent]) -> Pixels | BadImageError:
    """Decode a file whose digest is known; an error is returned, because the others are wanted too."""
    path, known = source
    try:
        content = known.read(path)
        return BadImageError(f"{path} changed while it was read") if content is None else decoding.decode(content, path)
    except BadImageError as error:
        return error
    except OSError as error:
        return BadImageError(f"cannot read {path}: {error.strerror or error}")


def _throw_away(folder: Path) -> None:
    _log.warning("%s is not as it was written; its images are made again", folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise atomic.explain(error, folder) from error


def _key_of(contents: Mapping[str, FileContent]) -> str:
    """Name of the store of files' images, whatever the files are called."""
    distinct = dict.fromkeys(content.digest for content in contents.values())
    return _sha256([decoding.POLICY, _code_digest(), PIL.__version__, *distinct])


def _code_digest() -> str:
    """Digest of the code that decodes, resizes and stores pixels: it can change them without a new policy."""
    return source_digest(Path(str(module.__file__)) for module in (decoding, resizing, pixel_store))


def _sha256(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
