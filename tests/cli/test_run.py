"""`agiqa-bench run` and `report`, by the installed command."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def run(command, rated_table, example_methods):
    def call(methods, *arguments, **environment):
        return command(
            "run", "--plugin", example_methods, "--methods", methods, "--dataset", rated_table, "--annotations-only",
            *arguments, **environment,
        )  # fmt: skip

    return call


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_run_ends_with_the_table_and_its_files(run, tmp_path):
    done = run("generator_mean,epochs,name_length", "--repeats", 4)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "results" / "runs" / "rated"
    table = {row["method"]: row for row in rows((output / "table.csv").read_text())}
    assert set(table) == {"generator_mean", "epochs", "name_length"}
    assert float(table["generator_mean"]["srcc_mean"]) > 0.8
    assert table["generator_mean"]["srcc_within_generator_mean"] == ""
    assert table["generator_mean"]["repeats"] == "4"
    assert "Generator mean" in done.stdout
    assert "undefined" in done.stdout
    assert "12 cells computed, 0 reused" in done.stderr
    assert "| *Generator mean* |" in (output / "table.md").read_text()
    plan = json.loads(next((output / "plans").iterdir()).read_text())
    assert plan["outcome"] == {"computed": 12, "failures": [], "interrupted": False}
    assert plan["environment"]["libraries"]["numpy"]


def test_stored_metrics_equal_scipys_on_the_stored_scores(run, tmp_path):
    import pandas as pd
    from scipy.stats import spearmanr

    run("epochs", "--repeats", 2)
    cells = sorted((tmp_path / "results/runs/rated/cells/epochs").iterdir())
    assert len(cells) == 2
    for cell in cells:
        scores = pd.read_parquet(cell / "predictions.parquet")
        expected = spearmanr(scores["score_quality"], scores["mos_quality"]).statistic
        record = json.loads((cell / "cell.json").read_text())
        assert record["metrics"]["quality"]["srcc"] == pytest.approx(expected, abs=1e-12)
        assert [entry["epoch"] for entry in json.loads((cell / "history.json").read_text())] == [0, 1, 2]


def test_the_same_command_computes_nothing_again_and_zero_shot_scores_serve_every_repeat(run, tmp_path):
    log = tmp_path / "log"
    first = run("epochs,name_length", "--repeats", 3, EXAMPLE_LOG=str(log))
    before = (tmp_path / "results/runs/rated/table.csv").read_bytes()
    assert sorted(log.read_text().splitlines()) == ["epochs 42 6"] * 3 + ["name_length 60"]
    second = run("epochs,name_length", "--repeats", 3, EXAMPLE_LOG=str(log))
    assert len(log.read_text().splitlines()) == 4
    assert "0 cells computed, 6 reused" in second.stderr
    assert (tmp_path / "results/runs/rated/table.csv").read_bytes() == before
    assert first.returncode == second.returncode == 0
    more = run("epochs,name_length", "--repeats", 5, EXAMPLE_LOG=str(log))
    assert "4 cells computed, 6 reused" in more.stderr
    assert log.read_text().count("name_length") == 1


def test_a_dry_run_shows_the_plan_and_writes_nothing(run, tmp_path):
    run("epochs", "--repeats", 2)
    before = sorted(path for path in (tmp_path / "results").rglob("*"))
    done = run("epochs,name_length", "--repeats", 3, "--dry-run")
    assert done.returncode == 0
    lines = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    counts = {line[1].strip(): (line[4].strip(), line[5].strip()) for line in lines}
    assert counts == {"Epochs": ("2", "1"), "Name length": ("0", "3")}
    assert sorted(path for path in (tmp_path / "results").rglob("*")) == before


def test_a_failing_cell_is_recorded_and_the_others_go_on(run, tmp_path):
    flag = tmp_path / "fail"
    flag.touch()
    done = run("fails_sometimes,returns_nan,peeks,skips,generator_mean", "--repeats", 2, EXAMPLE_FAIL=str(flag))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "failed: fails_sometimes, repeat 0 and 1 more: RuntimeError: the example was told to fail" in done.stderr
    output = tmp_path / "results/runs/rated"
    failure = json.loads(sorted((output / "failures/fails_sometimes").iterdir())[0].read_text())
    assert "with a second line" in failure["traceback"]
    assert {row["method"] for row in rows((output / "table.csv").read_text())} == {"generator_mean"}
    assert "Skips: skipped: has no readable specification" in done.stdout
    flag.unlink()
    again = run("fails_sometimes,generator_mean", "--repeats", 2, EXAMPLE_FAIL=str(flag))
    assert again.returncode == 0
    assert "2 cells computed, 2 reused" in again.stderr
    assert list((output / "failures/fails_sometimes").iterdir()) == []


def test_scores_that_are_not_finite_fail_the_cell_and_name_the_image(run, tmp_path):
    from PIL import Image

    for line in (tmp_path / "rated.csv").read_text().splitlines()[1:]:
        Image.new("RGB", (4, 4)).save(tmp_path / line.partition(",")[0])
    done = run("returns_nan,peeks", "--repeats", 2)
    assert "method 'returns_nan': 1 of 60 scores are not finite (first: good_1.png); a method must score" in done.stderr
    assert "peeks, 2 repeats: the MOS of samples to predict cannot be read" in done.stderr
    assert done.returncode == 1


def test_jobs_give_the_same_table(run, tmp_path):
    run("epochs,generator_mean", "--repeats", 3, "--output", tmp_path / "one")
    done = run("epochs,generator_mean", "--repeats", 3, "--output", tmp_path / "two", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one/table.csv").read_bytes() == (tmp_path / "two/table.csv").read_bytes()


def test_a_worker_that_dies_takes_no_other_cell_with_it(run, tmp_path):
    flag = tmp_path / "fail"
    flag.touch()
    done = run("dies,epochs", "--repeats", 2, "--jobs", 2, EXAMPLE_FAIL=str(flag))
    assert done.returncode == 1
    (failed,) = [line for line in done.stderr.splitlines() if line.startswith("failed:")]
    assert "dies, repeat" in failed
    assert "and 1 more: its worker process died" in failed
    assert "2 cells computed" in done.stderr
    assert len(list((tmp_path / "results/runs/rated/failures/dies").iterdir())) == 2


def test_history_keeps_numbers_of_any_kind(run, tmp_path):
    done = run("odd_history", "--repeats", 1)
    assert done.returncode == 0, done.stderr
    history = json.loads(next((tmp_path / "results/runs/rated/cells/odd_history").rglob("history.json")).read_text())
    assert history == [{"epoch": 0.0, "loss": 0.5}, {"epoch": 1.0, "loss": None}]


def test_choosing_on_the_test_part_is_said_in_the_name(run, tmp_path):
    run("epochs,generator_mean", "--repeats", 2, "--select", "test")
    names = {row["method"]: row["name"] for row in rows((tmp_path / "results/runs/rated/table.csv").read_text())}
    assert names == {"epochs": "Epochs (chosen on test)", "generator_mean": "Generator mean"}


def test_results_on_other_images_do_not_share_a_table(run, tmp_path, command, rated_table, example_methods):
    from PIL import Image

    def render(level):
        for number, line in enumerate(rated_table.read_text().splitlines()[1:]):
            Image.new("L", (20, 20), level + number).save(tmp_path / line.partition(",")[0])

    def look(methods):
        done = command("run", "--plugin", example_methods, "--methods", methods, "--dataset", rated_table,
                       "--repeats", 1)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return {row["method"] for row in rows((tmp_path / "results/runs/rated/table.csv").read_text())}

    render(10)
    assert look("brightness") == {"brightness"}
    assert look("generator_mean") == {"brightness", "generator_mean"}
    render(100)
    assert look("brightness[twice=true]") == {"brightness[twice=True]", "generator_mean"}


def test_report_shows_the_stored_table_again_in_every_format(run, command, tmp_path):
    run("epochs,generator_mean", "--repeats", 2)
    output = tmp_path / "results/runs/rated"
    assert command("report", output, "--format", "csv").stdout == (output / "table.csv").read_text()
    assert command("report", output, "--brief", "--format", "markdown").stdout == (output / "table.md").read_text()
    assert "Generator mean" in command("report", output).stdout
    assert command("report", output, "--output", tmp_path / "out").returncode == 0
    assert (tmp_path / "out/table.csv").read_bytes() == (output / "table.csv").read_bytes()
    wrong = command("report", tmp_path)
    assert wrong.returncode == 2
    assert "holds no run; name the folder that 'agiqa-bench run' wrote" in wrong.stderr


def test_each_split_rule_has_a_folder_of_its_own(run, tmp_path):
    run("generator_mean", "--repeats", 2)
    run("generator_mean", "--repeats", 2, "--split", "image")
    for folder, split in (("rated", "grouped"), ("rated-image", "image")):
        table = rows((tmp_path / "results/runs" / folder / "table.csv").read_text())
        assert [row["split"] for row in table] == [split]


def test_other_splits_in_one_folder_do_not_mix_and_earlier_rows_are_named(run, tmp_path):
    output = tmp_path / "out"
    run("epochs,generator_mean", "--repeats", 2, "--output", output)
    run("epochs", "--repeats", 2, "--split", "image", "--output", output)
    table = rows((output / "table.csv").read_text())
    assert [(row["method"], row["split"]) for row in table] == [("epochs", "image")]
    done = run("name_length", "--repeats", 2, "--output", output)
    table = rows((output / "table.csv").read_text())
    assert {row["method"] for row in table} == {"epochs", "generator_mean", "name_length"}
    assert {row["split"] for row in table} == {"grouped"}
    assert "of other commands, as they were then: Epochs, Generator mean" in (output / "table.md").read_text()
    # The screen shows what was asked for.
    assert "Name length" in done.stdout
    assert "Generator mean" not in done.stdout


def test_a_run_of_which_nothing_is_left_says_so(run):
    done = run("skips,niqe")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: nothing to compare: every method that was asked for is")
    assert "has no readable specification" in done.stdout


def test_exported_splits_give_the_same_cells(run, command, rated_table, tmp_path):
    run("epochs", "--repeats", 2, "--output", tmp_path / "out")
    command("splits", "export", rated_table, "--output", tmp_path / "splits.json", "--repeats", 2)
    done = run("epochs", "--splits", tmp_path / "splits.json", "--output", tmp_path / "out")
    assert "0 cells computed, 2 reused" in done.stderr, done.stderr


def test_leaving_one_generator_out(run, tmp_path):
    done = run("generator_mean,name_length", "--split", "generator")
    assert done.returncode == 0, done.stderr
    assert "0% of the test images have their generator in the training part" in done.stdout
    assert "3 splits, generator" in done.stdout
    table = {row["method"]: row for row in rows((tmp_path / "results/runs/rated-generator/table.csv").read_text())}
    assert {row["repeats"] for row in table.values()} == {"3"}
    # An unknown generator gets the overall mean: nothing varies, and no correlation is made up.
    assert table["generator_mean"]["srcc_mean"] == ""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(run, rated_table, example_methods, tmp_path):
    undisturbed = tmp_path / "undisturbed"
    run("epochs,name_length,generator_mean", "--repeats", 4, "--output", undisturbed)
    killed, log = tmp_path / "killed", tmp_path / "log"
    arguments = ["run", "--plugin", example_methods, "--methods", "epochs,name_length,generator_mean",
                 "--dataset", rated_table, "--annotations-only", "--repeats", "4", "--output", killed]  # fmt: skip
    environment = os.environ | {"EXAMPLE_LOG": str(log), "EXAMPLE_SLEEP": "1", "AGIQA_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("agiqa-bench"), *map(str, arguments)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list((killed / "cells" / "epochs").glob("[0-9]*")))
    assert finished == 2
    done = run("epochs,name_length,generator_mean", "--repeats", 4, "--output", killed, EXAMPLE_LOG=str(log))
    assert f"{12 - finished} cells computed, {finished} reused" in done.stderr
    # Repeat 2 was running when the run was killed: it alone is fitted twice.
    assert log.read_text().count("epochs") == 5
    assert (killed / "table.csv").read_bytes() == (undisturbed / "table.csv").read_bytes()


def test_ctrl_c_shows_what_is_finished(rated_table, example_methods, tmp_path):
    log = tmp_path / "log"
    process = subprocess.Popen(
        [Path(sys.executable).with_name("agiqa-bench"), "run", "--plugin", example_methods, "--methods", "epochs",
         "--dataset", rated_table, "--annotations-only", "--repeats", "3"],
        # A background job of a shell starts with SIGINT ignored, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"EXAMPLE_LOG": str(log), "EXAMPLE_SLEEP": "2", "COLUMNS": "200"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 cells computed, 0 reused; stopped by Ctrl-C: the same command goes on from here" in stderr
    assert "only 1 of 3 repeats" in stdout
    assert "Traceback" not in stderr


def test_a_damaged_cell_is_computed_again(run, tmp_path):
    run("epochs", "--repeats", 2)
    table = (tmp_path / "results/runs/rated/table.csv").read_bytes()
    victim = sorted((tmp_path / "results/runs/rated/cells/epochs").iterdir())[0] / "predictions.parquet"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    done = run("epochs", "--repeats", 2)
    assert "1 cells computed, 1 reused" in done.stderr
    assert (tmp_path / "results/runs/rated/table.csv").read_bytes() == table


def test_the_plan_says_why_a_stored_cell_does_not_serve(run, tmp_path):
    run("epochs", "--repeats", 1)
    done = run("epochs", "--repeats", 1, "--precision", "bf16", "--seed", 3, "--dry-run")
    line = next(line for line in done.stdout.splitlines() if line.startswith("│ Epochs"))
    assert "stored cells differ in precision, seed, split" in line


def test_an_ablation_is_one_row_each_with_what_must_be_known_of_it(run, command, example_methods, tmp_path):
    done = run("ablated[ablation],name_length", "--repeats", 2)
    assert done.returncode == 0, done.stderr
    assert "8 cells computed" in done.stderr
    table = {row["name"]: row for row in rows((tmp_path / "results/runs/rated/table.csv").read_text())}
    assert set(table) == {"Ablated[none]", "Ablated[sign turned]", "Ablated[sign + words, both]", "Name length"}
    assert float(table["Ablated[none]"]["srcc_mean"]) == -float(table["Ablated[sign turned]"]["srcc_mean"])
    line = next(line for line in done.stdout.splitlines() if line.startswith("│ Ablated[sign + words"))
    assert "counts words" in line
    assert r"- Ablated\[sign + words, both\]: counts words" in (tmp_path / "results/runs/rated/table.md").read_text()
    info = command("methods", "info", "ablated", "--plugin", example_methods).stdout
    assert 'run them all with --methods "ablated[ablation]", one with "ablated[ablation=ROW]"' in info
    ablations = [line.split("│")[1:3] for line in info.partition("Ablations")[2].splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in ablations] == [
        ["none", "no change"],
        ["sign turned", "sign: -1.0"],
        ["sign + words, both", "sign: -1.0, words: True"],
    ]
    one = run("ablated[ablation=sign turned],epochs[ablation]", "--dry-run")
    assert one.stderr.splitlines()[-1] == "error: method 'epochs' has no ablations: leave out [ablation]"


def test_models_are_saved_when_asked_for_and_torch_is_seeded_however_late_it_is_imported(run, tmp_path):
    from safetensors.numpy import load_file

    plugin = Path(__file__).parents[1] / "example_savable.py"
    arguments = ("--plugin", plugin, "--repeats", 2, "--device", "cpu")
    cells = tmp_path / "results/runs/rated/cells/savable"
    first = run("savable", *arguments)
    assert "Models" not in first.stderr
    table = (tmp_path / "results/runs/rated/table.csv").read_bytes()
    second = run("savable", *arguments, "--save-models", "--deterministic")
    line = next(line for line in second.stdout.splitlines() if line.startswith("│ Savable"))
    assert "stored without model" in line
    assert "Models: 2 in results/runs/rated/cells/<row>/<repeat>-<key>/model.safetensors" in second.stderr
    assert "2 cells computed, 0 reused" in second.stderr
    folders = sorted(cells.iterdir())
    assert {file.name for file in folders[1].iterdir()} == {
        "cell.json", "predictions.parquet", "model.safetensors", "model.json",
    }  # fmt: skip
    assert json.loads((folders[1] / "cell.json").read_text())["deterministic"] is True
    # Now repeat 1 is the first that a process computes.
    before = load_file(folders[1] / "model.safetensors")["line"]
    shutil.rmtree(folders[1])
    third = run("savable", *arguments, "--save-models")
    assert "1 cells computed, 1 reused" in third.stderr
    assert (load_file(folders[1] / "model.safetensors")["line"] == before).all()
    assert (tmp_path / "results/runs/rated/table.csv").read_bytes() == table
