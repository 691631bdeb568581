"""What a run measured stands beside a published figure only where both are of the same data."""

import csv
from statistics import mean, stdev

import pytest

from agiqa_bench.papers.beside import published_beside, with_runs
from agiqa_bench.papers.published import published_table, published_tables
from agiqa_bench.reporting.digits import number_text
from agiqa_bench.reporting.model import Number
from agiqa_bench.reporting.render.comma_separated import table_to_csv
from agiqa_bench.reporting.results import read_protocols, read_results
from agiqa_bench.sealed import read_sealed, write_sealed

OFFICIAL = {name: facts.annotations for table in published_tables() for name, facts in table.datasets.items()}
SELECTION = (
    "epoch chosen on a validation part, then refitted on training and validation part; published: on the test part"
)
ROWS = ["ipiqa", "niqe", "clipiqa", "dbcnn", "ipiqa[epochs=5]", "cnniqa", "ipiqa[Image2Prompt]", "clipscore"]


def official(store, **changes):
    """Make a made-up store that of the official annotations, as far as its plans say."""
    for file in (store.root / "plans").glob("*.json"):
        plan = read_sealed(file)
        plan["protocol"]["annotations"] = OFFICIAL[plan["protocol"]["dataset"]] or "unknown"
        plan["protocol"] |= changes.get("protocol", {})
        plan["request"] |= changes.get("request", {})
        for row in plan["methods"]:
            row |= changes.get(row["label"], {})
        write_sealed(file, plan)
    return store


@pytest.fixture(scope="module")
def stored(stored_runs, tmp_path_factory):
    def make(dataset="agiqa3k", targets=("quality",), names=ROWS, **options):
        root = tmp_path_factory.mktemp("run") / dataset
        return stored_runs.make_store(root, dataset, repeats=3, images=120, targets=targets, names=names, **options)

    return make


@pytest.fixture(scope="module")
def store(stored):
    made = stored(
        stand_ins=["dbcnn"], skipped={"sisblim": "no readable specification"}, targets=("quality", "alignment")
    )
    return official(made, ipiqa={"weights": [{"name": "RN50:openai", "digest": "x", "stand_in": ""}]})


@pytest.fixture(scope="module")
def results(store):
    return read_results(store)


def cells(table, row):
    found = next(one for one in table.rows if one.key == row)
    return dict(zip((column.key for column in table.columns), found.cells, strict=True))


def note(table, beginning):
    (found,) = [line for line in table.notes if line.startswith(beginning)]
    return found


def test_published_measured_and_difference(results):
    (alone, table) = with_runs(published_table("ipiqa-table1"), [results])
    assert "no run that was given has figures on AGIQA-1K" in alone.notes
    assert [column.key for column in alone.columns] == [
        f"agiqa1k_quality_{key}_published" for key in ("srcc", "plcc", "krcc")
    ]
    values = [
        cell.metrics["quality"]["srcc"]
        for cell in next(m for m in results.methods if m.label == "ipiqa").cells.values()
    ]
    found = cells(table, "IP-IQA")
    assert found["srcc_published"] == Number(0.8634)
    assert (found["srcc_measured"].value, found["srcc_measured"].std) == pytest.approx((mean(values), stdev(values)))
    assert found["srcc_difference"].value == pytest.approx(round(mean(values), 4) - 0.8634)
    column = table.columns[table.column("srcc_difference")]
    assert number_text(found["srcc_difference"], column).value[0] in "+-"


def test_what_differs_is_named_by_row(results):
    table = with_runs(published_table("ipiqa-table1"), [results])[1]
    assert cells(table, "IP-IQA")["differs_in"] == "selection, repeats"
    assert note(table, "IP-IQA (selection)").endswith(SELECTION)
    assert note(table, "IP-IQA (repeats)").endswith("3 repeats; published: 10 repeats")
    assert cells(table, "CLIPIQA")["differs_in"] == "not stated"
    unknown = [line for line in table.notes if line.endswith("training and validation part; published: not stated")]
    assert [line.partition(":")[0] for line in unknown] == ["DBCNN (selection)"], "no paper is known to refit"
    assert "the split, the number of repeats" in note(table, "NIQE, CNNIQA, CLIPIQA (not stated)")
    assert cells(table, "HyperNet")["differs_in"] == "not measured"
    assert note(table, "SISBLIM:") == "SISBLIM: skipped: no readable specification"


