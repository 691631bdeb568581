from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agiqa_bench.benchmarks.model import Better, Entry, PartResult, Settings
from agiqa_bench.benchmarks.stored import (
    KEPT,
    Conditions,
    change_of,
    conditions_of,
    merged,
    provenance_of,
    read_stored,
)
from agiqa_bench.benchmarks.table import to_markdown, warnings
from agiqa_bench.errors import StoreError

CONDITIONS = Conditions("Some CPU", 2, 2, None, "cpu", "float32", "full")
COMMIT = "0123456789abcdef"
WEIGHTS = {"random": 2.0, "real": 9.0}


def provenance(day: int, methods: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "time": f"2026-01-{day:02d}T10:00:00+00:00",
        "git": {"commit": COMMIT, "changed": False},
        "python": "3.11.1",
        "libraries": {"numpy": "2.0"},
        "settings": {"methods": list(methods)},
    }


def part(*entries: Entry) -> PartResult:
    return PartResult("decode", "so many images", entries)


def stored(*values: float, unit: str = "s", better: Better = "lower") -> dict[str, Any]:
    return merged({}, part(Entry("load", unit, values, better)), CONDITIONS, provenance(1))


def test_what_is_stored_holds_values_median_note_and_provenance() -> None:
    found = merged(
        {}, part(Entry("load", "s", (1.0, 9.0, 2.0)), Entry("b", "s", note="why not")), CONDITIONS, provenance(1)
    )
    assert found["conditions"]["processor"] == "Some CPU"
    entry = found["parts"]["decode"]["entries"]["load"]
    assert entry["results"] == [
        {
            "title": "so many images",
            "work": "",
            "median": 2.0,
            "lowest": 1.0,
            "highest": 9.0,
            "values": [1.0, 9.0, 2.0],
            "time": "2026-01-01T10:00:00+00:00",
            "commit": COMMIT,
            "changed": False,
        }
    ]
    absent = found["parts"]["decode"]["entries"]["b"]
    assert (absent["results"], absent["note"], absent["measured"]) == ([], "why not", False)
    assert found["parts"]["decode"]["provenance"] == provenance(1)
    json.dumps(found, allow_nan=False)


def test_earlier_results_are_kept_and_bounded() -> None:
    found: dict[str, Any] = {}
    for number in range(KEPT + 5):
        found = merged(found, part(Entry("load", "s", (float(number),))), CONDITIONS, provenance(1 + number))
    results = found["parts"]["decode"]["entries"]["load"]["results"]
    assert [result["median"] for result in results] == [float(number) for number in range(4, KEPT + 5)]


def test_another_unit_begins_anew() -> None:
    again = merged(stored(1.0), part(Entry("load", "ms", (900.0,))), CONDITIONS, provenance(2))
    assert [each["median"] for each in again["parts"]["decode"]["entries"]["load"]["results"]] == [900.0]
    assert change_of(Entry("load", "ms", (900.0,)), stored(1.0), part()) is None


def test_other_work_is_not_compared() -> None:
    random, real = (part(Entry("load", "s", (value,), work=f"weights: {name}")) for name, value in WEIGHTS.items())
    before = merged({}, random, CONDITIONS, provenance(1))
    assert change_of(random.entries[0], before, random) is not None
    assert change_of(real.entries[0], before, real) is None
    assert change_of(random.entries[0], before, PartResult("decode", "more images")) is None
    both = merged(before, real, CONDITIONS, provenance(2))
    assert "| load | - | 9.00 | 9.00 | 9.00 | s | weights: real |\n" in to_markdown(both)


def test_entries_of_another_title_do_not_stay_under_this_one() -> None:
    few = PartResult("decode", "more images", [Entry("b", "s", (1.0,))])
    found = merged(stored(1.0), few, CONDITIONS, provenance(2, ("b",)))
    assert set(found["parts"]["decode"]["entries"]) == {"b"}


