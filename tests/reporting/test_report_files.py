"""What `agiqa-bench report` writes, prints and refuses."""

from __future__ import annotations

import csv

import pytest
import typer
from typer.testing import CliRunner

from agiqa_bench.cli import report as command
from agiqa_bench.errors import ConfigError, StoreError, UnknownNameError
from agiqa_bench.reporting.build import report as building
from agiqa_bench.reporting.build.report import build_report
from agiqa_bench.reporting.build.summaries import anchor
from agiqa_bench.reporting.files import write_report
from agiqa_bench.reporting.model import Chapter, Report, Section, Table
from agiqa_bench.reporting.results import read_results

SMALL = {"methods": 2, "repeats": 2, "images": 60, "generators": 3, "history": False}


@pytest.fixture(scope="module")
def stores(stored_runs, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    names = ("costs", "Quality", "quality", "training", "a-b")
    return [
        stored_runs.make_store(root / "one", "one", **SMALL),
        stored_runs.make_store(root / "two", "two", **SMALL, targets=names),
    ]


def invoke(*words):
    app = typer.Typer()
    app.command()(command.report)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_targets_may_be_called_as_parts_of_a_report_are(stores):
    report = build_report([read_results(store) for store in stores])
    keys = [block.key for block in report.blocks()]
    assert len({key.casefold() for key in keys}) == len(keys)


def test_anchors_of_other_names_are_others():
    names = [("a", "b-c"), ("a-b", "c"), ("Quality",), ("quality",), ("..",), ("../x",), ("a.b",), ("a_b",)]
    keys = [anchor("", "results", *name) for name in names]
    assert len({key.casefold() for key in keys}) == len(keys)
    assert not any("." in key or "/" in key for key in keys)


def test_keys_that_differ_in_case_alone_are_refused():
    def report(*keys, sections=("s", "t")):
        tables = tuple(Table(key, "T", (), ()) for key in keys)
        return Report(
            "R", (Chapter("c", "C", tuple(Section(key, "S", tables[i::2]) for i, key in enumerate(sections))),)
        )

    assert len(report("a", "b").tables()) == 2
    with pytest.raises(ValueError, match="two blocks have the key 'a'"):
        report("a", "A")
    with pytest.raises(ValueError, match="two sections have the key 's'"):
        report("a", "b", sections=("s", "S"))


def test_nothing_of_an_earlier_report_stays_behind(stores, tmp_path):
    both, one = ([read_results(store) for store in some] for some in (stores, stores[:1]))
    write_report(build_report(both, brief=True), both, tmp_path, embed_images=False)
    assert any(file.name.startswith("1-") for file in (tmp_path / "tables").iterdir())
    report = build_report(one, brief=True)
    written = write_report(report, one, tmp_path, embed_images=False, made=(("Report made", "today"),))
    there = {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    assert there == {file.relative_to(tmp_path) for file in written}
    assert {file.name for file in (tmp_path / "tables").iterdir()} == {
        f"{table.key}.{suffix}" for table in report.tables() for suffix in ("csv", "tex")
    }
    assert "today" in (tmp_path / "report.html").read_text("utf-8")
    assert "today" not in (tmp_path / "report.md").read_text("utf-8") + (tmp_path / "report.tex").read_text("utf-8")


def test_a_folder_that_is_no_reports_is_not_replaced(stores, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    results = [read_results(stores[0])]
    with pytest.raises(StoreError, match="figures: is there already and no report's"):
        write_report(build_report(results, brief=True), results, tmp_path, embed_images=False)
    assert (tmp_path / "figures" / "mine.png").read_bytes() == b"mine"
    assert not (tmp_path / "report.html").exists()


def test_costs_of_two_runs_are_one_table(stores):
    done = invoke(*(store.root for store in stores), "--format", "costs")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(done.output.splitlines()))
    assert [(row["dataset"], row["method"]) for row in rows] == [
        (dataset, f"Method {number:02d}") for dataset in ("one", "two") for number in range(2)
    ]
    assert rows[0]["fit_seconds"]
    assert rows[0]["milliseconds_per_image"]


@pytest.mark.parametrize("form", ["csv", "costs", "bibtex"])
def test_no_more_is_built_than_is_printed(stores, form, monkeypatch):
    def never(*_, **__):
        raise AssertionError("nobody asked for a report")

    monkeypatch.setattr(building, "build_report", never)
    done = invoke(stores[0].root, "--format", form)
    assert done.exit_code == 0, done.output
    assert ("@misc{m00," if form == "bibtex" else "Method 00") in done.output


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("-f", "csv", "-o", "x"), "--format prints one form, and --output writes all"),
        (("--embed-images",), "--embed-images is for pages"),
        (("--embed-images", "-f", "markdown"), "--embed-images is for pages"),
    ],
)
def test_options_that_would_do_nothing_are_refused(stores, options, error):
    done = invoke(stores[0].root, *options)
    assert isinstance(done.exception, ConfigError)
    assert error in str(done.exception)


def test_an_unknown_format_names_them_all(stores):
    done = invoke(stores[0].root, "-f", "xml")
    assert isinstance(done.exception, UnknownNameError)
    assert str(done.exception) == (
        "unknown format 'xml': did you mean html? known: bibtex, costs, csv, html, latex, markdown, terminal"
    )


def test_a_written_report_says_when_and_by_what_it_was_made(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(command.sys, "argv", ["agiqa-bench", "report", "one", "-o", "/home/jo/page"])
    done = invoke(stores[0].root, "--brief", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "agiqa-bench report one -o ~/page" in page
    assert "Report made" in page


def test_a_notebook_may_name_its_backend(stores, command, tmp_path):
    found = command(
        "report", stores[0].root, "--output", "site", MPLBACKEND="module://matplotlib_inline.no_such_backend"
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr.startswith("wrote site/report.html and ")
    assert list((tmp_path / "site").rglob("*.png"))
