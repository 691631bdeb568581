"""`agiqa-bench tables`: list, show and run, as people type them."""

import subprocess
import sys

import pytest

from agiqa_bench.cli import run as run_module
from agiqa_bench.cli import tables
from agiqa_bench.errors import DataNotFoundError
from agiqa_bench.papers.published import published_table
from agiqa_bench.papers.requests import requests_for
from agiqa_bench.sealed import read_sealed, write_sealed

HEAVY = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "jinja2", "pyiqa"}
LOOK = "import sys; from agiqa_bench.cli import tables; tables.list_tables(); print('LOADED', *sorted(sys.modules))"


def one_line(done):
    assert done.returncode == 2, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    return line


def test_list_names_every_table_and_what_is_second_hand(command):
    lines = command("tables", "list").stdout.splitlines()
    found = {line.split()[0]: line for line in lines if line.startswith(("ipiqa", "tang", "second"))}
    assert {"ipiqa-table1", "ipiqa-table2", "ipiqa-table3", "tang-agiqa3k", "tang-aigciqa2023"} < set(found)
    assert "AGIQA-1K, AGIQA-3K" in found["ipiqa-table1"]
    assert [name for name, line in found.items() if line.rstrip().endswith("second-hand")] == ["second-hand"]


def test_list_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split("LOADED", 1)[1].split())
    assert "typer" in loaded
    assert not HEAVY & loaded


def test_show_prints_the_published_digits(command):
    shown = command("tables", "show", "ipiqa-table1").stdout
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("CEIQ ")]
    assert row == ["CEIQ", "0.3069", "0.2836", "0.2097", "0.3228", "0.4166", "0.2220"]
    assert "arXiv 2403.18714" in shown


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("markdown", "| CEIQ | 0.3069 | 0.2836 | 0.2097 | 0.3228 | 0.4166 | 0.2220 |"),
        ("latex", "CEIQ & 0.3069 & 0.2836 & 0.2097 & 0.3228 & 0.4166 & 0.2220"),
        ("csv", "CEIQ,CEIQ,Handcrafted,0.3069,0.2836,0.2097,0.3228,0.4166,0.222"),
        ("html", "0.2220"),
        ("bibtex", "@inproceedings{qu2024ipiqa,"),
    ],
)
def test_show_in_every_format(form, expected):
    from agiqa_bench.papers.beside import with_runs

    table = published_table("ipiqa-table1")
    assert expected in tables._text(table, with_runs(table, []), form)


def test_show_names_what_a_run_of_other_data_is(command, stored_runs, tmp_path):
    stored_runs.make_store(tmp_path / "run", "demo", names=["ipiqa", "niqe"], repeats=2, images=60, synthetic=True)
    alone = command("tables", "show", "ipiqa-table1").stdout
    shown = " ".join(command("tables", "show", "ipiqa-table1", "--run", "run").stdout.split())
    assert "is not compared: its data set is Demo, which nobody rated" in shown
    assert "2 repeats; published: 10 repeats" in shown
    assert "Diff." not in shown
    assert all(line.split() == [] or " ".join(line.split()) in shown for line in alone.splitlines()[:20])


def test_wrong_requests_are_one_line(command, tmp_path):
    assert "did you mean ipiqa-table1" in one_line(command("tables", "show", "ipiqa-table11"))
    assert "unknown format 'pdf'" in one_line(command("tables", "show", "ipiqa-table1", "--format", "pdf"))
    assert "no such folder" in one_line(command("tables", "show", "ipiqa-table1", "--run", tmp_path / "absent"))


def test_run_names_each_data_set_that_is_missing_and_goes_on(command, tmp_path):
    done = command("tables", "run", "second-hand", "--data-root", tmp_path / "nothing", "--dry-run")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert [line.split(":")[1].strip() for line in errors] == ["AGIQA-3K", "AIGCIQA2023"]
    assert "agiqa-bench datasets download agiqa3k" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("outcomes", "code", "asked"),
    [
        ([0, 0], 0, 2),
        ([1, 0], 1, 2),
        ([DataNotFoundError("not there"), 0], 2, 2),
        ([130, 0], 130, 1),
    ],
)
def test_run_goes_through_the_data_sets_and_shows_what_was_run(
    monkeypatch, capsys, stored_runs, tmp_path, outcomes, code, asked
):
    table = published_table("second-hand")
    requests = requests_for(table, {"output": tmp_path})
    done = []

    def run(request, *, download, dry_run):
        outcome = outcomes[len(done)]
        done.append(request.dataset)
        if isinstance(outcome, Exception):
            raise outcome
        store = stored_runs.make_store(request.output, request.dataset, names=["clip_agiqa_fu"], repeats=2, images=60)
        for file in (store.root / "plans").glob("*.json"):
            plan = read_sealed(file)
            plan["protocol"]["annotations"] = table.datasets[request.dataset].annotations or "unknown"
            write_sealed(file, plan)
        return outcome

    monkeypatch.setattr(run_module, "run_request", run)
    assert tables._run_all(table, requests, download=False, dry_run=False) == code
    assert done == ["agiqa3k", "aigciqa2023"][:asked]
    shown = capsys.readouterr()
    assert ("Diff." in shown.out) == (asked == 2 and outcomes[0] in (0, 1))
    assert ("error: AGIQA-3K: not there" in shown.err) == (code == 2)
