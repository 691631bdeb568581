"""Two data sets as one: methods learn from the first and are judged on the second."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.data.dataset import REQUIRED_COLUMNS, Dataset, Fault, Target
from agiqa_bench.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


class JoinedDataset(Dataset):
    """The rows of a training data set, then those of a test data set.

    Its targets are what both rate under the same name, on the scale of the test set; methods learn on the scale of the
    training set (`learnt`), which need not be the same: correlations and the logistic fit do not ask for it. Whatever
    else the training set rates stays there for methods with an auxiliary task. Groups bear the data set's name, because
    what the two call alike need not be one group; prompts, generators and file names stay as they are.

    It is synthetic if either is. By default methods use their `quick` settings only if both data sets ask for them:
    a real data set is never learnt, or judged, with the settings of a demonstration.
    """

    def __init__(self, train: Dataset, test: Dataset) -> None:
        """Join two data sets; neither is read yet.

        Args:
            train: What methods learn from.
            test: What they are judged on.

        Raises:
            ConfigError: They are the same, bear the same name, or have no target in common.
        """
        super().__init__(annotations_only=train.annotations_only or test.annotations_only)
        self.train, self.test = train, test
        self.name = f"{train.name}-to-{test.name}"
        self.title = f"{train.title} → {test.title}"
        if train.name == test.name:
            raise ConfigError(
                f"--train-on and --test-on are both called '{train.name}': to train and test on one data set give "
                "--dataset; if these are two tables, give their files different names"
            )
        self.targets = _common_targets(train, test)
        self.citation = "\n\n".join(dict.fromkeys(filter(None, (train.citation, test.citation))))
        self.licence = f"{train.title}: {train.licence}; {test.title}: {test.licence}"
        self.sources = (*train.sources, *test.sources)
        self.synthetic = train.synthetic or test.synthetic
        self.preset = "quick" if train.preset == test.preset == "quick" else "paper"
        self.candidates = test.candidates

    @property
    def parts(self) -> tuple[Dataset, ...]:
        """The training set and the test set."""
        return self.train, self.test

    @property
    def learnt(self) -> tuple[Target, ...]:
        """All that the training set rates, on its scale."""
        return self.train.targets

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of both data sets' fingerprints, in their order, and of the common targets."""
        names = [target.name for target in self.targets]
        return hashlib.sha256(json.dumps([self.train.fingerprint, self.test.fingerprint, names]).encode()).hexdigest()

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """The rows of both; see `Dataset.read`.

        MOS that only the training set rates are NaN in the rows of the test set; those that only the test set rates
        are left out.
        """
        import pandas as pd

        learnt = [f"mos_{target.name}" for target in self.learnt]
        tables = []
        for part in self.parts:
            table = part.samples.reindex(columns=[*REQUIRED_COLUMNS, *learnt])
            table["group"] = f"{part.name}: " + table["group"].astype(str)
            tables.append(table)
        faults = tuple(
            replace(fault, message=f"{part.title}: {fault.message}") for part in self.parts for fault in part.faults
        )
        return pd.concat(tables, ignore_index=True), faults


def open_joined(
    train: str,
    test: str,
    root: Path | None = None,
    *,
    annotations_only: bool = False,
    mos_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> JoinedDataset:
    """Open two data sets, each by registered name or as a table's path, as one; nothing is read yet.

    Args:
        train: The one to learn from.
        test: The one to be judged on.
        root: Folder of `--data-root`; None means the default.
        annotations_only: Do not ask for images.
        mos_ranges: Of `--mos-range`, for the one to learn from: no method scales by the range of the other.

    Raises:
        UnknownNameError, DataNotFoundError: As `agiqa_bench.data.catalogue.open_dataset`.
        ConfigError: As there, and as `JoinedDataset`.
    """
    first = open_dataset(train, root, annotations_only=annotations_only, mos_ranges=mos_ranges)
    return JoinedDataset(first, open_dataset(test, root, annotations_only=annotations_only))


def _common_targets(train: Dataset, test: Dataset) -> tuple[Target, ...]:
    """What both rate under one name, on the test set's scale; it measures what it measures in both."""
    rated = {target.name: target for target in train.targets}
    common = []
    for target in test.targets:
        if target.name in rated:
            other = (target.name, *rated[target.name].measures)
            measures = tuple(kind for kind in target.measures if kind in other)
            common.append(Target(target.name, target.mos_range, measures))
    if not common:
        first, second = (", ".join(target.name for target in part.targets) for part in (train, test))
        raise ConfigError(
            f"'{train.name}' rates {first} and '{test.name}' rates {second}: without a target of the same name in "
            "both, nothing that is learnt from the one can be judged on the other"
        )
    return tuple(common)
