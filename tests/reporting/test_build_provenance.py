"""Where numbers come from and what is missing, on stored runs."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from agiqa_bench.reporting.build.provenance import left_out_table, provenance_table
from agiqa_bench.reporting.homes import without_home
from agiqa_bench.reporting.results import RunResults, read_results


@pytest.fixture(scope="module")
def stored(stored_runs, tmp_path_factory) -> RunResults:
    store = stored_runs.make_store(
        tmp_path_factory.mktemp("run"),
        methods=4,
        repeats=2,
        images=60,
        failed={"Method 01": "RuntimeError: out of luck: really"},
        skipped={"A_b & <c>": "needs 50% more\\memory"},
        stand_ins=["Method 03"],
    )
    return read_results(store)


@pytest.fixture
def results(stored) -> RunResults:
    return deepcopy(stored)


def environment(**changes: Any) -> dict[str, Any]:
    return {
        "agiqa_bench": "0.1.0",
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "changed": False},
        "python": "3.11.7",
        "libraries": {"torch": "2.6.0", "numpy": "2.0.1"},
        "platform": "Linux",
        "cpu_count": 4,
        "argv": ["/opt/venv/bin/agiqa-bench", "run", "--dataset", "toy"],
        "device": {"type": "cpu", "name": "A processor", "threads": 4},
    } | changes


def set_environments(results: RunResults, of_plans: list[dict[str, Any]], of_cells: dict[str, Any]) -> None:
    plan = results.plans[0]
    results.plans[:] = [plan | {"environment": each} for each in of_plans]
    for method in results.methods:
        for cell in method.cells.values():
            cell.record["environment"] = of_cells


def facts(results: RunResults) -> dict[str, str]:
    table = provenance_table(results, "x-")
    assert (table.key, table.head) == ("x-provenance", "Fact")
    keys = [row.key for row in table.rows]
    assert len(set(keys)) == len(keys)
    return {row.name: row.cells[0] for row in table.rows}


def test_one_command_on_one_machine(results):
    set_environments(results, [environment()], environment())
    results.plans[0] |= {"started": "2026-11-22T07:53:38+00:00", "ended": "2026-11-22T09:57:09+00:00"}
    found = facts(results)
    protocol = results.protocol
    assert found == {
        "agiqa-bench": "0.1.0, commit 0123456789abcdef",
        "When": "2026-11-22 07:53 to 09:57 UTC",
        "Command": "agiqa-bench run --dataset toy",
        "Python": "3.11.7",
        "Libraries": "numpy 2.0.1, torch 2.6.0",
        "Platform": "Linux",
        "Device": "A processor, 4 processors",
        "Annotations": protocol["annotations"][:16],
        "Images": results.images[:16],
        "Splits": protocol["splits_digest"][:16],
        "Seed": "0",
        "Weights weights-00": f"{results.plans[0]['methods'][0]['weights'][0]['digest'][:16]}: Method 00",
        "Weights weights-03": f"{results.plans[0]['methods'][3]['weights'][0]['digest'][:16]}: "
        "Method 03 (toy stand-in)",
    }


def test_several_commands_and_machines_are_listed_as_far_as_they_differ(results):
    gpu = {"type": "cuda", "name": "A GPU", "memory_bytes": 80 * 2**30, "cuda": "12.4", "driver": "550.1"}
    first = environment(git=None)
    second = environment(
        git=environment()["git"] | {"changed": True},
        argv=["run.py"],
        device=gpu,
        libraries={"torch": "2.7.0", "numpy": "2.0.1"},
    )
    cells = environment(argv=["/x/agiqa_bench/__main__.py", "run", "-d", "two words"], device=gpu | {"driver": None})
    set_environments(results, [first, second, first], cells)
    results.plans[0] |= {"started": "2026-11-21T23:59:00+00:00", "ended": "2026-11-22T00:01:00+00:00"}
    results.plans[1] |= {"started": "2026-11-23T10:00:00+00:00", "faults": ["row 3 is there twice", "no image 7"]}
    del results.plans[1]["ended"]
    results.plans[2] |= {"started": "2026-11-24T10:00:00+00:00", "ended": "2026-11-24T10:00:10+00:00", "images": None}
    found = facts(results)
    assert found["agiqa-bench"] == (
        "0.1.0; 0.1.0, commit 0123456789abcdef with local changes; 0.1.0, commit 0123456789abcdef"
    )
    assert found["When"] == (
        "2026-11-21 23:59 to 2026-11-22 00:01 UTC; 2026-11-23 10:00 UTC, not ended; 2026-11-24 10:00 to 10:00 UTC"
    )
    assert found["Command 1"] == "agiqa-bench run --dataset toy"
    assert found["Command 2"] == "run.py"
    assert found["Command 3"] == "agiqa-bench run -d 'two words'"
    assert "Command" not in found
    assert "Command 4" not in found
    assert found["Python"] == "3.11.7"
    assert found["Libraries"] == "numpy 2.0.1, torch 2.6.0 or 2.7.0"
    assert found["Device"] == (
        "A processor, 4 processors; A GPU, 80 GiB, CUDA 12.4, driver 550.1, 4 processors; "
        "A GPU, 80 GiB, CUDA 12.4, 4 processors"
    )
    assert found["Fault of the data set 1"] == "row 3 is there twice"
    assert found["Fault of the data set 2"] == "no image 7"
    assert found["Images"] == results.images[:16]


def test_weights_of_one_name_and_no_file(results):
    for name, digest in (("Method 00", "a" * 64), ("Method 02", "b" * 64), ("Method 03 (toy stand-in)", "")):
        (method,) = (method for method in results.methods if method.label == name)
        for cell in method.cells.values():
            cell.record["weights"] = [{"name": "CLIP", "digest": digest, "stand_in": ""}]
    found = facts(results)
    assert found["Weights CLIP"] == (f"no file: Method 03 (toy stand-in); {'a' * 16}: Method 00; {'b' * 16}: Method 02")


def test_training_and_test_set_of_a_crossing(results):
    results.protocol |= {
        "train_on": "one",
        "train_annotations": "c" * 64,
        "test_on": "two",
        "test_annotations": "d" * 64,
    }
    found = facts(results)
    assert found["Annotations of the training set"] == f"one: {'c' * 16}"
    assert found["Annotations of the test set"] == f"two: {'d' * 16}"


def test_no_images(results):
    for plan in results.plans:
        plan["images"] = None
    assert facts(results)["Images"] == "no method looked at them"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run --data-root /home/someone/data", "run --data-root ~/data"),
        ("--output=/Users/some.one/out /home/x", "--output=~/out ~"),
        ("'/home/someone/two words'", "'~/two words'"),
        ("'/Users/some one/t.csv' /srv/x", "'~/t.csv' /srv/x"),
        ("ViT-B-32:/home/someone/clip.pt", "ViT-B-32:~/clip.pt"),
        (r"C:\Users\someone\data", r"~\data"),
        ("/mnt/home/someone /srv/Users/x /homework/y", "/mnt/home/someone /srv/Users/x /homework/y"),
        ("/own/place /own/place/runs '/own/place' /own/placement", "~ ~/runs '~' /own/placement"),
    ],
)
def test_home_folders_are_not_shown(text, shown, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/own/place"))
    assert without_home(text) == shown
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert without_home("/data/x /") == "/data/x /"


def test_what_was_left_out(results):
    table = left_out_table(results, "x-")
    assert table.key == "x-left-out"
    assert [(row.name, *row.cells) for row in table.rows] == [
        ("A_b & <c>", "skipped", "needs 50% more\\memory"),
        ("Method 01", "failed", "RuntimeError: out of luck: really (repeat 0 and 1 more)"),
    ]
    results.left_out.clear()
    assert left_out_table(results, "x-") is None
