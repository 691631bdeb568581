"""Whatever can be done without a network is done without asking for it: every command, with a guard that forbids it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agiqa_bench.offline import SWITCHES
from agiqa_bench.registry import method_registry

# In one process, because each start imports torch and its company; AGIQA_OFFLINE=1 alone must be enough.
DRIVER = """
import json, sys
from agiqa_bench.cli.app import start

codes = {}
for words in json.load(sys.stdin):
    print("$", *words, file=sys.stderr, flush=True)
    codes[" ".join(words)] = start(words)
print(json.dumps(codes))
"""


def smallest() -> list[str]:
    """Options that make every training as short as it can be."""
    options = []
    for entry in method_registry().entries():
        fields = method_registry().load(entry.name).Config.model_fields if entry.error is None else {}
        for key in fields:
            if key == "iterations" or key.endswith("epochs"):
                options += ["--set", f"{entry.name}.{key}=1"]
    return options


@pytest.fixture
def pictures(standins, tmp_path: Path) -> Path:
    """A table with 8 prompts x 3 generators, large enough in pixels for every method."""
    rows = ["image,prompt,generator,mos_quality,mos_alignment"]
    for number in range(24):
        standins.save_standin(tmp_path / f"{number}.png", 96)
        rows.append(
            f"{number}.png,a picture of thing {number // 3},model {number % 3},{1 + number * 7 % 24 / 8},{number}"
        )
    table = tmp_path / "pictures.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


@pytest.mark.slow
def test_no_command_asks_for_the_network(pictures: Path, tmp_path: Path) -> None:
    guard = tmp_path / "guard"
    guard.mkdir()
    shutil.copy(Path(__file__).parents[1] / "no_network.py", guard / "sitecustomize.py")
    run = ["run", "--dataset", str(pictures), "--preset", "quick"]
    commands = [
        [*run, *smallest(), "--methods", "all,pyiqa:musiq", "--repeats", "2", "--save-models", "--output", "out"],
        ["report", "out"],
        ["report", "out", "--output", "site"],
        ["leaderboard", ".", "--output", "board"],
        ["datasets", "list"],
        ["datasets", "info", "demo"],
        ["datasets", "verify", str(pictures)],
        ["methods", "list"],
        ["methods", "info", "dbcnn"],
        ["methods", "new", "mine"],
        ["methods", "check", "mine.py"],
        ["splits", "show", "demo"],
        ["splits", "export", "demo", "--output", "splits.json"],
        ["splits", "import", "demo", "splits.json"],
        ["tables", "list"],
        ["tables", "show", "ipiqa-table1", "--run", "out"],
        ["protocol-study", "--methods", "brisque,generator_mean", "--dataset", str(pictures), "--dry-run"],
        ["benchmark", "--list"],
        [*run, "--methods", "niqe,clipscore", "--repeats", "1", "--jobs", "2", "--output", "jobs"],
    ]
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES} | {
        "AGIQA_OFFLINE": "1",
        "AGIQA_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(guard), os.environ.get("PYTHONPATH", "")])),
        "FORBIDDEN": str(tmp_path / "forbidden"),
    }

    def done(what: list[list[str]]) -> dict[str, int]:
        process = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(what), env=environment, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        codes: dict[str, int] = json.loads(process.stdout.splitlines()[-1])
        assert {words for words, code in codes.items() if code} == set(), process.stderr
        return codes

    assert len(done(commands)) == len(commands)
    model = next(tmp_path.glob("out/cells/ipiqa*/*/model.safetensors"))
    done([["score", "--checkpoint", str(model), "0.png", "a picture of thing 0"]])
    assert not (tmp_path / "forbidden").exists(), (tmp_path / "forbidden").read_text()
