"""Looking through a data set for anything that would make a result worthless."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from agiqa_bench.data.dataset import Dataset, prompt_faults
from agiqa_bench.data.layout import IMAGE_SUFFIXES
from agiqa_bench.errors import BadImageError

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["error", "warning", "known"]

EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Attributes:
        code: Short fixed name, e.g. `undecodable-image`.
        severity: `error` if results on this copy cannot be trusted, `warning` if one should look at it, `known` for
            what `Fault.known` says.
        message: One line.
        count: How many rows or files.
        examples: The first few of them.
    """

    code: str
    severity: Severity
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerificationReport:
    """What `verify` found.

    Attributes:
        name: Registry name of the data set.
        rows: Number of rows.
        decoded: Number of image files that decode.
        sizes: Number of images of each (width, height).
        modes: Number of images of each Pillow mode.
        findings: Errors first, then warnings, then known faults.
    """

    name: str
    rows: int
    decoded: int
    sizes: Mapping[tuple[int, int], int]
    modes: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that matters."""
        return all(finding.severity != "error" for finding in self.findings)


@dataclass
class _Images:
    """What decoding all images showed."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    by_content: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def verify(dataset: Dataset, progress: Callable[[int, int], None] = lambda done, total: None) -> VerificationReport:  # noqa: ARG005
    """Check every row and decode every image of a data set.

    Args:
        dataset: The data set, opened with its images.
        progress: Called with (images done, images in all).

    Raises:
        DataNotFoundError: The annotations are not there.
        DataError: They cannot be read at all.
    """
    # Not `samples`: its check would stop at the first NaN, and here all are to be told.
    table, faults = dataset.read()
    images = _decode_all([path for path in dict.fromkeys(table["path"]) if path], progress)
    findings = [
        Finding(fault.code, "known" if fault.known else "warning" if fault.warning else "error", fault.message)
        for fault in (*faults, *prompt_faults(table))
        if fault.code != "missing-images"
    ]
    findings += _rating_findings(table, dataset)
    findings += _file_findings(table, dataset)
    findings += _image_findings(table, dataset, images)
    findings.sort(key=lambda finding: ("error", "warning", "known").index(finding.severity))
    return VerificationReport(
        dataset.name, len(table), sum(images.modes.values()), images.sizes, images.modes, tuple(findings)
    )


def _decode_all(paths: Sequence[str], progress: Callable[[int, int], None]) -> _Images:
    from agiqa_bench.data.images import decode, probe
    from agiqa_bench.data.parallel import default_workers, map_in_order

    def look(path: str) -> tuple[tuple[int, int], str, bytes] | BadImageError:
        try:
            pixels = decode(Path(path))
            mode = probe(Path(path)).mode
        except BadImageError as error:
            return error
        height, width = pixels.shape[:2]
        # Pixels, not bytes: the same picture saved twice is still one picture. The size sets (2, 3) apart from (3, 2).
        content = hashlib.blake2b(f"{width}x{height}".encode() + pixels.tobytes(), digest_size=16).digest()
        return (width, height), mode, content

    images = _Images()
    for done, (path, seen) in enumerate(map_in_order(look, paths, default_workers()), start=1):
        if isinstance(seen, BadImageError):
            images.broken.append(path)
            images.reasons.append(str(seen))
        else:
            size, mode, content = seen
            images.sizes[size] += 1
            images.modes[mode] += 1
            images.by_content[content].append(path)
        progress(done, len(paths))
    return images


def _rating_findings(table: pd.DataFrame, dataset: Dataset) -> list[Finding]:
    findings = []
    for target in dataset.targets:
        mos = table[f"mos_{target.name}"].to_numpy(dtype=np.float64)
        low, high = target.mos_range or (-np.inf, np.inf)
        bad = np.flatnonzero(~np.isfinite(mos))
        outside = np.flatnonzero(np.isfinite(mos) & ((mos < low) | (mos > high)))
        checks = (
            ("nan-mos", bad, "are not finite numbers"),
            ("mos-out-of-range", outside, f"lie outside {low:g}-{high:g}"),
        )
        for code, rows, what in checks:
            if rows.size:
                named = [f"row {row} {table['image'].iloc[row]}: {mos[row]:g}" for row in rows[:EXAMPLES]]
                findings.append(
                    Finding(code, "error", f"{rows.size} MOS of '{target.name}' {what}", int(rows.size), tuple(named))
                )
    return findings


def _file_findings(table: pd.DataFrame, dataset: Dataset) -> list[Finding]:
    findings = []
    missing = list(dict.fromkeys(table.loc[table["path"] == "", "image"]))
    if missing:
        findings.append(_finding("row-without-image", "error", "images that rows name are missing", missing))
    listed = {Path(path) for path in table["path"] if path}
    there = [
        file
        for folder in sorted({path.parent for path in listed})
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    extra = [file for file in there if file not in listed]
    documented = getattr(dataset, "unlisted", ())
    known = [file.name for file in extra if file.name in documented]
    unknown = [str(file) for file in extra if file.name not in documented]
    if known:
        findings.append(
            _finding("image-without-row", "known", "images of the archive are not in the official list", known)
        )
    if unknown:
        findings.append(_finding("image-without-row", "warning", "image files have no row", unknown))
    return findings


def _image_findings(table: pd.DataFrame, dataset: Dataset, images: _Images) -> list[Finding]:
    findings = []
    if images.broken:
        findings.append(_finding("undecodable-image", "error", "images cannot be decoded", images.reasons))
    expected: tuple[int, int] | None = getattr(dataset, "image_size", None)
    odd = sum(count for size, count in images.sizes.items() if size != expected)
    if expected and odd:
        findings.append(
            Finding("image-size", "warning", f"{odd} images are not {expected[0]} x {expected[1]} as published", odd)
        )
    groups = dict(zip(table["path"], table["group"], strict=True))
    within: list[str] = []
    across: list[str] = []
    for paths in images.by_content.values():
        if len(paths) > 1:
            names = " = ".join(Path(path).name for path in paths)
            (across if len({groups[path] for path in paths}) > 1 else within).append(names)
    if across:
        findings.append(
            _finding("duplicate-content", "error", "pictures stand in several groups, so a split can leak them", across)
        )
    if within:
        findings.append(_finding("duplicate-content", "warning", "pictures stand several times in one group", within))
    return findings


def _finding(code: str, severity: Severity, what: str, examples: Sequence[str]) -> Finding:
    return Finding(code, severity, f"{len(examples)} {what}", len(examples), tuple(examples[:EXAMPLES]))
