import errno
import json
import multiprocessing
import os
import stat
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


def put(target, content):
    with atomic.new_directory(target) as new:
        (new / "file").write_text(content)


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    target = tmp_path / "cell"
    rename, asked = Path.rename, []

    def other_process_is_faster(self, to):
        if to == target and not asked:
            asked.append(to)
            target.mkdir()
            (target / "file").write_text("theirs")
        return rename(self, to)

    for before in ((), ("old",)):
        for content in before:
            put(target, content)
        monkeypatch.setattr(Path, "rename", other_process_is_faster)
        put(target, "ours")
        monkeypatch.undo()
        assert (target / "file").read_text() == "theirs"
        assert [path.name for path in tmp_path.iterdir()] == ["cell"]
        asked.clear()


def write_often(target, number):
    for turn in range(20):
        put(target, f"{number}-{turn}")


def test_processes_that_write_one_folder_at_once_end_without_an_error(tmp_path):
    target = tmp_path / "cell"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_often, args=(target, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (target / "file").read_text().endswith("-19")
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_after_a_failed_rename_the_old_folder_is_back(tmp_path, monkeypatch):
    target = tmp_path / "cell"
    put(target, "old")
    rename = Path.rename

    def full(self, to):
        if to == target and (self / "file").read_text() == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", full)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="no space left"):
        put(target, "new")
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_a_file_where_a_folder_should_be_is_one_line_and_stays(tmp_path):
    target = tmp_path / "cell"
    target.write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        put(target, "new")
    assert target.read_text() == "in the way"
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_files_are_flushed_through_handles_that_may_write(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    flushed, fsync = [], os.fsync

    def noted(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            flushed.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    put(tmp_path / "cell", "x")
    assert flushed == [os.O_RDWR]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_permissions_are_what_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        atomic.write_text(tmp_path / "file", "x")
        put(tmp_path / "cell", "x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "cell", "cell/file")]
    assert modes == [0o666 & ~umask, 0o777 & ~umask, 0o666 & ~umask]
