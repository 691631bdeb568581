from __future__ import annotations

import os
import subprocess
import sys

import pytest
from PIL import Image

from agiqa_bench.cli.app import start
from agiqa_bench.external.command import environment_of
from agiqa_bench.method import Context
from agiqa_bench.offline import SWITCHES, VARIABLES, go_offline, is_offline


@pytest.fixture
def no_switches(monkeypatch):
    """An environment without any switch; those that are set meanwhile are taken back."""
    for name in SWITCHES:
        monkeypatch.setenv(name, "")  # so that what was there before is known
        monkeypatch.delenv(name)


@pytest.mark.parametrize("variable", ["AGIQA_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "offline"),
    [("1", True), ("yes", True), ("TRUE", True), ("2", True)]
    + [(value, False) for value in ("", "0", "no", "False", " 0 ", "off")],
)
def test_either_variable_forbids_the_network(variable, value, offline, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert is_offline() is False
    monkeypatch.setenv(variable, value)
    assert is_offline() is offline
    assert is_offline(True) is True


def test_asking_imports_next_to_nothing():
    code = "import sys, agiqa_bench.offline; assert not {'torch', 'open_clip', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


@pytest.mark.parametrize("variable", VARIABLES)
def test_one_variable_sets_the_switches_of_all_libraries(variable, no_switches, monkeypatch):
    assert go_offline() is False
    assert not SWITCHES.keys() & os.environ.keys()
    monkeypatch.setenv(variable, "yes")
    assert go_offline() is True
    assert {name: os.environ[name] for name in SWITCHES} == SWITCHES


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--dataset", "no-such-data"),
        ("protocol-study", "--dataset", "no-such-data"),
        ("score", "--checkpoint", "no-such-file", "image.png"),
        ("attention", "--checkpoint", "no-such-file", "image.png", "--output", "maps.png"),
    ],
    ids=lambda words: words[0],
)
def test_each_command_with_offline_sets_them(words, no_switches, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("image.png")
    assert start([*words, "--offline"]) == 2
    assert {name: os.environ[name] for name in SWITCHES} == SWITCHES, capsys.readouterr().err


def test_every_command_sets_them_for_the_variable_alone(no_switches, monkeypatch, capsys):
    monkeypatch.setenv("AGIQA_OFFLINE", "1")
    assert start(["methods", "info", "no-such-method"]) == 2
    assert {name: os.environ[name] for name in SWITCHES} == SWITCHES, capsys.readouterr().err


def test_the_libraries_obey(no_switches, monkeypatch):
    code = (
        "from agiqa_bench.offline import go_offline; go_offline(True); "
        "import huggingface_hub, datasets, transformers; "
        "print(huggingface_hub.is_offline_mode(), datasets.config.HF_HUB_OFFLINE, "
        "transformers.utils.hub.is_offline_mode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == ["True"] * 3


def test_commands_of_external_methods_are_told(no_switches):
    assert environment_of(Context(offline=True)).items() >= SWITCHES.items()
    assert not environment_of(Context()).keys() & SWITCHES.keys()
