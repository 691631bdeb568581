"""Fitted methods as files: what was saved comes back, and damage is told in one line."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import agiqa_bench
from agiqa_bench import Context, saved
from agiqa_bench.errors import (
    AgiqaError,
    BadImageError,
    CheckpointError,
    ConfigError,
    DataError,
    UnknownNameError,
    WeightsUnavailableError,
)
from agiqa_bench.offline import VARIABLES
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry
from agiqa_bench.sealed import read_sealed, write_sealed

PLUGIN = Path(__file__).with_name("savable_methods.py")
CONTEXT = Context(dataset="demo", targets=("quality", "alignment"), mos_ranges={"quality": (0, 5), "alignment": (1, 5)})


@pytest.fixture
def plugin(fresh_registries):
    load_plugin(PLUGIN)


@pytest.fixture
def backbone(tmp_path):
    file = tmp_path / "frozen.pt"
    file.write_bytes(b"frozen weights")
    return file


@pytest.fixture
def images(tmp_path):
    paths = []
    for level in (10, 20, 40):
        paths.append(tmp_path / f"grey_{level}.png")
        Image.new("RGB", (8, 6), (level, level, level)).save(paths[-1])
    return paths


def fitted(name, backbone):
    cls = method_registry().load(name)
    method = cls(cls.Config(backbone=str(backbone), gain=0.5), CONTEXT)
    method.bias = torch.tensor([1.5, -2.25])
    return method


@pytest.fixture
def model(plugin, backbone, tmp_path):
    return saved.save_model(fitted("level", backbone), tmp_path / "models" / "my.level")


def refusal(path, kind=CheckpointError, **options):
    with pytest.raises(AgiqaError) as error:
        saved.load_model(path, **options)
    assert type(error.value) is kind
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_was_fitted_comes_back(model, images, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    tensors, facts = model
    assert (tensors.name, facts.name) == ("my.level.safetensors", "my.level.json")
    prompts = ["a", "bcd", ""]
    for path in (tensors, facts, facts.with_suffix("")):
        loaded = agiqa_bench.load_model(path)
        assert loaded.context == CONTEXT
        assert loaded.config.gain == 0.5
        assert loaded.frozen == len(b"frozen weights")
        assert torch.equal(loaded.bias, torch.tensor([1.5, -2.25]))
    scores = saved.score(loaded, images, ["a", "bcd", "ef"])
    level = np.array([5, 10, 20]) + 0.01 * np.array([1, 3, 2])
    np.testing.assert_allclose(scores, np.stack([level + 1.5, level - 2.25], axis=1), atol=1e-12)
    assert scores.dtype == np.float64
    with pytest.raises(DataError, match=r"grey_40\.png has no prompt"):
        saved.score(loaded, images, prompts)


def test_the_json_file_says_all_but_the_tensors(model, backbone):
    tensors, facts = model
    digest = hashlib.sha256(b"frozen weights").hexdigest()
    assert read_sealed(facts) == {
        "format": 2,
        "agiqa_bench": agiqa_bench.__version__,
        "method": "level",
        "title": "Level",
        "plugin": "savable_methods.py",
        "config": {"backbone": str(backbone), "gain": 0.5},
        "context": {
            "dataset": "demo",
            "targets": ["quality", "alignment"],
            "mos_ranges": {"quality": [0.0, 5.0], "alignment": [1.0, 5.0]},
            "precision": "float32",
        },
        "weights": [{"name": "frozen.pt", "digest": digest, "stand_in": "demo file"}],
        "tensors_sha256": hashlib.sha256(tensors.read_bytes()).hexdigest(),
    }
    assert load_file(tensors)["bias"].dtype == torch.float32


def test_a_method_of_an_installed_package_names_no_plugin():
    assert saved._plugin_file(method_registry().load("clipscore")) == ""


def test_without_a_state_nothing_is_written(plugin, tmp_path):
    with pytest.raises(CheckpointError, match="method 'forgetful' cannot be saved"):
        saved.save_model(method_registry().load("forgetful")(), tmp_path / "none")
    assert not list(tmp_path.glob("none*"))


def test_one_file_alone_names_the_other(model):
    tensors, facts = model
    kept = facts.read_bytes()
    facts.unlink()
    line = refusal(tensors)
    assert "my.level.json: no such file; a model is two files, my.level.safetensors and my.level.json" in line
    facts.write_bytes(kept)
    tensors.unlink()
    assert "my.level.safetensors: no such file; a model is two files" in refusal(facts)
    assert "no such file" in refusal(Path())


def test_damaged_tensors(model):
    tensors, _ = model
    content = tensors.read_bytes()
    for damaged in (content[:-3], b"", content[:-1] + bytes([content[-1] ^ 1])):
        tensors.write_bytes(damaged)
        assert "my.level.safetensors is damaged" in refusal(tensors)


@pytest.mark.parametrize(
    ("change", "kind", "line"),
    [
        ({"format": 3, "more": 1}, CheckpointError, "has format 3, and agiqa-bench"),
        ({"more": 1}, CheckpointError, "(more: Extra inputs are not permitted)"),
        ({"weights": "none"}, CheckpointError, "(weights: "),
        ({"method": "levl", "plugin": ""}, UnknownNameError, "unknown method 'levl': did you mean level?"),
        ({"method": "other", "plugin": "other.py"}, CheckpointError, "from the file other.py, which is not loaded"),
        ({"config": {"backbone": "x", "gian": 1}}, CheckpointError, "unknown key 'gian' (did you mean gain?"),
        ({"weights": []}, CheckpointError, "was fitted on no weights, and its settings lead to frozen.pt"),
    ],
)
def test_an_altered_json_file(model, change, kind, line):
    _, facts = model
    write_sealed(facts, read_sealed(facts) | change)
    assert line in refusal(facts, kind)


@pytest.mark.parametrize(
    "content",
    ["", "[1]", "{", '{"format": 2}', '{"image_size": 64}', "\x00", "[" * 100_000, '{"format": 1, "\u001b[2J": 1}',
     '{"format": ' + "9" * 5000 + "}", '{"format": NaN}', b"\xff\xfe{\x00"],
    ids=["empty", "list", "half", "format alone", "other keys", "zero", "nested", "name with an escape", "long number",
         "NaN", "UTF-16"],
)  # fmt: skip
def test_another_json_file(model, content):
    _, facts = model
    facts.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal(facts)
    assert "my.level.json is not as it was written" in line or "my.level.json has no seal" in line
    assert "save the model again" in line
    assert line.isprintable()


def test_every_changed_byte_of_the_json_file_is_told(model):
    _, facts = model
    content = facts.read_bytes()
    for place in range(0, len(content), 7):
        facts.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        line = refusal(facts)
        assert "is not as it was written" in line or "has no seal" in line


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 7, "agiqa_bench": "\u001b]0;title\u0007" + "x" * 9999}, "has format 7"),
        ({"\u001b[2J": 1}, "does not describe a saved model"),
        ({"format": 10**4000}, "has format 1000"),
        ({"title": [[]] * 999}, "does not describe a saved model"),
    ],
    ids=["escape sequences", "name with an escape", "long number", "list"],
)
def test_a_hostile_json_file_that_somebody_sealed(model, change, why):
    _, facts = model
    write_sealed(facts, read_sealed(facts) | change)
    line = refusal(facts)
    assert why in line
    assert line.isprintable()
    assert len(line) < 1000


def test_a_json_file_without_end_or_of_no_size_is_not_read(model):
    _, facts = model
    with facts.open("wb") as file:
        file.truncate(saved.MAX_FACTS + 1)
    assert "and more than 16,777,216 are refused" in refusal(facts)
    facts.unlink()
    os.mkfifo(facts)
    assert "a pipe and not a file" in refusal(facts)
    facts.unlink()
    facts.symlink_to(facts)
    assert "cannot be read: Too many levels of symbolic links" in refusal(facts)


@pytest.mark.parametrize("tensors", [{"bias": torch.zeros(3)}, {"weight": torch.zeros(2)}])
def test_tensors_of_something_else(model, tensors):
    file, facts = model
    save_file(tensors, file)
    noted = {"tensors_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    write_sealed(facts, read_sealed(facts) | noted)
    assert "its tensors do not fit method 'level'" in refusal(file)


def test_bytes_that_are_no_tensors(model):
    file, facts = model
    file.write_bytes(b"not tensors")
    noted = {"tensors_sha256": hashlib.sha256(b"not tensors").hexdigest()}
    write_sealed(facts, read_sealed(facts) | noted)
    assert "not a safetensors file" in refusal(file)


def test_frozen_weights_may_move_and_must_be_the_same(model, backbone, tmp_path):
    moved = backbone.rename(tmp_path / "moved.pt")
    line = refusal(model[0], WeightsUnavailableError)
    assert "was fitted on frozen.pt (sha256 " in line
    assert "--backbone" in line
    assert saved.load_model(model[0], settings={"backbone": str(moved)}).config.backbone == str(moved)
    moved.write_bytes(b"other weights")
    line = refusal(model[0], settings={"backbone": str(moved)})
    assert "was fitted on frozen.pt" in line
    assert "lead to moved.pt" in line


def test_settings_and_devices_that_are_not_valid(model):
    assert "unknown key 'gian'" in refusal(model[0], ConfigError, settings={"gian": 2})
    assert "--device gpu" in refusal(model[0], ConfigError, device="gpu")


def test_scores_do_not_depend_on_the_chunk(model, images, monkeypatch):
    loaded = saved.load_model(model[0])
    whole = saved.score(loaded, images, ["a"] * 3)
    seen = []
    monkeypatch.setattr(saved, "CHUNK", 2)
    parts = saved.score(loaded, images, ["a"] * 3, progress=lambda *counts: seen.append(counts))
    np.testing.assert_array_equal(whole, parts)
    assert seen == [(2, 3), (3, 3)]
    assert saved.score(loaded, [], []).shape == (0, 2)


def test_images_and_prompts_that_do_not_fit(model, images, tmp_path):
    loaded = saved.load_model(model[0])
    with pytest.raises(DataError, match="3 images and 1 prompts"):
        saved.score(loaded, images, ["a"])
    with pytest.raises(DataError, match="give one prompt per image"):
        saved.score(loaded, images)
    with pytest.raises(DataError, match="are lists"):
        saved.score(loaded, "a.png", "a")
    with pytest.raises(BadImageError, match=r"cannot decode .*absent.png: no such file$"):
        saved.score(loaded, [images[0], tmp_path / "absent.png"], ["a", "b"])
    content = images[1].read_bytes()
    images[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(BadImageError, match=r"grey_20.png") as error:
        saved.score(loaded, images, ["a"] * 3)
    assert "datasets verify" not in str(error.value)


def test_decoded_images_are_gone_afterwards(model, images, monkeypatch, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    saved.score(saved.load_model(model[0]), images, ["a"] * 3)
    assert not list(folder.iterdir())


def test_importing_the_package_stays_light():
    code = "import sys, agiqa_bench; print({'torch', 'numpy', 'pydantic'} & set(sys.modules), 'load_model' in dir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("set()")
