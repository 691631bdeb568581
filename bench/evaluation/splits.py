"""Splits: which rows a method may learn from, which choose its epoch, and which it is judged by."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import SplitError, UnknownNameError
from agiqa_bench.evaluation.rules import RULES, SplitRule

if TYPE_CHECKING:
    import pandas as pd

    from agiqa_bench.method import Selection

Rows = npt.NDArray[np.int64]
REPEATS = 10
TEST_SHARE = 0.2
VALIDATION_SHARE = 1 / 8
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Leakage:
    """What the test part shares with everything outside it (training and validation).

    Attributes:
        prompt: Share of test rows, in [0, 1], whose prompt (see `normalised`) is also outside the test part. A blank
            prompt is shared with nobody.
        group: Share of test rows, in [0, 1], whose group is also outside the test part.
        generator: Share of test rows, in [0, 1], whose generator configuration is also outside the test part.
    """

    prompt: float
    group: float
    generator: float


@dataclass(frozen=True, eq=False)
class Split:
    """One division of a data set's rows.

    Attributes:
        repeat: Number of the repeat, from 0.
        train: Row numbers to learn from, int64, sorted, not empty.
        validation: Row numbers to choose an epoch by, int64, sorted; empty if only one group is left to learn from.
        test: Row numbers to predict, int64, sorted, not empty.
        leakage: What test shares with train and validation.
        held_out: The family that is the test part under the rule `generator`; otherwise empty.
    """

    repeat: int
    train: Rows
    validation: Rows
    test: Rows
    leakage: Leakage
    held_out: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the three parts' row numbers; the same parts have the same digest in every repeat."""
        parts = [[int(row) for row in part] for part in (self.train, self.validation, self.test)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def training(self, selection: Selection, *, selects_epoch: bool = True) -> tuple[Rows, Rows | None]:
        """The rows for `fit(train, validation)`.

        Args:
            selection: `last` learns from train and validation and chooses nothing; `validation` holds the validation
                part back to choose by; `refit` does so too, and what is chosen is then fitted anew as under `last`;
                `test` learns from train and validation and chooses by the test part, which is optimistic and there to
                reproduce papers that do so.
            selects_epoch: False for a method that chooses no epoch: it learns from train and validation, always.

        Returns:
            Sorted row numbers to learn from, and those to choose an epoch by (None: nothing to choose).

        Raises:
            SplitError: A validation part is asked for and this split has none.
        """
        if selection in ("refit", "validation") and selects_epoch:
            if not self.validation.size:
                raise SplitError(
                    f"split {self.repeat} has no validation part to choose an epoch by (too few groups): "
                    "use --select last"
                )
            return self.train, self.validation
        merged = np.union1d(self.train, self.validation)
        return merged, self.test if selection == "test" and selects_epoch else None


def as_rule(name: str) -> SplitRule:
    """The split rule called `name`; UnknownNameError, with the known ones, if there is none."""
    for rule in get_args(SplitRule):
        if rule == name:
            return rule  # type: ignore[no-any-return]
    raise UnknownNameError("split rule", name, RULES)


def make_splits(
    table: pd.DataFrame,
    dataset: str,
    rule: SplitRule = "grouped",
    repeats: int = REPEATS,
    seed: int = 0,
    test_share: float = TEST_SHARE,
    validation_share: float = VALIDATION_SHARE,
) -> tuple[Split, ...]:
    """Divide a data set's rows into training, validation and test parts, the same on every machine.

    The units of a repeat (groups, or images with all their rows under the rule `image`) are put in the order of the
    SHA-256 of (seed, data set, repeat, unit): this depends neither on the order of the rows nor on a library's random
    numbers, and the first splits do not change if more are asked for. The first `test_share` of the units are the
    test part, the next `validation_share` of the others the validation part, each at least one unit and never all.

    Under the rule `generator` each family in turn is the test part, whatever `repeats` and `test_share` say. Its
    prompts are then in the training part too (`leakage.prompt` says how many); validation is chosen by group.

    Args:
        table: Samples with the columns `image`, `prompt`, `group`, `generator` and `family`.
        dataset: Name of the data set; enters the hash.
        rule: See `RULES`.
        repeats: Number of splits, at least 1.
        seed: Enters the hash.
        test_share: Share of the units in the test part, in (0, 1), rounded to whole units.
        validation_share: Share of the other units in the validation part, in (0, 1), rounded to whole units.

    Raises:
        UnknownNameError: There is no such rule.
        SplitError: There are fewer than two units, an image is in two groups (`grouped`), or an argument is out of
            range.
    """
    rule = as_rule(rule)
    if repeats < 1:
        raise SplitError(f"cannot make {repeats} splits of '{dataset}': ask for at least 1")
    for name, share in (("test", test_share), ("validation", validation_share)):
        if not 0 < share < 1:
            raise SplitError(f"the {name} share of the splits of '{dataset}' is {share}: it must be between 0 and 1")
    if rule == "generator":
        return _leave_one_family_out(table, dataset, seed, validation_share)
    if rule == "grouped":
        _refuse_images_of_two_groups(table, dataset)
    units = column(table, "image" if rule == "image" else "group")
    names = sorted(set(units))
    if len(names) < 2:
        kind = "image" if rule == "image" else "group"
        raise SplitError(
            f"data set '{dataset}' has {len(names)} {kind}(s): a '{rule}' split needs at least 2"
            + ("; give the table a column 'group' that tells the prompts apart" if rule == "grouped" else "")
        )
    splits = []
    for repeat in range(repeats):
        test, others = _divide(_shuffled(names, seed, dataset, repeat), test_share)
        validation, train = _divide(others, validation_share)
        parts = (rows_of(units, train), rows_of(units, validation), rows_of(units, test))
        splits.append(build_split(table, rule, repeat, *parts))
    return tuple(splits)


def _leave_one_family_out(table: pd.DataFrame, dataset: str, seed: int, validation_share: float) -> tuple[Split, ...]:
    groups, families = column(table, "group"), column(table, "family")
    names = sorted(set(families))
    if len(names) < 2:
        raise SplitError(
            f"data set '{dataset}' has {len(names)} generator family: leaving one out needs at least 2; "
            "use --split grouped"
        )
    splits = []
    for repeat, held_out in enumerate(names):
        test = rows_of(families, [held_out])
        others = rows_of(families, set(names) - {held_out})
        other_groups = [groups[row] for row in others]
        order = _shuffled(sorted(set(other_groups)), seed, dataset, repeat)
        validation, train = (others[rows_of(other_groups, part)] for part in _divide(order, validation_share))
        splits.append(build_split(table, "generator", repeat, train, validation, test, held_out))
    return tuple(splits)


def _shuffled(units: Iterable[str], seed: int, dataset: str, repeat: int) -> list[str]:
    def place(unit: str) -> bytes:
        return hashlib.sha256(json.dumps([seed, dataset, repeat, "split", unit]).encode()).digest()

    return sorted(units, key=place)


def _divide(units: Sequence[str], share: float) -> tuple[Sequence[str], Sequence[str]]:
    """The first `share` of the units and the others: neither is empty if there are two units or more."""
    count = min(max(1, round(share * len(units))), len(units) - 1)
    return units[:count], units[count:]


def column(table: pd.DataFrame, name: str) -> list[str]:
    """A column of the sample table as text, one entry per row."""
    # In one piece: a column of pandas hands out single texts slowly, and every split asks for several columns.
    return list(map(str, table[name].to_numpy(dtype=object)))


@lru_cache(maxsize=2**16)
def normalised(text: str) -> str:
    """A text by which spellings of one prompt or name are compared.

    Unicode's form NFKC, letter case folded, runs of white space made one blank, none at the ends.

    >>> normalised("  A red  Apple ")
    'a red apple'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _refuse_images_of_two_groups(table: pd.DataFrame, dataset: str) -> None:
    groups: dict[str, str] = {}
    for image, group in zip(column(table, "image"), column(table, "group"), strict=True):
        first = groups.setdefault(image, group)
        if first != group:
            raise SplitError(
                f"data set '{dataset}' lists image '{image}' under two groups, '{first}' and '{group}', which a "
                "'grouped' split could put on two sides: give all rows of an image one group (column 'group' of a "
                "table), or use --split image"
            )


def rows_of(units: Sequence[str], chosen: Iterable[str]) -> Rows:
    """The sorted row numbers, int64, whose unit is one of `chosen`."""
    wanted = set(chosen)
    return np.array([row for row, unit in enumerate(units) if unit in wanted], dtype=np.int64)


def build_split(
    table: pd.DataFrame,
    rule: SplitRule,
    repeat: int,
    train: npt.ArrayLike,
    validation: npt.ArrayLike,
    test: npt.ArrayLike,
    held_out: str = "",
) -> Split:
    """Make a `Split` of row numbers in any order: checked (see `check_split`) and with its leakage measured."""
    parts = [_frozen_rows(part) for part in (train, validation, test)]
    _check_rows(repeat, parts, len(table))
    prompts = [normalised(text) for text in column(table, "prompt")]
    leakage = Leakage(
        prompt=_share_seen(prompts, *parts, nobodys=""),
        group=_share_seen(column(table, "group"), *parts),
        generator=_share_seen(column(table, "generator"), *parts),
    )
    split = Split(repeat, parts[0], parts[1], parts[2], leakage, held_out)
    _check_rule(split, table, rule)
    return split


def _frozen_rows(rows: npt.ArrayLike) -> Rows:
    array = np.sort(np.asarray(rows, dtype=np.int64))
    array.setflags(write=False)
    return array


def _share_seen(
    values: Sequence[str], train: Rows, validation: Rows, test: Rows, *, nobodys: str | None = None
) -> float:
    """Share of test rows whose value is also outside the test part; `nobodys` is a value that rows do not share."""
    seen = {values[row] for part in (train, validation) for row in part} - {nobodys}
    return float(np.mean([values[row] in seen for row in test]))


def check_split(split: Split, table: pd.DataFrame, rule: SplitRule) -> None:
    """Check that a split keeps its rule.

    Raises:
        SplitError: A row is in no part or in two, train or test is empty, a group is on two sides (`grouped`: of all
            three parts; `generator`: of train and validation), an image is (`grouped`, `image`: of all three), or the
            family held out is also learnt from.
    """
    _check_rows(split.repeat, (split.train, split.validation, split.test), len(table))
    _check_rule(split, table, rule)


def _check_rows(repeat: int, parts: Sequence[Rows], n_rows: int) -> None:
    for name, part in zip(PARTS, parts, strict=True):
        if not part.size and name != "validation":
            raise SplitError(f"split {repeat}: the {name} part is empty; give it at least one row")
    rows = np.concatenate(parts)
    outside = rows[(rows < 0) | (rows >= n_rows)]
    if outside.size:
        raise SplitError(f"split {repeat}: there is no row {outside[0]}: the data set has rows 0 to {n_rows - 1}")
    times = np.bincount(rows, minlength=n_rows)
    for wrong, what in ((np.flatnonzero(times > 1), "more than once"), (np.flatnonzero(times == 0), "in no part")):
        if wrong.size:
            raise SplitError(f"split {repeat}: {wrong.size} row(s) {what}, first row {wrong[0]}; each belongs once")


def _check_rule(split: Split, table: pd.DataFrame, rule: SplitRule) -> None:
    if rule != "image":
        _check_sides(split, column(table, "group"), PARTS if rule == "grouped" else PARTS[:2], "group")
    if rule != "generator":
        _check_sides(split, column(table, "image"), PARTS, "image")
    if rule == "generator":
        families = column(table, "family")
        for part in PARTS[:2]:
            _check_sides(split, families, (part, "test"), "family")
        tested = sorted({families[row] for row in split.test})
        if tested != [split.held_out]:
            raise SplitError(
                f"split {split.repeat}: held_out is '{split.held_out}', but the test part has {', '.join(tested)}; "
                "name the one family that is tested"
            )


def _check_sides(split: Split, values: Sequence[str], parts: Sequence[str], kind: str) -> None:
    side: dict[str, str] = {}
    for part in parts:
        for row in getattr(split, part):
            first = side.setdefault(values[row], part)
            if first != part:
                raise SplitError(
                    f"split {split.repeat}: {kind} '{values[row]}' is in both {first} and {part}; "
                    f"{'an' if kind == 'image' else 'a'} {kind} belongs to one side"
                )


def splits_digest(splits: Iterable[Split]) -> str:
    """SHA-256 (hex) of all splits in order."""
    return hashlib.sha256(json.dumps([split.digest for split in splits]).encode()).hexdigest()
