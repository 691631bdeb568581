"""Resizing of decoded images to one square size, pixel for pixel as torchvision does it with PIL images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from agiqa_bench.errors import ConfigError

Resize = Literal["shorter", "exact"]
Crop = Literal["center", "none"]
Interpolation = Literal["bicubic", "bilinear"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Resizing:
    """How images of any size become size x size; see `Images.resized`."""

    size: int
    resize: Resize = "shorter"
    crop: Crop = "center"
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ConfigError: The size is not positive, or a setting is none of its literals.
        """
        if self.size < 1:
            raise ConfigError(f"image size {self.size} is not positive")
        for setting, known in (("resize", ("shorter", "exact")), ("crop", ("center", "none"))):
            if getattr(self, setting) not in known:
                raise ConfigError(f"{setting}='{getattr(self, setting)}' of an image: use one of {', '.join(known)}")
        if self.interpolation not in _FILTERS:
            raise ConfigError(f"interpolation='{self.interpolation}' of an image: use one of {', '.join(_FILTERS)}")

    @property
    def tag(self) -> str:
        """Name of this resizing in file names."""
        return f"{self.size}-{self.resize}-{self.crop}-{self.interpolation}"

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize uint8 (h, w, 3) to uint8 (size, size, 3).

        Raises:
            ConfigError: The image is not square, and nothing makes it so (`shorter` without a crop).
        """
        height, width = image.shape[:2]
        target = self._target(height, width)
        picture = Image.fromarray(image)
        if target != (height, width):
            picture = picture.resize((target[1], target[0]), _FILTERS[self.interpolation])
        if target != (self.size, self.size):
            if self.crop == "none":
                raise ConfigError(
                    f"an image of {width} x {height} pixels is not square: use crop='center' or resize='exact'"
                )
            # Python's round takes halves to the even number; torchvision's CenterCrop uses it too.
            top, left = round((target[0] - self.size) / 2), round((target[1] - self.size) / 2)
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return np.asarray(picture)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "exact":
            return self.size, self.size
        longer = int(self.size * max(height, width) / min(height, width))
        return (self.size, longer) if height <= width else (longer, self.size)
