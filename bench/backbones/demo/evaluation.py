"""Zero-shot retrieval on held-out captions: which caption belongs to which picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.backbones.demo.bank import held_out_pictures, render_all
from agiqa_bench.backbones.demo.captions import CLIPSCORE_PREFIX
from agiqa_bench.backbones.demo.models import to_input, tokenizer
from agiqa_bench.synthetic.scenes import describe

if TYPE_CHECKING:
    import open_clip
    import torch

HELD_OUT = 256
"""Pictures in the retrieval test."""

_BATCH = 128


def encode_images(model: open_clip.CLIP, images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Unit feature vectors, float32 (n, width), of pictures, uint8 (n, 64, 64, 3)."""
    import torch

    with torch.inference_mode():
        parts = [
            model.encode_image(to_input(images[start : start + _BATCH]), normalize=True)
            for start in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts)


def encode_texts(model: open_clip.CLIP, texts: Sequence[str]) -> torch.Tensor:
    """Unit feature vectors, float32 (n, width), of texts."""
    import torch

    with torch.inference_mode():
        features: torch.Tensor = model.encode_text(tokenizer()(list(texts)), normalize=True)
    return features


def retrieval(images: torch.Tensor, texts: torch.Tensor) -> dict[str, float]:
    """Share of queries whose partner is the nearest, or among the five nearest.

    Args:
        images: Unit vectors, (n, width).
        texts: Unit vectors of their captions, in the same order.

    Returns:
        In percent: `image_to_text_top1`, `image_to_text_top5`, `text_to_image_top1`, `text_to_image_top5`. A partner
        that ties with others counts as the last of them.
    """
    cosine = images @ texts.T
    result = {}
    for name, matrix in (("image_to_text", cosine), ("text_to_image", cosine.T)):
        rank = (matrix >= matrix.diagonal()[:, None]).sum(dim=1)
        for top in (1, 5):
            result[f"{name}_top{top}"] = 100.0 * float((rank <= top).float().mean())
    return result


@cache
def _held_out(count: int) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    pictures = held_out_pictures(count)
    return render_all(pictures), tuple(CLIPSCORE_PREFIX + describe(picture.scene) for picture in pictures)


def held_out_accuracy(model: open_clip.CLIP, count: int = HELD_OUT) -> dict[str, float]:
    """Zero-shot retrieval among `count` pictures of scenes that are never trained on; see `retrieval`."""
    images, texts = _held_out(count)
    return retrieval(encode_images(model, images), encode_texts(model, texts))
