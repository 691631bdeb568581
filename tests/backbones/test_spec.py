from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import numpy as np
import open_clip.pretrained
import pytest
import torch
from safetensors.torch import load_file

from agiqa_bench.backbones import spec as spec_module
from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.errors import UnknownNameError, WeightsUnavailableError

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        pytest.fail("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def demo(tmp_path, monkeypatch, make_model, save_safetensors):
    """A demo CLIP of random weights with a vocabulary of two merges."""
    import gzip

    folder = tmp_path / "demo"
    folder.mkdir()
    text = {"context_length": 12, "vocab_size": 516, "width": 64, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    config = {"embed_dim": 8, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text}
    (folder / "demo-vit.json").write_text(json.dumps(config))
    (folder / "bpe.txt.gz").write_bytes(gzip.compress(b"#version\nc a\nca t</w>"))
    torch.manual_seed(0)
    save_safetensors(open_clip.CLIP(**config), folder / "demo-vit.safetensors")
    monkeypatch.setattr(spec_module, "DEMO_FOLDER", folder)
    return folder


@pytest.mark.usefixtures("no_network")
def test_a_demo_backbone_is_a_marked_stand_in(demo):
    resolved = resolve("demo-vit")
    digests = [
        hashlib.sha256((demo / name).read_bytes()).hexdigest()
        for name in ("demo-vit.safetensors", "demo-vit.json", "bpe.txt.gz")
    ]
    assert resolved.digest == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert (resolved.name, resolved.architecture, resolved.stand_in) == ("demo-vit", "demo-vit", "demo CLIP ViT")
    assert resolved.image_size == 16
    assert resolved.preprocess.mean == OPENAI_MEAN
    assert resolved.preprocess.resize == "shorter"


@pytest.mark.usefixtures("no_network")
def test_a_demo_backbone_is_built_with_its_own_vocabulary(demo):
    backbone = load(resolve("demo-vit"))
    assert backbone.width == 8
    end = 515
    assert backbone.tokenizer(["cat"])[0].tolist() == [514, 513, end, *[0] * 9], "one merged word"
    config = json.loads((demo / "demo-vit.json").read_text())
    model = open_clip.CLIP(**config).eval()
    model.load_state_dict(load_file(demo / "demo-vit.safetensors"))
    with torch.no_grad():
        expected = model.encode_text(backbone.tokenizer(["cat", "a cat at a cat"]), normalize=True).numpy()
    np.testing.assert_allclose(backbone.encode_text(["cat", "a cat at a cat"]), expected, atol=1e-6)


def test_a_demo_backbone_without_its_files_has_no_stand_in(demo):
    with pytest.raises(
        WeightsUnavailableError, match=r"'demo-rn' is incomplete: .*demo-rn\.safetensors is missing"
    ) as e:
        resolve("demo-rn")
    assert e.value.stand_in == {}


def test_a_local_file_is_real_weights(make_model, save_safetensors, tmp_path):
    path = save_safetensors(make_model("tiny-vit"), tmp_path / "mine.safetensors")
    resolved = resolve(f"tiny-vit:{path}")
    assert resolved.name == "tiny-vit:mine.safetensors"
    assert resolved.architecture == "tiny-vit"
    assert resolved.path == path
    assert resolved.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert resolved.stand_in == ""
    assert resolved.image_size == 32


def test_relative_and_home_paths_are_files(make_model, save_safetensors, tmp_path, monkeypatch):
    path = save_safetensors(make_model("tiny-vit"), Path.home() / "mine.safetensors")
    assert resolve("tiny-vit:~/mine.safetensors").path == path
    monkeypatch.chdir(path.parent)
    assert resolve("tiny-vit:mine.safetensors").path == path


@pytest.mark.parametrize(
    ("asked", "archive", "used"),
    [
        ("tiny-vit", True, "tiny-vit-quickgelu"),
        ("tiny-vit-quickgelu", True, "tiny-vit-quickgelu"),
        ("tiny-vit", False, "tiny-vit"),
        ("tiny-vit-quickgelu", False, "tiny-vit-quickgelu"),
    ],
)
def test_quick_gelu_follows_the_file_and_the_name(asked, archive, used, make_model, save_openai, tmp_path, announced):
    path = tmp_path / "file.pt"
    model = make_model("tiny-vit")
    if archive:
        save_openai(model, path)
    else:
        torch.save(model.state_dict(), path)
    resolved = resolve(f"{asked}:{path}")
    assert resolved.architecture == used
    assert resolved.name == f"{asked}:file.pt"
    assert ("write tiny-vit-quickgelu:... if its weights" in "".join(announced())) == (used == "tiny-vit")


def test_a_bad_local_file_is_refused_without_a_stand_in(make_model, save_openai, tmp_path):
    path = save_openai(make_model("tiny-rn"), tmp_path / "rn.pt")
    for spec, why in (
        (f"tiny-vit:{path}", "does not fit tiny-vit-quickgelu"),
        (f"tiny-vit:{tmp_path}/absent.pt", "does not exist"),
        ("tiny-vit:absent.pt", "does not exist"),
    ):
        with pytest.raises(WeightsUnavailableError, match=why) as caught:
            resolve(spec)
        assert caught.value.stand_in == {}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ViT-B-23:openai", "unknown backbone architecture 'ViT-B-23': did you mean .*ViT-B-32"),
        ("ViT-B-32:openia", "unknown weights of ViT-B-32 'openia': did you mean openai"),
        ("ViT-B-32", "unknown backbone 'ViT-B-32': did you mean ViT-B-32:openai"),
        ("ViT-B-32:", "unknown backbone 'ViT-B-32:': did you mean ViT-B-32:"),
        ("demo_vit", "unknown backbone 'demo_vit': did you mean demo-vit"),
        ("", "unknown backbone ''"),
    ],
)
def test_unknown_names_get_suggestions(spec, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        resolve(spec, offline=True)
    assert len(str(caught.value)) < 400


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("variable", [None, "AGIQA_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(
    ("spec", "stand_in"),
    [("ViT-B-32:openai", "demo-vit"), ("RN50:openai", "demo-rn"), ("ViT-B-32:laion2b_s34b_b79k", "demo-vit")],
)
def test_offline_says_what_to_do_and_touches_nothing(spec, stand_in, variable, monkeypatch):
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsUnavailableError) as caught:
        resolve(spec, offline=variable is None)
    architecture = spec.partition(":")[0]
    assert str(caught.value) == (
        f"no weights {spec}: they are not in the caches, and the network is off; "
        f"give a file instead: {architecture}:/path/to/file.pt"
    )
    assert caught.value.stand_in == {"backbone": stand_in}


@pytest.mark.usefixtures("no_network")
def test_offline_refuses_a_tokenizer_from_the_hub():
    with pytest.raises(
        WeightsUnavailableError, match="their tokenizer is fetched from the Hub, and the network is off"
    ):
        resolve("roberta-ViT-B-32:laion2b_s12b_b32k", offline=True)


@pytest.mark.usefixtures("no_network")
def test_cached_weights_of_a_tag_are_used_offline(make_model, save_openai, monkeypatch, tmp_path):
    archive = save_openai(make_model("tiny-vit"), tmp_path / "made.pt").read_bytes()
    digest = hashlib.sha256(archive).hexdigest()
    source = {
        "url": f"https://openaipublic.example/models/{digest}/tiny.pt",
        "hf_hub": "",
        "quick_gelu": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "resize_mode": "squash",
        "interpolation": "bilinear",
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {"openai": source})
    cached = Path.home() / ".cache" / "clip" / "tiny.pt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(archive)
    resolved = resolve("tiny-vit:openai", offline=True)
    assert (resolved.name, resolved.architecture) == ("tiny-vit:openai", "tiny-vit-quickgelu")
    assert (resolved.path, resolved.digest) == (cached, digest)
    wanted = resolved.preprocess
    assert (wanted.mean, wanted.resize, wanted.interpolation) == ((0.5, 0.5, 0.5), "exact", "bilinear")
    cached.write_bytes(archive[:-1])
    with pytest.raises(WeightsUnavailableError, match="not in the caches"):
        resolve("tiny-vit:openai", offline=True)


def test_openai_spelling_is_understood():
    with pytest.raises(WeightsUnavailableError, match="no weights ViT-B/32:openai: they are not in the caches"):
        resolve("ViT-B/32:openai", offline=True)
