"""Splits over two data sets: learn from the training parts of the one, be judged by the test parts of the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import SplitError
from agiqa_bench.evaluation.splits import Leakage, Rows, Split, column, normalised

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN_GENERATOR = "unknown"
"""What a table without a generator says; it is no name, so two tables that say so share nothing by it."""


def cross_splits(table: pd.DataFrame, n_train: int, train: Sequence[Split], test: Sequence[Split]) -> tuple[Split, ...]:
    """Join the splits of two data sets, repeat by repeat.

    Repeat r learns from the training part of `train[r]`, chooses its epoch by that split's validation part, and is
    judged by the test part of `test[r]`: with the splits of plain runs, what was trained elsewhere and what was trained
    at home are judged on the very same images. The other rows, the test part of the one and the training and
    validation parts of the other, are in no part.

    The leakage compares normalised texts: `prompt` is the share of test rows whose prompt, and `generator` the share of
    those whose generator or its family, is also that of a row to learn from (a blank or unknown one is shared with
    nobody). `group` is 0, because group names of two data sets say nothing about each other.

    Args:
        table: Rows of the training set, then those of the test set, with the columns `prompt`, `generator`, `family`.
        n_train: Number of rows of the training set.
        train: Its splits.
        test: Splits of the test set, row numbers from 0 as if it stood alone; as many, with the same repeats.

    Returns:
        Splits of the joined table's rows.

    Raises:
        SplitError: The repeats differ, or a split has a row that its data set does not have.
    """
    repeats, others = [split.repeat for split in train], [split.repeat for split in test]
    if repeats != others:
        raise SplitError(
            f"the training set has {len(repeats)} splits and the test set {len(others)}: both need the same repeats"
        )
    prompts = [normalised(text) for text in column(table, "prompt")]
    names = [
        {normalised(name) for name in both} - {"", UNKNOWN_GENERATOR}
        for both in zip(column(table, "generator"), column(table, "family"), strict=True)
    ]
    joined = []
    for home, away in zip(train, test, strict=True):
        learnt, judged = np.union1d(home.train, home.validation), _moved(away.test, n_train)
        if learnt.max() >= n_train or judged.max() >= len(table):
            raise SplitError(f"split {home.repeat}: it has rows that its data set does not have; make it again")
        seen_prompts = {prompts[row] for row in learnt} - {""}
        seen_names = set().union(*(names[row] for row in learnt))
        leakage = Leakage(
            prompt=_share(prompts[row] in seen_prompts for row in judged),
            group=0.0,
            generator=_share(bool(names[row] & seen_names) for row in judged),
        )
        joined.append(Split(home.repeat, home.train, home.validation, judged, leakage))
    return tuple(joined)


def shared_images(contents: npt.NDArray[np.int64], splits: Sequence[Split]) -> float:
    """Share of the test rows, in [0, 1], whose very image is also that of a row to learn from; the mean over splits.

    Args:
        contents: Number of each row's image content, int64 (n,): rows with the same file contents have the same.
        splits: From `cross_splits`, at least one.
    """
    return float(
        np.mean(
            [
                np.isin(contents[split.test], contents[np.union1d(split.train, split.validation)]).mean()
                for split in splits
            ]
        )
    )


def _moved(rows: Rows, by: int) -> Rows:
    moved = rows + by
    moved.setflags(write=False)
    return moved


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))
