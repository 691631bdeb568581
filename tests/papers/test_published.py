"""Published figures are shown digit by digit, under what is known of how they came about."""

import csv
import io
import shutil
from collections import defaultdict
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from rich.console import Console

from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.errors import DataError, UnknownNameError
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest, parse_method
from agiqa_bench.papers import published
from agiqa_bench.papers.beside import printed
from agiqa_bench.papers.matching import label_of
from agiqa_bench.papers.overview import list_of, page_of
from agiqa_bench.papers.published import published_table, published_tables
from agiqa_bench.papers.remarks import identical_rows
from agiqa_bench.registry import method_registry
from agiqa_bench.reporting.render.markdown import table_to_markdown
from agiqa_bench.reporting.render.terminal import table_to_terminal

GOLDEN = Path(__file__).with_name("golden_figures.csv")
METRICS = ("srcc", "plcc", "krcc")


def read(file):
    with file.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(params=["golden copy", "shared specification"])
def source(request):
    """The figures as they were handed to the project, and the copy of them beside this file."""
    if request.param == "golden copy":
        return read(GOLDEN)
    return read(request.getfixturevalue("specification") / "published.csv")


def shown_figures(table):
    """(data set's title, target, method) -> the digits that a rendering shows, read back from Markdown."""
    lines = [line for line in table_to_markdown(printed(table)).splitlines() if line.startswith("| ")]
    head, _, *rows = [[cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] for line in lines]
    found = defaultdict(dict)
    for method, *cells in rows:
        for heading, cell in zip(head[1:], cells, strict=True):
            title, target, metric = heading.split(" · ")
            if cell != "–":
                found[title, target, method.removesuffix(" [second-hand]")][metric.lower()] = cell
    return dict(found)


def test_every_figure_is_shown_digit_by_digit_and_no_other(source):
    wanted = defaultdict(dict)
    for row in source:
        title = published_table(row["table"]).datasets[row["dataset"]].title
        figures = {metric: row[metric] for metric in METRICS if row[metric]}
        wanted[row["table"]][title, row["target"], row["method"]] = figures
    assert len(source) == 66
    assert {table.id: shown_figures(without_groups(table)) for table in published_tables()} == wanted


def without_groups(table):
    return table.model_copy(update={"rows": [row.model_copy(update={"group": ""}) for row in table.rows]})


def test_trailing_zeros_and_signs_survive_on_the_terminal(source):
    console = Console(width=150, file=io.StringIO())
    for table in published_tables():
        console.print(table_to_terminal(printed(table), 150))
    text = console.file.getvalue()
    figures = {row[metric] for row in source for metric in METRICS if row[metric]}
    assert {"0.2220", "-0.0559", "0.9190"} <= figures
    assert {figure for figure in figures if figure not in text} == set()


def test_rows_stand_in_the_published_order(source):
    for table in published_tables():
        order = list(dict.fromkeys(row["method"] for row in source if row["table"] == table.id))
        assert [row.method for row in table.rows] == order


def test_groups_of_the_first_table():
    groups = defaultdict(list)
    for row in printed(published_table("ipiqa-table1")).rows:
        groups[row.group].append(row.name)
    assert list(groups) == ["Handcrafted", "SVR-based", "Deep"]
    assert groups["SVR-based"] == ["GMLF", "HIGRADE"]
    assert groups["Deep"][-1] == "IP-IQA"


def test_rows_that_two_tables_share_are_named():
    """Computed here with pairs of all lines, and there by looking up."""
    golden = read(GOLDEN)
    line = {
        (row["table"], row["dataset"], row["target"], row["method"]): [row[key] for key in METRICS] for row in golden
    }
    shared = defaultdict(set)
    for one, figures in line.items():
        for other, others in line.items():
            if one[0] != other[0] and one[1:3] == other[1:3] and figures == others:
                shared[one[0], other[0]].add(one[3])
    found = {(table.id, other): names for table in published_tables() for other, names in identical_rows(table).items()}
    assert {key: set(names) for key, names in found.items()} == shared
    quoted = ["CEIQ", "NIQE", "GMLF", "CNNIQA", "DBCNN", "CLIP-IQA"]
    assert found["tang-agiqa3k", "ipiqa-table1"] == quoted
    remark = f"{', '.join(quoted)}: the same figures, digit by digit, stand in ipiqa-table1"
    assert remark in printed(published_table("tang-agiqa3k")).notes


