from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agiqa_bench.benchmarks import parts
from agiqa_bench.benchmarks.model import Entry, PartResult, Settings
from agiqa_bench.benchmarks.part_process import measure_apart
from agiqa_bench.benchmarks.parts import PARTS, chosen_parts, summary_of
from agiqa_bench.cli.app import start
from agiqa_bench.errors import BenchmarkError, UnknownNameError

PART = """
import os
import tempfile
from agiqa_bench.benchmarks.model import Entry, PartResult

SUMMARY = "{name} of nothing"


def measure(settings, say):
    print("a library's chatter")
    say("measuring")
    own, made = os.environ["AGIQA_CACHE"], tempfile.mkdtemp()
    depth = os.path.relpath(made, os.path.dirname(own)).count(os.sep) + 1
    {body}
    return PartResult("{name}", "in " + settings.scale, [
        Entry("time", "s", (float(os.environ["SECONDS"]),) * settings.rounds, note=",".join(settings.methods)),
        Entry("cache", "", (), "neither", f"{{own}}, weights in {{made}}/weights.pt", str(depth)),
    ])
"""

BODIES = {
    "good": "",
    "also": "",
    "bad": "raise ZeroDivisionError('over\\n nothing')",
    "dead": "os._exit(3)",
    "odd": "return PartResult('odd', '', [Entry('time', 's', (float('nan'),))])",
}

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def made_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the test's own, which its child processes find too."""
    for name, body in BODIES.items():
        (tmp_path / f"part_{name}.py").write_text(PART.format(name=name, body=body), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SECONDS", "2")
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "users-cache"))
    monkeypatch.setattr(parts, "PARTS", {name: f"part_{name}" for name in BODIES})


@pytest.mark.usefixtures("made_parts")
def test_a_part_is_measured_in_a_process_and_a_folder_of_its_own(tmp_path: Path) -> None:
    settings = Settings(scale="tiny", rounds=2, methods=("niqe", "ceiq"))
    found = measure_apart("part_good", settings)
    time, cache = found.entries
    assert (found.name, found.title) == ("good", "in tiny")
    assert time == Entry("time", "s", (2.0, 2.0), "lower", "niqe,ceiq")
    # Each has a folder of its own where the user's cache is, which no text names, and which is gone afterwards.
    assert cache.note == "(temporary folder)/cache, weights in (temporary folder)/weights.pt"
    assert cache.work == "1"
    assert list((tmp_path / "users-cache" / "benchmark").iterdir()) == []


@pytest.mark.usefixtures("made_parts")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bad", "ZeroDivisionError: over"),
        ("dead", "its process died with exit status 3"),
        ("odd", "ValueError: Out of range float values are not JSON compliant"),
        ("missing", "ModuleNotFoundError: No module named 'part_missing'"),
    ],
)
def test_a_part_that_fails_says_so_in_one_line(name: str, why: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        measure_apart(f"part_{name}", Settings())
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("made_parts")
def test_results_are_stored_compared_and_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark", "good", "also", "--scale", "tiny", "--rounds", "1", "--output", str(tmp_path / "out")]
    assert start(arguments) == 0
    first = capfd.readouterr()
    assert "warning" not in first.err
    assert "a library's chatter" not in first.out
    monkeypatch.setenv("SECONDS", "3")
    assert start([*arguments, "--methods", "niqe"]) == 0
    second = capfd.readouterr()
    assert second.err.count("warning: worse than on ") == 2
    assert "good: time: 2.00 -> 3.00 s (+50%)" in second.err
    table, file = sorted((tmp_path / "out").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (table.suffix, file.suffix, table.stem) == (".md", ".json", file.stem)
    results = json.loads(file.read_text())["parts"]["also"]["entries"]["time"]["results"]
    assert [result["median"] for result in results] == [2.0, 3.0]
    assert "| time | 2.00 | 3.00 | 3.00 | 3.00 | s | niqe |" in table.read_text()
    assert str(tmp_path) not in second.out


@pytest.mark.usefixtures("made_parts")
def test_a_failing_part_does_not_stop_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert start(["benchmark", "--rounds", "1", "--output", str(tmp_path / "out")]) == 1
    told = capfd.readouterr()
    assert "failed: bad: ZeroDivisionError: over\n" in told.err
    assert "failed: dead: its process died" in told.err
    assert "Traceback" not in told.err
    stored = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert set(stored["parts"]) == {"good", "also"}
    assert start(["--debug", "benchmark", "bad"]) == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.usefixtures("made_parts")
def test_nothing_is_stored_without_an_output(tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert start(["benchmark", "good", "--rounds", "1"]) == 0
    assert {path for path in tmp_path.iterdir() if path.name not in ("__pycache__", "users-cache")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scorin"], "unknown part 'scorin': did you mean scoring?"),
        (["startup", "--scale", "small"], "unknown scale 'small'"),
        (["startup", "--precision", "fp8"], "unknown precision 'fp8'"),
        (["startup", "--methods", "brisk"], "unknown method 'brisk': did you mean brisque"),
        (["startup", "--rounds", "0"], "--rounds"),
        (["startup", "--device", "gpu"], "--device gpu: write auto, cpu or cuda:N"),
    ],
)
def test_a_wrong_request_is_one_line(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert start(["benchmark", *arguments]) == 2
    told = capfd.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_damaged_results_are_refused_before_anything_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from agiqa_bench.benchmarks.stored import conditions_of

    (tmp_path / f"{conditions_of(Settings()).slug}.json").write_text("{")
    assert start(["benchmark", "startup", "--output", str(tmp_path)]) == 2
    told = capfd.readouterr().err
    assert "cannot be read" in told
    assert "startup ..." not in told


def test_parts_are_chosen_in_their_own_order() -> None:
    assert chosen_parts(()) == list(PARTS)
    assert chosen_parts(["scoring", "startup", "scoring"]) == ["startup", "scoring"]
    with pytest.raises(UnknownNameError):
        chosen_parts(["startup", "stop"])


@pytest.mark.parametrize("name", PARTS)
def test_every_part_says_what_it_measures(name: str) -> None:
    assert 20 < len(summary_of(PARTS[name])) < 120


def test_the_list_names_every_part(command: Command) -> None:
    done = command("benchmark", "--list")
    assert done.returncode == 0, done.stderr
    for name in PARTS:
        assert summary_of(PARTS[name]) in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overhead", "statistics"])
def test_the_harness_is_measured_at_tiny_scale(name: str) -> None:
    found = measure_apart(PARTS[name], Settings(scale="tiny", rounds=1))
    assert isinstance(found, PartResult)
    assert found.name == name
    assert all(len(entry.values) == 1 for entry in found.entries)
    assert len({entry.name for entry in found.entries}) == len(found.entries) > 2
