"""What `datasets info` says about a data set, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agiqa_bench.data.dataset import Dataset, Fault, Target

if TYPE_CHECKING:
    import pandas as pd

HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class TargetSummary:
    """The MOS of one target.

    Attributes:
        target: Name and scale.
        minimum: Lowest MOS in the data.
        mean: Mean MOS.
        maximum: Highest MOS in the data.
        std: Standard deviation of the MOS over rows (ddof 1; 0 for one row).
        histogram: Number of rows in each of 20 equal bins from `minimum` to `maximum`.
    """

    target: Target
    minimum: float
    mean: float
    maximum: float
    std: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """A data set at a glance.

    Attributes:
        name: Registry name.
        title: Name in the literature.
        synthetic: True if no person rated it.
        rows: Number of ratings.
        images: Number of different images that the rows name.
        missing: Number of these that have no file.
        targets: The rated quantities.
        groups: Number of groups (never split).
        group_sizes: Number of groups of each size, by size.
        generators: Number of rows of each generator, in published order.
        generator_titles: Readable titles of generators that have one.
        faults: What is wrong in the files.
        licence: As the authors state it.
        citation: BibTeX.
        fingerprint: SHA-256 of the annotations.
    """

    name: str
    title: str
    synthetic: bool
    rows: int
    images: int
    missing: int
    targets: tuple[TargetSummary, ...]
    groups: int
    group_sizes: Mapping[int, int]
    generators: Mapping[str, int]
    generator_titles: Mapping[str, str]
    faults: tuple[Fault, ...]
    licence: str
    citation: str
    fingerprint: str


def describe(dataset: Dataset) -> Description:
    """Sum up a data set; missing images are counted, and no image is opened.

    Raises:
        DataNotFoundError: The annotations are not there.
        DataError: They are not what they should be.
    """
    table = dataset.samples
    sizes = Counter(table["group"])
    return Description(
        name=dataset.name,
        title=dataset.title,
        synthetic=dataset.synthetic,
        rows=len(table),
        images=int(table["image"].nunique()),
        missing=len(dataset.missing_images),
        targets=tuple(_summary(target, table[f"mos_{target.name}"]) for target in dataset.targets),
        groups=len(sizes),
        group_sizes=dict(sorted(Counter(sizes.values()).items())),
        generators=dict(Counter(table["generator"])),
        generator_titles=dict(getattr(dataset, "generator_titles", {})),
        faults=dataset.faults,
        licence=dataset.licence,
        citation=dataset.citation,
        fingerprint=dataset.fingerprint,
    )


def _summary(target: Target, values: pd.Series) -> TargetSummary:
    mos = values.to_numpy(dtype=np.float64)
    low, high = float(mos.min()), float(mos.max())
    # A constant MOS has no width to divide into bins.
    counts, _ = np.histogram(mos, bins=HISTOGRAM_BINS, range=(low, high if high > low else low + 1.0))
    std = float(mos.std(ddof=1)) if len(mos) > 1 else 0.0
    return TargetSummary(target, low, float(mos.mean()), high, std, tuple(int(count) for count in counts))
