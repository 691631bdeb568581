import errno
import json
import os
from pathlib import Path

import pytest

from agiqa_bench import atomic
from agiqa_bench.errors import StoreError


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    target = tmp_path / "table.csv"
    atomic.write_text(target, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"table\.csv: no space left on the device; what was finished before is kept"):
        atomic.write_text(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_new_directory_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "cell"

    def fail_in_the_middle():
        with atomic.new_directory(target) as new:
            (new / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert list(tmp_path.iterdir()) == []
    for content in ("one", "two"):
        with atomic.new_directory(target) as new:
            (new / "file").write_text(content)
    assert (target / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_json_is_sorted_and_refuses_nan(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["a"] == "é"


def test_a_folder_where_a_file_should_be_is_one_line(tmp_path):
    Path(tmp_path / "x").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        atomic.write_text(tmp_path / "x", "content")
