"""Image backbones that are trained on: what `resnet50.tv_in1k` means, where its weights are, and the network itself.

- `architecture.tag`: an entry of timm's tables, e.g. `resnet50.tv_in1k` (torchvision's weights)
- `architecture:file`: a local file with the tensors of timm or torchvision, e.g. `resnet50:/path/to/file.pth`, or with
  those of EfficientNet-PyTorch, e.g. `tf_efficientnet_lite0:/path/to/file.pth`
- `architecture:none`: no weights, drawn at random
- `demo-rn`: the image tower of the demo CLIP that this project ships, a stand-in for weights of ImageNet;
  `demo-rn:none`: the same small architecture, drawn at random
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agiqa_bench.backbones.checkpoint import file_digest, one_line, read_tensors
from agiqa_bench.backbones.fetch import download_weights, find_weights
from agiqa_bench.backbones.spec import CLIP_MEAN, CLIP_STD, DEMO_BACKBONES, DEMO_FOLDER
from agiqa_bench.errors import ConfigError, DownloadError, UnknownNameError, WeightsUnavailableError
from agiqa_bench.method import Context, MethodConfig, Weights
from agiqa_bench.offline import is_offline
from agiqa_bench.training.per_target import NetworkMethod

DEMO = "demo-rn"
UNTRAINED = "none"
UNTRAINED_DEMO = "tiny RN"
"""What tables show for the demo's architecture without weights: small enough for two cores, and not the real one."""

_EXAMPLES = ("resnet50.tv_in1k", "vgg16.tv_in1k", "convnext_tiny.fb_in1k")

_TORCHVISION = re.compile(r"(wide_)?res(net|next)\d|vgg\d")
"""Architectures whose tensors timm reads from torchvision's files too."""

_OTHER_NAMES = {"resnet50.tv_in1k": ("resnet50-19c8e357.pth",)}
"""Files of the same weights under the names of torchvision's earlier days."""

_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
"""Timm's names of EfficientNet-PyTorch's layers (lukemelas/EfficientNet-PyTorch) that are in no block."""

_EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""The same of a block's layers; without the first convolution timm counts the others from there, `_PLAIN_BLOCK`."""

