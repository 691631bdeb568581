"""The files of what a store keeps: written with checksums, and read back only as they were written.

A command looks at the same files several times, and a store may hold ten thousand cells. So their digests are kept for
the life of the process, for as long as a file's inode, size and time are those of the reading. Records are parsed anew
each time: that takes no longer than to copy them, and whoever asked may change what it got.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from agiqa_bench.execution.records import cell_fault

_REMEMBERED = 100_000
"""Files whose digest is kept in mind: more than any store has, because one fewer than needed helps nobody."""

_SMALL = 1 << 20
"""Bytes up to which a file is hashed in one piece: a reader of pieces takes longer to set up than to read it."""


def write_json_file(file: Path, value: Any) -> None:
    """Write indented JSON with sorted keys into a folder that is not yet in place; NaN and infinity are refused."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of each file of a folder, by name."""
    return {file.name: _digest(file) for file in sorted(folder.iterdir())}


def read_cell(folder: Path, key: str, *, with_model: bool) -> tuple[dict[str, Any] | None, str]:
    """The record of a cell, and what is wrong with the cell; (None, "") if it is not there.

    Args:
        folder: Where the cell lies.
        key: Its key; the record of another one counts as damaged.
        with_model: Whether the content of a saved model counts.

    Returns:
        The record, and the fault in one line, empty if there is none.
    """
    record = read_record(folder / "cell.json", key)
    if record is None:
        return None, "cell.json is missing or damaged" if folder.is_dir() else ""
    if fault := cell_fault(record):
        return record, f"cell.json is of another version ({fault})"
    return record, damage(folder, record, unread=None if with_model else record.get("model"))


def damage(folder: Path, record: dict[str, Any], unread: str | None = None) -> str:
    """The first file of a cell that is not as it was written; a damaged cell is computed again, never used.

    The content of the file `unread` is taken on trust.
    """
    files: dict[str, str] = record.get("files", {})
    for name, checksum in files.items():
        file = folder / name
        try:
            if not file.is_file():
                return f"{name} is missing"
            if name != unread and _digest(file) != checksum:
                return f"{name} is not as it was written"
        except FileNotFoundError:  # another process has just taken it away
            return f"{name} is missing"
    return ""


def read_record(file: Path, key: str) -> dict[str, Any] | None:
    """The record in a JSON file; None if it is not there, or damaged."""
    from pydantic_core import from_json  # reads a record in a third of json's time

    try:
        record = from_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # not there, or damaged: computed again
        return None
    return record if isinstance(record, dict) and record.get("key") == key else None


def _digest(file: Path) -> str:
    status = file.stat()
    return _sha256(file, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=_REMEMBERED)
def _sha256(file: Path, inode: int, size: int, changed: int) -> str:  # noqa: ARG001 - they tell one content from the next
    with file.open("rb") as opened:
        if size <= _SMALL:
            return hashlib.sha256(opened.read()).hexdigest()
        return hashlib.file_digest(opened, "sha256").hexdigest()
