"""CNNIQA (Kang et al. 2014): one convolution on small patches of grey, trained from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from agiqa_bench.data.image_cache import require_minimum_size
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import MethodConfig
from agiqa_bench.training import views
from agiqa_bench.training.loop import History
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.per_target import NetworkMethod, RegressionLearner
from agiqa_bench.training.pixels import open_pixels
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe

PATCH = 32
"""Side of a patch in pixels, and of the smallest image that can be scored."""


class CNNIQA(NetworkMethod):
    """A convolution, its largest and smallest response per patch, and three layers; a model per target (CVPR 2014).

    Each patch of 32 x 32 learns the raw MOS of its image, and an image's score is the mean over its patches. There is
    no code of the authors. As published notes on the paper describe it, an image is normalised locally as a whole, by
    windows that reach P = Q = 3 pixels to each side, and then cut into patches, and dropout stands before the second
    hidden layer. Optimiser, rate, epochs, the greys' range [0, 1] and the constant 1 beside the deviation are those of
    a much-used port (lidq92/CNNIQA), which normalises each patch for itself, with P = Q = 3 as the window's sides
    (`[ablation=port]`). One of the port's ways is not followed: of images whose sides divide by 32 it leaves out the
    last row and column of patches. pyiqa's metric of this name is another method.
    """

    name = "cnniqa"
    title = "CNNIQA"
    summary = "a shallow network on locally normalised patches of grey, trained from nothing"
    targets = ("quality", "authenticity")
    selects_epoch = True
    groups = ("deep",)
    citation = """@inproceedings{kang2014cnniqa,
  title = {Convolutional Neural Networks for No-Reference Image Quality Assessment},
  author = {Kang, Le and Ye, Peng and Li, Yi and Doermann, David},
  booktitle = {Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition},
  pages = {1733--1740},
  year = {2014}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"kernels": 16, "hidden": 128, "epochs": 6, "batch_size": 64, "learning_rate": 0.005}
    }

    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "port": {"normalise": "patch", "window": 3}}

    class Config(MethodConfig):
        """The paper's normalisation, and the port's settings."""

        kernels: int = Field(default=50, ge=1, description="filters of 7 x 7")
        hidden: int = Field(default=800, ge=1, description="width of the two hidden layers")
        dropout: float = Field(default=0.5, ge=0, lt=1, description="behind the first hidden layer")
        normalise: Literal["image", "patch"] = Field(
            default="image", description="the whole image before it is cut (paper), or each patch alone (port)"
        )
        window: Literal[3, 7] = Field(
            default=7, description="side of what a pixel is normalised by, in pixels; paper: 7, port: 3"
        )
        stride: int = Field(default=PATCH, ge=1, description="pixels from one patch to the next; 32: side by side")
        epochs: int = Field(default=500, ge=1, description="passes over the patches of the training part")
        batch_size: int = Field(default=128, ge=1, description="patches per step")
        learning_rate: float = Field(default=0.001, gt=0, description="of Adam, constant")

    def build(self) -> nn.Module:
        """Weights as torch draws them."""
        config = self.config
        return PatchNetwork(config.kernels, config.hidden, config.dropout).to(self.context.device)

    def train(self, network: nn.Module, target: str, train: Samples, validation: Samples | None) -> History:
        """Train by Adam on the L1 error of patches; the epoch with the best SRCC on `validation` is kept."""
        patches = self._patches(train)
        mos = torch.from_numpy(train.mos_of(target)[patches.owners]).float().to(self.context.device)
        held_back = None
        if validation is not None:
            others = self._patches(validation)
            held_back = (lambda: self._mean(network, others), validation.mos_of(target))
        learner = RegressionLearner(
            network, lambda positions, _: patches(positions), mos, F.l1_loss, held_back=held_back
        )
        config = self.config
        recipe = Recipe(config.epochs, config.batch_size, config.learning_rate)
        validate = validation is not None
        return run_training(learner, len(patches.owners), recipe, self.context, validate=validate, name=target)

    def score(self, network: nn.Module, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS, float64 (n,).

        Raises:
            BadImageError: An image is smaller than a patch.
        """
        return self._mean(network, self._patches(samples))

    def _patches(self, samples: Samples) -> Patches:
        require_minimum_size(samples.images, samples.names, PATCH, self.name)
        config = self.config
        return Patches(
            samples, config.stride, self.context.device, config.window, whole_image=config.normalise == "image"
        )

    def _mean(self, network: nn.Module, patches: Patches) -> npt.NDArray[np.float64]:
        """Mean of the network's outputs over the patches of each image, (n,)."""
        context = self.context

        def predicted(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                found: torch.Tensor = network(patches(positions))
            return found

        # Patches that are only scored need less memory than those of a step, which keep their history.
        size = 4 * (context.batch_size or self.config.batch_size)
        scores = in_batches(predicted, len(patches.owners), size, context.device).double().numpy()
        return np.bincount(patches.owners, weights=scores) / np.bincount(patches.owners)


class Patches:
    """All whole patches of some images, read and normalised when they are asked for: stored, they would take gigabytes.

    Attributes:
        owners: Position of the image that each patch is of, int64 (n_patches,), in order.
    """

    def __init__(self, samples: Samples, stride: int, device: str, window: int, *, whole_image: bool) -> None:
        """Find the patches of images that are at least 32 x 32.

        Args:
            samples: What to take patches of.
            stride: Pixels from one patch to the next.
            device: Where they are needed.
            window: Side of the normalisation's window, odd.
            whole_image: Whether a pixel is normalised by its neighbours in the image, or by those in its patch alone.
        """
        self._pixels = open_pixels(samples.images, device)
        self._window, self._whole_image = window, whole_image
        grids = [views.crop_grid(height, width, PATCH, stride) for height, width in self._pixels.sizes]
        self.owners = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
        reach = window // 2 if whole_image else 0
        self._boxes = np.concatenate(grids) + np.array([-reach, -reach, 2 * reach, 2 * reach])

    def __call__(self, positions: npt.NDArray[np.int64]) -> torch.Tensor:
        """Normalised patches, float32 (b, 1, 32, 32)."""
        seen = grey(self._pixels.crops(self.owners[positions], self._boxes[positions]))
        if not self._whole_image:
            seen = F.pad(seen, [self._window // 2] * 4, mode="replicate")
        return normalized(seen, self._window)


def grey(images: torch.Tensor) -> torch.Tensor:
    """Luma of ITU-R 601 as Pillow rounds it, uint8 (n, 3, h, w) to float32 (n, 1, h, w) in [0, 1]."""
    red, green, blue = images.int().unbind(dim=1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    return luma[:, None].float() / 255


def normalized(framed: torch.Tensor, window: int) -> torch.Tensor:
    """Each pixel less the mean of its window, by the window's standard deviation plus 1 (equation 1 of the paper).

    Args:
        framed: float32 (n, 1, h + window - 1, w + window - 1) in [0, 1]: pixels, and around them those that windows at
            the border reach.
        window: Its side, odd.

    Returns:
        float32 (n, 1, h, w).
    """
    reach = window // 2
    mean, square = _window_mean(framed, window), _window_mean(framed.square(), window)
    pixels = framed[..., reach:-reach, reach:-reach]
    return (pixels - mean) / ((square - mean.square()).clamp(min=0).sqrt() + 1)


def _window_mean(framed: torch.Tensor, window: int) -> torch.Tensor:
    """Mean of each window, row by row and column by column; several times as fast as torch's average pooling."""
    height, width = (side - window + 1 for side in framed.shape[-2:])
    rows = reduce(torch.add, [framed[..., start : start + height, :] for start in range(window)])
    total = reduce(torch.add, [rows[..., start : start + width] for start in range(window)])
    return total / window**2


class PatchNetwork(nn.Module):
    """Convolution, max and min pooling over the whole patch, and two hidden layers; 724,901 parameters."""

    def __init__(self, kernels: int = 50, hidden: int = 800, dropout: float = 0.5) -> None:
        """Draw weights as torch does."""
        super().__init__()
        self.convolution = nn.Conv2d(1, kernels, 7)
        self.regressor = nn.Sequential(
            nn.Linear(2 * kernels, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Predicted MOS (n,) of normalised patches (n, 1, 32, 32)."""
        responses = self.convolution(patches).flatten(2)
        # Not amax, which divides the gradient among equals and takes twice as long for it.
        pooled = torch.cat([responses.max(dim=2).values, responses.min(dim=2).values], dim=1)
        # In float32 whatever the precision: bfloat16 knows eight bits, and scores that are rounded so are tied.
        with torch.autocast(patches.device.type, enabled=False):
            return self.regressor(pooled.float())[:, 0]  # type: ignore[no-any-return]
