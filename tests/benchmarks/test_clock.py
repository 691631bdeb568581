from __future__ import annotations

import os
import sys
from functools import partial

import pytest

from agiqa_bench.benchmarks.clock import Took, in_turns, timed, timed_command
from agiqa_bench.errors import BenchmarkError


def test_a_command_that_fails_is_one_line_with_its_last_words() -> None:
    with pytest.raises(BenchmarkError, match="ended with exit status 1: no way"):
        timed_command([sys.executable, "-c", "raise SystemExit('no way')"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count in other units")
def test_memory_of_this_process_is_not_taken_for_the_commands() -> None:
    held = b"x" * (128 << 20)
    took = timed_command([sys.executable, "-c", "held = b'x' * (32 << 20)"])
    assert len(held) == 128 << 20
    assert took.mebibytes is not None
    assert 32 < took.mebibytes < 128


def test_the_environment_is_the_commands() -> None:
    code = "import os, sys; sys.exit(0 if os.environ.get('COLOUR') == 'blue' else 1)"
    timed_command([sys.executable, "-c", code], os.environ | {"COLOUR": "blue"})
    with pytest.raises(BenchmarkError, match="it said nothing"):
        timed_command([sys.executable, "-c", code], os.environ | {"COLOUR": "red"})


def test_two_clocks_are_read_before_and_after() -> None:
    ran: list[str] = []
    took = timed(lambda: ran.append("it"), iter([10.0, 14.5]).__next__, iter([3.0, 4.0]).__next__)
    assert (ran, took) == (["it"], Took(4.5, 1.0, None))


@pytest.mark.parametrize("uncounted", [0, 1])
def test_things_take_turns_and_the_first_rounds_do_not_count(uncounted: int) -> None:
    called: list[str] = []
    said: list[str] = []

    def way(name: str, number: int) -> str:
        called.append(f"{name}{number}")
        return called[-1]

    ways = {name: partial(way, name) for name in ("a", "b")}
    found = in_turns(ways, 2, said.append, uncounted=uncounted)
    assert called == [f"{name}{number}" for number in range(2 + uncounted) for name in ("a", "b")]
    assert found == {name: [f"{name}{uncounted}", f"{name}{uncounted + 1}"] for name in ("a", "b")}
    assert said[-1] == "round 2 of 2: b"
    assert said[0] == ("not counted: a" if uncounted else "round 1 of 2: a")
