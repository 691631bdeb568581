"""DB-CNN (Zhang et al. 2020): products of the features of a VGG16 and of an S-CNN that knows distortions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

import agiqa_bench.backbones.bilinear
import agiqa_bench.backbones.convnet
import agiqa_bench.backbones.scnn
import agiqa_bench.data.images
import agiqa_bench.seeds
import agiqa_bench.training.memory
import agiqa_bench.training.pixels
import agiqa_bench.training.precision
import agiqa_bench.training.views
from agiqa_bench.backbones.bilinear import BilinearCNN
from agiqa_bench.backbones.convnet import (
    ConvNetConfig,
    ResolvedConvNet,
    build_convnet,
    resolve_convnet,
    untrained,
)
from agiqa_bench.backbones.scnn import ResolvedSCNN, build_scnn, resolve_scnn, untrained_scnn
from agiqa_bench.data.image_cache import Images, require_minimum_size
from agiqa_bench.data.samples import Samples
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.errors import ConfigError, WeightsUnavailableError
from agiqa_bench.method import Context, MethodConfig, Weights
from agiqa_bench.seeds import derive_seed
from agiqa_bench.training import views
from agiqa_bench.training.learner import Shared
from agiqa_bench.training.loop import History
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.per_target import NetworkMethod, RegressionLearner, numbers_of
from agiqa_bench.training.pixels import of_one_size, open_pixels, whole
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.view_features import ViewFeatures

_BEHIND_FEATURES = (
    agiqa_bench.backbones.bilinear,
    agiqa_bench.backbones.convnet,
    agiqa_bench.backbones.scnn,
    agiqa_bench.data.images,
    agiqa_bench.seeds,
    agiqa_bench.training.memory,
    agiqa_bench.training.pixels,
    agiqa_bench.training.precision,
    agiqa_bench.training.views,
)
"""Modules whose code can change the features of a view."""

_STRIDE = 16
"""Pixels along a side that one cell of the feature maps stands for."""

Positions = npt.NDArray[np.int64]


class DBCNN(NetworkMethod):
    """Deep bilinear CNN (TCSVT 2020; arXiv 1907.02665; code zwx8981/DBCNN-PyTorch), one per target.

    The head is trained first, alone; then everything, from the head's best epoch on. The image's prompt is not an
    input. Where this differs from the published code:

    - The epoch of either stage is chosen on validation samples, not on the test samples.
    - In the first stage both networks are in evaluation mode and a feature is computed once: each image is seen in
      `views` random views, which the epochs take in turn and all repeats share. The published code draws new views in
      every epoch, and never puts batch norm into evaluation mode, so that the statistics of its "frozen" S-CNN drift.
      In the second stage batch norm takes the statistics of the batch, here as there.
    - An image with a side shorter than the crop is used whole along that side. Crops of different sizes in one batch go
    through batch norm apart, those of each size together.
    - A backbone other than VGG16 gives its last but one stage, whose stride is the S-CNN's.
    """

    name = "dbcnn"
    title = "DB-CNN"
    summary = "bilinear pooling of VGG16 and S-CNN features; head first, then everything"
    targets = ("quality", "authenticity")
    selects_epoch = True
    groups = ("deep",)
    citation = """@article{zhang2020dbcnn,
  title = {Blind Image Quality Assessment Using a Deep Bilinear Convolutional Neural Network},
  author = {Zhang, Weixia and Ma, Kede and Yan, Jia and Deng, Dexiang and Wang, Zhou},
  journal = {IEEE Transactions on Circuits and Systems for Video Technology},
  volume = {30},
  number = {1},
  pages = {36--47},
  year = {2020}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-rn",
            "scnn": "demo",
            "crop": 96,
            "views": 1,
            "head_epochs": 12,
            "head_learning_rate": 0.1,
            "epochs": 1,
            "learning_rate": 1e-4,
        }
    }

    class Config(ConvNetConfig):
        """The published code's settings."""

        backbone: str = Field(default="vgg16.tv_in1k", description="the network that knows what images show")
        scnn: str = Field(
            default="official", description="the network that knows distortions: official, a file, demo or none"
        )
        crop: int = Field(default=448, ge=32, description="side of the random part of an image in training, in pixels")
        batch_size: int = Field(default=8, ge=1, description="images per step")
        weight_decay: float = Field(default=5e-4, ge=0, description="in both stages")
        views: int = Field(
            default=4,
            ge=1,
            description="random views of each image in the first stage, which take 256 KiB of disk each",
        )
        head_epochs: int = Field(default=50, ge=1, description="of the first stage, which trains the head alone")
        head_learning_rate: float = Field(default=1e-3, gt=0, description="of SGD with momentum 0.9, first stage")
        epochs: int = Field(default=50, ge=1, description="of the second stage, which trains everything")
        learning_rate: float = Field(default=1e-5, gt=0, description="of Adam, second stage")

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """Those of both networks, fetched if they may be.

        Raises:
            WeightsUnavailableError: Either is missing; the stand-ins of all that are missing are named together.
        """
        assert isinstance(config, DBCNN.Config)
        found: list[Weights] = []
        missing: list[WeightsUnavailableError] = []
        for resolve, spec in ((resolve_convnet, config.backbone), (resolve_scnn, config.scnn)):
            try:
                found += resolve(spec, context.offline).weights
            except WeightsUnavailableError as error:
                missing.append(error)
        if missing:
            replaceable = all(error.stand_in for error in missing)
            stand_in = {name: value for error in missing for name, value in error.stand_in.items()}
            raise WeightsUnavailableError("; ".join(map(str, missing)), stand_in if replaceable else None)
        return tuple(found)

    @classmethod
    def weights_to_predict(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """None, because they are part of what is saved; a stand-in alone stays, for its name."""
        assert isinstance(config, DBCNN.Config)
        backbone = resolve_convnet(config.backbone, context.offline) if untrained(config.backbone).stand_in else None
        scnn = resolve_scnn(config.scnn, context.offline) if untrained_scnn(config.scnn).stand_in else None
        return tuple(weights for part in (backbone, scnn) if part is not None for weights in part.weights)

    def build(self) -> BilinearCNN:
        """Both networks with their weights, and a head that is drawn.

        A network without weights is drawn from the seed that the repeats share, as they share its features.

        Raises:
            ConfigError: The backbone takes images of one size only.
        """
        return self._network(*self._resolved())

    def blank(self) -> BilinearCNN:
        """The same without a look at any weight file."""
        return self._network(untrained(self.config.backbone), untrained_scnn(self.config.scnn))

    def _resolved(self) -> tuple[ResolvedConvNet, ResolvedSCNN]:
        config, offline = self.config, self.context.offline
        return resolve_convnet(config.backbone, offline), resolve_scnn(config.scnn, offline)

    def _network(self, backbone: ResolvedConvNet, scnn: ResolvedSCNN) -> BilinearCNN:
        if backbone.fixed_size is not None:
            raise ConfigError(
                f"{self.name}: {backbone.spec} takes images of one size only, and whole images are scored here: "
                "take a convolutional backbone, e.g. vgg16.tv_in1k"
            )
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(derive_seed(self.context.shared_seed, self.name, "weights"))
            parts = build_convnet(backbone, features_only=True), build_scnn(scnn)
        return BilinearCNN(*parts, scnn.widths[-1]).to(self.context.device)

    def train(self, network: nn.Module, target: str, train: Samples, validation: Samples | None) -> History:
        """Train the head on features, then everything on crops, by mean squared error to the raw MOS."""
        assert isinstance(network, BilinearCNN)
        require_minimum_size(train.images, train.names, _STRIDE, self.name)
        head = self._train_head(network, target, train, validation)
        everything = self._train_everything(network, target, train, validation)
        return [{"stage": stage} | entry for stage, part in ((1.0, head), (2.0, everything)) for entry in part]

    def _train_head(self, network: BilinearCNN, target: str, train: Samples, validation: Samples | None) -> History:
        config, context = self.config, self.context
        features = self._view_features(network.eval(), train.images.everything)

        def seen(positions: Positions, epoch: int) -> torch.Tensor:
            view = features.epoch(1 + epoch % config.views)
            return torch.from_numpy(view[train.rows[positions]]).to(context.device)

        held_back = None
        if validation is not None:
            whole_images = torch.from_numpy(features.epoch(0)[validation.rows]).to(context.device)
            held_back = (lambda: numbers_of(network.head, whole_images)), validation.mos_of(target)
        learner = RegressionLearner(network.head, seen, self._mos(train, target), F.mse_loss, held_back=held_back)
        recipe = Recipe(
            config.head_epochs, config.batch_size, config.head_learning_rate, "sgd", weight_decay=config.weight_decay
        )
        validate = validation is not None
        return run_training(learner, len(train), recipe, context, validate=validate, name=f"{target}-head")

    def _train_everything(
        self, network: BilinearCNN, target: str, train: Samples, validation: Samples | None
    ) -> History:
        config, context = self.config, self.context
        crops = _Crops(train.images, train.rows, config.crop, context.seed, context.device)
        held_back = None
        if validation is not None:
            held_back = (lambda: self.score(network, validation)), validation.mos_of(target)
        learner = _CropLearner(network, crops, self._mos(train, target), held_back)
        recipe = Recipe(config.epochs, config.batch_size, config.learning_rate, weight_decay=config.weight_decay)
        validate = validation is not None
        return run_training(learner, len(train), recipe, context, validate=validate, name=target)

    def score(self, network: nn.Module, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS of whole images, float64 (n,)."""
        images = samples.images
        require_minimum_size(images, samples.names, _STRIDE, self.name)
        pixels = open_pixels(images, self.context.device)
        found = self._compute(network, lambda positions: whole(pixels, positions), images.sizes, "scoring images")
        return found.double().numpy()

    def _compute(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        cut: Callable[[Positions], torch.Tensor],
        sizes: npt.NDArray[np.int64],
        what: str,
    ) -> torch.Tensor:
        """What a network makes of images or parts of them, of any `sizes` (n, 2), float32 (n, ...) on the CPU."""
        context = self.context
        groups = of_one_size(sizes)

        def outputs(group: Positions) -> Callable[[Positions], torch.Tensor]:
            def compute(chosen: Positions) -> torch.Tensor:
                with arithmetic(context.device, context.precision):
                    return network(cut(group[chosen]))

            return compute

        size = context.batch_size or self.config.batch_size
        parts = [
            in_batches(outputs(group), len(group), size, context.device, context.progress, what) for group in groups
        ]
        found = torch.empty((len(sizes), *parts[0].shape[1:]))
        for group, part in zip(groups, parts, strict=True):
            found[torch.from_numpy(group)] = part
        return found

    def _view_features(self, network: BilinearCNN, everything: Images) -> ViewFeatures:
        """Features of all images of the data set, shared by targets and repeats: 0 whole, from 1 on random views.

        The views' seed is that of the run, not of the repeat. No rating has a part in them.
        """
        config, context = self.config, self.context
        rows = np.arange(len(everything))
        crops = _Crops(everything, rows, config.crop, context.shared_seed, context.device)

        def encode(view: int) -> npt.NDArray[np.float32]:
            what = f"computing the features of view {view}/{config.views}" if view else "computing features"
            if view:
                return self._compute(network.features, lambda chosen: crops(chosen, view), crops.sizes, what).numpy()
            pixels = crops.pixels
            return self._compute(network.features, lambda chosen: whole(pixels, chosen), pixels.sizes, what).numpy()

        backbone, scnn = self._resolved()
        parts = {
            "images": everything.fingerprint,
            "backbone": (backbone.architecture, backbone.digest, backbone.mean, backbone.std),
            "scnn": (scnn.widths, scnn.digest),
            "code": source_digest([Path(__file__), *(Path(str(module.__file__)) for module in _BEHIND_FEATURES)]),
            "libraries": [version(library) for library in ("torch", "timm", "open_clip_torch", "Pillow")],
            "seed": context.shared_seed,
            "crop": config.crop,
            "precision": context.precision,
            "device": torch.device(context.device).type,
        }
        return ViewFeatures(parts, encode)

    def _mos(self, samples: Samples, target: str) -> torch.Tensor:
        return torch.from_numpy(samples.mos_of(target)).float().to(self.context.device)


class _Crops:
    """Square parts at random places, half of them mirrored; an image with a shorter side is whole along that side.

    Attributes:
        pixels: The whole images.
        sizes: Height and width of each image's part, (n, 2).
    """

    def __init__(self, images: Images, rows: Positions, side: int, seed: int, device: str) -> None:
        self.pixels = open_pixels(images, device)
        self.sizes = np.minimum(self.pixels.sizes, side)
        self._rows, self._seed = rows, seed

    def __call__(self, positions: Positions, epoch: int) -> torch.Tensor:
        """Parts of one size, uint8 (b, 3, h, w)."""
        uniform = views.draws(self._seed, epoch, self._rows[positions], 3)
        shapes = self.sizes[positions]
        corners = np.floor(uniform[:, :2] * (self.pixels.sizes[positions] - shapes + 1)).astype(np.int64)
        parts = self.pixels.crops(positions, np.concatenate([corners, shapes], axis=1))
        return views.mirrored(parts, uniform[:, 2] < 0.5)


class _CropLearner(RegressionLearner):
    """Mean squared error on crops, which go through the network together where they have one size."""

    def __init__(
        self,
        network: BilinearCNN,
        crops: _Crops,
        mos: torch.Tensor,
        held_back: tuple[Callable[[], npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None,
    ) -> None:
        super().__init__(network, crops, mos, F.mse_loss, held_back=held_back)
        self._sizes = crops.sizes

    def loss(self, positions: Positions, epoch: int, shared: Shared) -> torch.Tensor:
        groups = of_one_size(self._sizes[positions])
        losses = [super(_CropLearner, self).loss(positions[group], epoch, shared) * len(group) for group in groups]
        return torch.stack(losses).sum() / len(positions)
