"""HPS v2 through a made-up package: this interpreter's torch, a tiny model in the place of the real one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agiqa_bench.contract import check_method
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.external.command import CommandError
from agiqa_bench.method import Context
from agiqa_bench.methods.hps import HPS

PACKAGE = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = torch.nn.Linear(3, 4), torch.nn.Linear(5, 4)

    def forward(self, images, texts):
        normalize = torch.nn.functional.normalize
        image = normalize(self.image(images.mean(dim=(2, 3))), dim=-1)
        return {"image_features": image, "text_features": normalize(self.text(texts), dim=-1), "logit_scale": 1}

def create_model_and_transforms(name, precision, device, light_augmentation, output_dict):
    assert (name, precision, light_augmentation, output_dict) == ("ViT-H-14", "amp", True, True)
    from torchvision.transforms import CenterCrop, Compose, ToTensor
    return Model().to(device), None, Compose([CenterCrop(32), ToTensor()])

def get_tokenizer(name):
    assert name == "ViT-H-14"
    return lambda texts: torch.tensor([[float(text.count(letter)) for letter in "aeiou"] for text in texts])
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file in place of the published one; beside it a virtual environment with the package and our torch."""
    root = tmp_path_factory.mktemp("hps")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "env"], check=True, timeout=60)
    packages = next((root / "env").glob("lib/python*/site-packages"))
    (packages / "ours.pth").write_text(str(Path(torch.__file__).parents[1]), encoding="utf-8")
    folder = packages / "hpsv2" / "src"
    folder.mkdir(parents=True)
    (folder / "open_clip.py").write_text(PACKAGE, encoding="utf-8")
    torch.manual_seed(0)
    shapes = {"image.weight": (4, 3), "image.bias": (4,), "text.weight": (4, 5), "text.bias": (4,)}
    file = root / "HPS_v2.1_compressed.pt"
    torch.save({"state_dict": {name: torch.randn(shape) for name, shape in shapes.items()}}, file)

    def find(source: dict[str, str]) -> Path | None:
        return file if source == {"hf_hub": "xswu/HPSv2/HPS_v2.1_compressed.pt"} else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agiqa_bench.backbones.hub.find_weights", find)
        yield file


def python_beside(checkpoint: Path) -> Path:
    return checkpoint.parent / "env" / "bin" / "python"


def test_scores_are_cosines_in_batches(few: Any, checkpoint: Path) -> None:
    context = few.context(("alignment",), python=python_beside(checkpoint))
    assert HPS.skip(HPS.Config(), context) is None
    samples = few.samples(("alignment",))
    scores = np.asarray(HPS(HPS.Config(), context).predict(samples.hidden()))
    weights = {name: value.double().numpy() for name, value in torch.load(checkpoint)["state_dict"].items()}
    expected = []
    for image, prompt in zip(samples.images, samples.prompts, strict=True):
        mean = image[48:80, 48:80].astype(float).mean(axis=(0, 1)) / 255
        letters = np.array([prompt.count(letter) for letter in "aeiou"], dtype=float)
        one = weights["image.weight"] @ mean + weights["image.bias"]
        two = weights["text.weight"] @ letters + weights["text.bias"]
        expected.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    (provenance,) = HPS.weights(HPS.Config(), context)
    assert provenance.name == "HPS v2.1 (hpsv2.src.open_clip)"


def test_a_checkpoint_that_leaves_a_weight_as_it_was_drawn_is_refused(few: Any, checkpoint: Path) -> None:
    context = few.context(("alignment",), python=python_beside(checkpoint))
    whole = checkpoint.read_bytes()
    content = torch.load(checkpoint)
    del content["state_dict"]["text.bias"]
    torch.save(content, checkpoint)
    try:
        with pytest.raises(CommandError, match=r"ended with exit code 1: .*text\.bias"):
            HPS(HPS.Config(), context).predict(few.samples(("alignment",)).subset([0]).hidden())
    finally:
        checkpoint.write_bytes(whole)


def test_versions_are_two_files_and_two_rows(checkpoint: Path) -> None:
    context = Context(python=python_beside(checkpoint), offline=True)
    assert HPS.Config().version == "v2.1"
    with pytest.raises(WeightsUnavailableError, match=r"HPS_v2_compressed\.pt of xswu/HPSv2"):
        HPS.weights(HPS.Config(version="v2.0"), context)
    assert [HPS.Config(**row).version for row in HPS.ablations.values()] == ["v2.0", "v2.1"]
    assert "v1" in HPS.note(HPS.Config(), context)


def test_without_an_interpreter_it_says_what_to_type() -> None:
    reason = str(HPS.skip(HPS.Config(), Context()))
    for words in ("protobuf", "ENV/bin/pip install hpsv2x", "--python-for hps=ENV/bin/python"):
        assert words in reason
    assert not any(check.passed is False for check in check_method(HPS))
