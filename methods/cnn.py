"""An image backbone fine-tuned on the MOS: ResNet50 with and without ImageNet, or any other model of timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.convnet import ConvNet, ConvNetConfig, ConvNetMethod, untrained
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context, MethodConfig, Weights
from agiqa_bench.training import views
from agiqa_bench.training.loop import History
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.per_target import RegressionLearner
from agiqa_bench.training.pixels import open_pixels
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import OptimiserName, Recipe

NOT_PUBLISHED = "settings of this row were not published; "


class CNN(ConvNetMethod):
    """A regressor on the pooled features of a backbone, all of it trained, one network per target.

    The defaults are IP-IQA's recipe for its own network (Coobiw/IP-IQA): both sides 512 pixels, mirror images, AdamW at
    a constant rate, mean squared error to the raw MOS. The ablation "TIER's recipe" is the only published one for such
    a network on generated images (jiquan123/TIER, TIER-NR, without its text features).
    """

    name = "cnn"
    title = "CNN"
    summary = "any image backbone of timm, fine-tuned"
    targets = ("quality", "authenticity")
    selects_epoch = True
    groups = ("deep",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"resize": 64, "epochs": 3, "batch_size": 16, "learning_rate": 2e-4, "head_factor": 30.0}
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "IP-IQA's recipe": {},
        "TIER's recipe": {
            "resize": 256,
            "crop": 224,
            "head": "mlp",
            "optimiser": "adam",
            "learning_rate": 1e-4,
            "weight_decay": 1e-5,
            "batch_size": 8,
            "drop_last": False,
        },
    }

    class Config(ConvNetConfig):
        """IP-IQA's recipe."""

        backbone: str = Field(
            default="",
            description="architecture.tag of timm, architecture:FILE, architecture:none (random weights) or demo-rn",
        )
        resize: int = Field(default=512, ge=32, description="both sides of the image, in pixels")
        crop: int | None = Field(
            default=None, ge=32, description="side of a random part to learn from, and of the middle that is scored"
        )
        head: Literal["linear", "mlp"] = Field(
            default="linear", description="mlp: a hidden layer of half the features' width before it, with ReLU"
        )
        head_factor: float = Field(default=1.0, gt=0, description="on the head's learning rate")
        epochs: int = Field(default=100, ge=1, description="passes over the training part")
        batch_size: int = Field(default=32, ge=1, description="images per step")
        optimiser: OptimiserName = Field(default="adamw", description="adamw, adam or sgd")
        learning_rate: float = Field(default=1e-5, gt=0, description="constant")
        weight_decay: float = Field(default=0.0, ge=0, description="on every parameter")
        drop_last: bool = Field(default=True, description="leave out a last batch that is not full")

        @model_validator(mode="after")
        def _crop_fits(self) -> CNN.Config:
            if self.crop is not None and self.crop > self.resize:
                raise ValueError(f"crop={self.crop} is larger than the image, resize={self.resize}")
            return self

        @property
        def side(self) -> int:
            """Of what the network sees, in pixels."""
            return self.crop or self.resize

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """Without a backbone there is no method."""
        assert isinstance(config, cls.Config)
        return None if config.backbone else "names no backbone: e.g. cnn[backbone=convnext_tiny.fb_in1k]"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The backbone's, fetched if they may be."""
        assert isinstance(config, cls.Config)
        return super().weights(config, context) if config.backbone else ()

    def build(self) -> Regressor:
        """Backbone and head.

        Raises:
            ConfigError: The backbone takes images of another size only.
        """
        self._require_size()
        return self._with_head(self.convnet())

    def blank(self) -> Regressor:
        """Without the backbone's weights."""
        return self._with_head(self.convnet(blank=True))

    def train(self, network: nn.Module, target: str, train: Samples, validation: Samples | None) -> History:
        """Least squares on the raw MOS; the epoch with the best SRCC on `validation` is kept."""
        assert isinstance(network, Regressor)
        config, context = self.config, self.context
        views_of = _Views(self, network, train)

        def mirrored_crops(positions: npt.NDArray[np.int64], epoch: int) -> torch.Tensor:
            return views_of.drawn(positions, views.draws(context.seed, epoch, train.rows[positions], 3))

        held_back = None
        if validation is not None:
            held_back = (lambda: self.score(network, validation)), validation.mos_of(target)
        learner = RegressionLearner(
            network,
            mirrored_crops,
            torch.from_numpy(train.mos_of(target)).float().to(context.device),
            F.mse_loss,
            held_back=held_back,
            groups=[(1.0, network.backbone.parameters()), (config.head_factor, network.head.parameters())],
        )
        recipe = Recipe(
            config.epochs,
            config.batch_size,
            config.learning_rate,
            config.optimiser,
            weight_decay=config.weight_decay,
            drop_last=config.drop_last,
        )
        return run_training(learner, len(train), recipe, context, validate=validation is not None, name=target)

    def score(self, network: nn.Module, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS of whole images, or of their middle, float64 (n,)."""
        assert isinstance(network, Regressor)
        context = self.context
        views_of = _Views(self, network, samples)

        def predict(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                return network(views_of.middle(positions))  # type: ignore[no-any-return]

        size = 2 * (context.batch_size or self.config.batch_size)
        found = in_batches(predict, len(samples), size, context.device, context.progress)
        return np.asarray(found.double().numpy(), dtype=np.float64)

    def _with_head(self, backbone: ConvNet) -> Regressor:
        return Regressor(backbone, self.config.head).to(self.context.device)

    def _require_size(self) -> None:
        fixed = untrained(self.config.backbone).fixed_size
        if fixed is not None and fixed != self.config.side:
            raise ConfigError(
                f"{self.name}: {self.config.backbone} takes images of {fixed} x {fixed} pixels only: "
                f"set resize={fixed}, or crop={fixed} with a larger resize"
            )


class ResNet50(CNN):
    """ResNet50 with torchvision's weights of ImageNet: the row ResNet50* of IP-IQA's Table 1.

    Its settings are not in the paper, and its code has no baselines; IP-IQA's own recipe is the likeliest.
    """

    name = "resnet50"
    title = "ResNet50*"
    summary = "ResNet50 pretrained on ImageNet, fine-tuned"
    citation = """@inproceedings{he2016resnet,
  title = {Deep Residual Learning for Image Recognition},
  author = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  pages = {770--778},
  year = {2016}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-rn",
            "resize": 64,
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 2e-4,
            "head_factor": 30.0,
        }
    }

    class Config(CNN.Config):
        """IP-IQA's recipe."""

        backbone: str = Field(
            default="resnet50.tv_in1k", description="architecture.tag of timm, architecture:FILE or demo-rn"
        )

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """Say where the recipe is from."""
        return NOT_PUBLISHED + ("IP-IQA's own recipe is used" if _by_default(config) else "nor are these IP-IQA's own")


