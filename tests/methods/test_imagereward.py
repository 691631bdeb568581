"""ImageReward through a made-up package in a real virtual environment: the worker, and what is said where it cannot be.

The real package was seen to run with random weights only (see the README), never with the published ones.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agiqa_bench.contract import check_method
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.external.command import CommandError
from agiqa_bench.method import Context
from agiqa_bench.methods.imagereward import ImageReward

TORCH = """
import contextlib

no_grad = contextlib.nullcontext

class cuda:
    is_available = staticmethod(lambda: False)
"""

PACKAGE = """
import os

class Model:
    def __init__(self, *told):
        self.told = told

    def score(self, prompt, image):
        assert os.path.isabs(image)
        return len(prompt) + os.path.getsize(image) / 1e6

def load(name, device, med_config):
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with open(name, "rb") as checkpoint, open(med_config) as config:
        assert (checkpoint.read(2), config.read()) == (b"PK", "{}")
    return Model(device)
"""


def other_environment(folder: Path, **modules: str) -> Path:
    """A virtual environment with these modules and a distribution of the first one's name; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name, source in modules.items():
        file = packages / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    return folder / "bin" / "python"


def distribution(python: Path, name: str, version: str) -> None:
    """Let a distribution be installed in an environment, as far as its metadata tell."""
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    folder = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the published files, which are not the published ones."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "ImageReward"
    folder.mkdir(parents=True)
    torch.save({"weight": torch.zeros(1)}, folder / "ImageReward.pt")
    (folder / "med_config.json").write_text("{}")
    (tmp_path / "vocab.txt").write_text("[PAD]")

    def find(source: dict[str, str]) -> Path | None:
        return tmp_path / "vocab.txt" if source == {"hf_hub": "bert-base-uncased/vocab.txt"} else None

    monkeypatch.setattr("agiqa_bench.backbones.hub.find_weights", find)
    return tmp_path


@pytest.fixture
def python(tmp_path: Path) -> Path:
    found = other_environment(tmp_path / "env", ImageReward=PACKAGE, torch=TORCH)
    distribution(found, "image-reward", "1.5")
    return found


def test_scores_are_the_packages(few: Any, home: Path, python: Path) -> None:
    steps: list[Any] = []
    context = few.context(("alignment",), python=python, progress=lambda *step: steps.append(step))
    assert ImageReward.skip(ImageReward.Config(), context) is None
    samples = few.samples(("alignment",))
    scores = np.asarray(ImageReward(ImageReward.Config(), context).predict(samples.hidden()))
    assert scores.shape == (len(samples),)
    np.testing.assert_array_equal(np.floor(scores), [len(prompt) for prompt in samples.prompts])
    assert np.all(scores > np.floor(scores))
    assert steps[-1] == (len(samples), len(samples), "imagereward")


def test_our_packages_are_not_its_packages_and_low_precision_is_not_its_precision(
    few: Any, home: Path, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "ImageReward.py").write_text("raise ImportError('of another environment')")
    for name in ("PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, str(tmp_path / "ours"))
    samples = few.samples(("alignment",)).subset(np.arange(5))
    scores = {}
    for precision in ("float32", "bf16"):
        # The made-up torch has no autocast.
        context = few.context(("alignment",), python=python, precision=precision)
        assert ImageReward.skip(ImageReward.Config(), context) is None
        scores[precision] = ImageReward(ImageReward.Config(), context).predict(samples.hidden())
    np.testing.assert_array_equal(scores["bf16"], scores["float32"])
    assert ImageReward.note(ImageReward.Config(), context) == "computed in float32"
    assert ImageReward.note(ImageReward.Config(), Context()) == ""


def test_a_checkpoint_that_holds_code_is_refused_before_the_package_loads_it(home: Path, python: Path) -> None:
    torch.save({"weight": pytest.raises}, home / ".cache" / "ImageReward" / "ImageReward.pt")
    with pytest.raises(WeightsUnavailableError, match=r"ImageReward\.pt cannot be read as plain weights") as caught:
        ImageReward.weights(ImageReward.Config(), Context(python=python, offline=True))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("get it again from THUDM/ImageReward on the Hub")


def test_provenance_is_the_checkpoint_and_the_versions(home: Path, python: Path, tmp_path: Path) -> None:
    context = Context(python=python, offline=True)
    (first,) = ImageReward.weights(ImageReward.Config(), context)
    assert (first.name, first.stand_in) == ("ImageReward-v1.0 (image-reward 1.5)", "")
    other = other_environment(tmp_path / "other", ImageReward=PACKAGE, torch=TORCH)
    distribution(other, "image-reward", "1.6")
    (second,) = ImageReward.weights(ImageReward.Config(), Context(python=other, offline=True))
    assert second.name == "ImageReward-v1.0 (image-reward 1.6)"
    torch.save({"weight": torch.ones(1)}, home / ".cache" / "ImageReward" / "ImageReward.pt")
    (third,) = ImageReward.weights(ImageReward.Config(), context)
    assert len({first.digest, second.digest, third.digest}) == 3


def test_without_an_interpreter_it_says_what_to_type() -> None:
    reason = ImageReward.skip(ImageReward.Config(), Context())
    assert reason is not None
    assert "\n" not in reason
    for words in ("transformers 4", "python -m venv ENV", "pip install image-reward", "--python-for imagereward=ENV/"):
        assert words in reason
    with pytest.raises(WeightsUnavailableError, match="python -m venv ENV"):
        ImageReward.weights(ImageReward.Config(), Context())
    assert not any(check.passed is False for check in check_method(ImageReward))


def test_an_interpreter_without_the_package_is_said_before_anything_runs(home: Path, tmp_path: Path) -> None:
    python = other_environment(tmp_path / "empty")
    reason = ImageReward.skip(ImageReward.Config(), Context(python=python))
    assert "cannot import ImageReward (ModuleNotFoundError: No module named 'ImageReward')" in str(reason)
    broken = other_environment(tmp_path / "broken", ImageReward="raise ImportError('no transformers 4')")
    assert "(ImportError: no transformers 4)" in str(ImageReward.skip(ImageReward.Config(), Context(python=broken)))


def test_offline_without_the_weights_there_is_no_stand_in(
    home: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".cache" / "ImageReward" / "ImageReward.pt").unlink()
    with pytest.raises(
        WeightsUnavailableError, match=r"ImageReward\.pt of THUDM/ImageReward.*network is off"
    ) as caught:
        ImageReward.weights(ImageReward.Config(), Context(python=python, offline=True))
    assert caught.value.stand_in == {}
    monkeypatch.setattr("agiqa_bench.backbones.hub.find_weights", lambda source: None)
    with pytest.raises(WeightsUnavailableError, match=r"vocab\.txt of bert-base-uncased"):
        ImageReward.weights(ImageReward.Config(), Context(python=python, offline=True))


def test_a_device_that_is_not_there_is_refused_not_replaced(few: Any, home: Path, python: Path) -> None:
    context = few.context(("alignment",), python=python, device="cuda:0")
    with pytest.raises(CommandError, match=r"torch finds no CUDA device in .*: use --device cpu"):
        ImageReward(ImageReward.Config(), context).predict(few.samples(("alignment",)).subset([0]).hidden())
