"""The main tables and what is said beside them, on results made by hand."""

import csv
import io
from pathlib import Path

import pytest

from agiqa_bench.evaluation.metrics import METRICS
from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.reporting.build import notes
from agiqa_bench.reporting.build.comparison import comparison_table, full_table
from agiqa_bench.reporting.build.generators import generator_table
from agiqa_bench.reporting.build.notes import chapter_names
from agiqa_bench.reporting.build.overview import overview_chapter, overview_table
from agiqa_bench.reporting.build.report import build_report
from agiqa_bench.reporting.build.summaries import ordered, row_title
from agiqa_bench.reporting.model import Number
from agiqa_bench.reporting.render.comma_separated import table_to_csv
from agiqa_bench.reporting.results import (
    MethodResults,
    RunResults,
    differences,
    join_comparable,
    read_protocols,
    read_results,
)

PROTOCOL = {
    "dataset": "toy",
    "annotations": "x",
    "synthetic": False,
    "split": "grouped",
    "splits_digest": "y",
    "repeats": 3,
    "seed": 0,
    "select": "validation",
    "leaked_prompts": 0.0,
    "leaked_groups": 0.0,
    "leaked_generators": 1.0,
    "candidates": "prompt",
}


def cell(srcc, within=0.5, generators=None):
    metrics = {metric.key: 0.25 for metric in METRICS} | {"srcc": srcc, "srcc_within_generator": within}
    reasons = {key: "the scores do not vary" for key, value in metrics.items() if value is None}
    per_generator = {
        name: {"n": 5, "srcc": value, "plcc": value, "krcc": value, "undefined": {} if value else {"srcc": "flat"}}
        for name, value in (generators or {}).items()
    }
    record = {"metrics": {"quality": metrics | {"undefined": reasons, "n": 20, "per_generator": per_generator}}}
    return CellResult(record, Path())


def method(label, values, **changes):
    facts = {
        "label": label,
        "display": label.title(),
        "name": label,
        "config": {},
        "targets": ("quality",),
        "weights": (),
        "stand_ins": (),
        "diagnostic": False,
        "trainable": True,
        "selects_epoch": False,
        "citation": "",
        "keeps_features": False,
        "preset": "",
        "note": "",
        "keys": {repeat: f"{label}-{repeat}" for repeat in range(3)},
        "cells": {repeat: value for repeat, value in enumerate(values) if value is not None},
    }
    return MethodResults(**(facts | changes))


def results_of(*methods, left_out=(), title="Toy", repeats=3, **protocol):
    protocol |= {"repeats": repeats}
    sizes = dict.fromkeys(range(repeats), (80, 20))
    return RunResults(title, PROTOCOL | protocol, ("quality",), sizes, list(methods), list(left_out), plans=[])


def table_of(*methods, **options):
    return comparison_table(results_of(*methods, **options), "quality", "")


def number(table, row, key):
    return table.rows[row].cells[table.column(key)]


def test_mean_std_and_corrected_interval():
    found = number(table_of(method("a", [cell(0.1), cell(0.2), cell(0.3)])), 0, "srcc")
    assert found.value == pytest.approx(0.2)
    assert found.std == pytest.approx(0.1)
    assert found.n == 3
    # t(0.975, 2) = 4.302653; variance 0.01 * (1/3 + 20/80) of Nadeau and Bengio.
    assert found.high - found.value == pytest.approx(4.302653 * (0.01 * (1 / 3 + 0.25)) ** 0.5, rel=1e-6)


def test_the_interval_goes_by_the_sizes_of_the_repeats_that_have_a_value():
    """Not by those of repeats that are planned, or in which it is not defined: splits of a file may differ much."""
    inside = [{"g": 0.2}, {"g": 0.4}, {"h": 0.1}, None]
    found = results_of(
        method("a", [cell(0.2, generators=inside[0]), cell(0.4, generators=inside[1]), cell(None), None],
               keys=dict.fromkeys(range(4), "k")),
        repeats=4,
    )  # fmt: skip
    found.sizes |= {0: (80, 20), 1: (60, 40), 2: (5, 500), 3: (5, 500)}
    # t(0.975, 1) = 12.706205; s^2 = 0.02, J = 2, on average 30 test and 70 training rows.
    half = 12.706205 * (0.02 * (1 / 2 + 30 / 70)) ** 0.5
    assert number(comparison_table(found, "quality", ""), 0, "srcc").high == pytest.approx(0.3 + half, rel=1e-6)
    in_g = generator_table(found, "quality", "").rows[0].cells[0]
    assert (in_g.n, in_g.high) == (2, pytest.approx(0.3 + half, rel=1e-6))


