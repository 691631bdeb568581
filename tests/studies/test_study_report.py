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
    assert [column.over[0] for column in table.columns] == ["Grouped split, 0% leaked"] * 3 + [
        "Image split, 75% leaked"
    ] * 3
    assert [column.title for column in table.columns] == ["validation", "last epoch", "test (optimistic)"] * 2
    assert [row.key for row in table.rows] == ["plain", "blind", "high", "low"]
    assert [cell.value for cell in table.rows[2].cells] == pytest.approx([np.mean(values) for values in HIGH])
    assert [cell.std for cell in table.rows[3].cells] == pytest.approx([np.std(values, ddof=1) for values in LOW])
    assert table.rows[0].cells[0].marks == {"best"}
    assert any("Plain, Blind" in note for note in table.notes)


def test_where_nothing_chooses_an_epoch_there_is_one_column_per_split(make_study):
    table = srcc_table(make_study({"plain": PLAIN}, {"plain": "plain"}), "quality")
    assert [(column.key, column.title) for column in table.columns] == [
        ("grouped_validation", "SRCC"),
        ("image_validation", "SRCC"),
    ]


def test_the_second_table_is_in_points_with_the_mean_above_the_methods_of_each_change(study):
    found = effects(study, "quality")
    table = effect_table(study, "quality", found)
    groups = {row.group: [] for row in table.rows}
    for row in table.rows:
        groups[row.group].append(row)
    assert len(groups) == 10
    split = groups["Image-level split instead of grouped"]
    assert [row.name for row in split] == ["Mean over 3 methods", "Plain", "Blind", "High", "Low"]
    assert split[1].cells[0].value == pytest.approx(100 * (np.mean(PLAIN[3]) - np.mean(PLAIN[0])))
    assert split[2].diagnostic
    selection = groups["Epoch chosen on test instead of on validation, image-level split"]
    assert [row.key for row in selection] == ["mean", "high", "low"]
    assert selection[2].cells[0].value == pytest.approx(100 * (np.mean(LOW[5]) - np.mean(LOW[3])))
    assert selection[2].cells[3].value == 4
    assert any("22 tests of single methods" in note and "10 tests of means" in note for note in table.notes)


def test_one_repeat_has_differences_and_no_tests(make_study):
    study = make_study({"one": [[0.1 * place] for place in range(6)]})
    table = effect_table(study, "quality", effects(study, "quality"))
    points, p, adjusted, _ = table.rows[-1].cells
    assert points.value == pytest.approx(50)
    assert points.low is None
    assert p.value is adjusted.value is None
    assert "needs 2 repeats" in p.reason
    assert any("one repeat" in warning for warning in study_report(study).chapters[0].warnings)


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
    assert sentences[0].startswith("Image-level split instead of grouped: +")
    assert sentences[0].endswith("on average over 3 methods.")
    same = study.by_protocol[PROTOCOLS[0]]
    still = type(study)(dict.fromkeys(PROTOCOLS, same))
    assert "+" not in in_words(still, effects(still, "quality"))[0]
    assert "not told apart from 0 after correction" in in_words(still, effects(still, "quality"))[0]


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
    srcc = list(csv.DictReader(io.StringIO((tmp_path / "study.csv").read_text())))
    assert len(srcc) == 4 * 6 == len(tidy_srcc(study).rows)
    row = next(r for r in srcc if (r["method"], r["split"], r["select"]) == ("low", "image", "last"))
    assert float(row["srcc_mean"]) == pytest.approx(np.mean(LOW[4]))
    assert float(row["leaked_prompts"]) == 0.75
    differences = list(csv.DictReader(io.StringIO((tmp_path / "effects.csv").read_text())))
    assert len(differences) == len(tidy_effects(study).rows) == 2 * 10 + 2 + 10
    row = next(r for r in differences if (r["method"], r["change"]) == ("high", "both"))
    assert (row["from_split"], row["from_select"], row["to_split"], row["to_select"], row["paired"]) == (
        "grouped", "validation", "image", "test", "no",
    )  # fmt: skip
    assert float(row["points_mean"]) == pytest.approx(100 * (np.mean(HIGH[5]) - np.mean(HIGH[0])))
    figures = [block for block in study_report(study).blocks() if isinstance(block, Figure)]
    assert f"figures/{figures[0].key}.svg" in (tmp_path / "study.md").read_text()
