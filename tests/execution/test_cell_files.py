from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agiqa_bench.execution import cell_files
from agiqa_bench.execution.cell_files import checksums, damage, read_record, write_json_file


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = {"key": "k", "text": 'étude ☃ "\\ \u2028', "whole": 2**70, "tiny": 5e-324, "third": 1 / 3, "none": None}
    write_json_file(tmp_path / "cell.json", record)
    assert read_record(tmp_path / "cell.json", "k") == record
    assert read_record(tmp_path / "cell.json", "other") is None
    assert read_record(tmp_path / "absent.json", "k") is None
    assert read_record(tmp_path / "cell.json" / "below.json", "k") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "k"} x', b'{"key": "\xff"}'])
def test_what_is_damaged_is_not_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cell.json").write_bytes(content)
    assert read_record(tmp_path / "cell.json", "k") is None


def test_a_file_that_changes_after_it_was_read_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "cell.json"
    write_json_file(file, {"key": "k", "value": 1})
    first = read_record(file, "k")
    assert first == {"key": "k", "value": 1}
    first["value"] = 3  # whoever asked may change what it got: nobody else has it
    assert read_record(file, "k") == {"key": "k", "value": 1}
    write_json_file(tmp_path / "new", {"key": "k", "value": 2})
    os.utime(tmp_path / "new", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    (tmp_path / "new").replace(file)  # size and time are the old ones: the inode tells
    assert read_record(file, "k") == {"key": "k", "value": 2}


def test_damage_is_found_in_files_that_were_whole_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"large": b"x" * 5000, "small": b"y"}
    for name, value in content.items():
        (tmp_path / name).write_bytes(value)
    monkeypatch.setattr(cell_files, "_SMALL", 100)
    record = {"files": checksums(tmp_path)}
    assert record["files"] == {name: hashlib.sha256(value).hexdigest() for name, value in content.items()}
    assert damage(tmp_path, record) == ""
    (tmp_path / "large").write_bytes(b"x" * 4999 + b"z!")
    assert damage(tmp_path, record) == "large is not as it was written"
    assert damage(tmp_path, record, unread="large") == ""
    (tmp_path / "small").unlink()
    assert damage(tmp_path, record, unread="large") == "small is missing"
    # It goes after one has seen that it is there.
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    assert damage(tmp_path, record, unread="large") == "small is missing"