def test_rows_are_sorted_by_srcc_and_best_and_second_are_marked():
    table = table_of(
        method("low", [cell(0.1)] * 3), method("high", [cell(0.9)] * 3), method("negative", [cell(-0.95)] * 3),
        method("flat", [cell(None)] * 3),
    )  # fmt: skip
    assert [row.key for row in table.rows] == ["high", "low", "negative", "flat"]
    marks = [number(table, row, "srcc").marks & {"best", "second"} for row in range(4)]
    assert marks == [{"best"}, {"second"}, frozenset(), frozenset()]
    # What is shown as equal shares the mark, and a lower error would be the better one.
    assert all("best" in number(table, row, "rmse_fitted").marks for row in range(4))


def test_what_the_test_does_not_tell_apart_from_the_best_is_marked():
    table = table_of(
        method("best", [cell(0.80), cell(0.82), cell(0.84)]),
        method("close", [cell(0.82), cell(0.79), cell(0.83)]),
        method("far", [cell(0.20), cell(0.23), cell(0.23)]),
    )
    assert ["tied" in number(table, row, "srcc").marks for row in range(3)] == [False, True, False]
    (note,) = (
        note for note in table.notes if note.startswith("≈ is not told apart from the best SRCC, that of Best (")
    )
    assert "Holm's correction for all pairs of methods, 5 %" in note


LUCKY = [cell(0.99), None, None, None, None]


def five(label, *values, **changes):
    return method(label, values, keys={repeat: str(repeat) for repeat in range(5)}, **changes)


def test_one_lucky_repeat_is_ahead_of_nobody():
    """A lucky row has the highest mean in every column, and would be bold in all of them."""
    good = five("good", *map(cell, (0.80, 0.81, 0.79, 0.82, 0.78)))
    poor = five("poor", *map(cell, (0.40, 0.42, 0.39, 0.41, 0.40)))
    results = results_of(five("lucky", *LUCKY), poor, good, five("flat", *[cell(None)] * 5), repeats=5)
    table = comparison_table(results, "quality", "")
    assert [row.key for row in table.rows] == ["good", "poor", "lucky", "flat"]
    assert [row.name for row in table.rows][1:3] == ["Poor", "Lucky (1 of 5 repeats)"]
    assert [number(table, row, "srcc").marks for row in range(4)] == [{"best"}, {"second"}, set(), set()]
    assert not any(cell.marks for cell in table.rows[2].cells)
    assert "rows with SRCC in fewer repeats than others stand below them, without marks" in table.notes
    (warning,) = notes.warnings(results)
    assert warning == (
        "not all repeats are finished: Lucky (only 1 of 5 repeats); rows with fewer than others stand below them, "
        "without marks"
    )
    assert [method.label for method in ordered(results, "quality", "rmse_fitted")][-1] == "lucky"
    side_by_side = overview_table([results, results_of(good, poor, repeats=5, title="Other", dataset="other")], "")
    assert [row.key for row in side_by_side.rows] == ["good", "poor", "lucky", "flat"]
    by_key = {row.key: row.cells for row in side_by_side.rows}
    assert (by_key["lucky"][0].marks, by_key["good"][0].marks) == (frozenset(), {"best"})
    assert any("Lucky on Toy (1 of 5)" in note for note in side_by_side.notes)
    csv_rows = list(csv.DictReader(io.StringIO(table_to_csv(full_table([results])))))
    assert [(row["name"], row["repeats"]) for row in csv_rows[1:3]] == [("Poor", "5"), ("Lucky", "1")]


