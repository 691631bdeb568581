"""The short form of `tests/sudden_death.py`: a run that is killed a few times ends as if nothing had happened."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(tmp_path):
    file = Path(__file__).parents[1] / "sudden_death.py"
    spec = importlib.util.spec_from_file_location("sudden_death", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sudden_death"] = module  # dataclasses look for it there
    try:
        spec.loader.exec_module(module)
        account = module.put_to_death(tmp_path, 4, 0.4, 0, 1, "hypernet,generator_mean", repeats=1)
    finally:
        del sys.modules["sudden_death"]
    assert account.faults == []
    assert account.kills == 4
    assert account.starts == account.kills + account.rounds  # each ends by a kill, or by itself
