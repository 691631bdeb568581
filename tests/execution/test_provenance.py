"""What a record says of the machine and the code that it came from."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import agiqa_bench
from agiqa_bench.execution import provenance
from agiqa_bench.execution.provenance import LIBRARIES, describe_device, environment, git_state, library_versions, now


@pytest.fixture(autouse=True)
def _nothing_kept():
    """Descriptions are kept for the life of a process, and so would be those that a test makes up."""
    for kept in (environment, describe_device):
        kept.cache_clear()
    yield
    for kept in (environment, describe_device):
        kept.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, env=os.environ | identity
    )
    return done.stdout.strip()


def test_the_time_is_utc_to_the_second():
    said = datetime.fromisoformat(now())
    assert said.utcoffset() == timedelta(0)
    assert said.microsecond == 0
    assert abs(said - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_commit_and_whether_the_code_was_changed(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert git_state(package) is None
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    # A virtual environment inside of somebody's repository is no checkout of the package.
    assert git_state(package) is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "second")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(package) == {"commit": commit, "changed": False}
    (tmp_path / "new.txt").write_text("not tracked")
    assert git_state(package) == {"commit": commit, "changed": False}
    (package / "__init__.py").write_text("changed = True\n")
    assert git_state(package) == {"commit": commit, "changed": True}


def test_without_git_nothing_is_said_of_a_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(agiqa_bench.__file__).parent) is None


def test_libraries_that_are_not_installed_are_left_out(monkeypatch):
    assert library_versions() == {name: version(name) for name in LIBRARIES}
    monkeypatch.setattr(provenance, "LIBRARIES", ("no-such-library", "numpy"))
    assert library_versions() == {"numpy": version("numpy")}


def test_the_processor_is_named(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast: 3 GHz\nmodel name\t: Slow\n")
    monkeypatch.setattr(provenance, "Path", lambda name: tmp_path / "cpuinfo")
    assert describe_device("cpu") == {"type": "cpu", "name": "Fast: 3 GHz", "threads": os.cpu_count()}
    describe_device.cache_clear()
    for content in ("processor\t: 0\n", None):
        if content is None:
            (tmp_path / "cpuinfo").unlink()
        else:
            (tmp_path / "cpuinfo").write_text(content)
        monkeypatch.setattr("platform.processor", lambda: "")
        monkeypatch.setattr("platform.machine", lambda: "a machine")
        assert provenance._processor() == "a machine"
        monkeypatch.setattr("platform.processor", lambda: "a processor")
        assert provenance._processor() == "a processor"


def test_a_graphics_card_is_described_with_its_driver(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: asked.append(device) or SimpleNamespace(name="Card", total_memory=2**33),
    )
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && printf " 570.1 \\n570.2\\n"\n')
    program.chmod(0o755)
    wanted = {"type": "cuda", "name": "Card", "memory_bytes": 2**33, "cuda": "12.6"}
    assert describe_device("cuda:1") == wanted | {"driver": "570.1"}
    assert asked == ["cuda:1"]
    describe_device.cache_clear()
    program.write_text("#!/bin/sh\nexit 9\n")
    assert describe_device("cuda:1") == wanted | {"driver": None}


def test_a_record_names_all_of_them():
    found = environment("cpu")
    assert found.keys() == {
        "agiqa_bench", "git", "python", "libraries", "platform", "cpu_count", "argv", "device"
    }  # fmt: skip
    assert found["agiqa_bench"] == agiqa_bench.__version__
    assert found["device"]["type"] == "cpu"
    assert found["cpu_count"] == os.cpu_count()
    assert environment("cpu") is found  # git is asked once