def test_an_unfinished_row_is_not_marked_as_tied():
    best = [0.80, 0.81, 0.79, 0.82, 0.78]
    near = five("near", cell(0.79), cell(0.82), cell(0.78), None, None)
    table = comparison_table(results_of(five("best", *map(cell, best)), near, repeats=5), "quality", "")
    assert [number(table, row, "srcc").marks for row in range(2)] == [{"best"}, frozenset()]


def test_intervals_and_brackets_are_explained_where_they_are():
    wide = method("a", [cell(0.6), cell(0.9), cell(0.5)])
    assert number(table_of(wide), 0, "srcc").high > 1
    notes_of = {"wide": table_of(wide).notes}
    notes_of["narrow"] = table_of(method("a", [cell(0.60), cell(0.61), cell(0.62)])).notes
    notes_of["generator"] = table_of(wide, split="generator").notes
    notes_of["once"] = table_of(method("a", [cell(0.6)]), repeats=1).notes
    said = {name: "\n".join(lines) for name, lines in notes_of.items()}
    assert [name for name in said if "passes 1 or -1" in said[name]] == ["wide", "generator"]
    assert [name for name in said if "because repeats share data" in said[name]] == ["wide", "narrow"]
    assert [name for name in said if "rules of thumb" in said[name]] == ["generator"]
    assert [name for name in said if "±" in said[name]] == ["wide", "narrow", "generator"]
    assert [name for name in said if "one repeat: there is no spread" in said[name]] == ["once"]
    # The columns are explained in every form, not only in the page's tool tips.
    assert all(
        "RMSE (fit): root mean square error after a rising 4-parameter logistic fit" in lines for lines in said.values()
    )
    assert all("SRCC in prompt: SRCC among the images of one prompt" in lines for lines in said.values())


def test_few_repeats_are_a_warning():
    def warned(repeats):
        return notes.warnings(results_of(method("a", [cell(0.1)] * repeats, keys=dict.fromkeys(range(repeats), "k"))))

    assert warned(1) == ("one repeat: there is no spread, no interval and no test, and the order may be chance",)
    assert warned(3) == ("only 3 repeats: intervals are wide, and tests can hardly tell anything apart",)
    assert warned(4) == ()


@pytest.mark.parametrize(
    ("split", "prompts", "groups", "expected"),
    [
        # A split file may keep prompts apart under the rule `image`: nothing is optimistic about it.
        ("image", 0.0, 0.0, []),
        ("grouped", 0.0, 0.0, []),
        ("generator", 1.0, 1.0, []),
        (
            "image",
            0.004,
            1.0,
            [
                "image-level split: optimistic, <1% of the test images have their prompt in the training part",
                "image-level split: optimistic, 100% of the test images have their group in the training part",
            ],
        ),
        (
            "grouped",
            0.81,
            0.0,
            ["groups that divide prompts: optimistic, 81% of the test images have their prompt in the training part"],
        ),
    ],
)
def test_what_is_warned_of_is_the_share_that_was_measured(split, prompts, groups, expected):
    results = results_of(
        method("a", [cell(0.1)] * 4, keys=dict.fromkeys(range(4), "k")),
        split=split,
        leaked_prompts=prompts,
        leaked_groups=groups,
    )
    assert [line for line in notes.warnings(results) if "optimistic" in line] == expected
    shown = {"Test images whose prompt is in the training part", "Test images whose group is in the training part"}
    assert shown <= dict(notes.facts(results)).keys()


def test_warnings_of_the_data_set_stand_above_the_numbers():
    results = results_of(method("a", [cell(0.1)] * 4, keys=dict.fromkeys(range(4), "k")))
    results.plans = [{"warnings": ["12 rows have no prompt"]}, {"warnings": ["12 rows have no prompt"]}]
    assert notes.warnings(results) == ("12 rows have no prompt",)


