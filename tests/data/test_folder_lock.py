from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from agiqa_bench.data.folder_lock import folder_lock
from agiqa_bench.errors import StoreError


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(StoreError, match=r"cache is on a file system without locks: set AGIQA_CACHE to another$"),
        folder_lock(tmp_path / "cache" / "images"),
    ):
        pytest.fail("nobody may be let in")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".images.12ab.tmp", ".others.12ab.tmp", "images"):
        (tmp_path / name).mkdir()
    with folder_lock(tmp_path / "images"):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".others.12ab.tmp", "images", "images.lock"]