def test_a_stand_in_is_named_and_has_no_number(results):
    table = with_runs(published_table("ipiqa-table1"), [results])[1]
    found = cells(table, "DBCNN")
    assert found["differs_in"].startswith("weights")
    assert found["srcc_published"].value == 0.8207
    assert found["srcc_measured"].value is None
    assert found["srcc_difference"].value is None
    assert "toy stand-in" in note(table, "DBCNN (weights)")


def test_default_settings_count_and_others_are_named(results):
    table = with_runs(published_table("ipiqa-table1"), [results])[1]
    text = "in the run with other settings or weights too, and not compared: ipiqa[epochs=5], ipiqa[Image2Prompt]"
    assert note(table, "IP-IQA: in the run") == f"IP-IQA: {text}"
    ablation = with_runs(published_table("ipiqa-table3"), [results])[1]
    assert cells(ablation, "IP-IQA + Image2Prompt")["srcc_measured"].n == 3
    assert cells(ablation, "IP-IQA baseline (CLIP RN50)")["srcc_measured"].value is None


def test_settings_that_are_not_the_published_ones_are_named(stored):
    names = ["ipiqa", "ipiqa[variant=official]", "clip_agiqa_fu"]
    configs = {"ipiqa": "paper", "ipiqa[variant=official]": "official", "clip_agiqa_fu": "paper"}
    changes = {label: {"config": {"variant": variant}} for label, variant in configs.items()}

    def shown(names, table):
        return with_runs(published_table(table), [read_results(official(stored(names=names), **changes))])[-1]

    paper = shown(["ipiqa", "niqe"], "ipiqa-table1")
    assert "settings" in cells(paper, "IP-IQA")["differs_in"].split(", ")
    assert note(paper, "IP-IQA (settings)").endswith(": variant is paper; published: official")
    # The row that has them stands in the first one's place.
    both = shown(names, "ipiqa-table1")
    assert "IP-IQA = ipiqa[variant=official]" in note(both, "rows of the run")
    assert "settings" not in cells(both, "IP-IQA")["differs_in"].split(", ")
    assert note(both, "IP-IQA: in the run") == (
        "IP-IQA: in the run with other settings or weights too, and not compared: ipiqa"
    )
    (fu, *_) = with_runs(published_table("second-hand"), [read_results(official(stored(names=names), **changes))])
    assert "variant is paper; published: official" in note(fu, "CLIP-AGIQA (Fu, inferred) (settings)")


def test_why_a_row_is_missing_is_said_of_its_default_settings_too(stored):
    run = stored(names=["niqe", "clip_probe"], skipped={"ipiqa": "the weights are not here"})
    table = with_runs(published_table("ipiqa-table1"), [read_results(official(run))])[-1]
    assert note(table, "IP-IQA: skipped") == "IP-IQA: skipped: the weights are not here"


@pytest.mark.parametrize(("table", "row"), [("ipiqa-table1", "CLIPIQA"), ("tang-agiqa3k", "CLIP-IQA")])
def test_where_two_methods_may_be_meant_no_difference_is_printed_and_both_are_named(results, table, row):
    published = published_table(table)
    tables = with_runs(published, [results])
    found = cells(tables[-1], row)
    assert found["srcc_published"] == Number(0.8426)
    assert found["srcc_measured"].n == 3
    assert [found[f"{metric}_difference"].value for metric in ("srcc", "plcc", "krcc")] == [None] * 3
    beginning = f"{row}: whether it was zero-shot CLIPIQA (clipiqa) or CLIPIQA+ with learnt prompts"
    (remark,) = [line for shown in tables for line in shown.notes if line.startswith(beginning)]
    assert "(clipiqa_plus)" in remark
    assert remark.endswith("no difference is computed")
    assert remark in with_runs(published, [])[-1].notes
    # What makes it implausible of a zero-shot model: it is above what was trained, on each data set.
    trained = [name for name in ("DBCNN", "HyperNet") if name in {one.method for one in published.rows}]
    for dataset, target in published.columns:
        figures = [float(published.figure(name, dataset, target, "srcc")) for name in (row, *trained)]
        assert figures[0] > max(figures[1:])