def test_few_images_per_prompt_are_said_beside_the_srcc_in_prompt():
    def said(labels, rows, candidates="prompt"):
        cells = [cell(0.1), cell(0.2)]
        for one in cells:
            one.metrics["quality"]["within"] = {"prompt": {"labels": labels, "rows": rows}}
        results = results_of(method("a", cells), candidates=candidates)
        return [line for line in notes.notes(results) if line.startswith("SRCC in prompt")]

    assert said(20, 200) == []
    assert said(20, 199) == [
        "SRCC in prompt: 9.9 images per prompt on average, fewer than 10: of a single prompt it says little"
    ]
    assert said(36, 216, "group") == [
        "SRCC in prompt: among the images of one group, because hardly any two have one prompt; 6.0 images per group "
        "on average, fewer than 10: of a single group it says little"
    ]
    assert said(0, 0, "group") == []


def test_the_notes_of_one_repeat_speak_of_no_spread():
    def said(values):
        results = results_of(method("a", values), split="generator")
        table = generator_table(results, "quality", "")
        return "\n".join([*notes.notes(results), *table.notes])

    inside = {"g": 0.2}
    assert "±" in said([cell(0.1, generators=inside), cell(0.2, generators=inside)])
    assert "±" not in said([cell(0.1, generators=inside)])


def test_baselines_with_the_same_numbers_are_named_with_the_reason():
    alike = [method(label, [cell(0.3), cell(0.4)], diagnostic=True) for label in ("means", "words")]
    results = results_of(*alike, method("other", [cell(0.3), cell(0.5)], diagnostic=True), method("a", [cell(0.3)]))
    (line,) = (line for line in notes.notes(results) if line.startswith("the same numbers"))
    assert line == (
        "the same numbers in every repeat: Means and Words: no test image has its group in the training part, so that "
        "nothing but its generator tells of it"
    )
    results.protocol["leaked_groups"] = 0.5
    assert "the same numbers in every repeat: Means and Words" in notes.notes(results)


def test_where_no_method_chooses_an_epoch_selection_sets_nothing_apart(tmp_path):
    from agiqa_bench.execution.store import Store

    one, other = results_of(method("a", [cell(0.1)])), results_of(method("b", [cell(0.2)]), select="test")
    assert differences(one, other) == []
    assert dict(notes.facts(one))["Epoch chosen by"] == "no method chooses an epoch"
    other.methods[0].selects_epoch = True
    assert differences(one, other) == ["ways to choose the epoch"]
    assert dict(notes.facts(other))["Epoch chosen by"] == "test"
    third = results_of(method("a", [cell(0.1)]), split="image", splits_digest="z")
    for name, results in zip(("base", "late", "mixed"), (one, other, third), strict=True):
        results.stores = (Store(tmp_path / name),)
    elsewhere = results_of(method("a", [cell(0.1)]), title="Other", dataset="other")
    (line,) = notes.apart([one, other, elsewhere, third])
    assert line == (
        "Toy: base (grouped split), late (grouped split, epoch by test) and mixed (image split) cannot be compared, "
        "they have other ways to choose the epoch, split rules, splits; they are reported apart, and no number of one "
        "is to be read against one of another"
    )


def test_an_undefined_metric_has_its_reason():
    table = table_of(method("a", [cell(0.5, within=None)] * 3))
    found = number(table, 0, "srcc_within_generator")
    assert (found.value, found.reason) == (None, "the scores do not vary")


def test_a_metric_that_is_defined_in_some_repeats_says_in_how_many():
    table = table_of(method("a", [cell(0.5), cell(0.7), cell(None)]))
    assert number(table, 0, "srcc").value == pytest.approx(0.6)
    assert "A: SRCC is defined in 2 repeats only (the scores do not vary)" in table.notes


def test_unfinished_failed_and_optimistic_rows_are_said():
    chosen = method("a", [cell(0.5), None, cell(0.7)], selects_epoch=True, note="weights X cannot be had")
    results = results_of(chosen, left_out=[("B", "failed: out of memory")], select="test", synthetic=True)
    assert notes.warnings(results) == (
        "synthetic data: rendered by code and rated by a simulated panel, not by people",
        "epoch chosen on the test part, which is optimistic: A",
        "only 2 repeats: intervals are wide, and tests can hardly tell anything apart",
        "not all repeats are finished: A (only 2 of 3 repeats)",
    )
    assert "A: weights X cannot be had" in notes.notes(results)
    assert row_title(results, chosen) == "A (chosen on test)"


