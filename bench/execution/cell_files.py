"""The folders of a store: files and a sealed record with their digests, read back only as they were written.

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

from agiqa_bench.errors import StoreError
from agiqa_bench.execution.records import cell_fault, folder_fault
from agiqa_bench.reading import patiently
from agiqa_bench.sealed import seal, unseal

_REMEMBERED = 100_000
"""Files whose digest is kept in mind: more than any store has, because one fewer than needed helps nobody."""

_SMALL = 1 << 20
"""Bytes up to which a file is hashed in one piece: a reader of pieces takes longer to set up than to read it."""

CELL, SCORE, SAMPLES = "cell.json", "score.json", "samples.json"
"""The records of a cell, of zero-shot scores, and of a data set's rows."""


def write_json_file(file: Path, value: Any) -> None:
    """Write indented JSON with sorted keys into a folder that is not yet in place; NaN and infinity are refused."""
    file.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


def write_record(folder: Path, name: str, key: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write the record of a folder that is not yet in place, and holds everything else already.

    Args:
        folder: The folder.
        name: Of the record's file.
        key: What the content depends on, hashed.
        record: What else the record is to hold.

    Returns:
        The record with `key`, and `files`: the SHA-256 (hex) of each file by name.
    """
    # Not kept in mind: the folder is about to get another name.
    digests = {file.name: _content_digest(file, file.stat().st_size) for file in sorted(folder.iterdir())}
    record = record | {"key": key, "files": digests}
    (folder / name).write_bytes(seal(record))
    return record


def read_cell(folder: Path, key: str, *, with_model: bool) -> tuple[dict[str, Any] | None, str]:
    """The record of a cell, and what is wrong with the cell; see `read_folder`."""
    record, fault = read_folder(folder, CELL, key, with_model=with_model)
    if record is not None and (why := cell_fault(record)):
        return None, f"{CELL} is of another version ({why})"
    return record, fault


def read_folder(folder: Path, name: str, key: str, *, with_model: bool = True) -> tuple[dict[str, Any] | None, str]:
    """The record of a folder, and what is wrong with the folder; (None, "") if it is not there.

    Args:
        folder: The folder.
        name: Of the record's file.
        key: Its key; the record of another one counts as damaged.
        with_model: Whether the content of the file that the record names as `model` counts, or only that it is there.

    Returns:
        The record and an empty text; or None, and a file's name with what is wrong with it.

    Raises:
        StoreError: The file system does not say what is there.
    """
    try:
        record, fault = unseal(patiently(Path.read_bytes, folder / name))
    except _NOT_THERE:
        return None, f"{name} is missing" if patiently(Path.is_dir, folder) else ""
    if record is None:
        return None, f"{name} {fault}"
    if why := folder_fault(record):
        return None, f"{name} is of another version ({why})"
    if record["key"] != key:
        return None, f"{name} belongs to something else"
    fault = _damage(folder, record["files"], unread=None if with_model else record.get("model"))
    return (None, fault) if fault else (record, "")


def read_part(file: Path) -> bytes:
    """The content of a file in a folder that was found whole.

    Raises:
        StoreError: It cannot be read, or is gone.
    """
    try:
        return patiently(Path.read_bytes, file)
    except _NOT_THERE as error:
        raise StoreError(f"{file}: another command has just replaced it; type the same command again") from error


_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def _damage(folder: Path, files: dict[str, str], unread: str | None) -> str:
    """The first file that is not as it was written, and what is wrong with it."""
    for name, digest in files.items():
        file = folder / name
        try:
            is_trusted = name == unread and patiently(Path.is_file, file)
            if not is_trusted and patiently(_digest, file) != digest:
                return f"{name} is not as it was written"
        except _NOT_THERE:
            return f"{name} is missing"
    return ""


def _digest(file: Path) -> str:
    status = file.stat()
    return _sha256(file, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=_REMEMBERED)
def _sha256(file: Path, inode: int, size: int, changed: int) -> str:  # noqa: ARG001 - they tell one content from the next
    return _content_digest(file, size)


def _content_digest(file: Path, size: int) -> str:
    with file.open("rb") as opened:
        if size <= _SMALL:
            return hashlib.sha256(opened.read()).hexdigest()
        return hashlib.file_digest(opened, "sha256").hexdigest()
