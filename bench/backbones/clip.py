"""CLIP through open_clip: pictures and texts in, features out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from torch import nn

from agiqa_bench.backbones.checkpoint import check_finite, inspect, one_line, read_openai
from agiqa_bench.backbones.spec import ResolvedBackbone
from agiqa_bench.backbones.text import can_cut, encode_tokens
from agiqa_bench.backbones.vision import encode_image, is_plain_vit
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.method import Precision
from agiqa_bench.training.precision import arithmetic

if TYPE_CHECKING:
    from agiqa_bench.data.image_cache import Images
    from agiqa_bench.data.resizing import Crop

Features = npt.NDArray[np.float32]
Progress = Callable[[int, int, str], None]

IMAGE_BATCH = 64
TEXT_BATCH = 256


def load(resolved: ResolvedBackbone, device: str = "cpu", precision: Precision = "float32") -> ClipBackbone:
    """Build a backbone with its weights, frozen and in evaluation mode.

    The last two are kept, so that the repeats of a run do not load the same file again: what is returned is shared,
    and its weights must not be changed.

    Args:
        resolved: What `resolve` found.
        device: torch device string.
        precision: Arithmetic of the networks; `bf16` and `fp16` by autocast, with weights in float32.

    Raises:
        WeightsUnavailableError: The file does not fit the architecture.
    """
    return _load(resolved, device, precision)


@lru_cache(maxsize=2)
def _load(resolved: ResolvedBackbone, device: str, precision: Precision) -> ClipBackbone:
    model = _build(resolved).eval().requires_grad_(False).to(device)
    options = {"bpe_path": str(resolved.files[1])} if resolved.files else {}
    tokenizer = open_clip.get_tokenizer(resolved.architecture, **options)
    return ClipBackbone(model, tokenizer, resolved, device, precision)


def _build(resolved: ResolvedBackbone) -> nn.Module:
    """Build the model in float32 on the CPU by open_clip's configuration and checkpoint path."""
    name = resolved.architecture
    if resolved.files and name not in open_clip.list_models():
        open_clip.add_model_config(resolved.files[0])
    checkpoint = inspect(resolved.path)
    try:
        if not checkpoint.openai:
            model: nn.Module = open_clip.create_model(name, pretrained=str(resolved.path), weights_only=True)
            check_finite(resolved.path, model.state_dict())
            return model
        # open_clip reads OpenAI's archives by running them (torch.jit); the tensors alone are enough.
        model = open_clip.CLIP(**open_clip.get_model_config(name))
        model.load_state_dict(read_openai(checkpoint))
    except RuntimeError as error:
        raise WeightsUnavailableError(
            f"weight file {resolved.path} does not fit {name}: {one_line(error)}; name the architecture that it was "
            "made for"
        ) from error
    return model


