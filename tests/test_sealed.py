"""Sealed JSON: what was written comes back, and no bit of it changes unseen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agiqa_bench.errors import StoreError
from agiqa_bench.sealed import read_sealed, seal, unseal, write_sealed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORD = {"key": "k", "text": 'étude ☃ "\\ \u2028', "whole": 2**70, "tiny": 5e-324, "third": 1 / 3, "none": None}


@given(st.dictionaries(st.text().filter(lambda key: key != "seal"), VALUES, max_size=4))
def test_a_record_comes_back_as_it_was_sealed(record):
    content = seal(record)
    assert unseal(content) == (record, "")
    whole = json.loads(content)
    digits = whole.pop("seal")
    assert whole == record
    # The rule of the module's first lines, followed by hand.
    assert content.count(digits.encode()) == 1
    assert hashlib.sha256(content.replace(digits.encode(), b"0" * 64)).hexdigest() == digits


def test_every_flipped_bit_is_found():
    content = bytearray(seal(RECORD))
    for place in range(len(content)):
        for bit in range(8):
            content[place] ^= 1 << bit
            record, fault = unseal(bytes(content))
            assert record is None
            assert fault in ("is not as it was written", "has no seal: it is of another version, or damaged")
            content[place] ^= 1 << bit
    assert unseal(bytes(content)) == (RECORD, "")


@pytest.mark.parametrize("length", [0, 1, 12, 40, 76, 77, 100, -1])
def test_what_is_cut_off_is_found(length):
    assert unseal(seal(RECORD)[:length]) == (None, "is not as it was written")


@pytest.mark.parametrize("content", [b"\x00" * 100, b"[" * 10_000, b'"text"', b"1", b'{"seal": "x"}', b"\xff{}"])
def test_what_is_no_sealed_record_is_refused(content):
    assert unseal(content) == (None, "is not as it was written")


def test_what_json_has_not_is_refused():
    for record in ({"a": float("nan")}, {"a": [float("inf")]}, {"seal": 1}):
        with pytest.raises(ValueError, match=r"not JSON compliant|must not have a key 'seal'"):
            seal(record)


@pytest.mark.parametrize("value", ["NaN", "-Infinity"])
def test_what_json_has_not_is_refused_though_somebody_sealed_it(value: str):
    content = seal({"a": "VALUE"}).replace(b'"VALUE"', value.encode())
    old = json.loads(content)["seal"].encode()
    new = hashlib.sha256(content.replace(old, b"0" * 64)).hexdigest().encode()
    assert unseal(content.replace(old, new)) == (None, "is not as it was written")


def test_files(tmp_path: Path):
    file = tmp_path / "new folder" / "é.json"
    with pytest.raises(FileNotFoundError):
        read_sealed(file)
    write_sealed(file, RECORD)
    assert read_sealed(file) == RECORD
    file.write_bytes(file.read_bytes().replace(b'"k"', b'"K"'))
    with pytest.raises(StoreError, match=r"é\.json: is not as it was written$"):
        read_sealed(file)
    file.write_text("{}")
    with pytest.raises(StoreError, match=r"é\.json: has no seal: it is of another version, or damaged$"):
        read_sealed(file)
