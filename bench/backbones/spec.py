"""Backbones by name: what `ViT-B-32:openai` means, where its weights are, and what is in them.

- `architecture:tag`: an entry of open_clip's tables, e.g. `RN50:openai` or `ViT-B-32:laion2b_s34b_b79k`
- `architecture:file`: a local file, e.g. `ViT-B-32:/path/to/file.pt`
- `demo-vit`, `demo-rn`: the tiny CLIPs that this project trains and ships
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agiqa_bench.backbones.checkpoint import check_fit, file_digest, inspect
from agiqa_bench.backbones.fetch import download_weights, find_weights
from agiqa_bench.errors import DownloadError, UnknownNameError, WeightsUnavailableError
from agiqa_bench.offline import is_offline

_log = logging.getLogger("agiqa_bench.backbones")

DEMO_BACKBONES: Mapping[str, str] = {"demo-vit": "demo CLIP ViT", "demo-rn": "demo CLIP RN"}
"""The shipped stand-ins and what tables show for them."""

DEMO_FOLDER = Path(__file__).parent / "demo"

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of OpenAI's CLIP, red, green, blue in [0, 1]; many other models were trained with them too."""

_QUICK_GELU = "-quickgelu"


@dataclass(frozen=True)
class Preprocess:
    """What a backbone wants done to an image before it sees it.

    Attributes:
        size: Side of the square input in pixels.
        mean: Channel means of the input in [0, 1], red, green, blue.
        std: Channel standard deviations.
        resize: `shorter`: the shorter side becomes `size` and the centre is cut out; `exact`: both sides become `size`.
        interpolation: With antialiasing, as Pillow does it.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["shorter", "exact"] = "shorter"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


@dataclass(frozen=True)
class ResolvedBackbone:
    """A backbone whose weights are at hand.

    Attributes:
        spec: What the user wrote.
        name: Name in tables and provenance: the spec, of a local file without its folder.
        architecture: open_clip's model name; ends in `-quickgelu` where the weights were trained with QuickGELU.
        path: The weight file.
        digest: SHA-256 (hex) of the weight file; of a demo CLIP that of its three files' digests.
        preprocess: Size, normalisation and resizing of its input.
        stand_in: Empty for real weights; otherwise what tables show, because a stand-in never passes for the real one.
        files: For a demo CLIP its model configuration (JSON) and its vocabulary; empty otherwise.
    """

    spec: str
    name: str
    architecture: str
    path: Path
    digest: str
    preprocess: Preprocess
    stand_in: str = ""
    files: tuple[Path, ...] = ()

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocess.size

    @property
    def residual(self) -> bool:
        """Whether its configuration asks for a residual network of OpenAI's kind as the image tower."""
        config = json.loads(self.files[0].read_text(encoding="utf-8")) if self.files else _config(self.architecture)
        return isinstance(config["vision_cfg"].get("layers"), list)


def resolve(spec: str, offline: bool = False) -> ResolvedBackbone:
    """Find a backbone's weights, downloading them if they may be, and look into them.

    Args:
        spec: `architecture:tag`, `architecture:file`, `demo-vit` or `demo-rn`.
        offline: Never touch the network; AGIQA_OFFLINE=1 says the same.

    Raises:
        UnknownNameError: No such architecture or tag.
        WeightsUnavailableError: The weights are not here and cannot be fetched, or a file is not what it should be.
            For weights by tag it names a demo CLIP as the stand-in; a file that was asked for by name has none.
    """
    if spec in DEMO_BACKBONES:
        return _resolve_demo(spec)
    architecture, weights = _parse(spec)
    if _is_file_name(weights):
        return _resolve_file(spec, architecture, Path(weights).expanduser())
    return _resolve_tag(spec, architecture, weights, is_offline(offline))


def _parse(spec: str) -> tuple[str, str]:
    """Split at the first colon and check the architecture; OpenAI's own spelling `ViT-B/32` is understood."""
    import open_clip

    architecture, _, weights = spec.partition(":")
    architecture = architecture.replace("/", "-")
    known = open_clip.list_models()
    if not weights:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        plain = (name for name in open_clip.list_openai_models() if not name.endswith(_QUICK_GELU))
        near = [f"{architecture}:{tag}" for tag in tags] or [f"{name}:openai" for name in plain]
        hint = "(architecture:tag or architecture:/path/to/file.pt)"
        raise UnknownNameError("backbone", spec, [*DEMO_BACKBONES, *near], hint)
    if architecture not in known:
        raise UnknownNameError("backbone architecture", architecture, known)
    return architecture, weights