def test_what_is_second_hand_says_so_wherever_it_is_shown():
    table = published_table("second-hand")
    shown = printed(table)
    assert "second-hand" in shown.title
    assert all(row.name.endswith("[second-hand]") for row in shown.rows)
    assert shown.notes[0].startswith("second-hand: quoted by another paper")
    hands = {row.key: row.cells[-1] for row in list_of(published_tables()).rows}
    assert hands.pop("second-hand") == "second-hand"
    assert set(hands.values()) == {"primary"}


def test_every_row_is_measured_by_a_registered_method_or_says_why_not():
    unmeasured = {}
    for table in published_tables():
        for row in table.rows:
            if not row.spec:
                unmeasured[table.id, row.method] = row.unmeasured
                continue
            spec = parse_method(row.spec)
            facts = method_registry().entry(spec.name).facts
            targets = {figures.target for figures in table.figures if figures.method == row.method}
            assert targets <= {*facts["targets"]} or row.method == "IP-IQA", row
    assert set(unmeasured) == {
        ("ipiqa-table2", "HPS"),
        ("tang-agiqa3k", "FID"),
        ("tang-aigciqa2023", "HOSA"),
    }
    assert "v1" in unmeasured["ipiqa-table2", "HPS"]


def test_what_a_row_is_measured_by_has_the_settings_that_it_was_published_with():
    checked = set()
    for table in published_tables():
        for row in table.rows:
            if not row.settings:
                assert not row.instead
                continue
            spec = parse_method(row.spec)
            fields = method_registry().load(spec.name).Config.model_fields
            assert {key: dict(spec.settings)[key] for key in row.settings} == row.settings
            # What stands in for it differs from it in these settings alone.
            assert parse_method(row.instead) == replace(spec, settings=())
            assert {fields[key].default for key in row.settings} != set(row.settings.values())
            checked.add((table.id, row.method))
    assert len(checked) == 8


def test_a_plan_labels_rows_as_they_are_looked_up():
    specs = [
        spec for spec in dict.fromkeys(row.spec for table in published_tables() for row in table.rows) if "[" in spec
    ]
    assert len(specs) == 10
    request = RunRequest(dataset="demo", methods=tuple(specs), annotations_only=True, repeats=1)
    assert [method.label for method in make_plan(request).methods] == [label_of(spec) for spec in specs]


@pytest.mark.parametrize("name", ["agiqa1k", "agiqa3k"])
def test_the_official_annotations_have_the_fingerprint_that_comparisons_ask_for(annotations, name):
    data = open_dataset(name, annotations, annotations_only=True)
    known = {key: facts for table in published_tables() for key, facts in table.datasets.items()}[name]
    assert (known.annotations, known.rows, known.title) == (data.fingerprint, len(data.samples), data.title)


def test_an_unknown_table_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match="did you mean ipiqa-table1"):
        published_table("ipiqa-table11")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("ipiqa-table2.toml", 'kind = "alignment"', 'kind = "alignment"\nauthor = "x"', "author: Extra inputs"),
        ("ipiqa-table2.toml", 'paper = "ipiqa"', 'paper = "elsewhere"', "unknown paper 'elsewhere'"),
        ("ipiqa-table2.toml", "agiqa3k/alignment", "agiqa3k/quality", "columns differ"),
        ("ipiqa-table2.toml", 'method = "HPS"', 'method = "HPS v2"', "rows differ"),
        ("ipiqa-table2.toml", 'spec = "clipscore"', "", "give either spec or unmeasured"),
        ("ipiqa-table2.toml", 'title = "', "title = ", "cannot be read"),
        ("ipiqa-table2.csv", "0.6839", "0.684", "different numbers of decimals"),
        ("ipiqa-table2.csv", "0.6839", "0,6839", "pattern"),
        ("papers.toml", 'select = "test"', 'select = "best"', "select"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, monkeypatch, file, old, new, message):
    copy = tmp_path / "published"
    shutil.copytree(files("agiqa_bench.results") / "published", copy)
    text = (copy / file).read_text(encoding="utf-8")
    assert old in text
    new_field = f'"{new}"' if file.endswith(".csv") and "," in new else new
    (copy / file).write_text(text.replace(old, new_field, 1), encoding="utf-8")
    monkeypatch.setattr(published, "_folder", lambda: copy)
    published_table.cache_clear()
    try:
        with pytest.raises(DataError, match=message) as caught:
            published_table("ipiqa-table2")
    finally:
        published_table.cache_clear()
    assert "\n" not in str(caught.value)


def test_the_page_of_a_table_holds_its_reference():
    table = published_table("tang-agiqa3k")
    report = page_of(table, [printed(table)])
    assert report.references.startswith("@inproceedings{tang2024clipagiqa,")
    assert [block.key for block in report.blocks()] == ["tang-agiqa3k"]
