"""Pictures as a script reads them: by Pillow, one at a time, each time anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms


def opened(path: str) -> Image.Image:
    """A picture file, decoded, mode RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def resized_middle(image: Image.Image, size: int) -> Image.Image:
    """The middle of a picture, size x size, its shorter side resized (bicubic)."""
    middle: Image.Image = transforms.center_crop(transforms.resize(image, size, InterpolationMode.BICUBIC), size)
    return middle


def pixels(image: Image.Image) -> torch.Tensor:
    """uint8 (3, h, w), a channel behind the other."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def normalised(image: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 (3, h, w) to float32 with the channels' means and standard deviations taken out."""
    centred: torch.Tensor = transforms.normalize(image.float() / 255, list(mean), list(std))
    return centred
