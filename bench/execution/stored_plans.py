"""The plans in a store, in the order in which they were made."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agiqa_bench.errors import StoreError
from agiqa_bench.execution.records import plan_fault
from agiqa_bench.reading import patiently
from agiqa_bench.sealed import unseal


def new_id(folder: Path) -> str:
    """A name for a new plan: a number that comes after all others, so that no clock decides which is the latest.

    Two commands that begin at the same moment may get one number; the time tells which comes first then.
    """
    number = 1 + max((_order(file)[0] for file in folder.glob("*.json")), default=0)
    return f"{number:06d}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:6]}"


def read_plans(folder: Path) -> list[dict[str, Any]]:
    """The plans, oldest first, each with its name as `id`.

    Raises:
        StoreError: One is damaged, cannot be read, or lacks what this version needs.
    """
    plans = []
    for file in _files(folder):
        plan, fault = unseal(patiently(Path.read_bytes, file))
        if plan is None:
            raise StoreError(f"{file}: {fault}; type the run's command again, which sets it aside")
        if fault := plan_fault(plan):
            raise StoreError(
                f"{file}: is no plan of this version ({fault}); move it away, or run again with another --output"
            )
        plans.append(plan | {"id": file.stem})
    return plans


def damaged_plans(folder: Path) -> list[tuple[Path, str]]:
    """The plans that are not as they were written, and what is wrong with each."""
    faults = {file: unseal(patiently(Path.read_bytes, file))[1] for file in _files(folder)}
    return [(file, f"{folder.name}/{file.name} {fault}") for file, fault in faults.items() if fault]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"), key=_order)


def _order(file: Path) -> tuple[int, str]:
    """What plans are sorted by: their number, and their name; those of older versions have no number and come first."""
    number = re.match(r"(\d+)-", file.name)
    return int(number[1]) if number else 0, file.name
