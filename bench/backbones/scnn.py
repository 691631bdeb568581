"""The S-CNN of DB-CNN: a small network that has learnt to tell kinds of distortion and their levels apart.

- `official`: the authors' weights (39 kinds and levels), out of pyiqa's or the Hub's cache, or downloaded
- a local file with the authors' tensors, e.g. `/path/to/scnn.pkl`
- `demo`: the thin S-CNN that this project trains on rendered pictures and ships (demo/SCNN_CARD.md)
- `none`: no weights, drawn at random
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from agiqa_bench.backbones.checkpoint import file_digest, read_tensors
from agiqa_bench.backbones.fetch import download_weights, find_weights
from agiqa_bench.backbones.spec import DEMO_FOLDER
from agiqa_bench.errors import DownloadError, WeightsUnavailableError
from agiqa_bench.method import Weights
from agiqa_bench.offline import is_offline

WIDTHS = (48, 48, 64, 64, 64, 64, 128, 128, 128)
"""Channels behind each of the nine convolutions."""

CLASSES = 39
"""Nine kinds of distortion, most of them at five levels (section III-A of the paper)."""

DEMO = "demo"
DEMO_WIDTHS = (16, 16, 24, 24, 24, 24, 48, 48, 48)
DEMO_FILE = DEMO_FOLDER / "demo-scnn.safetensors"

UNTRAINED = "none"
OFFICIAL = "official"

_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 2)

_FILE = "DBCNN_scnn-7ea73d75.pth"
_DIGEST = "7ea73d75"
_SOURCE = {"hf_hub": f"chaofengc/IQA-PyTorch-Weights/{_FILE}"}

_NEXT_STEP = f"give the authors' scnn.pkl or pyiqa's {_FILE}"


class SCNN(nn.Module):
    """Nine 3 x 3 convolutions, the mean over all places, two 1 x 1 convolutions and a classifier.

    Layers are named as in the official code (zwx8981/DBCNN-PyTorch, SCNN.py). DB-CNN takes `features` alone.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, classes: int = CLASSES) -> None:
        """Draw weights as torch does.

        Args:
            widths: Channels behind each of the nine convolutions.
            classes: Kinds of distortion times their levels.
        """
        super().__init__()
        shapes = zip((3, *widths[:-1]), widths, _STRIDES, strict=True)
        self.features = nn.Sequential(*(part for shape in shapes for part in _layer(*shape, size=3)))
        width, hidden = widths[-1], 2 * widths[-1]
        self.projection = nn.Sequential(*_layer(width, hidden, 1, size=1), *_layer(hidden, hidden, 1, size=1))
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the classes (n, classes) of images (n, 3, h, w), ImageNet's means and deviations taken out."""
        pooled = self.features(images).mean(dim=(2, 3), keepdim=True)
        return self.classifier(self.projection(pooled).flatten(1))  # type: ignore[no-any-return]


def _layer(inputs: int, outputs: int, stride: int, size: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
    yield nn.BatchNorm2d(outputs)
    yield nn.ReLU(inplace=True)


@dataclass(frozen=True)
class ResolvedSCNN:
    """An S-CNN whose weights, if it has any, are at hand.

    Attributes:
        spec: What the user wrote.
        name: Name in tables and provenance, a local file without its folder.
        widths: Channels behind each of the nine convolutions.
        path: The weight file; None for a network that is drawn at random.
        digest: SHA-256 (hex) of the weight file; empty without one.
        stand_in: Empty for the real thing; otherwise what tables show.
    """

    spec: str
    name: str
    widths: tuple[int, ...] = WIDTHS
    path: Path | None = None
    digest: str = ""
    stand_in: str = ""

    @property
    def weights(self) -> tuple[Weights, ...]:
        """For `Method.weights`: nothing for a network of full size that is drawn at random."""
        return (Weights(self.name, self.digest, self.stand_in),) if self.path or self.stand_in else ()


def resolve_scnn(spec: str, offline: bool = False) -> ResolvedSCNN:
    """Find an S-CNN's weights, downloading them if they may be.

    Args:
        spec: `official`, `demo`, `none`, or a file.
        offline: Never touch the network; AGIQA_OFFLINE=1 says the same.

    Raises:
        WeightsUnavailableError: The weights are not here and cannot be fetched. For `official` it names `demo` as the
            stand-in; a file that was asked for by name has none.
    """
    found = untrained_scnn(spec)
    if spec == UNTRAINED:
        return found
    path = _official_file(offline) if spec == OFFICIAL else DEMO_FILE if spec == DEMO else Path(spec).expanduser()
    if not path.is_file():
        raise WeightsUnavailableError(f"weight file {path} does not exist: {_NEXT_STEP}")
    path = path.resolve()
    return replace(found, path=path, digest=file_digest(path))


def untrained_scnn(spec: str) -> ResolvedSCNN:
    """The shape of an S-CNN without its weights: for a saved model to fill."""
    if spec == DEMO:
        return ResolvedSCNN(spec, "S-CNN:demo", DEMO_WIDTHS, stand_in="demo S-CNN")
    return ResolvedSCNN(spec, f"S-CNN:{Path(spec).name}")


def build_scnn(resolved: ResolvedSCNN) -> nn.Sequential:
    """The convolutions of an S-CNN, on the CPU: images (n, 3, h, w) to maps (n, widths[-1], h / 16, w / 16) >= 0.

    Sides of the maps are rounded up. What is random is drawn from torch's generator.

    Raises:
        WeightsUnavailableError: The file is damaged, or is not of an S-CNN of these widths.
    """
    # With the channels next to each other a step takes three quarters of the time on the CPU.
    features = SCNN(resolved.widths).features.to(memory_format=torch.channels_last)
    if resolved.path is None:
        return features
    prefix = "features."
    named = read_tensors(resolved.path, _NEXT_STEP)
    found = {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}
    expected = features.state_dict()
    for name, tensor in expected.items():
        shape = tuple(found[name].shape) if name in found else "missing"
        # Batch norm's count of batches is no weight, and absent from old files.
        if shape != tuple(tensor.shape) and not name.endswith("num_batches_tracked"):
            raise WeightsUnavailableError(
                f"weight file {resolved.path} holds no S-CNN: {prefix}{name} is {shape} and should be "
                f"{tuple(tensor.shape)}; {_NEXT_STEP}"
            )
    features.load_state_dict({name: found.get(name, tensor) for name, tensor in expected.items()})
    return features


def _official_file(offline: bool) -> Path:
    """The authors' weights where pyiqa or the Hub's client keeps them, or else downloaded.

    The authors' own scnn.pkl is the same file.
    """
    kept = Path(torch.hub.get_dir()) / "pyiqa" / _FILE
    path = kept if kept.is_file() else find_weights(_SOURCE)
    problem = "they are not in the caches, and the network is off"
    if path is None and not is_offline(offline):
        try:
            path = download_weights("S-CNN:official", _SOURCE)
        except DownloadError as error:
            problem = f"they could not be downloaded ({error})"
    if path is not None and not file_digest(path).startswith(_DIGEST):
        path, problem = None, f"{path} is another file (its SHA-256 does not begin with {_DIGEST})"
    if path is None:
        raise WeightsUnavailableError(
            f"no weights S-CNN:official: {problem}; give a file instead: scnn=/path/to/scnn.pkl", {"scnn": DEMO}
        )
    return path
