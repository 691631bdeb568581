"""`agiqa-bench protocol-study`, by the installed command."""

import csv
import io

import pytest


@pytest.fixture
def study(command, rated_table, example_methods):
    def call(methods, *arguments, **environment):
        return command(
            "protocol-study", "--plugin", example_methods, "--methods", methods, "--dataset", rated_table,
            "--annotations-only", *arguments, **environment,
        )  # fmt: skip

    return call


def rows(file):
    return list(csv.DictReader(io.StringIO(file.read_text())))


@pytest.mark.slow
def test_six_protocols_in_one_folder_share_what_they_can_and_nothing_is_computed_twice(study, tmp_path):
    log = tmp_path / "log"
    methods = "epochs,generator_mean,name_length"
    done = study(methods, "--repeats", 2, EXAMPLE_LOG=str(log))
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    assert lines.count("name_length 60") == 1
    assert sum(line.startswith("epochs") for line in lines) == 12
    assert {line for line in lines if line.startswith("epochs")} == {"epochs 42 6", "epochs 48 None", "epochs 48 12"}
    assert "20 cells to compute" in done.stdout
    # 6 x 2 cells of generator_mean and name_length each, of which 4 are to be computed.
    assert "20 cells computed, 0 reused, 16 shared between protocols" in done.stderr
    assert "SRCC under each protocol" in done.stdout
    assert "what each choice is worth" in done.stdout
    folder = tmp_path / "results/runs/rated-protocol-study"
    srcc = {(row["method"], row["split"], row["select"]): row["srcc_mean"] for row in rows(folder / "study.csv")}
    assert len(srcc) == 18
    assert len({srcc["generator_mean", "grouped", select] for select in ("last", "refit", "test")}) == 1
    assert {row["change"] for row in rows(folder / "effects.csv") if row["method"] == "generator_mean"} == {
        "split-refit"
    }
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    planned = study(methods, "--repeats", 3, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "10 cells to compute" in planned.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == files

    before = (folder / "study.csv").read_bytes()
    (folder / "study.csv").unlink()
    shown = study("nonsense", "--report-only")
    assert shown.returncode == 0, shown.stderr
    assert "SRCC under each protocol" in shown.stdout
    assert (folder / "study.csv").read_bytes() == before
    assert log.read_text().splitlines() == lines


def test_a_failing_cell_stops_no_other_and_counts_in_the_exit_code(study, tmp_path):
    flag = tmp_path / "fail"
    flag.touch()
    done = study("fails_sometimes,generator_mean", "--repeats", 2, EXAMPLE_FAIL=str(flag))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("the example was told to fail") == 2
    assert "left out: Fails sometimes, failed" in " ".join(done.stdout.split())
    assert len(rows(tmp_path / "results/runs/rated-protocol-study/study.csv")) == 6


def test_a_wrong_request_is_one_line(command, study, tmp_path):
    config = tmp_path / "study.toml"
    config.write_text('select = "test"\n')
    done = study("generator_mean", "--config", config)
    assert done.returncode == 2
    assert done.stderr == ("error: a protocol study varies split and selection itself: leave out --select\n")
    nothing = command("protocol-study", "--report-only")
    assert nothing.returncode == 2
    assert "give --output FOLDER or --dataset NAME" in nothing.stderr
    empty = command("protocol-study", "--report-only", "--output", tmp_path / "nothing")
    assert empty.returncode == 2
    assert "no such folder" in empty.stderr


def test_an_ordinary_run_is_not_taken_for_a_study(command, rated_table, example_methods, tmp_path):
    ran = command(
        "run", "--plugin", example_methods, "--methods", "generator_mean", "--dataset", rated_table,
        "--annotations-only", "--repeats", 2, "--output", tmp_path / "run",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    files = sorted(tmp_path.joinpath("run").rglob("*"))
    shown = command("protocol-study", "--report-only", "--output", tmp_path / "run")
    assert shown.returncode == 2
    assert "holds a run, not a study: results under grouped/refit alone" in shown.stderr
    assert sorted(tmp_path.joinpath("run").rglob("*")) == files


def test_without_a_finished_cell_no_file_is_written(study, command, tmp_path):
    flag = tmp_path / "fail"
    flag.touch()
    done = study("fails_sometimes", "--repeats", 1, EXAMPLE_FAIL=str(flag))
    folder = tmp_path / "results/runs/rated-protocol-study"
    assert done.returncode == 1
    assert "nothing to report yet" in done.stderr
    assert not list(folder.glob("study.*"))
    shown = command("protocol-study", "--report-only", "--output", folder)
    assert shown.returncode == 2
    assert "no cell of the study is finished yet" in shown.stderr
