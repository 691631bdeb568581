"""`agiqa-bench run --train-on A --test-on B`, by the installed command."""

import json

import pandas as pd
import pytest


@pytest.fixture
def tables(rated_table, tmp_path):
    """`rated.csv`, and `other.csv` with 30 of its rows on another scale."""
    table = pd.read_csv(rated_table).iloc[30:]
    table["mos_quality"] *= 20
    table.to_csv(tmp_path / "other.csv", index=False)
    return tmp_path


@pytest.fixture
def run(command, tables, example_methods):
    def call(*arguments, **environment):
        return command("run", "--plugin", example_methods, "--annotations-only", *arguments, **environment)

    return call


def test_it_plans_runs_and_resumes_in_a_folder_of_its_own(run, tmp_path):
    crossing = ["--train-on", "rated.csv", "--test-on", "other.csv", "--methods", "epochs,name_length", "--repeats", 2]
    dry = run(*crossing, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "rated → other: 90 rows" in dry.stdout
    assert "learn from rated: 42 training and 6 validation rows of 60" in dry.stdout
    assert "judged on other: 6 test rows of 30" in dry.stdout
    assert not (tmp_path / "results").exists()

    done = run(*crossing)
    assert done.returncode == 0, done.stderr
    assert "4 cells computed, 0 reused" in done.stderr
    output = tmp_path / "results" / "runs" / "rated-to-other"
    assert len(list((output / "splits").iterdir())) == 2
    plan = json.loads(next((output / "plans").iterdir()).read_text())
    assert plan["dataset_title"] == "rated → other"
    assert (plan["protocol"]["train_on"], plan["protocol"]["test_on"]) == ("rated", "other")
    assert plan["parts"] == [{"repeat": repeat, "fit": 48, "test": 6} for repeat in range(2)]
    assert "0 cells computed, 4 reused" in run(*crossing, "--jobs", 2).stderr


def test_two_processes_make_the_same_plan(run, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('train_on = "rated.csv"\ntest_on = "other.csv"\nmethods = "epochs"\nsplit = "image"\n')
    done = run("--config", file, "--repeats", 2, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert "2 cells computed, 0 reused" in done.stderr
    assert (tmp_path / "results" / "runs" / "rated-to-other-image" / "cells" / "epochs").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-on", "rated.csv"], "error: --train-on rated.csv: give --test-on NAME as well"),
        (["--train-on", "rated.csv", "--test-on", "rated.csv"], "both called 'rated'"),
        (["--train-on", "rated.csv", "--test-on", "other.csv", "--dataset", "demo"], "give the one or the others"),
        (["--train-on", "rated.csv", "--test-on", "absent.csv"], "absent.csv: no such file"),
        (["--train-on", "rated.csv", "--test-on", "other.csv", "--split", "generator"], "use --split grouped or image"),
    ],
)
def test_a_wrong_request_is_one_line(run, arguments, message):
    done = run(*arguments, "--methods", "epochs")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