def test_a_figure_that_others_could_not_confirm_says_so(stored):
    (alone,) = with_runs(published_table("ipiqa-table2"), [])
    assert cells(alone, "ImageReward")["agiqa3k_alignment_srcc_published"] == Number(0.7298)
    remark = note(alone, "ImageReward: without training, on all images, a user of AGIQA-3K's repository")
    assert "0.4765 in place of 0.7298" in remark
    run = stored(names=["imagereward", "niqe"], targets=("quality", "alignment"))
    assert remark in with_runs(published_table("ipiqa-table2"), [read_results(official(run))])[-1].notes


def test_other_weights_settings_split_and_precision_are_named(stored):
    other = stored("agiqa3k", names=["clip_agiqa_tang", "niqe"], select="test")
    changes = {"clip_agiqa_tang": {"preset": "quick", "note": "a note"}}
    (table,) = with_runs(published_table("tang-agiqa3k"), [read_results(official(other, **changes))])
    assert cells(table, "CLIP-AGIQA(Tang)")["differs_in"] == "weights, settings, split, precision, method, not stated"
    assert note(table, "CLIP-AGIQA(Tang) (weights)").endswith("weights are weights-00; published: ViT-B-16:openai")
    assert note(table, "CLIP-AGIQA(Tang) (split)").endswith("grouped split; published: image split")
    assert note(table, "CLIP-AGIQA(Tang) (precision)").endswith("computed in float32; published: fp16")
    assert "clip_agiqa_tang (chosen on test)" in note(table, "rows of the run")


def test_a_figure_with_a_minus_has_no_difference(stored):
    results = read_results(official(stored("agiqa1k", names=["niqe", "ipiqa"])))
    table = with_runs(published_table("ipiqa-table1"), [results])[0]
    found = cells(table, "NIQE")
    assert (found["srcc_published"].value, found["srcc_difference"].value) == (-0.549, None)
    assert found["srcc_measured"].value is not None
    assert "no difference is computed" in note(table, "NIQE: printed with a minus")


def test_the_demo_is_named_and_not_compared(stored):
    demo = read_results(stored("demo", synthetic=True, stand_ins=["ipiqa"]))
    for published in published_tables():
        (table,) = with_runs(published, [demo])
        alone = with_runs(published, [])[0]
        assert table.rows == alone.rows
        assert table.columns == alone.columns
        (refusal, differs) = [line for line in table.notes if line not in alone.notes]
        assert "is not compared: its data set is Demo, which nobody rated" in refusal
        assert SELECTION in differs
        assert "weights: stand-ins (toy stand-in)" in differs
    assert published_beside(demo, "x-") == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"protocol": {"annotations": "0" * 64}}, "its annotations are not the official ones"),
        ({"protocol": {"synthetic": True}}, "its ratings are synthetic"),
        (
            {"request": {"dataset": "agiqa3k.csv"}},
            "its data set was read from agiqa3k.csv, not from the official files",
        ),
    ],
)
def test_a_name_alone_makes_no_data_set(stored, changes, why):
    results = read_results(official(stored("agiqa3k", names=["ipiqa", "niqe"]), **changes))
    (table,) = with_runs(published_table("ipiqa-table1"), [results])
    assert any(why in line for line in table.notes)
    assert published_beside(results, "") == []


