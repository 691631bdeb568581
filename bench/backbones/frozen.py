"""Whole images through a frozen CLIP: encoded once for a data set, kept on disk, used by all repeats and methods."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

import agiqa_bench.backbones.blocks
import agiqa_bench.backbones.clip
import agiqa_bench.backbones.vision
import agiqa_bench.data.images
import agiqa_bench.data.resizing
import agiqa_bench.training.memory
import agiqa_bench.training.pixels
import agiqa_bench.training.precision
import agiqa_bench.training.views
from agiqa_bench.backbones.clip import IMAGE_BATCH, ClipBackbone, Features
from agiqa_bench.backbones.vision import RESIDUAL_STRIDE, encode_any_size
from agiqa_bench.data.image_cache import Images, require_minimum_size
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.features.array_file import stored_array
from agiqa_bench.method import Context
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.pixels import of_one_size
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.views import normalized

_CODE = (
    agiqa_bench.backbones.blocks,
    agiqa_bench.backbones.clip,
    agiqa_bench.backbones.vision,
    agiqa_bench.data.images,
    agiqa_bench.data.resizing,
    agiqa_bench.training.memory,
    agiqa_bench.training.pixels,
    agiqa_bench.training.precision,
    agiqa_bench.training.views,
)
"""Modules whose code, beside this one's, can change the features."""


@dataclass(frozen=True)
class View:
    """How a frozen CLIP is shown an image.

    Attributes:
        any_size: At the image's own size and without position embedding, for which a residual network is needed;
            otherwise as the CLIP wants its input (resized, and the middle cut out).
        side: With `any_size`, the shorter side is brought to so many pixels first (bicubic, with antialiasing); 0: the
            size is left as it is.
        mirrored: Left to right.
    """

    any_size: bool = False
    side: int = 0
    mirrored: bool = False


def encode(clip: ClipBackbone, images: Images, view: View, context: Context, method: str) -> Features:
    """Features of images, each of length 1, float32 (n, width).

    Args:
        clip: The CLIP.
        images: Of any sizes.
        view: How they are shown.
        context: Device, precision, batch size and progress.
        method: Name of the method for errors.

    Raises:
        BadImageError: With `any_size`, an image is smaller than one cell of the feature map.
    """
    if view.any_size:
        return _encode_any_size(clip, images, view, context, method)
    pixels = clip.resized(images)
    if view.mirrored:
        pixels = pixels[:, :, ::-1]
    return clip.encode_image(pixels, batch_size=context.batch_size, progress=context.progress)


def stored_features(clip: ClipBackbone, images: Images, view: View, context: Context, method: str) -> Features:
    """`encode` for all images of the data set that `images` are of, float32 (n_rows, width), read-only.

    Computed once and kept beside the images, under a name that covers everything that can change the features.

    Raises:
        BadImageError: As `encode`, for an image anywhere in the data set.
        StoreError: The cache folder cannot be written.
    """
    everything = images.everything
    parts = (
        everything.fingerprint,
        clip.resolved.architecture,
        clip.resolved.digest,
        clip.resolved.preprocess,
        view,
        context.precision,
        context.batch_size,
        torch.device(context.device).type,
        source_digest(Path(str(file)) for file in (__file__, *(module.__file__ for module in _CODE))),
        [version(library) for library in ("torch", "torchvision", "open_clip_torch", "Pillow")],
    )
    name = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    file = everything.folder / "features" / f"clip-{name}.array"
    return stored_array(file, lambda: encode(clip, everything, view, context, method))


def _encode_any_size(clip: ClipBackbone, images: Images, view: View, context: Context, method: str) -> Features:
    if not view.side:
        require_minimum_size(images, images.files, RESIDUAL_STRIDE, method)
    preprocess, what = clip.resolved.preprocess, "encoding images"
    features = np.empty((len(images), clip.width), dtype=np.float32)
    done = 0
    sizes = images.sizes
    for rows in of_one_size(sizes):

        def encoded(positions: npt.NDArray[np.int64], rows: npt.NDArray[np.int64] = rows) -> torch.Tensor:
            pictures = torch.stack([_picture(images[int(row)], view) for row in rows[positions]]).to(context.device)
            with arithmetic(context.device, context.precision):
                found = encode_any_size(clip.model.visual, normalized(pictures, preprocess.mean, preprocess.std))
            return F.normalize(found.float(), dim=-1)

        def progress(count: int, total: int, what: str, done: int = done) -> None:  # noqa: ARG001
            context.progress(done + count, len(images), what)

        # As many pixels at a time as there are in a batch of CLIP's own input.
        size = sizes[rows[0]]
        shown = np.prod(size) * (view.side / min(size)) ** 2 if view.side else np.prod(size)
        step = context.batch_size or max(1, int(IMAGE_BATCH * preprocess.size**2 // shown))
        features[rows] = in_batches(encoded, len(rows), step, context.device, progress, what).numpy()
        done += len(rows)
    return features


def _picture(image: npt.NDArray[np.uint8], view: View) -> torch.Tensor:
    """One image as it is shown, uint8 (3, h, w)."""
    # Copied because a memory-mapped array is read-only, which torch does not know.
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if view.side and min(image.shape[:2]) != view.side:
        picture = transforms.resize(picture, [view.side], InterpolationMode.BICUBIC, antialias=True)
    return picture.flip(-1) if view.mirrored else picture
