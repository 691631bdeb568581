from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from agiqa_bench.backbones.torchscript import read_torchscript


@pytest.mark.parametrize("architecture", ["tiny-vit", "tiny-rn"])
def test_tensors_equal_those_that_torch_reads(architecture, make_model, save_openai, tmp_path):
    model = make_model(architecture)
    path = save_openai(model, tmp_path / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(str(path), map_location="cpu").state_dict()
    assert {"input_resolution", "context_length", "vocab_size"} <= expected.keys()
    found = read_torchscript(path)
    assert found.keys() == model.state_dict().keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name
    assert found["text_projection"].dtype == torch.float16
    assert found["logit_scale"].dtype == torch.float32


def test_shapes_are_read_without_the_weights(make_model, save_openai, tmp_path):
    path = save_openai(make_model("tiny-vit"), tmp_path / "model.pt")
    full, shapes = read_torchscript(path), read_torchscript(path, shapes_only=True)
    assert {n: t.shape for n, t in full.items()} == {n: t.shape for n, t in shapes.items()}
    assert all(tensor.is_meta for tensor in shapes.values())


def test_slices_and_other_types_are_read(tmp_path):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            base = torch.arange(12.0)
            self.register_buffer("part", base[2:8].view(3, 2).t())
            self.register_buffer("whole", base)
            self.register_buffer("count", torch.tensor(7))
            self.register_buffer("flags", torch.tensor([True, False]))
            self.register_buffer("brain", torch.tensor([1.5], dtype=torch.bfloat16))
            self.register_buffer("empty", torch.empty(0, 3))
            self.names: list[str] = ["a"]
            self.sizes: list[int] = [1, 2]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.part.sum() + len(self.names) + self.sizes[0]

    path = tmp_path / "module.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Module()), str(path))
    found = read_torchscript(path)
    assert torch.equal(found["part"], torch.arange(12.0)[2:8].view(3, 2).t())
    assert found["part"].stride() == (1, 2)
    assert found["count"].item() == 7
    assert found["count"].dtype == torch.int64
    assert found["flags"].tolist() == [True, False]
    assert found["brain"].item() == 1.5
    assert found["empty"].shape == (0, 3)


class _Attack:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


def test_an_archive_that_would_run_something_is_refused(tmp_path):
    witness = tmp_path / "witness"
    path = tmp_path / "attack.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("attack/data.pkl", pickle.dumps(_Attack(witness)))
        archive.writestr("attack/constants.pkl", pickle.dumps(()))
    with pytest.raises(pickle.UnpicklingError, match="it names pathlib"):
        read_torchscript(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "os.system", "torch.load", "torch._utils._rebuild_parameter_with_state"]
)
def test_only_tensors_and_containers_are_known(name, tmp_path):
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "attack.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("attack/data.pkl", f"c{module}\n{attribute}\n(S'x'\ntR.".encode())
        archive.writestr("attack/constants.pkl", b"")
    with pytest.raises(pickle.UnpicklingError, match=f"it names {name}"):
        read_torchscript(path)


def test_a_tensor_beyond_its_bytes_is_refused(make_model, save_openai, tmp_path):
    path = save_openai(make_model("tiny-vit"), tmp_path / "model.pt")
    damaged = tmp_path / "damaged.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(damaged, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, content[:-8] if "/data/" in entry and len(content) > 64 else content)
    with pytest.raises(RuntimeError, match="out of bounds"):
        read_torchscript(damaged)