_PLAIN_BLOCK = {**_EXPANDING_BLOCK, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

_NEXT_STEP = "give a state dict (.pth) of timm or torchvision, or a .safetensors file"


@dataclasses.dataclass(frozen=True)
class ResolvedConvNet:
    """An image backbone whose weights, if it has any, are at hand.

    Attributes:
        spec: What the user wrote.
        name: Name in tables and provenance: the spec, of a local file without its folder.
        architecture: timm's model name, or `demo-rn`.
        path: The weight file; None for a network that is drawn at random.
        digest: SHA-256 (hex) of the weight file; empty without one.
        stand_in: Empty for the real thing; otherwise what tables show.
        mean: Channel means of the input in [0, 1], red, green, blue.
        std: Channel standard deviations.
        fixed_size: Side of the only input that the network takes, in pixels; None if it takes any.
    """

    spec: str
    name: str
    architecture: str
    path: Path | None
    digest: str
    stand_in: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fixed_size: int | None = None

    @property
    def weights(self) -> tuple[Weights, ...]:
        """For `Method.weights`: nothing for a network of full size that is drawn at random."""
        return (Weights(self.name, self.digest, self.stand_in),) if self.path or self.stand_in else ()


def resolve_convnet(spec: str, offline: bool = False) -> ResolvedConvNet:
    """Find a backbone's weights, downloading them if they may be.

    Looked at are the Hub's cache, torch.hub's folder of checkpoints (files whose names promise their SHA-256 and keep
    the promise), and the folder of other weights that were downloaded by their address.

    Args:
        spec: `architecture.tag`, `architecture:file`, `architecture:none`, `demo-rn` or `demo-rn:none`.
        offline: Never touch the network; AGIQA_OFFLINE=1 says the same.

    Raises:
        UnknownNameError: No such architecture or tag.
        WeightsUnavailableError: The weights are not here and cannot be fetched. For weights by tag it names the demo's
            network as the stand-in; a file that was asked for by name has none.
    """
    found, weights = _parse(spec)
    if weights == UNTRAINED:
        return found
    if spec == DEMO:
        return _with_file(found, DEMO_FOLDER / f"{DEMO}.safetensors")
    if weights:
        return _with_file(found, Path(weights).expanduser())
    source = _source(spec)
    path, problem = find_weights(source) or _in_torch_hub(spec, source), ""
    if path is None and is_offline(offline):
        problem = "they are not in the caches, and the network is off"
    elif path is None:
        try:
            path = download_weights(spec, source)
        except DownloadError as error:
            problem = f"they could not be downloaded ({error})"
    if path is None:
        raise WeightsUnavailableError(
            f"no weights {spec}: {problem}; give a file instead: {found.architecture}:/path/to/file.pth",
            {"backbone": DEMO},
        )
    return _with_file(found, path)


def untrained(spec: str) -> ResolvedConvNet:
    """The architecture of a backbone with its normalisation, without its weights: for a saved model to fill.

    Raises:
        UnknownNameError: No such architecture or tag.
    """
    return _parse(spec)[0]


def _parse(spec: str) -> tuple[ResolvedConvNet, str]:
    """What a spec says without a look at any file, and its part behind the colon."""
    name, _, weights = spec.partition(":")
    shown = f"{name}:{Path(weights).name}" if weights else name
    if name == DEMO and weights in ("", UNTRAINED):
        mark = UNTRAINED_DEMO if weights else DEMO_BACKBONES[DEMO]
        return ResolvedConvNet(spec, spec, DEMO, None, "", mark, CLIP_MEAN, CLIP_STD), weights
    entry = _entry(name, needs_tag=not weights)
    return ResolvedConvNet(
        spec,
        shown,
        entry["architecture"],
        None,
        "",
        "",
        tuple(entry["mean"]),
        tuple(entry["std"]),
        entry["input_size"][-1] if entry.get("fixed_input_size") else None,
    ), weights


def _entry(name: str, *, needs_tag: bool) -> Mapping[str, Any]:
    """Timm's table entry of an `architecture.tag`, or of an architecture alone."""
    import timm
    from timm.models import get_pretrained_cfg

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, [DEMO, *timm.list_models()], cutoff=0.5)
        hint = "(or any other model of timm)"
        raise UnknownNameError("image backbone", architecture, near or [DEMO, *_EXAMPLES], hint)
    known = timm.list_models(f"{architecture}.*", pretrained=True)
    if (tag or needs_tag) and name not in known:
        hint = f"(or {architecture}:/path/to/file.pth, or {architecture}:{UNTRAINED} for random weights)"
        raise UnknownNameError(f"weights of {architecture}", name, known, hint)
    entry = get_pretrained_cfg(name, allow_unregistered=False)
    if entry is None:
        raise UnknownNameError("image backbone", name, known)
    return {**dataclasses.asdict(entry), "architecture": architecture}


def _with_file(found: ResolvedConvNet, path: Path) -> ResolvedConvNet:
    if not path.is_file():
        raise WeightsUnavailableError(f"weight file {path} does not exist: {_NEXT_STEP}")
    path = path.resolve()
    digest = file_digest(path)
    _require_tensors(path, digest)
    return dataclasses.replace(found, path=path, digest=digest)


@lru_cache(maxsize=64)
def _require_tensors(path: Path, digest: str) -> None:  # noqa: ARG001 - another content is another question
    """Refuse a file that cannot be read, so that a plan says it and not the first repeat."""
    read_tensors(path, _NEXT_STEP)


def _source(spec: str) -> dict[str, str]:
    """Where the weights of a tag are, in the form that `agiqa_bench.backbones.fetch` reads."""
    entry = _entry(spec, needs_tag=True)
    source = {}
    if entry.get("hf_hub_id"):
        source["hf_hub"] = f"{entry['hf_hub_id']}/{entry.get('hf_hub_filename') or 'model.safetensors'}"
    url = entry.get("url") or _torchvision_address(spec)
    if url.endswith((".pth", ".pt", ".safetensors")):
        source["url"] = url
    return source


def _torchvision_address(spec: str) -> str:
    """Torchvision's own address of the weights that timm calls `tv_in1k` and `tv2_in1k`; empty if it has none."""
    from torchvision import models

    architecture, _, tag = spec.partition(".")
    version = {"tv_in1k": "IMAGENET1K_V1", "tv2_in1k": "IMAGENET1K_V2"}.get(tag)
    if version is None or not _TORCHVISION.match(architecture) or architecture not in models.list_models():
        return ""
    weights = models.get_model_weights(architecture)
    return str(weights[version].url) if version in weights.__members__ else ""


