"""A protocol study's tables, figure and files."""

import csv
import io

import numpy as np
import pytest

from agiqa_bench.reporting.model import Figure
from agiqa_bench.studies.effects import effects
from agiqa_bench.studies.files import write_study
from agiqa_bench.studies.protocols import PROTOCOLS
from agiqa_bench.studies.report import study_report
from agiqa_bench.studies.tables import effect_figure, effect_table, in_words, srcc_table, tidy_effects, tidy_srcc

NOISE = np.random.default_rng(0).normal(0, 0.02, (2, 6, 4))
LOW = (np.linspace(0.40, 0.45, 6)[:, None] + NOISE[0]).tolist()
HIGH = (np.linspace(0.55, 0.65, 6)[:, None] + NOISE[1]).tolist()
PLAIN = [[0.70, 0.72, 0.69, 0.71]] * 3 + [[0.80, 0.85, 0.79, 0.81]] * 3


@pytest.fixture
def study(make_study):
    methods = {"low": LOW, "high": HIGH, "plain": PLAIN, "blind": PLAIN}
    return make_study(methods, {"plain": "plain", "blind": "blind"})


def test_the_first_table_has_the_mean_of_each_protocol_under_its_split_and_leak(study):
    table = srcc_table(study, "quality")
    assert [column.over[0] for column in table.columns] == ["Grouped split, 0% and 0% leaked"] * 3 + [
        "Image split, 75% and 75% leaked"
    ] * 3
    assert [column.title for column in table.columns] == ["validation, refit", "last epoch", "test (optimistic)"] * 2
    assert [row.key for row in table.rows] == ["plain", "blind", "high", "low"]
    assert [cell.value for cell in table.rows[2].cells] == pytest.approx([np.mean(values) for values in HIGH])
    assert [cell.std for cell in table.rows[3].cells] == pytest.approx([np.std(values, ddof=1) for values in LOW])
    assert table.rows[0].cells[0].marks == {"best"}
    assert any("Plain, Blind" in note for note in table.notes)


def test_where_nothing_chooses_an_epoch_there_is_one_column_per_split(make_study):
    table = srcc_table(make_study({"plain": PLAIN}, {"plain": "plain"}), "quality")
    assert [(column.key, column.title) for column in table.columns] == [
        ("grouped_refit", "SRCC"),
        ("image_refit", "SRCC"),
    ]


def test_the_second_table_is_in_points_with_the_mean_above_the_methods_of_each_change(study):
    found = effects(study, "quality")
    table = effect_table(study, "quality", found)
    groups = {row.group: [] for row in table.rows}
    for row in table.rows:
        groups[row.group].append(row)
    assert len(groups) == 10
    split = groups["Image-level split instead of grouped, epoch chosen on validation"]
    assert [row.name for row in split] == ["Mean over 3 methods", "Plain", "Blind", "High", "Low"]
    assert split[1].cells[0].value == pytest.approx(100 * (np.mean(PLAIN[3]) - np.mean(PLAIN[0])))
    assert split[2].diagnostic
    selection = groups["Epoch chosen on test instead of on validation, image-level split"]
    assert [row.key for row in selection] == ["mean", "high", "low"]
    assert selection[2].cells[0].value == pytest.approx(100 * (np.mean(LOW[5]) - np.mean(LOW[3])))
    assert selection[2].cells[3].value == 4
    assert any("18 tests of single methods" in note and "8 tests of means" in note for note in table.notes)
    assert any("intervals are not adjusted for their number" in note for note in table.notes)
    gain = groups["Epoch chosen on test instead of the last, grouped split"][1].cells
    assert gain[0].value == pytest.approx(100 * (np.mean(HIGH[2]) - np.mean(HIGH[1])))
    assert gain[0].low is None
    assert "cannot be below 0" in gain[1].reason


def test_one_repeat_has_differences_and_no_tests(make_study):
    study = make_study({"one": [[0.1 * place] for place in range(6)]})
    table = effect_table(study, "quality", effects(study, "quality"))
    points, p, adjusted, _ = table.rows[-1].cells
    assert points.value == pytest.approx(50)
    assert points.low is None
    assert p.value is adjusted.value is None
    assert "needs 2 repeats" in p.reason
    report = study_report(study)
    assert any("one repeat" in warning for warning in report.chapters[0].warnings)
    (sentence, *_) = report.chapters[0].sections[0].text
    assert sentence == (
        "Image-level split instead of grouped, epoch chosen on validation (one repeat: no interval, no test): "
        "+30.00 points of SRCC for One."
    )
    assert table.notes == ("in points of SRCC (x 100); no intervals and no tests, which need two repeats",)
    assert "without intervals" in effect_figure(study, "quality", effects(study, "quality")).caption
    assert "±" not in " ".join(srcc_table(study, "quality").notes)


