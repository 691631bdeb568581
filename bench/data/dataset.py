"""What a data set is: a table of samples, and the facts that a reader of its results needs."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from agiqa_bench.errors import ConfigError, DataError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

ANY_TARGET = "*"
"""In place of a target's name: every target."""

_SHOWN = 60
"""How many characters of a prompt a message shows."""

TargetName = str
"""A kind of rating: "quality", "alignment" or "authenticity"; a table data set may bring others."""


@dataclass(frozen=True)
class Target:
    """One rated quantity of a data set.

    Attributes:
        name: Name in tables; the MOS stand in the samples' column `mos_<name>`.
        mos_range: Lowest and highest MOS that the scale allows; a value outside is a fault. None if nobody states it:
            never take it from the ratings here, because those of test images are among them. Each repeat then takes
            that of the ratings that it learns from (`agiqa_bench.execution.cell.known_ranges`).
        measures: The kinds of method that the rating can judge. AGIQA-1K's one coupled MOS measures both
            quality and alignment, so methods of either kind are compared with it.
    """

    name: TargetName
    mos_range: tuple[float, float] | None
    measures: tuple[TargetName, ...] = ()

    def judges(self, kinds: tuple[TargetName, ...]) -> bool:
        """Whether a method that predicts `kinds` ("*": anything) is compared with this target."""
        return "*" in kinds or bool(set(kinds) & {self.name, *self.measures})


def parse_mos_range(text: str) -> tuple[TargetName, tuple[float, float]]:
    """Parse `[target=]low,high`, a range of MOS; without a target it is that of every one (`ANY_TARGET`).

    Raises:
        ConfigError: It does not have that form, or the two are not finite and in this order.

    >>> parse_mos_range("1,5"), parse_mos_range("alignment = 0, 100")
    (('*', (1.0, 5.0)), ('alignment', (0.0, 100.0)))
    """
    target, equals, limits = text.rpartition("=")
    with suppress(ValueError):
        low, high = map(float, limits.split(","))
        if -math.inf < low < high < math.inf and bool(target.strip()) == bool(equals):
            return target.strip() or ANY_TARGET, (low, high)
    raise ConfigError(
        f"--mos-range {text[:80]!r}: write the lowest and the highest rating that the scale allows, e.g. 1,5, or for "
        "one target of several TARGET=LOW,HIGH"
    )


@dataclass(frozen=True)
class Source:
    """One place from which a part of a data set is downloaded.

    Consecutive sources with the same `content` are alternatives, tried in order.

    Attributes:
        kind: `google_drive` (`location` is the file id), `hugging_face` (`location` is the data set's repository;
            `filename` selects one file, empty means the whole repository) or `url`.
        location: The id, repository or address.
        filename: Name of the file as it is stored locally.
        content: What it holds, in words, for messages.
        size: Approximate size in bytes, 0 if it is not published.
        manual: The page to open in a browser when the download cannot be done by the tool.
    """

    kind: Literal["google_drive", "hugging_face", "url"]
    location: str
    filename: str
    content: str
    size: int = 0
    manual: str = ""


@dataclass(frozen=True)
class Fault:
    """Something wrong in the published files, found while reading them.

    Attributes:
        code: Short fixed name, e.g. `duplicate-row`.
        message: One line: what, which rows or files, and what the loader does about it.
        known: True for a fault of the official release that is documented here, or for what a data set of this kind
            may have (a table several ratings of one image); False for one of this copy.
        warning: True for what is no fault of a file and can take the meaning from results: it stands above them.
    """

    code: str
    message: str
    known: bool = False
    warning: bool = False


