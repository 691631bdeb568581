"""Stored results of the benchmark: one JSON file per kind of machine and settings, with what was measured before."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agiqa_bench.benchmarks.model import Entry, PartResult, Settings
from agiqa_bench.errors import StoreError
from agiqa_bench.reporting.homes import without_home

FORMAT = 2
KEPT = 20
"""How many earlier results of an entry are kept."""
TOLERANCE = 0.1
"""The share by which a median may get worse before that is worth a warning."""
_OF_THE_HOST = ("argv", "platform")
"""Folders, and the build of the kernel."""


@dataclass(frozen=True)
class Conditions:
    """What must agree before two results are compared: not the machine itself, which no file names, but its kind.

    Attributes:
        processor: Model of the processor.
        cores: Number of cores that the process may use.
        threads: Number of threads that OMP_NUM_THREADS allows; `cores` where it is not set.
        gpu: Name of the CUDA device that is measured; None on the CPU.
        device: torch device string without a number.
        precision: Arithmetic for networks.
        scale: See `Settings`.
    """

    processor: str
    cores: int
    threads: int
    gpu: str | None
    device: str
    precision: str
    scale: str

    @property
    def words(self) -> str:
        """The conditions in one line."""
        limit = "" if self.threads == self.cores else f", OMP_NUM_THREADS={self.threads}"
        device = self.gpu if self.gpu is not None else self.device
        return f"{self.processor}, {self.cores} cores{limit}, {device}, {self.precision}, scale {self.scale}"

    @property
    def slug(self) -> str:
        """The same as a file name without its ending.

        >>> Conditions("Some CPU @ 2.0GHz", 2, 2, None, "cpu", "float32", "tiny").slug
        'some-cpu-2.0ghz-2-cores-cpu-float32-scale-tiny'
        """
        return re.sub(r"[^a-z0-9.]+", "-", self.words.lower()).strip("-.")


@dataclass(frozen=True)
class Change:
    """An entry beside what was stored of it.

    Attributes:
        before: The stored median.
        now: The new one.
        when: The day of the stored one.
        commit: The first digits of its commit; empty if it is not known.
        worse: Whether it got worse by more than `TOLERANCE` and by more than the values of either spread.
        better: Likewise.
    """

    before: float
    now: float
    when: str
    commit: str
    worse: bool = False
    better: bool = False

    @property
    def share(self) -> float | None:
        """The change as a share of the stored median; None if that is 0."""
        return (self.now - self.before) / abs(self.before) if self.before else None


def conditions_of(settings: Settings) -> Conditions:
    """The conditions of a benchmark with these settings on a machine like this."""
    from agiqa_bench.data.parallel import default_workers
    from agiqa_bench.execution.provenance import describe_device

    cores = default_workers()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    on_gpu = settings.device.startswith("cuda")
    return Conditions(
        processor=describe_device("cpu")["name"],
        cores=cores,
        threads=int(limit) if limit.isdigit() and int(limit) else cores,
        gpu=describe_device(settings.device)["name"] if on_gpu else None,
        device=settings.device.partition(":")[0],
        precision=settings.precision,
        scale=settings.scale,
    )


def provenance_of(settings: Settings) -> dict[str, Any]:
    """When, with what and for what something is measured, JSON-ready; nothing that names the host or its folders."""
    from agiqa_bench.execution.provenance import environment, now

    known = {key: value for key, value in environment(settings.device).items() if key not in _OF_THE_HOST}
    return known | {"time": now(), "settings": asdict(settings)}


def read_stored(file: Path) -> dict[str, Any]:
    """What is stored in a file; an empty mapping if there is none.

    Raises:
        StoreError: It cannot be read, or is not of this version.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{file}: cannot be read ({error}); move it away and measure again") from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise StoreError(f"{file}: is no benchmark of this version; move it away and measure again")
    return stored


def change_of(entry: Entry, stored: Mapping[str, Any], part: PartResult) -> Change | None:
    """An entry of a part beside what is stored of it; None if there is nothing of the same work to compare."""
    known = stored.get("parts", {}).get(part.name, {}).get("entries", {}).get(entry.name)
    if known is None or entry.median is None or known["unit"] != entry.unit or not known["results"]:
        return None
    last = known["results"][-1]
    if not same_work(last, {"title": without_home(part.title), "work": without_home(entry.work)}):
        return None
    change = Change(last["median"], entry.median, last["time"][:10], (last["commit"] or "")[:7])
    gap = change.now - change.before
    spread = max(last["highest"] - last["lowest"], max(entry.values) - min(entry.values))
    if entry.better == "neither" or abs(gap) <= max(spread, TOLERANCE * abs(change.before)):
        return change
    grew_worse = (gap > 0) == (entry.better == "lower")
    return Change(change.before, change.now, change.when, change.commit, grew_worse, not grew_worse)


def same_work(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two stored results are of the same work: their part's title says so, and their own words."""
    return all(one[key] == other[key] for key in ("title", "work"))


def merged(
    stored: Mapping[str, Any], part: PartResult, conditions: Conditions, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """What is to be stored once a part has been measured, JSON-ready.

    The part's other entries stay if only some methods were asked for and the title is still the same; else they go,
    because the part no longer has them. Every entry keeps its last `KEPT` results before this one, oldest first; the
    latest comes last.

    Args:
        stored: From `read_stored`.
        part: What was found.
        conditions: Under which; the same as those of `stored`.
        provenance: From `provenance_of`.
    """
    title = without_home(part.title)
    parts = dict(stored.get("parts", {}))
    known_part = parts.get(part.name, {"title": title, "entries": {}, "order": []})
    before = known_part["entries"]
    git = provenance.get("git") or {}
    stays = bool(provenance["settings"]["methods"]) and known_part["title"] == title
    entries = dict(before) if stays else {}
    order = [*(name for name in known_part["order"] if name in entries), *(entry.name for entry in part.entries)]
    for entry in part.entries:
        known = before.get(entry.name, {})
        results = list(known["results"]) if known.get("unit") == entry.unit else []
        if entry.values:
            results.append(
                {
                    "title": title,
                    "work": without_home(entry.work),
                    "median": entry.median,
                    "lowest": min(entry.values),
                    "highest": max(entry.values),
                    "values": list(entry.values),
                    "time": provenance["time"],
                    "commit": git.get("commit"),
                    "changed": git.get("changed"),
                }
            )
        entries[entry.name] = {
            "unit": entry.unit,
            "better": entry.better,
            "work": without_home(entry.work),
            "note": without_home(entry.note),
            "measured": bool(entry.values),
            "results": results[-KEPT - 1 :],
        }
    parts[part.name] = {
        "title": title,
        "order": list(dict.fromkeys(order)),
        "entries": entries,
        "provenance": dict(provenance),
    }
    return {"format": FORMAT, "conditions": asdict(conditions), "parts": parts}
