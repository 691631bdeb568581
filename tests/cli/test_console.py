"""How wide tables may be where there is no terminal."""

import io

import pytest

from agiqa_bench.cli.console import PIPE_WIDTH, wide_console


@pytest.mark.parametrize("colour", [{}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "dumb"}])
@pytest.mark.parametrize(("columns", "width"), [(None, PIPE_WIDTH), ("80", 80), ("200", 200), ("", PIPE_WIDTH)])
def test_a_pipe_is_wide_unless_somebody_says_how_wide(monkeypatch, columns, width, colour):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    for name, value in colour.items():
        monkeypatch.setenv(name, value)
    assert wide_console(file=io.StringIO()).width == width