class ResNet50Scratch(CNN):
    """ResNet50 without pretraining: the row ResNet50 of IP-IQA's Table 1.

    Its settings are not in the paper, and its code has no baselines. A rate for fine-tuning leaves random weights
    about where they are: ten times IP-IQA's is taken.
    """

    name = "resnet50_scratch"
    title = "ResNet50"
    summary = "ResNet50 trained from random weights"
    citation = """@inproceedings{he2016resnet,
  title = {Deep Residual Learning for Image Recognition},
  author = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  pages = {770--778},
  year = {2016}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-rn:none",
            "resize": 32,
            "epochs": 4,
            "batch_size": 16,
            "learning_rate": 3e-4,
            "head_factor": 10.0,
        }
    }

    class Config(CNN.Config):
        """IP-IQA's recipe with another learning rate."""

        backbone: str = Field(default="resnet50:none", description="architecture:none, or demo-rn:none")
        learning_rate: float = Field(default=1e-4, gt=0, description="constant")

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """Say where the recipe is from."""
        recipe = "IP-IQA's own recipe with ten times its learning rate is used"
        return NOT_PUBLISHED + (recipe if _by_default(config) else "nor are these IP-IQA's own")


def _by_default(config: MethodConfig) -> bool:
    """Whether a row is trained by its method's default recipe, whatever its backbone."""
    recipe = config.model_dump(exclude={"backbone"})
    return recipe == type(config)().model_dump(exclude={"backbone"})


class Regressor(nn.Module):
    """A backbone, and a head that turns its pooled features into one number; 23,510,081 parameters on ResNet50."""

    def __init__(self, backbone: ConvNet, head: Literal["linear", "mlp"]) -> None:
        """Put a head with random weights on a backbone."""
        super().__init__()
        width = backbone.width
        self.backbone = backbone
        self.head: nn.Module = nn.Linear(width, 1)
        if head == "mlp":
            self.head = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Predicted MOS (n,) of normalised images (n, 3, h, w)."""
        features = self.backbone(images)
        # In float32 whatever the precision: bfloat16 knows eight bits, and scores that are rounded so are tied.
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())[:, 0]  # type: ignore[no-any-return]


class _Views:
    """Images of some samples as a network takes them, float32 (b, 3, side, side)."""

    def __init__(self, method: CNN, network: Regressor, samples: Samples) -> None:
        config: CNN.Config = method.config
        images = samples.images.at(config.resize, resize="exact", crop="none")
        self._pixels = open_pixels(images, method.context.device)
        self._network, self._side, self._margin = network, config.side, config.resize - config.side

    def drawn(self, positions: npt.NDArray[np.int64], uniform: npt.NDArray[np.float64]) -> torch.Tensor:
        """Parts at random places, half of them mirrored; `uniform` (b, 3) in [0, 1)."""
        boxes = views.random_crops(uniform[:, :2], self._pixels.sizes[positions], self._side)
        return self._normalized(views.mirrored(self._pixels.crops(positions, boxes), uniform[:, 2] < 0.5))

    def middle(self, positions: npt.NDArray[np.int64]) -> torch.Tensor:
        """Parts in the middle."""
        # Python's round takes halves to the even number, as in torchvision's CenterCrop.
        corner = round(self._margin / 2)
        boxes = np.tile(np.array([corner, corner, self._side, self._side]), (len(positions), 1))
        return self._normalized(self._pixels.crops(positions, boxes))

    def _normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        return views.normalized(pixels, self._network.backbone.mean, self._network.backbone.std)