def _in_torch_hub(spec: str, source: Mapping[str, str]) -> Path | None:
    """The weights where torch.hub keeps what torchvision and timm have downloaded."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    addresses = {source.get("url", ""), _torchvision_address(spec)}
    for name in sorted({address.rpartition("/")[2] for address in addresses} | {*_OTHER_NAMES.get(spec, ())}):
        promised = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
        path = folder / name
        if promised and path.is_file() and file_digest(path).startswith(promised.group(1)):
            return path
    return None


class ConvNet(nn.Module, ABC):
    """An image backbone to be trained.

    Attributes:
        channels: Of each stage's feature map, from the first to the last.
        width: Number of pooled features.
        mean: Channel means of the input in [0, 1].
        std: Channel standard deviations.
    """

    channels: tuple[int, ...]
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature map behind each stage, (n, channels, h, w), of normalised images (n, 3, h, w)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (n, width) that a linear head reads, of normalised images (n, 3, h, w)."""
        return self.stages(images)[-1].mean(dim=(2, 3))


def build_convnet(resolved: ResolvedConvNet, *, features_only: bool = False) -> ConvNet:
    """Build a backbone with its weights, on the CPU, all of it learnable.

    Each call gives a network of its own. What is random is drawn from torch's generator.

    Args:
        resolved: From `resolve_convnet` or `untrained`.
        features_only: Leave out what timm's model has behind the last stage (VGG's fully connected layers, the norm of
            ConvNeXt's head); pooled features are then the mean over the last feature map.

    Raises:
        WeightsUnavailableError: The file is damaged or does not fit the architecture.
        ConfigError: timm knows no stages of this architecture.
    """
    demo = resolved.architecture == DEMO
    network = _DemoTower(resolved) if demo else _TimmNet(resolved, features_only=features_only)
    # With the channels next to each other a step of a convolutional network takes two thirds of the time on the CPU.
    return network.to(memory_format=torch.channels_last)


class _TimmNet(ConvNet):
    """A model of timm. ResNets have stem (/2), layer1 (/4) to layer4 (/32) as stages.

    VGGs have the maps before each of the five poolings (/1 to /16), and the last one behind its pooling (/32).
    """

    def __init__(self, resolved: ResolvedConvNet, *, features_only: bool) -> None:
        super().__init__()
        self.model: Any = _load_timm(resolved)
        if not hasattr(self.model, "forward_intermediates"):
            raise ConfigError(f"backbone {resolved.spec}: timm cannot give the stages of this architecture")
        self.channels = tuple(int(stage["num_chs"]) for stage in self.model.feature_info)
        self._pooled = not features_only
        if features_only:
            self.model.prune_intermediate_layers([len(self.channels) - 1], prune_norm=True, prune_head=True)
            self.width = self.channels[-1]
        else:
            self.model.reset_classifier(0)
            self.width = int(self.model.head_hidden_size)
        self.mean, self.std = resolved.mean, resolved.std

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.model.forward_intermediates(images, intermediates_only=True)  # type: ignore[no-any-return]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) if self._pooled else super().forward(images)


def _load_timm(resolved: ResolvedConvNet) -> Any:
    """Timm's model with its classifier, because only with it does timm refuse a file with a tensor too few."""
    import timm

    if resolved.path is None:
        return timm.create_model(resolved.architecture, pretrained=False)
    tensors = _by_timms_names(read_tensors(resolved.path, _NEXT_STEP), resolved)
    entry = _entry(resolved.spec.partition(":")[0], needs_tag=False)
    classes = _classes(tensors, entry)
    try:
        return timm.create_model(
            resolved.architecture,
            pretrained=True,
            num_classes=classes,
            pretrained_cfg={**entry, "state_dict": tensors, "num_classes": classes, "label_offset": 0},
        )
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise WeightsUnavailableError(
            f"weight file {resolved.path} does not fit {resolved.architecture}: {one_line(error)}; {_NEXT_STEP}"
        ) from error