def test_entries_go_when_the_part_no_longer_has_them_but_not_when_a_few_methods_are_measured() -> None:
    before = merged({}, part(Entry("zeta", "s", (1.0,)), Entry("alpha", "s", (2.0,))), CONDITIONS, provenance(1))
    # Written with sorted keys: the order must come from elsewhere.
    before = json.loads(json.dumps(before, sort_keys=True))
    few = merged(before, part(Entry("alpha", "s", (3.0,))), CONDITIONS, provenance(2, ("alpha",)))
    assert few["parts"]["decode"]["order"] == ["zeta", "alpha"]
    assert set(few["parts"]["decode"]["entries"]) == {"zeta", "alpha"}
    whole = merged(before, part(Entry("alpha", "s", (3.0,))), CONDITIONS, provenance(2))
    assert whole["parts"]["decode"]["order"] == list(whole["parts"]["decode"]["entries"]) == ["alpha"]


def test_other_parts_stay() -> None:
    found = merged(stored(1.0), PartResult("memory", "all", [Entry("peak", "MiB", (5.0,))]), CONDITIONS, provenance(2))
    assert set(found["parts"]) == {"decode", "memory"}


@pytest.mark.parametrize(
    ("before", "now", "better", "worse", "improved"),
    [
        ((10.0,), (11.5,), "lower", True, False),
        ((10.0,), (8.0,), "lower", False, True),
        ((10.0,), (8.0,), "higher", True, False),
        ((10.0,), (11.5,), "higher", False, True),
        ((10.0,), (10.9,), "lower", False, False),  # less than the stated share
        ((8.0, 10.0, 12.0), (13.0,), "lower", False, False),  # less than the spread of the stored values
        ((10.0,), (10.0, 13.0, 14.0), "lower", False, False),  # less than the spread of the new ones
        ((10.0,), (100.0,), "neither", False, False),
        ((0.0,), (1.0,), "lower", True, False),
        ((-1.0,), (1.0,), "lower", True, False),
    ],
)
def test_what_counts_as_worse(
    before: tuple[float, ...], now: tuple[float, ...], better: Better, worse: bool, improved: bool
) -> None:
    change = change_of(Entry("load", "s", now, better), stored(*before, better=better), part())
    assert change is not None
    assert (change.worse, change.better) == (worse, improved)


def test_a_warning_names_the_entry_the_numbers_and_the_commit() -> None:
    slower = part(Entry("load", "s", (1.5,)), Entry("new", "s", (1.0,)), Entry("gone", "s", (), note="not here"))
    assert warnings(slower, stored(1.0)) == [
        "worse than on 2026-01-01 at commit 0123456: decode: load: 1.00 -> 1.50 s (+50%)"
    ]
    assert warnings(part(Entry("load", "s", (1.0,))), stored(1.0)) == []


def test_the_table_shows_before_and_now() -> None:
    found = merged(
        stored(1.0),
        part(Entry("load", "s", (0.4, 0.5, 0.7), note="a | b"), Entry("x", "s", note="no")),
        CONDITIONS,
        provenance(2),
    )
    text = to_markdown(found)
    assert text.startswith("# Speed: Some CPU, 2 cores, cpu, float32, scale full\n")
    assert "## decode\n\nso many images. Measured on 2026-01-02 at commit 0123456; Python 3.11.1, numpy 2.0.\n" in text
    assert "| load | 1.00 | 0.500 | 0.400 | 0.700 | s | a \\| b |\n| x | - | - | - | - | s | no |\n" in text


def test_conditions_tell_machines_and_settings_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    plain = conditions_of(Settings(scale="tiny"))
    monkeypatch.setenv("OMP_NUM_THREADS", str(plain.cores + 1))
    others = [
        conditions_of(Settings(scale="tiny")),
        conditions_of(Settings()),
        conditions_of(Settings(precision="bf16")),
    ]
    assert len({each.slug for each in (plain, *others)}) == 4
    assert plain.threads == plain.cores >= 1
    assert plain.gpu is None
    assert conditions_of(Settings(rounds=9, methods=("a",))).slug == conditions_of(Settings()).slug


def test_provenance_names_no_folder_and_no_host() -> None:
    import platform

    text = json.dumps(provenance_of(Settings()))
    assert "argv" not in text
    assert platform.platform() not in text
    assert platform.release() not in text
    assert str(Path.cwd()) not in text
    assert platform.node() not in text
    assert json.loads(text)["settings"]["rounds"] == 3


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "stored.json"
    assert read_stored(file) == {}
    file.write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        read_stored(file)
    file.write_text('{"format": 0}')
    with pytest.raises(StoreError, match="no benchmark of this version"):
        read_stored(file)
