from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import open_clip
import pytest
import torch

from agiqa_bench.backbones.checkpoint import check_fit, file_digest, inspect, one_line, read_openai
from agiqa_bench.errors import WeightsUnavailableError


@pytest.fixture(scope="module")
def files(make_model, save_openai, save_safetensors, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("files")
    model = make_model("tiny-vit")
    state = model.state_dict()
    paths = {
        name: tmp_path / name for name in ("bare.pt", "training.pt", "legacy.pth", "parallel.bin", "openai_state.pt")
    }
    torch.save(state, paths["bare.pt"])
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, paths["training.pt"])
    torch.save(state, paths["legacy.pth"], _use_new_zipfile_serialization=False)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, paths["parallel.bin"])
    constants = {key: torch.tensor(1) for key in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**state, **constants}, paths["openai_state.pt"])
    paths["archive.pt"] = save_openai(model, tmp_path / "archive.pt")
    paths["model.safetensors"] = save_safetensors(model, tmp_path / "model.safetensors")
    return model, paths


def test_every_format_is_recognised_and_fits(files):
    model, paths = files
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    formats = {}
    for name, path in paths.items():
        checkpoint = inspect(path)
        formats[name] = (checkpoint.format, checkpoint.openai)
        shapes = {
            k: v for k, v in checkpoint.shapes.items() if k not in {"input_resolution", "context_length", "vocab_size"}
        }
        assert shapes == expected, name
        check_fit(checkpoint, "tiny-vit", open_clip.get_model_config("tiny-vit"))
    assert formats == {
        "bare.pt": ("torch", False),
        "training.pt": ("torch", False),
        "legacy.pth": ("torch", False),
        "parallel.bin": ("torch", False),
        "openai_state.pt": ("torch", True),
        "archive.pt": ("torchscript", True),
        "model.safetensors": ("safetensors", False),
    }
    for name in ("openai_state.pt", "archive.pt"):
        assert read_openai(inspect(paths[name])).keys() == expected.keys()


def test_a_safetensors_file_in_capitals_is_asked_to_be_renamed(files, tmp_path):
    capital = tmp_path / "CAPITAL.SAFETENSORS"
    capital.write_bytes(files[1]["model.safetensors"].read_bytes())
    with pytest.raises(WeightsUnavailableError, match=r"rename it to end in \.safetensors, in small letters"):
        inspect(capital)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["bare.pt", "legacy.pth", "archive.pt", "model.safetensors"])
def test_a_truncated_file_is_one_clear_line(files, name, part, tmp_path):
    content = files[1][name].read_bytes()
    path = tmp_path / f"cut-{name}"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsUnavailableError) as caught:
        inspect(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert any(word in message for word in ("is empty", "truncated", "is not a checkpoint"))
    assert caught.value.stand_in == {}


def test_a_damaged_archive_is_noticed_when_it_is_read(files, tmp_path):
    content = bytearray(files[1]["archive.pt"].read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "flipped.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailableError, match=r"flipped\.pt is truncated or damaged \(Bad CRC-32"):
        read_openai(inspect(path))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("page.pt", b"<!DOCTYPE html><html>Sign in</html>", "is not a checkpoint"),
        ("note.pt", b"hello world, this is text", "is not a checkpoint"),
        ("empty.bin", b"", "is empty"),
        ("zip.pt", b"PK\x03\x04 rubbish", "is truncated or damaged"),
        ("page.safetensors", b"<!DOCTYPE html>", "is truncated or not a safetensors file"),
    ],
)
def test_what_is_no_checkpoint_is_refused(name, content, why, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailableError, match=f"weight file .*{name} {why}.*: give an OpenAI archive"):
        inspect(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(3), {}])
def test_a_file_without_named_tensors_is_refused(content, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(WeightsUnavailableError, match="holds no tensors by name"):
        inspect(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(WeightsUnavailableError, match=r"no\.pt does not exist"):
        inspect(tmp_path / "no.pt")
    with pytest.raises(WeightsUnavailableError, match="is a folder"):
        inspect(tmp_path)


class _Attack:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_never_run(zipped, tmp_path):
    witness, path = tmp_path / "witness", tmp_path / "attack.pt"
    content = {"state_dict": {"weight": torch.ones(1)}, "extra": _Attack(witness)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsUnavailableError, match=r"pickled objects.*never loaded \(\w+\.mkdir\)"):
        inspect(path)
    path.write_bytes(pickle.dumps(_Attack(witness), protocol=2))
    with pytest.raises(WeightsUnavailableError):
        inspect(path)
    assert not witness.exists()


def test_another_architecture_is_refused_with_the_first_difference(files):
    checkpoint = inspect(files[1]["bare.pt"])
    with pytest.raises(WeightsUnavailableError, match=r"bare\.pt does not fit tiny-rn: .* \(and \d+ more\); name the"):
        check_fit(checkpoint, "tiny-rn", open_clip.get_model_config("tiny-rn"))


@pytest.mark.parametrize(
    ("tower", "key", "value", "tensor"),
    [
        ("vision_cfg", "image_size", 64, r"visual.positional_embedding is \(17, 64\) and should be \(65, 64\)"),
        ("text_cfg", "context_length", 77, r"positional_embedding is \(16, 16\) and should be \(77, 16\)"),
        ("text_cfg", "layers", 3, r"transformer.resblocks.2.attn.in_proj_bias is missing"),
        ("text_cfg", "layers", 1, r"transformer.resblocks.1.attn.in_proj_bias is surplus"),
    ],
)
def test_nothing_is_stretched_or_left_out_to_fit(files, tower, key, value, tensor):
    config = open_clip.get_model_config("tiny-vit")
    config[tower] = {**config[tower], key: value}
    with pytest.raises(WeightsUnavailableError, match=tensor):
        check_fit(inspect(files[1]["bare.pt"]), "tiny-vit", config)


def test_batch_counts_may_be_absent(make_model, tmp_path):
    state = {k: v for k, v in make_model("tiny-rn").state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pt")
    check_fit(inspect(tmp_path / "old.pt"), "tiny-rn", open_clip.get_model_config("tiny-rn"))


def test_openai_files_fit_plain_architectures_only(files):
    with pytest.raises(WeightsUnavailableError, match="one of OpenAI's and does not fit tiny-custom"):
        check_fit(inspect(files[1]["archive.pt"]), "tiny-custom", open_clip.get_model_config("tiny-custom"))


def test_digests_are_sha256_and_follow_the_content(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    one, two = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
    assert file_digest(path) == one
    assert file_digest(path, other) == hashlib.sha256((one + two).encode()).hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert file_digest(path) == two


def test_digests_are_remembered(tmp_path, monkeypatch):
    path = tmp_path / "large"
    path.write_bytes(b"content")
    first = file_digest(path)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert file_digest(path) == first


def test_messages_stay_on_one_line():
    assert one_line(RuntimeError("a\n\tb   c")) == "a b c"
    assert one_line(EOFError()) == "EOFError"
    assert one_line(RuntimeError("x" * 500), 10) == "xxxxxxx..."