def _is_file_name(weights: str) -> bool:
    path = Path(weights).expanduser()
    return path.name != weights or path.suffix in {".pt", ".pth", ".bin", ".safetensors"} or path.is_file()


def _resolve_demo(spec: str) -> ResolvedBackbone:
    path, config, vocabulary = (DEMO_FOLDER / name for name in (f"{spec}.safetensors", f"{spec}.json", "bpe.txt.gz"))
    for file in (path, config, vocabulary):
        if not file.is_file():
            raise WeightsUnavailableError(
                f"the demo CLIP '{spec}' is incomplete: {file} is missing; install agiqa-bench again"
            )
    size = json.loads(config.read_text(encoding="utf-8"))["vision_cfg"]["image_size"]
    digest = file_digest(path, config, vocabulary)
    return ResolvedBackbone(
        spec, spec, spec, path, digest, _preprocess(size, {}), DEMO_BACKBONES[spec], (config, vocabulary)
    )


def _resolve_file(spec: str, architecture: str, path: Path) -> ResolvedBackbone:
    checkpoint = inspect(path)
    if checkpoint.openai:
        architecture = _with_quick_gelu(architecture)
    config = _config(architecture)
    check_fit(checkpoint, architecture, config)
    if not config.get("quick_gelu"):
        hint = f"write {architecture}{_QUICK_GELU}:... if its weights were trained with QuickGELU"
        _log.info("%s is run with GELU; %s", path, hint)
    name = f"{spec.partition(':')[0]}:{path.name}"
    path = path.resolve()
    return ResolvedBackbone(spec, name, architecture, path, file_digest(path), _preprocess(_image_size(config), {}))


def _resolve_tag(spec: str, architecture: str, tag: str, offline: bool) -> ResolvedBackbone:
    import open_clip

    source = open_clip.get_pretrained_cfg(architecture, tag)
    if not source:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise UnknownNameError(f"weights of {architecture}", tag, tags, f"(or a file: {architecture}:/path/to/file.pt)")
    if source.get("quick_gelu"):
        architecture = _with_quick_gelu(architecture)
    config = _config(architecture)
    path = find_weights(source)
    problem = ""
    if offline and _asks_hub_for_text(architecture, config):
        problem = "their tokenizer is fetched from the Hub, and the network is off"
    elif path is None and offline:
        problem = "they are not in the caches, and the network is off"
    elif path is None:
        try:
            path = download_weights(spec, source)
        except DownloadError as error:
            problem = f"they could not be downloaded ({error})"
    if path is None or problem:
        raise WeightsUnavailableError(
            f"no weights {spec}: {problem}; give a file instead: {spec.partition(':')[0]}:/path/to/file.pt",
            {"backbone": "demo-rn" if architecture.startswith("RN") else "demo-vit"},
        )
    if _asks_hub_for_text(architecture, config):
        _log.info("the tokenizer of %s is fetched from the Hub on its first use", architecture)
    return ResolvedBackbone(spec, spec, architecture, path, file_digest(path), _preprocess(_image_size(config), source))


def _with_quick_gelu(architecture: str) -> str:
    """The configuration with QuickGELU of an architecture, if open_clip has one."""
    import open_clip

    quick = architecture + _QUICK_GELU
    return quick if quick in open_clip.list_models() else architecture


def _config(architecture: str) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] = open_clip.get_model_config(architecture)
    return config


def _asks_hub_for_text(architecture: str, config: Mapping[str, Any]) -> bool:
    names = config["text_cfg"].keys() & {"hf_tokenizer_name", "hf_model_name"}
    return bool(names) or "siglip" in architecture.lower()


def _image_size(config: Mapping[str, Any]) -> int:
    size = config["vision_cfg"].get("image_size", 224)
    return int(size[0] if isinstance(size, (list, tuple)) else size)


def _preprocess(size: int, source: Mapping[str, Any]) -> Preprocess:
    """The input of a pretrained tag; OpenAI's, which is open_clip's default, where the source says nothing."""
    return Preprocess(
        size,
        tuple(source.get("mean", CLIP_MEAN)),
        tuple(source.get("std", CLIP_STD)),
        "exact" if source.get("resize_mode") == "squash" else "shorter",
        source.get("interpolation", "bicubic"),
    )
