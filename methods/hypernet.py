"""HyperIQA (Su et al. 2020): a network whose last layers are made for each image by another, from what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.convnet import ConvNet, ConvNetConfig, ConvNetMethod
from agiqa_bench.data.image_cache import Images, require_minimum_size
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.training import views
from agiqa_bench.training.loop import History
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.per_target import RegressionLearner
from agiqa_bench.training.pixels import open_pixels
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe

SCALES = 4
"""The backbone's last stages, at each of which distortions are looked for."""


class HyperNet(ConvNetMethod):
    """HyperIQA as its authors' code has it (SSL92/hyperIQA), one network per target.

    Three things are ours. The crops of a test image are a regular grid from corner to corner, where the code draws
    them: a score must depend on its image alone. Images are brought to 512 x 512 first, as the code does for BID, one
    of its five data sets, because generated images have many sizes. And the schedule, which is that of the code if its
    list of the hyper network's parameters were not used up: see `Config.schedule` and `hyper_factor`.
    """

    name = "hypernet"
    title = "HyperNet"
    summary = "ResNet50 whose quality predictor is generated for each image (HyperIQA)"
    targets = ("quality", "authenticity")
    selects_epoch = True
    groups = ("deep",)
    citation = """@inproceedings{su2020hyperiqa,
  title = {Blindly Assess Image Quality in the Wild Guided by a Self-Adaptive Hyper Network},
  author = {Su, Shaolin and Yan, Qingsen and Zhu, Yu and Zhang, Cheng and Ge, Xin and Sun, Jinqiu and Zhang, Yanning},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages = {3664--3673},
  year = {2020}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-rn",
            "resize": 64,
            "crop": 64,
            "crops": 1,
            "grid": 1,
            "hyper_channels": 32,
            "target_width": 64,
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 3e-4,
        }
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"intended": {}, "official": {"schedule": "official"}}

    class Config(ConvNetConfig):
        """The settings of the official code."""

        backbone: str = Field(
            default="resnet50.tv_in1k", description="architecture.tag of timm, architecture:FILE or demo-rn"
        )
        resize: int | None = Field(
            default=512, ge=32, description="both sides of the image before it is cut; none: as it is (official: LIVEC)"
        )
        crop: int = Field(default=224, ge=32, description="side of a part, in pixels")
        crops: int = Field(default=25, ge=1, description="random parts of each image in an epoch")
        grid: int = Field(default=5, ge=1, description="parts along a side of an image that is scored by their mean")
        hyper_channels: int = Field(default=112, ge=1, description="of the map that layers are generated from")
        target_width: int = Field(
            default=224,
            ge=16,
            multiple_of=16,
            description="inputs of the generated layers, each half of the one before",
        )
        schedule: Literal["intended", "official"] = Field(
            default="intended",
            description="of the hyper network's rate; the backbone's is constant, and each epoch begins with a new "
            "optimiser. intended: what the code does if the list of the hyper network's parameters lasts, with 16 "
            "epochs 7 at 2e-4, then 3 each at 2e-5, 2e-6 and 2e-7; official: as the code runs, where that list is used "
            "up after the first epoch and the backbone then learns alone",
        )
        epochs: int = Field(default=16, ge=1, description="passes over the training part")
        batch_size: int = Field(default=96, ge=1, description="parts per step")
        learning_rate: float = Field(default=2e-5, gt=0, description="of Adam, for the backbone")
        hyper_factor: float = Field(default=10.0, gt=0, description="on the rate of the hyper network")
        weight_decay: float = Field(default=5e-4, ge=0, description="on every parameter")

    def build(self) -> HyperIQA:
        """Backbone and hyper network."""
        return self._around(self.convnet(features_only=True))

    def blank(self) -> HyperIQA:
        """Without the backbone's weights."""
        return self._around(self.convnet(blank=True, features_only=True))

    def train(self, network: nn.Module, target: str, train: Samples, validation: Samples | None) -> History:
        """Mean absolute error to the raw MOS, the same for all parts of an image; the best epoch on `validation`."""
        assert isinstance(network, HyperIQA)
        config, context = self.config, self.context
        count = config.crops
        pixels = open_pixels(self._images(train), context.device)

        def parts(positions: npt.NDArray[np.int64], epoch: int) -> torch.Tensor:
            """Random parts, half of them mirrored; part k of image i has position i * crops + k."""
            images, part = positions // count, positions % count
            uniform = views.draws(context.seed, epoch, train.rows[images], 3 * count)
            uniform = uniform.reshape(-1, count, 3)[np.arange(len(positions)), part]
            boxes = views.random_crops(uniform[:, :2], pixels.sizes[images], config.crop)
            return network.normalized(views.mirrored(pixels.crops(images, boxes), uniform[:, 2] < 0.5))

        held_back = None
        if validation is not None:
            held_back = (lambda: self.score(network, validation)), validation.mos_of(target)
        mos = np.repeat(train.mos_of(target), count)
        learner = _Learner(
            network,
            parts,
            torch.from_numpy(mos).float().to(context.device),
            F.l1_loss,
            held_back=held_back,
            groups=[(1.0, network.seeing()), (config.hyper_factor, network.generating())],
            official=config.schedule == "official",
        )
        recipe = Recipe(
            config.epochs, config.batch_size, config.learning_rate, weight_decay=config.weight_decay, renew=True
        )
        return run_training(learner, len(mos), recipe, context, validate=validation is not None, name=target)

    def score(self, network: nn.Module, samples: Samples) -> npt.NDArray[np.float64]:
        """Mean score of the parts of each image, batched across images, float64 (n,)."""
        assert isinstance(network, HyperIQA)
        config, context = self.config, self.context
        pixels = open_pixels(self._images(samples), context.device)
        grids = [_grid(height, width, config.crop, config.grid) for height, width in pixels.sizes]
        counts = [len(grid) for grid in grids]
        owners, boxes = np.repeat(np.arange(len(samples)), counts), np.concatenate(grids)

        def predict(chosen: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                return network(network.normalized(pixels.crops(owners[chosen], boxes[chosen])))  # type: ignore[no-any-return]

        size = 2 * (context.batch_size or config.batch_size)
        found = in_batches(predict, len(boxes), size, context.device, context.progress).double().numpy()
        return np.asarray(np.bincount(owners, weights=found, minlength=len(samples)) / counts, dtype=np.float64)

    def _around(self, backbone: ConvNet) -> HyperIQA:
        config = self.config
        network = HyperIQA(backbone, config.crop, config.hyper_channels, config.target_width)
        return network.to(self.context.device)

    def _images(self, samples: Samples) -> Images:
        """The images that parts are cut from.

        Raises:
            BadImageError: One is smaller than a part.
        """
        images, side = samples.images, self.config.resize
        if side is not None:
            images = images.at(side, resize="exact", crop="none")
        require_minimum_size(images, samples.names, self.config.crop, self.name)
        return images


class _Learner(RegressionLearner):
    """The two groups' rates over the epochs."""

    def __init__(self, *arguments: Any, official: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._official = official

    def factors(self, epoch: int) -> Sequence[float] | None:
        """The backbone's factor and the hyper network's, as `Config.schedule` says."""
        (backbone, _), (hyper, _) = self.groups()
        if self._official:
            return backbone, hyper if epoch == 0 else 0.0
        return backbone, hyper_factor(epoch, hyper)


def hyper_factor(epoch: int, first: float) -> float:
    """What the hyper network's rate is of the backbone's, by the arithmetic of the official code (HyerIQASolver.py).

    The code sets it after each epoch, from the number of the epoch that has ended: a tenth for every six, times
    `first`, and times 1 in its place once that number is above 8. So every step comes one epoch later than there.

    Args:
        epoch: Counted from 0.
        first: Factor of the first epoch.

    >>> [round(hyper_factor(epoch, 10.0), 2) for epoch in (0, 6, 7, 9, 10, 12, 13)]
    [10.0, 10.0, 1.0, 1.0, 0.1, 0.1, 0.01]
    """
    ended = max(epoch - 1, 0)
    return (first if ended <= 8 else 1.0) / 10.0 ** (ended // 6)


def _grid(height: int, width: int, size: int, count: int) -> views.Boxes:
    """At most count x count square parts, evenly from one corner to the other; equal ones once."""
    tops, lefts = (np.unique(np.rint(np.linspace(0, side - size, count)).astype(np.int64)) for side in (height, width))
    return np.array([(top, left, size, size) for top in tops for left in lefts], dtype=np.int64)


class HyperIQA(nn.Module):
    """The network of section 3: what to rate, and the layers that rate it; 27,375,369 parameters on ResNet50.

    Attributes:
        backbone: Its last four stages are used.
        distortions: For each of them the module that describes local distortions.
        reduce: The last feature map to the input of the hyper network.
        weights: Generators of the weights of the five target layers.
        biases: Those of their biases.
    """

    def __init__(self, backbone: ConvNet, crop: int, hyper_channels: int, target_width: int) -> None:
        """Build around a backbone; what is not its own begins with Kaiming's normal weights, as in the official code.

        Args:
            backbone: With four stages or more.
            crop: Side of its input in pixels.
            hyper_channels: Of the hyper network's input.
            target_width: Of the vector that is rated, a multiple of 16.

        Raises:
            ConfigError: The backbone has fewer stages, or its last map does not divide the layers to be generated.
        """
        super().__init__()
        if len(backbone.channels) < SCALES:
            raise ConfigError(f"hypernet: the backbone has {len(backbone.channels)} stages, and {SCALES} are needed")
        self.backbone = backbone
        channels = backbone.channels[-SCALES:]
        sides = _sides(backbone, crop)[-SCALES:]
        local, cell = target_width // 14, sides[-1]
        self.distortions = nn.ModuleList(
            _local_distortion(width, side // cell, cell, local)
            for width, side in zip(channels[:-1], sides[:-1], strict=True)
        )
        self.distortions.append(_flattened(nn.AvgPool2d(cell), channels[-1], target_width - local * (SCALES - 1)))
        last = channels[-1]
        self.reduce = nn.Sequential(
            nn.Conv2d(last, last // 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(last // 2, last // 4, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(last // 4, hyper_channels, 1),
            nn.ReLU(inplace=True),
        )
        self.widths = [target_width, *(target_width // 2**layer for layer in range(1, 5))]
        if any(inputs * outputs % cell**2 for inputs, outputs in pairwise(self.widths)):
            raise ConfigError(
                f"hypernet: layers of {self.widths} cannot be generated from maps of {cell} x {cell} cells; "
                "change crop or target_width"
            )
        self.weights = nn.ModuleList(
            nn.Conv2d(hyper_channels, inputs * outputs // cell**2, 3, padding=1)
            for inputs, outputs in pairwise(self.widths)
        )
        self.weights.append(nn.Linear(hyper_channels, self.widths[-1]))
        self.biases = nn.ModuleList(nn.Linear(hyper_channels, outputs) for outputs in [*self.widths[1:], 1])
        for part in (self.distortions, self.weights, self.biases):
            for module in part.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight)

    def seeing(self) -> list[nn.Parameter]:
        """Parameters of the backbone and of the distortion modules, which the official code counts with it."""
        return [*self.backbone.parameters(), *self.distortions.parameters()]

    def generating(self) -> list[nn.Parameter]:
        """Parameters of the hyper network."""
        return [parameter for part in (self.reduce, self.weights, self.biases) for parameter in part.parameters()]

    def normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 images (n, 3, crop, crop) as the backbone wants them."""
        return views.normalized(pixels, self.backbone.mean, self.backbone.std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Predicted MOS (n,) of normalised images (n, 3, crop, crop)."""
        maps = self.backbone.stages(images)[-SCALES:]
        seen = torch.cat([module(found) for module, found in zip(self.distortions, maps, strict=True)], dim=1)
        hyper = self.reduce(maps[-1])
        pooled = hyper.mean(dim=(2, 3))
        sources = [*([hyper] * (len(self.weights) - 1)), pooled]
        weights = [generate(source) for generate, source in zip(self.weights, sources, strict=True)]
        biases = [generate(pooled) for generate in self.biases]
        # In float32 whatever the precision: bfloat16 knows eight bits, and scores that are rounded so are tied.
        with torch.autocast(images.device.type, enabled=False):
            return _rated(seen.float(), [each.float() for each in weights], [each.float() for each in biases])


def _rated(vectors: torch.Tensor, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor]) -> torch.Tensor:
    """Send each vector (n, width) through the layers that were generated for it, with sigmoids between them: (n,)."""
    hidden = vectors[:, :, None]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if layer:
            hidden = hidden.sigmoid()
        matrices = weight.reshape(len(weight), bias.shape[1], -1)
        hidden = torch.baddbmm(bias[:, :, None], matrices, hidden)
    return hidden[:, 0, 0]


def _local_distortion(channels: int, grid: int, cell: int, outputs: int) -> nn.Sequential:
    """A sixteenth of the channels, their means in grid x grid cells of the image, and a layer on all of them."""
    kept = max(1, channels // 16)
    pool = nn.Sequential(nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(cell))
    return _flattened(pool, kept * grid**2, outputs)


def _flattened(pool: nn.Module, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(inputs, outputs))


def _sides(backbone: ConvNet, crop: int) -> list[int]:
    """Side of each stage's feature map, in cells."""
    training = backbone.training
    with torch.no_grad():
        maps = backbone.eval().stages(torch.zeros(1, 3, crop, crop))
    backbone.train(training)
    return [found.shape[-1] for found in maps]
