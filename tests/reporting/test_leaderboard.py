"""The leaderboard: what it finds, what it keeps apart, and the page in a browser."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from typer.testing import CliRunner

from agiqa_bench.cli.leaderboard import leaderboard as command
from agiqa_bench.errors import DataNotFoundError
from agiqa_bench.reporting.build.leaderboard import find_runs, leaderboard_table, read_leaderboard
from agiqa_bench.reporting.leaderboard import write_leaderboard
from agiqa_bench.sealed import read_sealed, write_sealed

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, stored_runs):
    """Runs under three protocols on one data set, one of another data set, a copy, a damaged and a foreign folder."""
    root = tmp_path_factory.mktemp("runs")
    make = stored_runs.make_store
    small = {"methods": 4, "repeats": 3, "images": 60, "generators": 3, "history": False}
    make(root / "first", **small, targets=("quality", "alignment"), finished={"Method 01": 2}, stand_ins=("Method 02",))
    make(root / "first", **small | {"methods": 3}, targets=("quality", "alignment"), split="image", select="test")
    make(root / "deep" / "er" / "seed", **small, seed=1, targets=("quality", "alignment"))
    make(root / "other", **small | {"names": ["good", NASTY]}, dataset="other", synthetic=True)
    shutil.copytree(root / "first", root / "copy")
    for name, content in (("damaged", '{"a":'), ("foreign", '{"a": 1}'), ("list", "[1]")):
        (root / name / "plans").mkdir(parents=True)
        (root / name / "plans" / "x.json").write_text(content, encoding="utf-8")
    write_sealed(root / "sealed" / "plans" / "x.json", {"a": 1})
    return root


@pytest.fixture(scope="module")
def board(runs):
    return read_leaderboard(runs)


def test_runs_are_found_at_any_depth_and_not_inside_each_other(runs):
    roots, unreadable = find_runs(runs)
    found = [folder.relative_to(runs).as_posix() for folder in roots]
    assert found == ["copy", "damaged", "deep/er/seed", "first", "foreign", "list", "other", "sealed"]
    assert unreadable == []
    assert find_runs(runs / "first") == ([runs / "first"], [])


def test_what_is_damaged_or_foreign_is_named_and_skipped(board):
    skipped = dict(board.skipped)
    assert list(skipped) == ["damaged", "foreign", "list", "sealed"]
    assert skipped["damaged"].startswith("plans/x.json: is not as it was written; type the run's command again")
    assert skipped["foreign"].startswith("plans/x.json: has no seal: it is of another version, or damaged; type ")
    assert skipped["sealed"].startswith("plans/x.json: is no plan of this version (protocol: not there); move it away")
    assert skipped["list"].startswith("plans/x.json: is not as it was written")
    assert board.runs == 4


def test_what_is_not_comparable_stands_under_its_own_heading(board):
    views = list(dict.fromkeys(entry.view for entry in board.entries))
    assert [view.title for view in views] == [
        "Other · quality · 3 repeats, grouped split, epoch by refit, seed 0",
        "Toy · quality · 3 repeats, grouped split, epoch by refit, seed 0",
        "Toy · quality · 3 repeats, grouped split, epoch by refit, seed 1",
        "Toy · quality · 3 repeats, image split, epoch by test, seed 0",
        "Toy · alignment · 3 repeats, grouped split, epoch by refit, seed 0",
        "Toy · alignment · 3 repeats, grouped split, epoch by refit, seed 1",
        "Toy · alignment · 3 repeats, image split, epoch by test, seed 0",
    ]
    # Seeds draw other ratings in these made-up data sets: other annotations, and so another view in any case.
    assert len({entry.results.protocol["annotations"] for entry in board.entries if entry.view.dataset == "Toy"}) == 2


def test_the_same_cells_in_two_folders_are_one_row(board):
    first = [entry for entry in board.entries if "first" in entry.runs]
    assert {entry.runs for entry in first} == {("copy", "first")}
    assert len(board.entries) == 2 + 2 * 4 + 2 * 4 + 2 * 3


def test_a_run_whose_rows_choose_no_epoch_is_named_once_under_several_selections(stored_runs, tmp_path):
    for select in ("validation", "last"):
        stored_runs.make_store(tmp_path / "one", methods=2, repeats=2, images=60, generators=3, select=select)
    for plan in (tmp_path / "one" / "plans").iterdir():
        text = json.dumps(read_sealed(plan)).replace('"selects_epoch": true', '"selects_epoch": false')
        write_sealed(plan, json.loads(text))
    runs = {entry.runs for entry in read_leaderboard(tmp_path).entries}
    assert runs == {("one",)}


def test_numbers_are_those_of_the_cells(board, runs):
    entry = next(
        entry for entry in board.entries if entry.method.label == "Method 00" and entry.view.target == "alignment"
    )
    stored = [
        json.loads(file.read_text("utf-8"))["metrics"]["alignment"]["srcc"]
        for file in sorted((runs / entry.runs[0]).glob("cells/Method_00*/*/cell.json"))
    ]
    values = [cell.metrics["alignment"]["srcc"] for cell in entry.method.cells.values()]
    assert set(values) <= set(stored)
    assert entry.numbers["srcc"].value == pytest.approx(np.mean(values))
    assert entry.numbers["srcc"].std == pytest.approx(np.std(values, ddof=1))


def test_the_best_of_each_view_and_column_is_marked_and_stands_first(board):
    table = leaderboard_table(board)
    for view in {entry.view for entry in board.entries}:
        rows = [row for row in table.rows if row.group == view.title]
        complete = [row for row in rows if row.cells[0].n == 3]
        assert rows[: len(complete)] == complete, "what is not finished stands below"
        assert not any(cell.marks for row in rows[len(complete) :] for cell in row.cells[:4])
        values = [row.cells[0].value for row in complete]
        assert values == sorted(values, reverse=True)
        assert "best" in rows[0].cells[0].marks
        assert sum("best" in row.cells[0].marks for row in rows) == values.count(values[0])


def test_stand_ins_choices_on_test_and_what_is_not_finished_are_marked(board):
    remarks = {(entry.method.name, entry.view.protocol): entry.remarks for entry in board.entries}
    grouped, image = (
        f"3 repeats, {what}, seed 0" for what in ("grouped split, epoch by refit", "image split, epoch by test")
    )
    assert remarks["m02", grouped] == ("stand-in",)
    assert remarks["m01", grouped] == ("2 of 3 repeats",)
    assert remarks["m00", image] == ("chosen on test",)
    views = {(entry.view.dataset, entry.view.protocol): entry.view_remarks for entry in board.entries}
    assert views["Toy", image] == ("prompts on both sides",)
    assert views["Other", grouped] == ("synthetic data",)
    assert views["Toy", grouped] == ()


def test_the_files_hold_the_same_numbers(board, tmp_path):
    page, as_csv, as_json = write_leaderboard(board, tmp_path / "site")
    rows = list(csv.DictReader(as_csv.read_text("utf-8").splitlines()))
    records = json.loads(as_json.read_text("utf-8"))
    assert [row["method"] for row in rows] == [record["label"] for record in records["rows"]]
    for row, record, entry in zip(rows, records["rows"], board.entries, strict=True):
        assert float(row["srcc_mean"]) == record["metrics"]["srcc"]["mean"] == entry.numbers["srcc"].value
        assert float(row["plcc_fitted_low"]) == record["metrics"]["plcc_fitted"]["low"]
        assert row["remarks"] == "; ".join(record["remarks"])
        assert record["view"] == asdict(entry.view)
    assert [entry["folder"] for entry in records["skipped"]] == ["damaged", "foreign", "list", "sealed"]
    assert "<script>alert" not in page.read_text("utf-8")


def test_a_folder_without_runs_is_a_wrong_request(tmp_path):
    with pytest.raises(DataNotFoundError, match="is not a folder"):
        read_leaderboard(tmp_path / "nothing")
    with pytest.raises(DataNotFoundError, match="holds no run that can be read; name the folder"):
        read_leaderboard(tmp_path)
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "x.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataNotFoundError, match=r"holds no run that can be read: plans/x\.json: is not as"):
        read_leaderboard(tmp_path)


def test_a_run_of_another_version_is_skipped_by_name(runs, tmp_path):
    shutil.copytree(runs / "other", tmp_path / "other")
    shutil.copytree(runs / "deep", tmp_path / "old")
    plan = next(tmp_path.glob("old/er/seed/plans/*.json"))
    record = read_sealed(plan)
    del record["protocol"]["dataset"], record["methods"][0]["targets"]
    write_sealed(plan, record)
    board = read_leaderboard(tmp_path)
    assert [
        (folder, "is no plan of this version (protocol.dataset: not there)" in why) for folder, why in board.skipped
    ] == [("old/er/seed", True)]
    assert board.runs == 1


def test_the_command_says_what_it_skipped_and_wrote(runs, tmp_path):
    import typer

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(runs), "--output", str(tmp_path / "site")])
    assert done.exit_code == 0, done.output
    assert "skipped foreign: plans/x.json: has no seal: it is of another version" in done.output
    assert "24 rows of 4 runs" in done.output
    assert {file.name for file in (tmp_path / "site").iterdir()} == {"index.html", "results.csv", "results.json"}


@pytest.fixture(scope="module")
def page_file(board, tmp_path_factory):
    return write_leaderboard(board, tmp_path_factory.mktemp("site"))[0]


def headings(page):
    return page.locator("tr.group:visible").all_text_contents()


def view(page):
    return [page.locator(f"select[name={name}]").input_value() for name in ("dataset", "target", "protocol")]


def test_the_page_opens_on_one_view_and_the_hash_leads_back_to_it(open_page, page_file):
    page = open_page(page_file).page
    assert len(headings(page)) == 1
    assert view(page) == ["Toy", "quality", "3 repeats, grouped split, epoch by refit, seed 0"]
    assert not page.locator("#mixed").is_visible()
    assert page.locator(".count").text_content() == "4 of 24 rows"
    page.select_option("select[name=target]", "alignment")
    # Words that no date holds: rows are searched with the day of their run.
    page.get_by_role("searchbox").fill("method stand-in")
    assert headings(page)[0].startswith("Toy · alignment")
    assert page.locator(".count").text_content() == "1 of 24 rows"
    linked = page.url.split("#")[1]
    other = open_page(page_file, fragment=f"#{linked}").page
    assert view(other) == ["Toy", "alignment", "3 repeats, grouped split, epoch by refit, seed 0"]
    assert other.get_by_role("searchbox").input_value() == "method stand-in"
    assert other.locator(".count").text_content() == "1 of 24 rows"


def test_a_choice_that_leaves_nothing_changes_the_others(open_page, page_file):
    page = open_page(page_file).page
    page.select_option("select[name=target]", "alignment")
    page.select_option("select[name=dataset]", "Other")
    assert view(page)[:2] == ["Other", "quality"]
    assert page.locator("tbody tr:not(.group):visible").count() == 2


def test_several_views_are_said_to_be_apart_and_sorted_apart(open_page, page_file, board):
    page = open_page(page_file).page
    page.select_option("select[name=dataset]", "")
    page.select_option("select[name=protocol]", "")
    assert page.locator("#mixed").is_visible()
    shown = headings(page)
    assert len(shown) == 4
    page.get_by_role("button", name="KRCC").click()
    assert headings(page) == shown
    for body in page.locator("tbody:visible").all():
        values = [float(cell.get_attribute("data-value")) for cell in body.locator("td.number:nth-child(4)").all()]
        assert values == sorted(values, reverse=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_page_is_usable_on_a_phone_and_without_scripts(open_page, page_file):
    page = open_page(page_file, width=390).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page = open_page(page_file, java_script_enabled=False).page
    assert page.locator("tbody tr:not(.group):visible").count() == 24
    assert page.locator("#mixed").is_visible()
    assert not page.locator("#views").is_visible()
