from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.convnet import _source, build_convnet, resolve_convnet, untrained
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.errors import UnknownNameError, WeightsUnavailableError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


@pytest.fixture(autouse=True)
def torch_hub(monkeypatch, tmp_path) -> Path:
    """Folder of torch.hub's checkpoints, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch-hub"))
    folder = tmp_path / "torch-hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def _random(architecture: str, classes: int = 7) -> torch.nn.Module:
    """A model of torchvision, its running averages not those of a new one."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(architecture, weights=None, num_classes=classes).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
    return model


IMAGES = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def test_a_resnet_of_torchvision(tmp_path):
    theirs = _random("resnet18")
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    resolved = resolve_convnet(f"resnet18:{tmp_path}/mine.pth", offline=True)
    assert (resolved.name, resolved.architecture, resolved.stand_in) == ("resnet18:mine.pth", "resnet18", "")
    assert resolved.digest == hashlib.sha256((tmp_path / "mine.pth").read_bytes()).hexdigest()
    assert [(weights.name, weights.digest) for weights in resolved.weights] == [(resolved.name, resolved.digest)]
    assert (resolved.mean, resolved.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    theirs, ours, images = theirs.double(), build_convnet(resolved).eval().double(), IMAGES.double()
    assert ours.channels == (64, 64, 128, 256, 512)
    assert ours.width == 512
    wanted = [theirs.relu(theirs.bn1(theirs.conv1(images)))]
    hidden = theirs.maxpool(wanted[0])
    for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        hidden = stage(hidden)
        wanted.append(hidden)
    with torch.no_grad():
        for found, expected in zip(ours.stages(images), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours(images), wanted[-1].mean((2, 3)), rtol=1e-5, atol=1e-5)


def test_each_build_is_a_network_of_its_own(tmp_path):
    torch.save(_random("resnet18").state_dict(), tmp_path / "mine.pth")
    resolved = resolve_convnet(f"resnet18:{tmp_path}/mine.pth")
    one, other = build_convnet(resolved), build_convnet(resolved)
    one.model.conv1.weight.data.zero_()
    assert other.model.conv1.weight.abs().sum() > 0
    assert all(parameter.requires_grad for parameter in other.parameters())


def test_vgg_with_and_without_its_fully_connected_layers(monkeypatch, tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.vgg11(weights=None, num_classes=5).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "vgg.pth")
    resolved = resolve_convnet(f"vgg11:{tmp_path}/vgg.pth")
    lean = build_convnet(resolved, features_only=True).eval()
    assert lean.channels == (64, 128, 256, 512, 512, 512)
    assert sum(each.numel() for each in lean.parameters()) == sum(each.numel() for each in theirs.features.parameters())
    with torch.no_grad():
        *_, before, last = lean.stages(IMAGES)
        torch.testing.assert_close(before, theirs.features[:-1](IMAGES), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(last, theirs.features(IMAGES), rtol=1e-5, atol=1e-5)
        assert lean(IMAGES).shape == (2, 512)
        images = torch.randn(1, 3, 224, 224)
        torch.testing.assert_close(
            build_convnet(resolved).eval()(images),
            theirs.classifier[:-1](theirs.features(images).flatten(1)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_transformer_is_pooled_as_timm_does(tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3).eval()
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    resolved = resolve_convnet(f"vit_tiny_patch16_224:{tmp_path}/vit.safetensors")
    assert resolved.fixed_size == 224
    ours = build_convnet(resolved).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(ours(images), wanted, rtol=1e-5, atol=1e-5)
    assert ours.width == 192
    assert resolve_convnet("resnet18:none").fixed_size is None


def test_without_weights(tmp_path):
    resolved = resolve_convnet("resnet18:none", offline=True)
    assert resolved.path is None
    assert resolved.weights == ()
    torch.manual_seed(5)
    one = build_convnet(resolved)
    torch.manual_seed(5)
    assert torch.equal(one.model.conv1.weight, build_convnet(resolved).model.conv1.weight)
    assert not torch.equal(one.model.conv1.weight, build_convnet(resolved).model.conv1.weight)


def test_the_demos_tower_is_that_of_its_clip():
    resolved = resolve_convnet("demo-rn", offline=True)
    assert [weights.stand_in for weights in resolved.weights] == ["demo CLIP RN"]
    assert resolved.mean == CLIP_MEAN
    ours = build_convnet(resolved).eval()
    assert ours.channels == (12, 48, 96, 192, 384)
    visual = load(resolve("demo-rn")).model.visual
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = ours.stages(images)
        torch.testing.assert_close(visual.attnpool(maps[-1]), visual(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(images), maps[-1].mean((2, 3)))
    assert [found.shape[1:] for found in maps] == [(12, 16, 16), (48, 16, 16), (96, 8, 8), (192, 4, 4), (384, 2, 2)]
    bare = resolve_convnet("demo-rn:none", offline=True)
    assert [(weights.digest, weights.stand_in) for weights in bare.weights] == [("", "tiny RN")]
    assert not torch.equal(build_convnet(bare).model.conv1.weight, ours.model.conv1.weight)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50", "unknown weights of resnet50 'resnet50': did you mean .*resnet50.tv_in1k"),
        ("resnet50.tv", "unknown weights of resnet50 'resnet50.tv': did you mean .*resnet50.tv_in1k"),
        ("resnet5:none", "unknown image backbone 'resnet5': did you mean .*resnet50"),
        ("demo-m", "unknown image backbone 'demo-m': did you mean demo-rn"),
        ("vit", "unknown image backbone 'vit': .*(or any other model of timm)"),
        ("qqqqqq.x", "unknown image backbone 'qqqqqq': known: convnext_tiny.fb_in1k, demo-rn, resnet50.tv_in1k"),
    ],
)
def test_unknown_names(spec, message):
    with pytest.raises(UnknownNameError, match=message):
        resolve_convnet(spec, offline=True)
    with pytest.raises(UnknownNameError):
        untrained(spec)


def test_weights_that_are_not_here():
    with pytest.raises(
        WeightsUnavailableError, match=r"^no weights resnet50.tv_in1k: .* the network is off; .*resnet50:/"
    ) as at:
        resolve_convnet("resnet50.tv_in1k", offline=True)
    assert at.value.stand_in == {"backbone": "demo-rn"}
    with pytest.raises(WeightsUnavailableError, match=r"no-such.pth does not exist") as at:
        resolve_convnet("resnet50:/no-such.pth")
    assert at.value.stand_in == {}
    assert untrained("resnet50.tv_in1k").architecture == "resnet50"


def test_addresses_by_timms_tables_and_by_torchvisions():
    assert _source("resnet50.tv_in1k") == {
        "hf_hub": "timm/resnet50.tv_in1k/model.safetensors",
        "url": torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url,
    }
    assert _source("vgg16.tv_in1k")["url"] == torchvision.models.VGG16_Weights.IMAGENET1K_V1.url
    assert "url" not in _source("vit_base_patch16_224.augreg_in21k_ft_in1k")  # a .npz


def test_torch_hubs_files_count_if_they_are_what_their_names_promise(torch_hub, monkeypatch, tmp_path):
    theirs = _random("resnet18", 1000)
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    content = (tmp_path / "file.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(
        "agiqa_bench.backbones.convnet._torchvision_address", lambda spec: f"https://models.example/{name}"
    )
    (torch_hub / name).write_bytes(b"broken off")
    with pytest.raises(WeightsUnavailableError):
        resolve_convnet("resnet18.tv_in1k", offline=True)
    (torch_hub / name).write_bytes(content)
    resolved = resolve_convnet("resnet18.tv_in1k", offline=True)
    assert resolved.path == (torch_hub / name).resolve()
    assert torch.equal(build_convnet(resolved).model.conv1.weight, theirs.conv1.weight)


def test_files_that_do_not_fit(tmp_path):
    torch.save(_random("resnet18").state_dict(), tmp_path / "18.pth")
    with pytest.raises(WeightsUnavailableError, match=r"18.pth does not fit resnet34: .*give a state dict") as at:
        build_convnet(resolve_convnet(f"resnet34:{tmp_path}/18.pth"))
    assert "\n" not in str(at.value)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsUnavailableError, match=r"text.pth is not a checkpoint: give a state dict"):
        resolve_convnet(f"resnet18:{tmp_path}/text.pth")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "pickled.pth")
    with pytest.raises(WeightsUnavailableError, match=r"pickled.pth holds pickled objects that are not tensors"):
        resolve_convnet(f"resnet18:{tmp_path}/pickled.pth")
    state = _random("resnet18").state_dict()
    del state["layer3.0.bn1.bias"]
    torch.save(state, tmp_path / "lacking.pth")
    with pytest.raises(WeightsUnavailableError, match=r"lacking.pth does not fit resnet18: .*layer3.0.bn1.bias"):
        build_convnet(resolve_convnet(f"resnet18:{tmp_path}/lacking.pth"))


def _as_efficientnet_pytorch(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of one of timm's EfficientNets under the names of lukemelas/EfficientNet-PyTorch, in its order of layers.

    Both define their layers in the order in which an image passes them, so names are paired by place.
    """
    weight, norm = ("weight",), ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    layers = [("_conv_stem", weight), ("_bn0", norm)]
    for number, block in enumerate(each for stage in model.blocks for each in stage):
        squeezes = isinstance(block.se, timm.models._efficientnet_blocks.SqueezeExcite)
        names = [("_expand_conv", weight), ("_bn0", norm)] if hasattr(block, "conv_pwl") else []
        names += [("_depthwise_conv", weight), ("_bn1", norm)]
        names += [("_se_reduce", ("weight", "bias")), ("_se_expand", ("weight", "bias"))] if squeezes else []
        names += [("_project_conv", weight), ("_bn2", norm)]
        layers += [(f"_blocks.{number}.{name}", kinds) for name, kinds in names]
    layers += [("_conv_head", weight), ("_bn1", norm), ("_fc", ("weight", "bias"))]
    theirs = [f"{name}.{kind}" for name, kinds in layers for kind in kinds]
    return dict(zip(theirs, model.state_dict().values(), strict=True))


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])
def test_an_efficientnet_of_efficientnet_pytorch(architecture, tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model(architecture, num_classes=7).eval()
    for name, tensor in theirs.state_dict().items():
        if "bn" in name and tensor.is_floating_point():
            tensor.add_(0.2 * torch.rand_like(tensor))  # no two norms are alike, so that a wrong name shows
    named = _as_efficientnet_pytorch(theirs)
    assert named["_blocks.1._bn0.running_var"].equal(theirs.state_dict()["blocks.1.0.bn1.running_var"])
    torch.save(named, tmp_path / "efficientnet.pth")
    ours = build_convnet(resolve_convnet(f"{architecture}:{tmp_path}/efficientnet.pth")).model.state_dict()
    expected = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("classifier.")}
    assert ours.keys() == expected.keys()
    assert all(tensor.equal(expected[name]) for name, tensor in ours.items())


def test_an_efficientnet_of_efficientnet_pytorch_is_refused_where_it_does_not_fit(tmp_path):
    named = _as_efficientnet_pytorch(timm.create_model("tf_efficientnet_lite0", num_classes=7))
    torch.save(named, tmp_path / "efficientnet.pth")
    with pytest.raises(
        WeightsUnavailableError, match=r"padding.* efficientnet_lite0 has not: name .* tf_efficientnet_"
    ):
        build_convnet(resolve_convnet(f"efficientnet_lite0:{tmp_path}/efficientnet.pth"))
    with pytest.raises(WeightsUnavailableError, match=r"does not fit tf_efficientnet_lite1: .*blocks\.5\.1"):
        build_convnet(resolve_convnet(f"tf_efficientnet_lite1:{tmp_path}/efficientnet.pth"))
    torch.save({**named, "_blocks.99._bn0.weight": torch.zeros(3)}, tmp_path / "more.pth")
    with pytest.raises(WeightsUnavailableError, match=r"does not fit tf_efficientnet_lite0: .*_blocks\.99"):
        build_convnet(resolve_convnet(f"tf_efficientnet_lite0:{tmp_path}/more.pth"))
