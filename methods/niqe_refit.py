"""The refit: a pristine model for NIQE fitted to photographs that a dependency ships.

It stands in for the published parameters where they are not at hand (offline), and is named `refit` in every table. It
ships as `niqe_refit.safetensors`; `python -m agiqa_bench.methods.niqe_refit FILE` writes it again, from photographs in
scikit-image's wheel. The rule is the paper's (section III): blocks of 96 x 96, of which those count whose mean local
deviation exceeds 0.75 of the photograph's largest; 36 features, by pyiqa's own functions.

Eleven photographs are far fewer than the paper's 125, so the grid of blocks is also laid with offsets of half a block,
and each photograph is used at half size too. These extensions and the choice of photographs were made by how well the
scores of three other photographs, distorted, rank as with the published parameters (SRCC 0.955).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.methods import niqe
from agiqa_bench.methods.niqe import BLOCK, luma
from agiqa_bench.methods.niqe_pristine import REFIT_FILE, PristineModel

if TYPE_CHECKING:
    import torch

SHARPNESS = 0.75
"""Share of a photograph's sharpest block that a block must exceed to be fitted to."""

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "moon.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
"""Files in scikit-image's wheel (`skimage/data`), none of them fetched."""


def block_features(photograph: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """NIQE's features of a photograph's sharp blocks.

    Args:
        photograph: uint8 (h, w, 3), at least 96 x 96.

    Returns:
        float64 (n_sharp_blocks, 36), blocks of the grid and of the grids offset by half a block.
    """
    import torch

    image = luma(photograph)
    grids = [
        image[..., top : top + _whole(height), left : left + _whole(width)]
        for top in (0, BLOCK // 2)
        for left in (0, BLOCK // 2)
        if min(height := image.shape[-2] - top, width := image.shape[-1] - left) >= BLOCK
    ]
    features = torch.cat([niqe.block_features(grid) for grid in grids])
    sharpness = torch.cat([_sharpness(grid) for grid in grids])
    return features[sharpness > SHARPNESS * sharpness.max()].numpy()


def fit_pristine(features: Sequence[npt.NDArray[np.float64]]) -> PristineModel:
    """Fit a Gaussian to the features of all blocks; blocks with an undefined feature are left out, as in pyiqa."""
    blocks = np.concatenate(features)
    blocks = blocks[np.isfinite(blocks).all(axis=1)]
    return PristineModel(blocks.mean(axis=0), np.cov(blocks, rowvar=False))


def photograph_features(name: str) -> npt.NDArray[np.float64]:
    """Features of one of `PHOTOGRAPHS`, at full and at half size, float64 (n, 36).

    Raises:
        BadImageError: The installed scikit-image does not hold it.
    """
    from PIL import Image

    from agiqa_bench.data.images import decode

    full = decode(photograph_path(name))
    half = Image.fromarray(full).resize((full.shape[1] // 2, full.shape[0] // 2), Image.Resampling.BICUBIC)
    return np.concatenate([block_features(full), block_features(np.asarray(half))])


def _whole(length: int) -> int:
    return length // BLOCK * BLOCK


def _sharpness(image: torch.Tensor) -> torch.Tensor:
    """Mean local deviation of each block, (n,), in the order of pyiqa's `blockproc` (columns first)."""
    import torch
    from pyiqa.matlab_utils import fspecial, imfilter

    window = fspecial(7, 7 / 6, 1).to(image)
    mean = imfilter(image, window, padding="replicate")
    deviation = (imfilter(image**2, window, padding="replicate") - mean**2).clamp_min(0).sqrt()
    return torch.nn.functional.avg_pool2d(deviation, BLOCK)[0, 0].T.reshape(-1)


def photograph_path(name: str) -> Path:
    """Where the installed scikit-image holds one of `PHOTOGRAPHS`."""
    import skimage

    return Path(skimage.__file__).parent / "data" / name


def main(target: Path) -> None:
    """Fit the refit model and write it with its provenance."""
    from importlib.metadata import version

    from safetensors.numpy import save

    from agiqa_bench import atomic

    features = [photograph_features(name) for name in PHOTOGRAPHS]
    model = fit_pristine(features)
    provenance = {
        "what": "NIQE pristine model fitted to photographs in scikit-image's wheel; a stand-in, not the published one",
        "blocks": str(sum(map(len, features))),
        "scikit-image": version("scikit-image"),
        "pyiqa": version("pyiqa"),
    }
    for name in PHOTOGRAPHS:
        provenance[f"sha256 {name}"] = hashlib.sha256(photograph_path(name).read_bytes()).hexdigest()
    tensors = {"mu_prisparam": model.mean, "cov_prisparam": model.covariance}
    atomic.write_bytes(target, save(tensors, metadata=provenance))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REFIT_FILE)
