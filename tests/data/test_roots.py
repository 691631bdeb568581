from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from agiqa_bench.data.roots import cache_root, data_root


def test_option_then_variable_then_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGIQA_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "option") == tmp_path / "option"
    assert data_root() == tmp_path / "variable"
    monkeypatch.setenv("AGIQA_DATA", "")
    assert data_root() == platformdirs.user_data_path("agiqa-bench", appauthor=False)


def test_relative_and_home_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_root(Path("here")) == tmp_path / "here"
    monkeypatch.setenv("AGIQA_CACHE", "~/cache")
    assert cache_root() == tmp_path / "home" / "cache"
    monkeypatch.delenv("AGIQA_CACHE")
    assert cache_root() == platformdirs.user_cache_path("agiqa-bench", appauthor=False)
