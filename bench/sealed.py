"""Sealed JSON: a record in a file that tells whether every bit of it is as it was written.

The first key of such a file is its seal, the SHA-256 of the whole file with zeros in place of the seal's 64 digits:

    {
     "seal": "5d1f...",
     "key": "value"
    }

It covers the bytes, not the values: a changed space counts as much as a changed number. It tells of damage, and is no
protection from somebody who means harm, who can seal anew what was changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agiqa_bench import atomic
from agiqa_bench.errors import StoreError
from agiqa_bench.reading import patiently

SEAL = "seal"
"""The key, which a record must not have itself."""

_HEAD = f'{{\n "{SEAL}": "'.encode()
_DIGITS = slice(len(_HEAD), len(_HEAD) + 64)
_ZEROS = b"0" * 64


def seal(record: Mapping[str, Any]) -> bytes:
    """A record as the bytes of a sealed file: UTF-8, indented by one, sorted keys.

    Raises:
        ValueError: It holds NaN or infinity, which JSON has not, or a key `seal`.

    >>> unseal(seal({"b": 1, "a": [None]}))
    ({'a': [None], 'b': 1}, '')
    """
    if SEAL in record:
        raise ValueError(f"a record that is to be sealed must not have a key '{SEAL}'")
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    after = f'",{text[1:]}\n' if record else '"\n}\n'
    content = _HEAD + _ZEROS + after.encode()
    return _HEAD + _seal_of(content) + content[_DIGITS.stop :]


def unseal(content: bytes) -> tuple[dict[str, Any] | None, str]:
    """The record in a sealed file's bytes, without the seal, and what is wrong with them.

    Returns:
        The record and an empty text; or None, and a few words that go after the file's name.
    """
    from pydantic_core import from_json  # reads a record in a third of json's time

    is_sealed = content.startswith(_HEAD)
    if is_sealed and content[_DIGITS] != _seal_of(content):
        return None, _CHANGED
    try:
        record = from_json(content, allow_inf_nan=False)
    except ValueError:
        return None, _CHANGED
    if not is_sealed:
        has_none = isinstance(record, dict) and SEAL not in record
        return None, "has no seal: it is of another version, or damaged" if has_none else _CHANGED
    del record[SEAL]
    return record, ""


_CHANGED = "is not as it was written"


def write_sealed(file: Path, record: Mapping[str, Any]) -> None:
    """Write a record to a file, sealed, whole or not at all.

    Raises:
        StoreError: The file system refuses.
        ValueError: See `seal`.
    """
    atomic.write_bytes(file, seal(record))


def read_sealed(file: Path) -> dict[str, Any]:
    """The record in a file of `write_sealed`, without the seal.

    Raises:
        FileNotFoundError: It is not there.
        StoreError: It cannot be read, or is not as it was written.
    """
    record, fault = unseal(patiently(Path.read_bytes, file))
    if record is None:
        raise StoreError(f"{file}: {fault}")
    return record


def _seal_of(content: bytes) -> bytes:
    digest = hashlib.sha256(content[: _DIGITS.start])
    digest.update(_ZEROS)
    digest.update(content[_DIGITS.stop :])
    return digest.hexdigest().encode()
