from __future__ import annotations

import subprocess
import sys

import pytest

from agiqa_bench.offline import VARIABLES, is_offline


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