class ClipBackbone:
    """A frozen CLIP that turns pictures and texts into features of one space.

    Attributes:
        model: open_clip's model.
        tokenizer: Texts to int64 tokens (n, context length), truncated.
        resolved: What was loaded.
        device: torch device string.
        width: Number of features.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, resolved: ResolvedBackbone, device: str, precision: Precision
    ) -> None:
        """Wrap a model that is on `device` already; `load` builds one."""
        self.model: Any = model
        self.tokenizer = tokenizer
        self.resolved = resolved
        self.device = device
        self.width = int(open_clip.get_model_config(resolved.architecture)["embed_dim"])
        self._precision = precision
        self._mean = torch.tensor(resolved.preprocess.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(resolved.preprocess.std, device=device).view(1, 3, 1, 1)

    def sized(self, images: Images) -> Images:
        """A data set's images at the size that the backbone wants; nothing is read yet."""
        wanted = self.resolved.preprocess
        return images.at(wanted.size, resize=wanted.resize, crop=self._crop, interpolation=wanted.interpolation)

    def resized(self, images: Images) -> npt.NDArray[np.uint8]:
        """A data set's images as the backbone wants them, uint8 (n, size, size, 3)."""
        wanted = self.resolved.preprocess
        return images.resized(wanted.size, resize=wanted.resize, crop=self._crop, interpolation=wanted.interpolation)

    @property
    def _crop(self) -> Crop:
        return "center" if self.resolved.preprocess.resize == "shorter" else "none"

    def encode_image(
        self,
        images: npt.NDArray[np.uint8],
        *,
        normalize: bool = True,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Features of pictures.

        Args:
            images: uint8 (n, size, size, 3), RGB, resized already.
            normalize: Scale each feature vector to length 1.
            batch_size: Pictures at a time; None means `IMAGE_BATCH`.
            progress: Called with (done, n, what) after each batch.

        Returns:
            float32 (n, width).

        Raises:
            ValueError: Another type or shape.
        """
        size = self.resolved.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(f"images are {images.dtype} {images.shape}, and should be uint8 (n, {size}, {size}, 3)")
        step = batch_size or IMAGE_BATCH
        features = np.empty((len(images), self.width), dtype=np.float32)
        for start in range(0, len(images), step):
            # Copied because a memory-mapped array is read-only, which torch does not know.
            batch = torch.from_numpy(np.array(images[start : start + step], order="C"))
            with torch.inference_mode(), arithmetic(self.device, self._precision):
                output = self.features(self._normalized(batch.to(self.device)))
            features[start : start + step] = _to_numpy(output, normalize)
            if progress:
                progress(min(start + step, len(images)), len(images), "encoding images")
        return features

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the image tower makes of normalised images (n, 3, size, size): (n, width), not normalised."""
        visual = self.model.visual
        # Our own pass leaves out what nobody reads, and is an eighth faster.
        found: torch.Tensor = encode_image(visual, images) if is_plain_vit(visual) else self.model.encode_image(images)
        return found

    def encode_text(self, texts: Sequence[str], *, normalize: bool = True, batch_size: int | None = None) -> Features:
        """Features of texts; a text that occurs more than once is encoded once, and one that is too long is cut.

        Args:
            texts: Length n.
            normalize: Scale each feature vector to length 1.
            batch_size: Texts at a time; None means `TEXT_BATCH`.

        Returns:
            float32 (n, width).
        """
        if not texts:
            return np.empty((0, self.width), dtype=np.float32)
        distinct = sorted(set(texts))
        tokens: torch.Tensor = self.tokenizer(distinct)
        lengths = self._lengths(tokens)
        # Texts of like length share a batch, and their order does not depend on that of the samples.
        order = torch.argsort(lengths, stable=True)
        features = np.empty((len(distinct), self.width), dtype=np.float32)
        step = batch_size or TEXT_BATCH
        for start in range(0, len(distinct), step):
            rows = order[start : start + step]
            with torch.inference_mode(), arithmetic(self.device, self._precision):
                output = self._encode_tokens(tokens[rows, : int(lengths[rows].max())].to(self.device))
            features[rows.numpy()] = _to_numpy(output, normalize)
        number = {text: row for row, text in enumerate(distinct)}
        return features[[number[text] for text in texts]]

    def _lengths(self, tokens: torch.Tensor) -> torch.Tensor:
        """Number of positions that each text needs, int64 (n,): up to its end token, which has the highest number."""
        if can_cut(self.model):
            return tokens.argmax(dim=1) + 1
        return torch.full((len(tokens),), tokens.shape[1])

    def _encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode tokens (n, used length); `open_clip.CLIP.encode_text` insists on the full context length."""
        output: torch.Tensor = (
            encode_tokens(self.model, tokens) if can_cut(self.model) else self.model.encode_text(tokens)
        )
        return output

    def _normalized(self, images: torch.Tensor) -> torch.Tensor:
        return (images.permute(0, 3, 1, 2).float().div(255) - self._mean) / self._std


def _to_numpy(features: torch.Tensor, normalize: bool) -> Features:
    features = features.float()
    if normalize:
        features = nn.functional.normalize(features, dim=-1)
    array: Features = features.cpu().numpy()
    return array
