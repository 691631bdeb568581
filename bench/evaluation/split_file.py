"""Splits as a JSON file: to publish with a paper, to take from one, to read with one's own eyes.

A file has a head (data set, its fingerprint, rule, how it was made, digest) and one line per split. A `grouped` split
lists group names, which a reader recognises and which keep a file short; the other rules list row numbers, from 0 in
the published order, because an image's name is not always unique (AGIQA-1K repeats one). The fingerprint ties both to
one version of the annotations. A file written by hand may leave out `seed`, the shares and the digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agiqa_bench.atomic import write_bytes
from agiqa_bench.errors import SplitError
from agiqa_bench.evaluation.rules import SplitRule
from agiqa_bench.evaluation.splits import (
    PARTS,
    Rows,
    Split,
    build_split,
    column,
    rows_of,
    splits_digest,
)
from agiqa_bench.harmless import one_line
from agiqa_bench.named_file import read_text

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "agiqa-bench splits 1"

MOST_BYTES = 32 * 2**20
"""Of a split file: 1,000 repeats of 5,000 rows have 30 MB; in memory brackets take twenty times their room."""


@dataclass(frozen=True)
class ImportedSplits:
    """What a split file holds, checked against its data set.

    Attributes:
        rule: Which rule the splits keep.
        seed: The seed they were made with; None if the file does not say.
        splits: The splits, in order.
    """

    rule: SplitRule
    seed: int | None
    splits: tuple[Split, ...]


RowNumber = Annotated[int, Field(ge=0, lt=2**31)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Entry(_Strict):
    repeat: RowNumber
    held_out: str = ""
    digest: str | None = None
    test: list[str] | list[RowNumber]
    validation: list[str] | list[RowNumber]
    train: list[str] | list[RowNumber]


class _Document(_Strict):
    format: Literal["agiqa-bench splits 1"]
    dataset: str
    fingerprint: str
    rule: SplitRule
    seed: int | None = None
    test_share: float | None = None
    validation_share: float | None = None
    digest: str | None = None
    splits: list[_Entry]


def export_splits(
    path: Path,
    splits: Sequence[Split],
    table: pd.DataFrame,
    *,
    dataset: str,
    fingerprint: str,
    rule: SplitRule,
    seed: int | None = None,
    test_share: float | None = None,
    validation_share: float | None = None,
) -> None:
    """Write splits to a file that `import_splits` reads.

    Args:
        path: The file; replaced if it is there, whole or not at all.
        splits: The splits, in order.
        table: The data set's samples.
        dataset: Its name.
        fingerprint: Its fingerprint.
        rule: The rule that the splits keep.
        seed: How they were made, for the reader; None leaves it out. Likewise the shares.
        test_share: See `seed`.
        validation_share: See `seed`.

    Raises:
        StoreError: The file cannot be written.
        SplitError: It would be larger than `MOST_BYTES`.
    """
    text = splits_text(
        splits,
        table,
        dataset=dataset,
        fingerprint=fingerprint,
        rule=rule,
        seed=seed,
        test_share=test_share,
        validation_share=validation_share,
    )
    if len(content := text.encode()) > MOST_BYTES:
        raise SplitError(f"{path}: the splits need {len(content):,} bytes where {MOST_BYTES:,} are the most; use fewer")
    write_bytes(path, content)


def splits_text(
    splits: Sequence[Split],
    table: pd.DataFrame,
    *,
    dataset: str,
    fingerprint: str,
    rule: SplitRule,
    seed: int | None = None,
    test_share: float | None = None,
    validation_share: float | None = None,
) -> str:
    """What `export_splits` writes; the same splits, the same text."""
    groups = column(table, "group")

    def units(rows: Rows) -> list[str] | list[int]:
        return sorted({groups[row] for row in rows}) if rule == "grouped" else [int(row) for row in rows]

    made = {"seed": seed, "test_share": test_share, "validation_share": validation_share}
    head: dict[str, Any] = {"format": FORMAT, "dataset": dataset, "fingerprint": fingerprint, "rule": rule}
    head |= {key: value for key, value in made.items() if value is not None} | {"digest": splits_digest(splits)}
    entries = []
    for split in splits:
        entry: dict[str, Any] = {"repeat": split.repeat}
        entry |= {"held_out": split.held_out} if split.held_out else {}
        entry |= {"digest": split.digest} | {part: units(getattr(split, part)) for part in reversed(PARTS)}
        entries.append("    " + json.dumps(entry, ensure_ascii=False))
    opening = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    return f'{opening},\n  "splits": [\n' + ",\n".join(entries) + "\n  ]\n}\n"


def import_splits(path: Path, table: pd.DataFrame, *, dataset: str, fingerprint: str) -> ImportedSplits:
    """Read splits from a file and check them against the data set that they are for.

    Args:
        path: A file of `export_splits`, or one of the same form written by hand.
        table: The data set's samples.
        dataset: Its name.
        fingerprint: Its fingerprint.

    Raises:
        SplitError: The file cannot be read, is not of this form, is for other data, leaves a row out or uses one
            twice, breaks its own rule, or does not have the digest that it gives.
    """
    document = _parse(path)
    if document.dataset != dataset:
        raise SplitError(f"{path} holds splits of '{document.dataset}', not of '{dataset}': name that data set instead")
    if document.fingerprint != fingerprint:
        raise SplitError(
            f"{path} was made for other annotations of '{dataset}' (fingerprint {document.fingerprint[:12]}, "
            f"here {fingerprint[:12]}): get the same version of the data set, or export the splits again"
        )
    repeats = [entry.repeat for entry in document.splits]
    if not repeats or repeats != list(range(len(repeats))):
        raise SplitError(f"{path}: the repeats must be numbered 0, 1, 2, ... in this order; found {repeats[:20]}")
    splits = tuple(_read_entry(path, entry, table, document.rule) for entry in document.splits)
    if document.digest not in (None, splits_digest(splits)):
        raise SplitError(f"{path}: the splits do not have the digest that the file gives; it was changed or damaged")
    return ImportedSplits(document.rule, document.seed, splits)


def _parse(path: Path) -> _Document:
    text = read_text(path, "split file", SplitError, MOST_BYTES)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SplitError(
            f"{path} is not valid JSON (line {error.lineno}: {error.msg}); `agiqa-bench splits export` writes one"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SplitError(f"{path} is not a split file: {error}; `agiqa-bench splits export` writes one") from error
    try:
        return _Document.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = one_line(".".join(map(str, first["loc"])))[:200] or "the whole file"
        raise SplitError(
            f"{path} is not a split file of the form '{FORMAT}': {place}: {first['msg']}; "
            "`agiqa-bench splits export` writes one"
        ) from error


def _read_entry(path: Path, entry: _Entry, table: pd.DataFrame, rule: SplitRule) -> Split:
    parts = {part: getattr(entry, part) for part in PARTS}
    wanted, kind = (str, "group names") if rule == "grouped" else (int, "row numbers")
    if not all(isinstance(unit, wanted) for units in parts.values() for unit in units):
        raise SplitError(f"{path}: split {entry.repeat}: the parts of a '{rule}' split are lists of {kind}")
    try:
        if rule == "grouped":
            groups = column(table, "group")
            _check_groups(entry.repeat, parts, set(groups))
            parts = {part: rows_of(groups, names) for part, names in parts.items()}
        split = build_split(table, rule, entry.repeat, **parts, held_out=entry.held_out)
    except SplitError as error:
        raise SplitError(f"{path}: {error}") from error
    if entry.digest not in (None, split.digest):
        raise SplitError(
            f"{path}: split {entry.repeat} does not have the digest that the file gives; it was changed or damaged"
        )
    return split


def _check_groups(repeat: int, parts: Mapping[str, Sequence[str]], known: set[str]) -> None:
    side: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name not in known:
                raise SplitError(f"split {repeat}: the data set has no group '{name}' ({part}); check its spelling")
            if name in side:
                raise SplitError(f"split {repeat}: group '{name}' is in {side[name]} and again in {part}; name it once")
            side[name] = part
    missing = sorted(known - set(side))
    if missing:
        raise SplitError(
            f"split {repeat}: {len(missing)} group(s) are in no part, the first is '{missing[0]}'; each belongs once"
        )
