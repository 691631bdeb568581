from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from agiqa_bench import reading
from agiqa_bench.errors import StoreError
from agiqa_bench.execution import cell_files
from agiqa_bench.execution.cell_files import read_folder, write_record
from agiqa_bench.sealed import read_sealed, seal, write_sealed

NAME = "cell.json"


def fault(folder: Path, **options: bool) -> str:
    record, why = read_folder(folder, NAME, "k", **options)
    assert (record is None) == bool(why)
    return why


def test_a_record_comes_back_with_its_key_and_the_digests_of_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b.txt").write_bytes(b"")
    written = write_record(tmp_path, NAME, "k", {"value": 1})
    expected = {"a": hashlib.sha256(b"x").hexdigest(), "b.txt": hashlib.sha256(b"").hexdigest()}
    assert written == {"value": 1, "key": "k", "files": expected}
    assert read_folder(tmp_path, NAME, "k") == (written, "")
    assert read_folder(tmp_path, NAME, "other") == (None, "cell.json belongs to something else")


def test_what_is_not_there_is_told_from_what_is_damaged(tmp_path: Path) -> None:
    assert read_folder(tmp_path / "absent", NAME, "k") == (None, "")
    assert fault(tmp_path) == "cell.json is missing"
    (tmp_path / NAME).mkdir()
    assert fault(tmp_path) == "cell.json is missing"
    (tmp_path / "file").touch()
    assert read_folder(tmp_path / "file", NAME, "k") == (None, "")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "k"} x', b'{"key": "\xff"}', seal({"key": "k"})[:-1]])
def test_what_is_damaged_is_not_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert fault(tmp_path) == "cell.json is not as it was written"


def test_records_of_other_versions_are_called_that(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"key": "k", "files": {}}')
    assert fault(tmp_path) == "cell.json has no seal: it is of another version, or damaged"
    for record, why in (
        ({"key": "k"}, "files: not there"),
        ({"key": 1, "files": {}}, "key: Input should be a valid string"),
        ({"key": "k", "files": {"a": 1}}, "files.a: Input should be a valid string"),
    ):
        write_sealed(tmp_path / NAME, record)
        assert fault(tmp_path) == f"cell.json is of another version ({why})"


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "..", "", "a\\b"])
def test_a_record_names_no_file_of_another_folder(tmp_path: Path, name: str) -> None:
    for record in ({"files": {name: "0"}}, {"files": {}, "model": name}):
        write_sealed(tmp_path / NAME, record | {"key": "k"})
        assert "should match pattern" in fault(tmp_path)


def test_a_record_that_changes_after_it_was_read_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / NAME
    write_sealed(file, {"key": "k", "files": {}, "value": 1})
    first, _ = read_folder(tmp_path, NAME, "k")
    assert first is not None
    first["value"] = 3  # whoever asked may change what it got: nobody else has it
    again, _ = read_folder(tmp_path, NAME, "k")
    assert again is not None
    assert again["value"] == 1
    before = file.stat()
    write_sealed(file, {"key": "k", "files": {}, "value": 2})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # size and time are the old ones
    assert read_folder(tmp_path, NAME, "k") == ({"key": "k", "files": {}, "value": 2}, "")


def test_damage_is_found_in_files_that_were_whole_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"large": b"x" * 5000, "small": b"y"}.items():
        (tmp_path / name).write_bytes(value)
    monkeypatch.setattr(cell_files, "_SMALL", 100)
    write_record(tmp_path, NAME, "k", {"model": "large"})
    assert fault(tmp_path) == ""
    (tmp_path / "large").write_bytes(b"x" * 4999 + b"z!")
    assert fault(tmp_path) == "large is not as it was written"
    assert fault(tmp_path, with_model=False) == ""
    (tmp_path / "small").unlink()
    assert fault(tmp_path, with_model=False) == "small is missing"
    (tmp_path / "small").write_bytes(b"y")
    (tmp_path / "large").unlink()
    assert fault(tmp_path, with_model=False) == "large is missing"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EACCES])
@pytest.mark.parametrize("name", [NAME, "part"])
def test_what_cannot_be_read_is_not_taken_for_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    (tmp_path / "part").write_bytes(b"x")
    write_record(tmp_path, NAME, "k", {})
    record = read_sealed(tmp_path / NAME)
    monkeypatch.setattr(reading, "_PAUSES", (0, 0))
    cell_files._sha256.cache_clear()
    opened, failures = Path.open, []

    def fails(path: Path, *arguments: object, **options: object) -> object:
        if path.name == name and len(failures) < allowed:
            failures.append(path)
            raise OSError(number, os.strerror(number))
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", fails)
    allowed = 100
    with pytest.raises(StoreError, match=rf"^cannot read .*{name}: {os.strerror(number)}; it is neither used nor"):
        read_folder(tmp_path, NAME, "k")
    passes = number != errno.EACCES
    assert len(failures) == (3 if passes else 1)
    failures.clear()
    allowed = 2
    if passes:  # the server came back
        assert read_folder(tmp_path, NAME, "k") == (record, "")
