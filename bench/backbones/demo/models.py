"""Building the demo CLIPs through open_clip: model configuration, checkpoint, tokenizer, normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import UnknownNameError

if TYPE_CHECKING:
    import open_clip
    import torch

ARCHITECTURES = ("demo-vit", "demo-rn")
"""A Vision Transformer and a ModifiedResNet, the two kinds of image tower that OpenAI's CLIP has."""

IMAGE_SIZE = 64
CONTEXT_LENGTH = 28

FOLDER = Path(__file__).parent
TOKENIZER_FILE = FOLDER / "bpe.txt.gz"


def config_file(architecture: str) -> Path:
    """The open_clip model configuration (JSON) of a demo CLIP.

    Raises:
        UnknownNameError: There is no such demo CLIP.
    """
    if architecture not in ARCHITECTURES:
        raise UnknownNameError("demo CLIP", architecture, ARCHITECTURES)
    return FOLDER / f"{architecture}.json"


def weights_file(architecture: str, folder: Path = FOLDER) -> Path:
    """The weights (safetensors, float16, open_clip's names) of a demo CLIP in `folder`; the shipped ones by default."""
    return folder / config_file(architecture).with_suffix(".safetensors").name


def build(architecture: str, weights: Path | None = None) -> open_clip.CLIP:
    """Build a demo CLIP in float32 on the CPU, in evaluation mode.

    Args:
        architecture: One of `ARCHITECTURES`.
        weights: Checkpoint to load, every name of which must fit; None leaves torch's random initial values.
    """
    import open_clip

    path = config_file(architecture)
    if architecture not in open_clip.list_models():
        open_clip.add_model_config(path)
    model = open_clip.create_model(architecture, pretrained=None if weights is None else str(weights))
    return model.eval()


def tokenizer() -> open_clip.SimpleTokenizer:
    """The demo CLIPs' tokenizer: lower case, `CONTEXT_LENGTH` tokens with padding 0."""
    import open_clip

    return open_clip.SimpleTokenizer(bpe_path=str(TOKENIZER_FILE), context_length=CONTEXT_LENGTH)


def to_input(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Normalise pictures as CLIP's ordinary preprocessing does.

    Args:
        images: uint8 (n, 64, 64, 3), RGB.

    Returns:
        float32 (n, 3, 64, 64) with CLIP's channel means and standard deviations taken out.
    """
    import torch
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    values = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0
    mean = torch.tensor(OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD).view(1, 3, 1, 1)
    return (values - mean) / std