def test_stand_ins_and_other_splits_are_warnings():
    results = results_of(
        method("a", [cell(0.1)], stand_ins=("demo CLIP RN",)),
        method("b", [], stand_ins=("tiny RN",)),
        split="image",
        leaked_prompts=1.0,
    )
    first, second, *_ = notes.warnings(results)
    assert first.endswith(": demo CLIP RN")
    assert second == ("image-level split: optimistic, 100% of the test images have their prompt in the training part")


def test_the_full_table_holds_every_metric_and_no_time():
    results = results_of(
        method("a", [cell(0.1), cell(0.2), cell(0.3)], weights=("W1", "W2")),
        seed=7,
        splits_digest=64 * "0123456789abcdef",
    )
    text = table_to_csv(full_table([results]))
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["method"], line["name"], line["weights"]) == ("a", "A", "W1 + W2")
    assert (line["seed"], line["splits"]) == ("7", "0123456789ab")
    assert float(line["srcc_mean"]) == pytest.approx(0.2)
    assert float(line["srcc_std"]) == pytest.approx(0.1)
    assert float(line["repeats"]) == 3
    assert "seconds" not in text
    assert {key.removesuffix("_mean") for key in line if key.endswith("_mean")} == {metric.key for metric in METRICS}


def test_inside_each_generator():
    values = [cell(0.5, generators={"g": 0.2, "h": None}), cell(0.5, generators={"g": 0.4})]
    table = generator_table(results_of(method("a", values)), "quality", "")
    assert [column.title for column in table.columns] == ["g", "h"]
    inside, flat = table.rows[0].cells
    assert (inside.value, inside.n) == (pytest.approx(0.3), 2)
    assert flat == Number(None, reason="flat")
    assert generator_table(results_of(method("a", [cell(0.5)])), "quality", "") is None


def test_what_cannot_be_compared_stays_apart_and_says_why():
    one, other = results_of(method("a", [cell(0.1)])), results_of(method("a", [cell(0.1)]), splits_digest="z", seed=1)
    assert differences(one, other) == ["splits", "seeds"]
    assert len(join_comparable([one, other])) == 2
    assert len(join_comparable([one, results_of(method("b", [cell(0.1)]))])) == 1


def test_results_on_other_image_files_stay_apart_and_say_why(stored_runs, tmp_path):
    """The same annotations and the same protocol; and rows of other names, whose keys therefore cannot differ."""
    small = {"methods": 2, "repeats": 2, "images": 60, "generators": 3, "history": False}
    stores = [
        stored_runs.make_store(tmp_path / "one", **small, names=("A", "B")),
        stored_runs.make_store(tmp_path / "two", **small, names=("C", "D"), pixels="others"),
        stored_runs.make_store(tmp_path / "three", **small, names=("E", "F")),
    ]
    one, two, three = found = [read_results(store) for store in stores]
    assert differences(one, two) == ["image files"]
    assert differences(one, three) == []
    assert [group.where for group in join_comparable(found)] == ["one + three", "two"]
    (warning,) = build_report(found, brief=True).warnings
    assert warning.startswith(
        "Toy: one + three (grouped split, epoch by refit) and two (grouped split, epoch by refit) cannot be "
        "compared, they have other image files; "
    )
    # What looks at no image is comparable with both.
    for plan in two.plans:
        plan["images"] = None
    assert differences(one, two) == []
    assert len(join_comparable(found)) == 1


def test_of_one_folder_only_the_results_on_the_latest_image_files_are_shown(stored_runs, tmp_path):
    small = {"methods": 2, "repeats": 2, "images": 60, "generators": 3, "history": False}
    stored_runs.make_store(tmp_path / "run", **small, names=("A", "B"))
    store = stored_runs.make_store(tmp_path / "run", **small, names=("C", "D"), pixels="others")
    results = read_results(store)
    assert [method.label for method in results.methods] == ["C", "D"]
    assert [line for line in build_report([results], brief=True).warnings if "also holds" in line] == [
        "run also holds 4 cells under another protocol (grouped split, epoch by refit, seed 0, 2 repeats, other "
        "image files): 'agiqa-bench report --all-protocols' shows them"
    ]
    assert [[method.label for method in part.methods] for part in read_protocols(store)] == [["A", "B"], ["C", "D"]]