def _by_timms_names(tensors: Mapping[str, torch.Tensor], resolved: ResolvedConvNet) -> Mapping[str, torch.Tensor]:
    """Tensors of EfficientNet-PyTorch under timm's names; those of other files as they are.

    They come from TensorFlow, whose padding and batch norm timm's other EfficientNets do not have.

    Raises:
        WeightsUnavailableError: The architecture is not one of timm's `tf_efficientnet`s.
    """
    import timm

    if "_conv_stem.weight" not in tensors:
        return tensors
    if not resolved.architecture.startswith("tf_efficientnet"):
        raise WeightsUnavailableError(
            f"weight file {resolved.path} holds an EfficientNet with TensorFlow's padding, which "
            f"{resolved.architecture} has not: name the architecture tf_efficientnet_..., e.g. tf_efficientnet_lite0"
        )
    with torch.device("meta"):
        model: Any = timm.create_model(resolved.architecture, pretrained=False)
    blocks = [f"blocks.{stage}.{place}" for stage, parts in enumerate(model.blocks) for place in range(len(parts))]

    def renamed(name: str) -> str:
        inside = re.fullmatch(r"_blocks\.(\d{1,3})\.(\w+)\.(\w+)", name)
        if inside and int(inside[1]) < len(blocks):
            expands = f"_blocks.{inside[1]}._expand_conv.weight" in tensors
            layer = (_EXPANDING_BLOCK if expands else _PLAIN_BLOCK).get(inside[2], inside[2])
            return f"{blocks[int(inside[1])]}.{layer}.{inside[3]}"
        layer, _, kind = name.partition(".")
        return f"{_OUTSIDE_BLOCKS.get(layer, layer)}.{kind}"

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _classes(tensors: Mapping[str, torch.Tensor], entry: Mapping[str, Any]) -> int:
    """Number of classes that a file's classifier tells apart."""
    names: str | Sequence[str] = entry.get("classifier") or ()
    for name in [*([names] if isinstance(names, str) else names), "classifier.6"]:
        if f"{name}.weight" in tensors:
            return int(tensors[f"{name}.weight"].shape[0])
    return int(entry["num_classes"])


class _DemoTower(ConvNet):
    """The demo CLIP's ModifiedResNet up to its attention pool, which an image of any size does without."""

    def __init__(self, resolved: ResolvedConvNet) -> None:
        super().__init__()
        from open_clip.modified_resnet import ModifiedResNet

        vision = json.loads((DEMO_FOLDER / f"{DEMO}.json").read_text(encoding="utf-8"))["vision_cfg"]
        width = vision["width"]
        tower = ModifiedResNet(vision["layers"], output_dim=1, heads=1, image_size=vision["image_size"], width=width)
        tower.attnpool = None
        if resolved.path is not None:
            found = read_tensors(resolved.path, _NEXT_STEP)
            tower.load_state_dict({
                name.removeprefix("visual."): tensor
                for name, tensor in found.items()
                if name.startswith("visual.") and not name.startswith("visual.attnpool.")
            })  # fmt: skip
        self.model: Any = tower
        self.channels = (width, *(4 * width * 2**stage for stage in range(4)))
        self.width = self.channels[-1]
        self.mean, self.std = resolved.mean, resolved.std

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = [self.model.stem(images)]
        for stage in (self.model.layer1, self.model.layer2, self.model.layer3, self.model.layer4):
            maps.append(stage(maps[-1]))
        return maps


class ConvNetConfig(MethodConfig):
    """Settings of a method with an image backbone of its own; each method has its own default."""

    backbone: str


class ConvNetMethod(NetworkMethod):
    """A method that trains a network on the backbone that its setting `backbone` names."""

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The backbone's, fetched if they may be."""
        assert isinstance(config, ConvNetConfig)
        return resolve_convnet(config.backbone, context.offline).weights

    @classmethod
    def weights_to_predict(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """None, because they are part of what is saved; a stand-in alone stays, for its name."""
        assert isinstance(config, ConvNetConfig)
        return cls.weights(config, context) if untrained(config.backbone).stand_in else ()

    def convnet(self, *, blank: bool = False, features_only: bool = False) -> ConvNet:
        """The backbone on the CPU.

        Args:
            blank: Without its weights, for a saved model to fill.
            features_only: As `build_convnet`.
        """
        spec = self.config.backbone
        resolved = untrained(spec) if blank else resolve_convnet(spec, self.context.offline)
        return build_convnet(resolved, features_only=features_only)