class Dataset(ABC):
    """A data set of rated generated images.

    A subclass gives the class data and `read`. Building one reads nothing; `samples` does, once.

    Attributes:
        name: Registry name.
        title: Name in the literature.
        targets: What was rated.
        citation: BibTeX entry.
        licence: Licence as the authors state it, or "not stated".
        sources: Where `datasets download` fetches it from.
        synthetic: True if no person ever rated it; said wherever its results are shown.
        preset: Which preset methods use on it by default: `paper` on real data, `quick` on the demo.
        candidates: What images that compete with each other have in common, for the SRCC in prompt: the `prompt`, or
            the `group` where groups are labels that several prompts share and hardly any two images have one prompt.
    """

    name: str
    title: str
    targets: tuple[Target, ...]
    citation: str = ""
    licence: str = "not stated"
    sources: tuple[Source, ...] = ()
    summary: ClassVar[str] = ""
    synthetic: bool = False
    preset: Literal["paper", "quick"] = "paper"
    candidates: Literal["prompt", "group"] = "prompt"

    def __init__(self, root: Path | None = None, *, annotations_only: bool = False) -> None:
        """Remember where the files are.

        Args:
            root: Folder given by `--data-root` (it holds the data set or a sub-folder with it); None means the
                default folder (`agiqa_bench.data.roots.data_root`).
            annotations_only: Read the ratings and do not ask for the images.
        """
        self.root = root
        self.annotations_only = annotations_only

    @abstractmethod
    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """Read the annotation files and find the images.

        Returns:
            The table, one row per rating, and the faults met. Columns: `image` (file name as published, str),
            `path` (absolute path, str; empty with `annotations_only` or where the file is missing), `prompt` (str),
            `group` (str: never split over training and test), `generator` (str: the finest published
            configuration), `family` (str: the model that `generator` is a configuration of), and one float64
            column `mos_<target>` per target. The index is 0..n-1 in the published order.

        Raises:
            DataNotFoundError: A file is not there; the message names the path and how to get it.
            DataError: A file is not what it should be.
        """

    @cached_property
    def _read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        table, faults = self.read()
        check_samples(table, self.targets, self.name)
        if len(self.parts) == 1:  # those of a joined one have been checked, each on a scale of its own
            _check_ranges(table, self.targets, self.name)
        # Of joined data sets each part has told its own; a prompt that both have stands in a group of each.
        return table, faults if len(self.parts) > 1 else (*faults, *prompt_faults(table))

    @property
    def samples(self) -> pd.DataFrame:
        """The table of samples; see `read` for its columns."""
        return self._read[0]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that were met while reading, and the warnings of `prompt_faults`."""
        return self._read[1]

    @property
    def has_images(self) -> bool:
        """Whether every row has an image file."""
        return bool((self.samples["path"] != "").all())

    @property
    def missing_images(self) -> list[str]:
        """File names of rows without an image, in order; all of them with `annotations_only`."""
        table = self.samples
        return list(dict.fromkeys(table.loc[table["path"] == "", "image"]))

    @property
    def parts(self) -> tuple[Dataset, ...]:
        """The data sets that it is made of, the one that methods learn from first: itself, if it is not joined."""
        return (self,)

    @property
    def learnt(self) -> tuple[Target, ...]:
        """All that is rated where methods learn, on the scale that they learn: the targets, if it is not joined."""
        return self.targets

    def state_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Take over the ranges of MOS that the user states for targets whose range the data set does not.

        Args:
            ranges: Lowest and highest MOS by name of target; `ANY_TARGET` means every one that has none.

        Raises:
            UnknownNameError: There is no such target.
            ConfigError: Its range is stated already.
        """
        stated = {target.name: target.mos_range for target in self.targets}
        for name in ranges:
            if name != ANY_TARGET and name not in stated:
                raise UnknownNameError(f"target of {self.name} in --mos-range", name, stated)
            known = all(stated.values()) if name == ANY_TARGET else stated[name] is not None
            if known:
                told = ", ".join(f"{each} {limits[0]:g} to {limits[1]:g}" for each, limits in stated.items() if limits)
                raise ConfigError(f"--mos-range: data set '{self.name}' states it itself ({told}); leave it out")
        given = {target.name: ranges.get(target.name, ranges.get(ANY_TARGET)) for target in self.targets}
        self.targets = tuple(
            replace(target, mos_range=target.mos_range or given[target.name]) for target in self.targets
        )

    def target(self, name: str) -> Target:
        """The target called `name`; KeyError if there is none."""
        return {target.name: target for target in self.targets}[name]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything in the annotations that a result can depend on; images have their own.

        File locations do not enter, so copies on two machines agree.
        """
        table = self.samples
        digest = hashlib.sha256(json.dumps([self.name, [t.name for t in self.targets]]).encode())
        for column in sorted(set(table.columns) - {"path"}):
            values = table[column]
            rows = [v.hex() if isinstance(v, float) else str(v) for v in values.tolist()]
            digest.update(json.dumps([column, rows], ensure_ascii=False).encode())
        return digest.hexdigest()

    def describe_sources(self) -> str:
        """One line of manual steps for somebody who must fetch the files by hand."""
        places = [f"{source.content}: {source.manual or source.location}" for source in self.sources]
        return "; ".join(places) or "no public source is known"


REQUIRED_COLUMNS: Mapping[str, type] = {
    "image": str,
    "path": str,
    "prompt": str,
    "group": str,
    "generator": str,
    "family": str,
}


def check_samples(table: pd.DataFrame, targets: tuple[Target, ...], name: str) -> pd.DataFrame:
    """Check a table of samples against the contract of `Dataset.read`.

    Raises:
        DataError: A column is missing, the table is empty, or a MOS is not a finite number.
    """
    import numpy as np

    if len(table) == 0:
        raise DataError(f"data set '{name}': the annotation table has no rows; check that the file is complete")
    for column in [*REQUIRED_COLUMNS, *(f"mos_{target.name}" for target in targets)]:
        if column not in table.columns:
            raise DataError(f"data set '{name}': column '{column}' is missing; there are: {', '.join(table.columns)}")
    for target in targets:
        mos = table[f"mos_{target.name}"].to_numpy(dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(mos))
        if bad.size:
            first = table["image"].iloc[int(bad[0])]
            raise DataError(
                f"data set '{name}': {bad.size} MOS of '{target.name}' are not finite numbers (first: row "
                f"{int(bad[0])}, {first}); mend or delete these rows"
            )
    if list(table.index) != list(range(len(table))):
        raise DataError(f"data set '{name}': the index of the sample table must be 0..{len(table) - 1}")
    return table


def _check_ranges(table: pd.DataFrame, targets: tuple[Target, ...], name: str) -> None:
    """Refuse MOS outside of the range that is stated.

    Raises:
        DataError: There is one.
    """
    for target in targets:
        if target.mos_range is None:
            continue
        low, high = target.mos_range
        mos = table[f"mos_{target.name}"]
        outside = table.index[(mos < low) | (mos > high)]
        if len(outside):
            row = int(outside[0])
            raise DataError(
                f"data set '{name}': {len(outside)} MOS of '{target.name}' lie outside of its stated range, {low:g} to "
                f"{high:g} (first: row {row}, {table['image'].iloc[row]}: {mos.iloc[row]:g}); mend them or the range"
            )


def prompt_faults(table: pd.DataFrame) -> tuple[Fault, ...]:
    """What can put images of one prompt on both sides of a split, or hides that it does: a warning for each kind.

    Prompts that are blank; that are written in several ways but are one (`agiqa_bench.evaluation.splits.normalised`);
    that stand in several groups; and those in several groups that differ in punctuation alone, which count as several.

    Args:
        table: See `Dataset.read`.
    """
    from agiqa_bench.evaluation.splits import column, normalised

    spellings: dict[str, dict[str, None]] = {}
    groups: dict[str, set[str]] = {}
    blank = []
    for row, (prompt, group) in enumerate(zip(column(table, "prompt"), column(table, "group"), strict=True)):
        if key := normalised(prompt):
            spellings.setdefault(key, {})[prompt] = None
            groups.setdefault(key, set()).add(group)
        else:
            blank.append(row)

    def shown(key: str) -> str:
        return _quoted(next(iter(spellings[key])))

    found: dict[str, str] = {}
    if blank:
        found["blank-prompt"] = (
            f"{len(blank)} of {len(table)} rows have no prompt (first: data row {blank[0] + 1}, "
            f"{table['image'].iloc[blank[0]]}): which images share one is unknown, so a split can put them on both "
            "sides; fill them in"
        )
    if divided := [key for key in spellings if len(groups[key]) > 1]:
        found["divided-prompt"] = (
            f"{len(divided)} prompt(s) stand in several groups (first: {shown(divided[0])} in "
            f"{len(groups[divided[0]])}), so a grouped split can put the images of one prompt on both sides; give all "
            "rows of a prompt one group (a table without the column 'group' takes the prompt)"
        )
    if several := [key for key in spellings if len(spellings[key]) > 1]:
        one, other, *_ = spellings[several[0]]
        found["prompt-spelling"] = (
            f"{len(several)} prompt(s) are written in several ways that differ in letter case, spaces or Unicode form "
            f"alone (first: {_quoted(one)} and {_quoted(other)}): each counts as one prompt"
        )
    by_words: dict[str, list[str]] = {}
    for key in spellings:
        by_words.setdefault(_without_punctuation(key), []).append(key)
    alike = [keys for keys in by_words.values() if len(set().union(*(groups[key] for key in keys))) > 1 < len(keys)]
    if alike:
        found["prompt-punctuation"] = (
            f"{sum(map(len, alike))} prompts differ from another in punctuation alone (first: {shown(alike[0][0])} "
            f"and {shown(alike[0][1])}) and count as different ones, so a split can put them on both sides; write "
            "them alike if they are one"
        )
    return tuple(Fault(code, message, warning=True) for code, message in found.items())


def _quoted(prompt: str) -> str:
    return f"'{prompt}'" if len(prompt) <= _SHOWN else f"'{prompt[:_SHOWN]}...'"


def _without_punctuation(text: str) -> str:
    """A prompt by its words; signs such as + and emoji stay, and so does a prompt that is nothing but punctuation."""
    if text.replace(" ", "").isalnum():
        return text
    words = "".join(" " if unicodedata.category(letter).startswith("P") else letter for letter in text).split()
    return " ".join(words) or text
