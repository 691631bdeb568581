"""Features of images: computed once per image for a whole data set, in parallel, and kept in the cache folder."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import version
from inspect import getfile
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import agiqa_bench.data.images
from agiqa_bench.data.image_cache import Images
from agiqa_bench.data.parallel import default_workers, map_in_order
from agiqa_bench.data.samples import Samples
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.errors import BadImageError, PluginError
from agiqa_bench.features.array_file import stored_array
from agiqa_bench.method import Method

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float64]
Extract = Callable[[Pixels], Features]

_LIBRARIES = ("numpy", "scipy", "scikit-image", "Pillow")
"""Distributions whose version can change features."""


class UndefinedFeaturesError(ValueError):
    """An image has no features; the message says why, e.g. `it is one flat colour`."""


class ExtractingMethod(Method):
    """A method that looks at an image only through a few numbers which depend on nothing else.

    They are computed for all images of a data set at the first call of `features` and kept on disk, under a name that
    covers the images, the code, the libraries and the settings behind them, and so serve all repeats and runs.

    Attributes:
        feature_code: Modules of this package, beside that of the class itself, whose code can change the features.
    """

    keeps_features = True
    num_gpus = 0
    feature_code: ClassVar[tuple[ModuleType, ...]] = ()

    @abstractmethod
    def extract(self, image: Pixels) -> Features:
        """Features of one image.

        It runs in several threads at once, in each of which BLAS computes on one thread, and should use numpy and
        scipy rather than torch, whose threads would multiply them.

        Args:
            image: uint8 (h, w, 3), sRGB, read-only, neither side below `minimum_size`.

        Returns:
            float64 (d,), finite, the same d for all images.

        Raises:
            UndefinedFeaturesError: The image has none, and others may; anything else that is raised ends the run.
        """

    def minimum_size(self) -> int:
        """Smallest height and width in pixels of which `extract` is asked."""
        return 1

    def feature_settings(self) -> Mapping[str, object]:
        """Those of the settings, by name, that can change the features."""
        return {}

    def features(self, samples: Samples) -> Features:
        """Features of the samples' images, float64 (n, d).

        Raises:
            BadImageError: They are undefined for one of these images; other images of the data set do not matter.
            PluginError: Two images of the data set have different numbers of features.
            StoreError: The cache folder cannot be written.
        """
        images = samples.images
        everything = images.everything
        found = cached_features(everything, self._checked, self._parts(everything), self.context.progress, self.name)
        found = found[samples.rows]
        for position in np.flatnonzero(np.isnan(found).any(axis=1)):
            reason = self._why_undefined(images[int(position)])
            raise BadImageError(f"{self.name} is undefined for image {images.files[position]}: {reason}")
        return found

    def _checked(self, image: Pixels) -> Features:
        """`extract`, whose demands and promises are kept.

        Raises:
            UndefinedFeaturesError: The features are undefined.
        """
        smallest, (height, width) = self.minimum_size(), image.shape[:2]
        if min(height, width) < smallest:
            raise UndefinedFeaturesError(
                f"it is {width} x {height}, and at least {smallest} x {smallest} pixels are needed"
            )
        features = np.asarray(self.extract(image), dtype=np.float64)
        odd = np.flatnonzero(~np.isfinite(features))
        if odd.size:
            raise UndefinedFeaturesError(f"feature {odd[0] + 1} of {features.size} is {features[odd[0]]}")
        return features

    def _why_undefined(self, image: Pixels) -> str:
        try:
            self._checked(image)
        except UndefinedFeaturesError as error:
            return str(error)
        return "its features were undefined when they were computed, and are not now; empty the cache folder"

    def _parts(self, images: Images) -> dict[str, object]:
        classes = [cls for cls in type(self).__mro__ if issubclass(cls, ExtractingMethod)]
        files = [getfile(cls) for cls in classes]
        files += [str(module.__file__) for module in (*self.feature_code, agiqa_bench.data.images)]
        settings = self.feature_settings()
        return {
            "images": images.fingerprint,
            "method": self.name,
            "code": source_digest(Path(file) for file in dict.fromkeys(files)),
            "libraries": [version(library) for library in _LIBRARIES],
            "settings": [(name, settings[name]) for name in sorted(settings)],
        }


def cached_features(
    images: Images,
    extract: Extract,
    parts: Mapping[str, object],
    progress: Callable[[int, int, str], None],
    name: str,
) -> Features:
    """Features of all images, from the disk or computed now in parallel, float64 (n, d), read-only.

    The row of an image for which `extract` raises UndefinedFeaturesError is NaN: what is undefined for one image must
    not keep the others from being scored.

    Args:
        images: Of all rows of a data set. The features are kept beside them.
        extract: uint8 (h, w, 3) to float64 (d,), finite; called in several threads at once.
        parts: Everything that the features depend on, e.g. digests of images and code.
        progress: Called with (done, total, what).
        name: Of the method, for messages.

    Raises:
        PluginError: Two images have different numbers of features.
        StoreError: The cache folder cannot be written.
    """
    text = "\n".join(f"{part}={parts[part]}" for part in sorted(parts))
    file = images.folder / "features" / f"{hashlib.sha256(text.encode()).hexdigest()}.array"
    return stored_array(file, lambda: _extract_all(images, extract, progress, name))


def _extract_all(
    images: Images, extract: Extract, progress: Callable[[int, int, str], None], name: str
) -> npt.NDArray[Any]:
    def extracted(position: int) -> Features | None:
        try:
            return extract(images[position])
        except UndefinedFeaturesError:
            return None

    rows: list[Features | None] = []
    width: int | None = None
    with threadpool_limits(1, user_api="blas"):
        for position, row in map_in_order(extracted, range(len(images)), default_workers()):
            if row is not None:
                width = row.size if width is None else width
                if row.size != width:
                    raise PluginError(
                        f"{name} gives {row.size} features for image {images.files[position]} and "
                        f"{width} for others before it: its `extract` must give all images the same number"
                    )
            rows.append(row)
            progress(len(rows), len(images), f"{name}: features")
    undefined = np.full(1 if width is None else width, np.nan)
    return np.stack([undefined if row is None else row for row in rows]) if rows else np.empty((0, undefined.size))
