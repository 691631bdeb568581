"""Files that are made to do harm, as the command line meets them: one line, the right exit code, no traceback."""

import logging
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from PIL import Image

from agiqa_bench import Context
from agiqa_bench.cli.app import start
from agiqa_bench.offline import VARIABLES
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry
from agiqa_bench.saved import save_model
from agiqa_bench.sealed import seal

PLUGIN = Path(__file__).parents[1] / "savable_methods.py"


@pytest.fixture
def said(tmp_path, fresh_registries, monkeypatch, capsys):
    """Runs the application in an empty folder: exit code, the lines of standard error, and standard output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "1")
    logger = logging.getLogger("agiqa_bench")
    before = logger.handlers[:], logger.level, logger.propagate

    def run(*arguments):
        code = start([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "\x1b" not in out + err
        return code, err.splitlines(), out

    yield run
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def model(said, tmp_path):
    """A saved model `blind`, which does not look at the prompt."""
    load_plugin(PLUGIN)
    (tmp_path / "frozen.pt").write_bytes(b"frozen weights")
    cls = method_registry().load("blind")
    context = Context(dataset="demo", targets=("quality",), mos_ranges={"quality": (0, 5)})
    method = cls(cls.Config(backbone=str(tmp_path / "frozen.pt")), context)
    method.bias = torch.tensor([1.0])
    return save_model(method, tmp_path / "blind")


def pipe(path):
    os.mkfifo(path)


def circle(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (pipe, "it is a device or a pipe"),
        (circle, "Too many levels of symbolic links"),
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\xff" * 50), "cannot decode"),
        (
            lambda path: path.write_bytes(b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x44\1\0;"),
            "pixels",
        ),
    ],
    ids=["pipe", "circle", "empty", "no chunks", "65535 x 65535"],
)
def test_a_hostile_image_cannot_be_scored(make, why, model, said, tmp_path):
    make(tmp_path / "x.png")
    code, (line,), _ = said("score", "x.png", "--checkpoint", "blind.json", "--plugin", PLUGIN, "--device", "cpu")
    assert code == 2
    assert line.startswith("error: cannot decode x.png")
    assert why in line


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("blind.json", b"[" * 100_000, "is not as it was written"),
        ("blind.json", b'{"format": NaN}', "is not as it was written"),
        ("blind.json", b'{"format": 9, "agiqa_bench": "\\u001b[2J"}', "has no seal"),
        ("blind.json", seal({"format": 9, "agiqa_bench": "\u001b[2J"}), "has format 9"),
        ("blind.safetensors", struct.pack("<Q", 1 << 63), "is damaged"),
        ("blind.safetensors", pickle.dumps({"a": 1}), "is damaged"),
    ],
)
def test_a_hostile_model_is_not_loaded(name, content, why, model, said, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    (tmp_path / name).write_bytes(content)
    code, (line,), _ = said("score", "x.png", "--checkpoint", "blind.json", "--plugin", PLUGIN, "--device", "cpu")
    assert code == 2
    assert line.startswith("error: model ")
    assert why in line


def test_a_pipe_among_the_images_of_a_run_counts_as_missing(said, tmp_path, example_methods):
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    pipe(tmp_path / "4.png")
    rows = [f"{number}.png,prompt {number},g,{1 + number}" for number in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["image,prompt,generator,mos", *rows]) + "\n")
    code, lines, out = said(
        "run", "--plugin", example_methods, "--methods", "brightness", "--dataset", "t.csv", "--repeats", 1
    )
    assert code == 2
    (line,) = lines
    assert line.startswith("error: nothing to compare: Brightness is skipped: needs images, and 1 of 5 are missing (")
    assert "4.png" in out


class Attack:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("name", ["attack.pt", "attack.bin", "attack.safetensors"])
def test_a_backbone_with_code_is_refused(name, said, tmp_path):
    witness, path = tmp_path / "witness", tmp_path / name
    torch.save({"state_dict": Attack(witness)}, path)
    code, _, out = said(
        "run", "--methods", "clipscore", "--set", f"clipscore.backbone=ViT-B-32:{path}", "--dataset", "demo",
        "--repeats", 1, "--device", "cpu",
    )  # fmt: skip
    assert code == 2
    assert "attack" in out
    assert not witness.exists()
