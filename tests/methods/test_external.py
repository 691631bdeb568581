"""External methods through the installed command: a shell script, another environment, and what goes wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from agiqa_bench.contract import check_method
from agiqa_bench.errors import ConfigError
from agiqa_bench.evaluation.splits import Leakage, Split
from agiqa_bench.execution.cell import fit_and_predict
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import build_request
from agiqa_bench.external.command import CommandError
from agiqa_bench.method import Context
from agiqa_bench.methods.external import External, ExternalTrained

SHELL = """
# Rates an image by the size of its file: reads the table "$1", writes the table "$2".
echo id,score > "$2"
tail -n +2 "$1" | while IFS=, read -r id image rest; do echo "$id,$(wc -c < "$image")"; done >> "$2"
"""

ELSEWHERE = """
import csv, sys
import only_installed_there
with open(sys.argv[1], newline="") as source, open(sys.argv[2], "w", newline="") as target:
    writer = csv.writer(target)
    writer.writerow(["id", "score_quality", "score_alignment"])
    for row in csv.DictReader(source):
        writer.writerow([row["id"], only_installed_there.score(row["image"]), len(row["prompt"])])
"""


FAILING = {
    "crash": "sh -c 'echo out of luck >&2; exit 3'",
    "hang": "sh -c 'sleep 60'",
    "few": "sh -c '(echo id,score; echo 0,1; echo 1,2) > {output}' {input}",
    "words": "sh -c 'cp words.csv {output}' {input}",
    "typo": "scorre {input} {output}",
}


def environment(folder: Path) -> Path:
    """The interpreter of a real virtual environment with a module that ours lacks."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "only_installed_there.py").write_text(
        "import os\n\ndef score(path):\n    return os.path.getsize(path)\n", encoding="utf-8"
    )
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def compared(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One comparison by the installed command of two commands that work and all that fail, and its folder."""
    folder = tmp_path_factory.mktemp("external")
    (folder / "score.sh").write_text(SHELL, encoding="utf-8")
    (folder / "elsewhere.py").write_text(ELSEWHERE, encoding="utf-8")
    (folder / "words.csv").write_text("id,score\n" + "".join(f"{row},good\n" for row in range(360)), encoding="utf-8")
    methods = [
        "external[command='sh score.sh {input} {output}']",
        f"external[command='{environment(folder / 'env')} elsewhere.py',label=env]",
        "prompt_text",
        *(
            f'external[label={label},command="{text}",timeout_s={1 if label == "hang" else 60}]'
            for label, text in FAILING.items()
        ),
    ]
    arguments = ["--methods", ",".join(methods), "--dataset", "demo", "--repeats", "2", "-o", "out"]
    done = subprocess.run(
        [Path(sys.executable).with_name("agiqa-bench"), "run", *arguments],
        cwd=folder,
        env=os.environ | {"AGIQA_CACHE": str(demo.cache), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    return done, folder


@pytest.mark.slow
def test_a_shell_command_and_another_environment_run_beside_ours(compared: Any, demo: Any) -> None:
    done, folder = compared
    assert done.returncode == 1, done.stderr
    assert "6 cells computed, 0 reused" in done.stderr
    assert "External[score.sh]" in done.stdout
    assert "External[env]" in done.stdout
    assert "runs `sh score.sh {input} {output}`" in done.stdout

    def scores(name: str) -> Any:
        (file,) = (folder / "out" / "scores").glob(f"{name}/*/scores.parquet")
        return pd.read_parquet(file)

    lengths = [len(prompt) for prompt in demo.table["prompt"]]
    elsewhere = scores("external_env_*")
    np.testing.assert_array_equal(elsewhere["alignment"], lengths)
    assert elsewhere["quality"].nunique() > 300
    shell = scores("external_score.sh_*")
    np.testing.assert_array_equal(shell["quality"], shell["alignment"])
    # Both measure the same files, each in its own language.
    np.testing.assert_array_equal(shell["quality"], elsewhere["quality"])


@pytest.mark.slow
def test_what_goes_wrong_is_told_in_one_line_each(compared: Any) -> None:
    done, folder = compared
    lines = {
        match[1]: line
        for line in done.stderr.splitlines()
        if (match := re.match(r"failed: external\[(\w+)\], 2 repeats: method 'external': the command `", line))
    }
    assert lines.keys() == FAILING.keys()
    assert "ended with exit code 3: out of luck" in lines["crash"]
    assert "was ended after 1 s: mend it, or raise external.timeout_s" in lines["hang"]
    assert "scored 2 of 360 images (no score for id 2, 3, 4 and 355 more)" in lines["few"]
    assert "wrote the score 'good' for id 0, which is not a number" in lines["words"]
    assert "was not found: there is no program scorre" in lines["typo"]
    records = list((folder / "out" / "failures").rglob("*.json"))
    assert any("out of luck" in record.read_text("utf-8") for record in records)


@pytest.mark.parametrize("cls", [External, ExternalTrained])
def test_without_a_command_they_are_skipped_with_what_to_write(cls: Any) -> None:
    reason = cls.skip(cls.Config(), Context())
    assert f"{cls.name}[command='python " in reason
    assert "{input} {output}'" in reason
    checks = list(check_method(cls))
    assert not any(check.passed is False for check in checks)
    assert checks[-1].detail == f"skipped here: {reason}"


def test_a_row_bears_its_label_or_the_name_of_its_program() -> None:
    def named(command: str, label: str = "") -> str:
        return External.row_name(External.Config(command=command, label=label))

    assert named("sh score.sh {input} {output}") == "score.sh"
    assert named("/usr/bin/python3 -u /path/to/my.py --gpu") == "my.py"
    assert named("/opt/tool/score {input} {output}") == "score"
    assert named("sh -c 'cat {input} > {output}'") == "sh"
    assert named("java -jar score.jar") == "score.jar"
    assert named("python -m package.score {input} {output}") == "package.score"
    assert named("sh score.sh", "mine") == "mine"
    assert named("") == ""


def test_the_files_of_a_command_are_part_of_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("score.sh", "model.bin"):
        Path(name).write_text("1")

    def digest(**settings: Any) -> Any:
        return External.weights(External.Config(command="sh score.sh {input} {output}", **settings), Context())

    (alone,), (both,) = digest(), digest(digest_files=["model.bin"])
    assert (alone.name, both.name) == ("score.sh", "score.sh, model.bin")
    Path("model.bin").write_text("23")
    assert digest() == (alone,)
    assert digest(digest_files=["model.bin"]) != (both,)
    Path("score.sh").write_text("23")
    assert digest() != (alone,)
    assert External.weights(External.Config(command="true"), Context()) == ()
    with pytest.raises(ConfigError, match=r"external\.digest_files: there is no file nowhere"):
        digest(digest_files=["nowhere"])


def test_scripts_behind_sh_and_on_the_path_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)

    def named(command: str) -> list[str]:
        return [file.name for file in External.Config(command=command).files]

    def digest(command: str) -> str:
        (weights,) = External.weights(External.Config(command=command), Context())
        return weights.digest

    for file, command in {
        tmp_path / "a.py": "sh -c 'cd .; python a.py {input} {output}'",
        programs / "my-score": "my-score {input} {output}",
    }.items():
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
        assert named(command) == [file.name]
        before = digest(command)
        file.write_text("#!/bin/sh\n# edited\n")
        assert digest(command) != before
    (tmp_path / "b.py").touch()
    assert named("sh -c 'python a.py<{input};python b.py>{output}'") == ["a.py", "b.py"]
    # What is not a path is text, however long; and a program that is no script belongs to the system.
    (programs / "binary").write_bytes(b"\x7fELF")
    (programs / "binary").chmod(0o755)
    assert named(f"binary -c '{'x' * 5000}' \"it isn't a.py\" ''") == ["a.py"]


@pytest.mark.parametrize(
    ("cls", "command", "reason"),
    [
        (External, "score {train} {input} {output}", "that is 'external_trained'"),
        (External, "score {input}", r"must name both \{input\} and \{output\}"),
        (ExternalTrained, "score {input} {output}", "a method that learns nothing is 'external'"),
    ],
)
def test_a_command_that_asks_for_the_wrong_tables_is_refused(cls: Any, command: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        cls.weights(cls.Config(command=command), Context())


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match="No closing quotation; close the quotes"):
        External.Config(command="sh -c 'cat")
    with pytest.raises(ValidationError, match="it names no program"):
        External.Config(command="  ")
    with pytest.raises(ValidationError):
        External.Config(timeout_s=0)
    assert all(field.description for field in External.Config.model_fields.values())


def test_two_commands_under_one_name_are_refused(rated_table: Path) -> None:
    one, other = (f"external[command='sh score.sh {{input}} {{output}} {more}']" for more in ("1", "2"))
    options = {"dataset": str(rated_table), "methods": f"{one},{other}", "annotations_only": True}
    with pytest.raises(ConfigError, match=r"two different rows would be called 'external\[score\.sh\]'"):
        make_plan(build_request(None, options))
    plan = make_plan(build_request(None, options | {"methods": f"{one},{other[:-1]},label=two]"}))
    assert [method.display for method in plan.methods] == ["External[score.sh]", "External[two]"]


# The mean ratings of the training table times the id; what it saw goes to a log.
MEANS = """
import csv, os, sys
def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
source, target, train, validation = map(rows, sys.argv[1:2]), sys.argv[2], rows(sys.argv[3]), sys.argv[4:]
with open("log.txt", "a") as log:
    print(len(train), len(rows(validation[0])) if validation else "-", os.environ["AGIQA_SEED"], file=log)
targets = [name[4:] for name in train[0] if name.startswith("mos_")]
def mean(target):
    return sum(float(row["mos_" + target]) for row in train) / len(train)
with open(target, "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["id"] + ["score_" + name for name in targets])
    for row in next(source):
        writer.writerow([row["id"]] + [mean(name) * int(row["id"]) for name in targets])
"""


def trained(few: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, selection: str) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("means.py").write_text(MEANS, encoding="utf-8")
    samples = few.samples()
    train, validation, test = (samples.subset(np.arange(*ends)) for ends in ((0, 20), (20, 30), (30, 40)))
    config = ExternalTrained.Config(command=f"{sys.executable} means.py {command}".strip())
    method = ExternalTrained(config, few.context(selection=selection, seed=5))
    method.fit(train, None if selection == "last" else validation)
    return train, validation, test, np.asarray(method.predict(test.hidden()))


@pytest.mark.parametrize(
    ("command", "selection", "learnt", "held"),
    [
        ("{input} {output} {train} {validation}", "validation", 20, "10"),
        ("", "validation", 20, "10"),
        ("{input} {output} {train}", "last", 20, "-"),
        ("{input} {output} {train} {validation}", "last", 20, "0"),
    ],
)
def test_a_trained_command_learns_from_what_it_may(
    few: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, selection: str, learnt: int, held: str
) -> None:
    train, validation, test, scores = trained(few, monkeypatch, tmp_path, command, selection)
    assert Path("log.txt").read_text() == f"{learnt} {held} 5\n"
    mean = np.concatenate([train.mos, validation.mos])[:learnt].mean(axis=0)
    np.testing.assert_allclose(scores, np.outer(test.rows, mean), rtol=1e-12)


@pytest.mark.parametrize(
    ("command", "chooses"),
    [("{input} {output} {train}", False), ("{input} {output} {train} {validation}", True), ("", True)],
)
@pytest.mark.parametrize("selection", ["refit", "validation", "test"])
def test_a_command_without_validation_table_learns_from_everything(
    few: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, chooses: bool, selection: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("means.py").write_text(MEANS, encoding="utf-8")
    config = ExternalTrained.Config(command=f"{sys.executable} means.py {command}".strip())
    assert ExternalTrained.chooses_epoch(config) == chooses
    split = Split(0, *(np.arange(*ends) for ends in ((0, 20), (20, 30), (30, 40))), Leakage(0.0, 0.0, 0.0))
    found = fit_and_predict(ExternalTrained, config, few.context(selection=selection, seed=5), few.samples(), split)
    learnt = 20 if chooses and selection != "test" else 30
    assert Path("log.txt").read_text() == f"{learnt} {10 if chooses else '-'} 5\n"
    assert found.chosen == {}


def test_lower_is_better_turns_scores_round(few: Any) -> None:
    samples = few.samples().subset([3, 1])
    command = 'sh -c \'echo id,score > "$2"; tail -n +2 "$1" | sed -E "s/^([0-9]+),.*/\\1,\\1/" >> "$2"\' sh'
    for better, sign in ((True, 1), (False, -1)):
        method = External(External.Config(command=command, higher_is_better=better), few.context())
        np.testing.assert_array_equal(method.predict(samples.hidden()), np.multiply(sign, [3, 1]))
    assert "negates its scores" in External.note(External.Config(command="x", higher_is_better=False), Context())


def test_failures_are_typed(few: Any) -> None:
    method = External(External.Config(command="false"), few.context())
    with pytest.raises(CommandError, match=r"`false` ended with exit code 1: it printed nothing"):
        method.predict(few.samples().subset([0]).hidden())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"python_for": {"hps": "/x"}}, "unknown method in --python-for 'hps'"),
        ({"python_for": {"external": "/x"}}, "--python-for external: this method runs in this interpreter alone"),
    ],
)
def test_an_interpreter_for_a_method_that_takes_none_is_refused(
    options: dict[str, Any], reason: str, rated_table: Path
) -> None:
    request = {"dataset": str(rated_table), "methods": "external,prompt_text", "annotations_only": True}
    with pytest.raises(Exception, match=re.escape(reason)) as caught:
        make_plan(build_request(None, request | options))
    assert caught.type.__module__ == "agiqa_bench.errors"


def test_interpreters_are_read_from_file_and_command_line(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("dataset = 'demo'\n[python_for]\nhps = 'a/python'\nimagereward = 'b/python'\n", encoding="utf-8")
    request = build_request(file, {"python_for": {"hps": "c/python"}})
    assert request.python_for == {"hps": Path("c/python"), "imagereward": Path("b/python")}