def test_where_no_fingerprint_is_known_the_number_of_images_decides(stored_runs, stored, tmp_path):
    names = ["clip_agiqa_fu", "niqe"]
    few = read_results(official(stored("aigciqa2023", names=names)))
    assert any(
        "it has 120 rated images, not 2,400" in line
        for line in with_runs(published_table("second-hand"), [few])[0].notes
    )
    options = {"repeats": 2, "images": 2400, "names": names, "generators": 6, "approximate": True}
    whole = read_results(stored_runs.make_store(tmp_path / "whole", "aigciqa2023", **options))
    tables = published_beside(whole, "p-")
    assert [table.key for table in tables] == [
        "p-second-hand-aigciqa2023-quality",
        "p-tang-aigciqa2023-aigciqa2023-quality",
    ]
    assert tables[0].rows[0].name.endswith("[second-hand]")
    assert tables[0].notes[0].startswith("second-hand")


def test_the_report_gets_every_table_that_has_a_method_of_the_run(results):
    tables = published_beside(results, "p-")
    assert [table.key for table in tables] == [
        "p-ipiqa-table1-agiqa3k-quality",
        "p-ipiqa-table2-agiqa3k-alignment",
        "p-ipiqa-table3-agiqa3k-quality",
        "p-tang-agiqa3k-agiqa3k-quality",
    ]


def test_each_protocol_of_a_folder_has_a_table_of_its_own(stored_runs, tmp_path):
    for split in ("grouped", "image"):
        made = stored_runs.make_store(
            tmp_path / "run", "agiqa3k", repeats=2, images=120, names=["clip_agiqa_tang", "x"], split=split
        )
    tables = with_runs(published_table("tang-agiqa3k"), read_protocols(official(made)))
    assert [table.key for table in tables] == ["run1-tang-agiqa3k-agiqa3k-quality", "run2-tang-agiqa3k-agiqa3k-quality"]
    assert ["split" in str(cells(table, "CLIP-AGIQA(Tang)")["differs_in"]) for table in tables] == [True, False]


def test_csv_has_the_digits_as_printed():
    for table in published_tables():
        (shown,) = with_runs(table, [])
        rows = {row["method"]: row for row in csv.DictReader(table_to_csv(shown).splitlines())}
        for figures in table.figures:
            for metric in table.metrics:
                field = f"{figures.dataset}_{figures.target}_{metric}_published"
                assert rows[figures.method][field] == getattr(figures, metric), (table.id, figures.method, field)


def test_csv_of_a_comparison_has_them_too(results):
    table = with_runs(published_table("ipiqa-table1"), [results])[1]
    rows = {row["method"]: row for row in csv.DictReader(table_to_csv(table).splitlines())}
    published = published_table("ipiqa-table1")
    for name, row in rows.items():
        assert row["srcc_published"] == published.figure(name, "agiqa3k", "quality", "srcc")
    assert len(rows["IP-IQA"]["srcc_measured_mean"]) > 6


def test_a_run_without_any_row_of_the_table_is_named_once(stored):
    run = read_results(official(stored("agiqa3k", names=["generator_mean", "prompt_text"])))
    table = published_table("ipiqa-table1")
    (alone,) = with_runs(table, [run])
    assert alone.rows == with_runs(table, [])[0].rows
    assert "run agiqa3k has finished no row of IP-IQA, Table 1, so there is nothing to show beside it" in alone.notes


def test_notes_are_of_the_data_shown_and_said_once(results):
    ipiqa = published_table("ipiqa-table1")
    alone, table = with_runs(ipiqa, [results])
    assert any("AGIQA-1K each of the 180" in line for line in alone.notes)
    assert not any("AGIQA-1K each of the 180" in line for line in table.notes)
    assert any("240 of the 300 prompts" in line for line in table.notes)
    assert not set(alone.notes) & set(table.notes)
    (aigciqa,) = with_runs(published_table("tang-aigciqa2023"), [])
    assert not any("597" in line for line in aigciqa.notes)