def test_the_figure_draws_the_changes_from_our_own_protocol(study):
    found = effects(study, "quality")
    figure = effect_figure(study, "quality", found)
    drawing = figure.draw()
    texts = {text.get_text() for legend in drawing.legends for text in legend.get_texts()}
    assert texts == {
        "image-level split",
        "epoch chosen on test",
        "last epoch",
        "image-level split and epoch chosen on test",
    }
    labels = [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert labels == ["Mean over methods", "Plain", "Blind", "High", "Low"]
    drawn = {round(float(x), 6) for line in drawing.axes[0].lines for x in line.get_xdata()}
    both = next(effect for effect in found if effect.change.key == "both" and effect.label == "low")
    assert {round(100 * value, 6) for value in (both.difference.mean, both.difference.low)} <= drawn


def test_the_sentences_give_the_mean_over_methods_and_say_what_is_not_told_apart(study):
    sentences = in_words(study, effects(study, "quality"))
    assert len(sentences) == 4
    assert sentences[0].startswith("Image-level split instead of grouped, epoch chosen on validation (4 repeats): +")
    assert "95 % interval of this effect alone" in sentences[0]
    assert sentences[0].endswith("on average over 3 methods.")
    same = study.by_protocol[PROTOCOLS[0]]
    still = type(study)(dict.fromkeys(PROTOCOLS, same))
    assert "+" not in in_words(still, effects(still, "quality"))[0]
    assert "not told apart from 0 after correction" in in_words(still, effects(still, "quality"))[0]


def test_one_lucky_repeat_is_neither_first_nor_best(make_study):
    lucky = [[0.99, None, None, None]] * 6
    table = srcc_table(make_study({"lucky": lucky, "high": HIGH, "low": LOW}), "quality")
    assert [row.key for row in table.rows] == ["high", "low", "lucky"]
    assert [row.cells[0].marks for row in table.rows] == [{"best"}, {"second"}, set()]


def test_where_nothing_chooses_an_epoch_nothing_is_said_of_it(make_study):
    study = make_study({"plain": PLAIN}, {"plain": "plain"})
    chapter = study_report(study).chapters[0]
    assert dict(chapter.facts)["Design"] == "4 repeats under each of 2 splits; no method here chooses an epoch"
    table = srcc_table(study, "quality")
    assert table.notes[1] == (
        "leaked: share of the test images whose prompt, and of those whose group, is in the training part"
    )
    found = effects(study, "quality")
    assert {row.group for row in effect_table(study, "quality", found).rows} == {"Image-level split instead of grouped"}
    assert not any("validation" in note for note in effect_table(study, "quality", found).notes)


def test_a_blind_baseline_that_loses_by_the_image_split_is_explained(make_study):
    before = [[0.5, 0.52, 0.51, 0.49]] * 3
    falls, rises = before + [[0.4, 0.43, 0.41, 0.42]] * 3, before + [[0.6, 0.63, 0.61, 0.62]] * 3
    hardly = before + [[0.48, 0.52, 0.52, 0.48]] * 3

    def notes(**kinds):
        study = make_study({"falls": falls, "rises": rises, "hardly": hardly}, kinds)
        return effect_table(study, "quality", effects(study, "quality")).notes

    (note,) = [note for note in notes(falls="blind", rises="blind", hardly="blind") if "leave-one-out" in note]
    assert note.startswith("Falls: sees no pixel")
    assert not any("leave-one-out" in note for note in notes(falls="plain", rises="blind", hardly="plain"))


def test_the_same_settings_are_claimed_only_where_they_are_recorded(study):
    (claim,) = [note for note in study_report(study).chapters[0].notes if "settings, weights" in note]
    assert claim.endswith("as far as they are recorded")
    for results in study.by_protocol.values():
        for method in results.methods:
            for cell in method.cells.values():
                cell.record["components"] = {"precision": "float32"}
    (claim,) = [note for note in study_report(study).chapters[0].notes if "settings, weights" in note]
    assert claim.endswith("precision and batch size")


def test_a_study_in_progress_says_what_is_missing(study):
    del study.by_protocol[PROTOCOLS[5]]
    method = study.method(PROTOCOLS[1], "low")
    del method.cells[2]
    chapter = study_report(study).chapters[0]
    assert "not begun yet, the same command goes on: image/test" in chapter.warnings
    assert any("Low (grouped, last: 3 of 4)" in note for note in chapter.notes)


def test_the_csv_files_hold_every_number(study, tmp_path):
    written = write_study(study, study_report(study), tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in written} == {
        "study.html", "study.md", "study.tex", "study.csv", "effects.csv",
        "figures/worth-quality-figure.svg", "figures/worth-quality-figure.png",
    }  # fmt: skip
    assert "figures/worth-quality-figure" in (tmp_path / "study.tex").read_text()
    srcc = list(csv.DictReader(io.StringIO((tmp_path / "study.csv").read_text())))
    assert len(srcc) == 4 * 6 == len(tidy_srcc(study).rows)
    row = next(r for r in srcc if (r["method"], r["split"], r["select"]) == ("low", "image", "last"))
    assert float(row["srcc_mean"]) == pytest.approx(np.mean(LOW[4]))
    assert (float(row["leaked_prompts"]), float(row["leaked_groups"])) == (0.75, 0.75)
    differences = list(csv.DictReader(io.StringIO((tmp_path / "effects.csv").read_text())))
    assert len(differences) == len(tidy_effects(study).rows) == 2 * 10 + 2 + 10
    row = next(r for r in differences if (r["method"], r["change"]) == ("high", "both"))
    assert (row["from_split"], row["from_select"], row["to_split"], row["to_select"], row["paired"]) == (
        "grouped", "refit", "image", "test", "no",
    )  # fmt: skip
    assert float(row["points_mean"]) == pytest.approx(100 * (np.mean(HIGH[5]) - np.mean(HIGH[0])))
    figures = [block for block in study_report(study).blocks() if isinstance(block, Figure)]
    assert f"figures/{figures[0].key}.svg" in (tmp_path / "study.md").read_text()