def test_the_same_row_of_two_folders_is_one_only_if_its_keys_agree(tmp_path):
    from agiqa_bench.execution.store import Store

    one, again = results_of(method("a", [cell(0.1)])), results_of(method("a", [None, cell(0.2)]))
    one.stores, again.stores = (Store(tmp_path / "one"),), (Store(tmp_path / "two"),)
    (joined,) = join_comparable([one, again])
    assert [sorted(m.cells) for m in joined.methods] == [[0, 1]]
    again.methods[0].keys[0] = "another"
    (joined,) = join_comparable([one, again])
    assert [m.display for m in joined.methods] == ["A", "A [two]"]


def test_rows_of_two_folders_with_one_name_for_people_are_told_apart_by_their_labels():
    one, other = method("net[weights=a/best.pt]", [cell(0.1)]), method("net[weights=b/best.pt]", [cell(0.2)])
    one.display = other.display = "Net[weights=best.pt]"
    (joined,) = join_comparable([results_of(one, method("c", [cell(0.3)])), results_of(other)])
    assert [m.display for m in joined.methods] == ["net[weights=a/best.pt]", "C", "net[weights=b/best.pt]"]


def test_across_data_sets_each_keeps_its_own_columns():
    first = results_of(method("a", [cell(0.1)] * 3), method("b", [cell(0.3)] * 3))
    second = results_of(method("a", [cell(0.9)] * 3), title="Other", dataset="other")
    third = results_of(method("a", [cell(0.5)] * 3), split="image", splits_digest="i")
    assert chapter_names([first, second, third]) == ["Toy, split grouped", "Other", "Toy, split image"]
    table = overview_table([first, second], "")
    assert [column.over for column in table.columns] == [("Toy", "quality")] * 2 + [("Other", "quality")] * 2
    by_key = {row.key: row.cells for row in table.rows}
    assert [by_key["a"][place].value for place in (0, 2)] == pytest.approx([0.1, 0.9])
    assert by_key["b"][2].value is None
    assert by_key["b"][0].marks == {"best"}


def test_in_the_overview_what_was_chosen_on_the_test_part_says_so():
    chosen = method("a", [cell(0.1)] * 3, selects_epoch=True)
    on_test, other = results_of(chosen, select="test"), results_of(chosen, title="Other", dataset="other")
    assert [row.name for row in overview_table([on_test], "").rows] == ["A (chosen on test)"]
    assert [row.name for row in overview_table([on_test, other], "").rows] == ["A (chosen on test: Toy)"]


def test_several_protocols_of_one_data_set_are_not_ranked_across():
    """The second protocol flatters `b`: neither the order nor a rank may rest on it."""
    high, low = ([cell(value) for value in row] for row in ((0.51, 0.52, 0.53), (0.41, 0.42, 0.43)))
    grouped = results_of(method("a", high), method("b", low))
    image = results_of(method("a", low), method("b", [cell(0.9)] * 3), split="image", splits_digest="z")
    chapter = overview_chapter([grouped, image])
    assert chapter.title == "Toy: several protocols"
    assert [section.key for section in chapter.sections] == ["overview-methods"]
    (table,) = chapter.sections[0].blocks
    assert table.title == "All methods under each protocol"
    assert [row.key for row in table.rows] == ["a", "b"]
    assert [column.over[0] for column in table.columns[::2]] == ["Toy, split grouped", "Toy, split image"]
    assert "columns of one data set under different protocols are not to be compared with each other" in table.notes


def test_what_the_overview_shows_as_equal_shares_the_mark():
    """It has three decimals, the main table four."""
    results = results_of(method("a", [cell(0.1234)] * 3), method("b", [cell(0.1231)] * 3))
    assert [row.cells[0].marks for row in overview_table([results], "").rows] == [{"best"}, {"best"}]
    main = comparison_table(results, "quality", "")
    assert [number(main, row, "srcc").marks for row in range(2)] == [{"best"}, {"second"}]
