"""CLIP-AGIQA of Tang et al. (2024): a regressor on a frozen CLIP's image feature and six learnt text features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

import agiqa_bench.backbones.blocks
import agiqa_bench.backbones.clip
import agiqa_bench.backbones.vision
import agiqa_bench.data.images
import agiqa_bench.seeds
import agiqa_bench.training.memory
import agiqa_bench.training.pixels
import agiqa_bench.training.precision
import agiqa_bench.training.views
from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.backbones.frozen import View, stored_features
from agiqa_bench.backbones.method import ClipConfig, ClipMethod
from agiqa_bench.backbones.text import ContextTexts, require_plain_text
from agiqa_bench.data.samples import Samples
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.errors import AgiqaError
from agiqa_bench.method import Context
from agiqa_bench.training import views
from agiqa_bench.training.learner import Learner, Shared, agreement
from agiqa_bench.training.loop import seed_weights, train_together
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.per_target import PerTarget
from agiqa_bench.training.pixels import Pixels, open_pixels
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.threads import threads_for
from agiqa_bench.training.view_features import ViewFeatures

_BEHIND_FEATURES = (
    agiqa_bench.backbones.blocks,
    agiqa_bench.backbones.clip,
    agiqa_bench.backbones.vision,
    agiqa_bench.data.images,
    agiqa_bench.seeds,
    agiqa_bench.training.memory,
    agiqa_bench.training.pixels,
    agiqa_bench.training.precision,
    agiqa_bench.training.views,
)
"""Modules whose code can change the features of a view."""

_VIEWS_AT_ONCE = 128

Share = Annotated[float, Field(gt=0, le=1)]

CATEGORIES = ("terrible", "bad", "poor", "average", "good", "perfect")


class CLIPAGIQATang(ClipMethod, PerTarget):
    """Multi-category learnable prompts and regression (ICPR 2024; arXiv 2408.15098).

    Both encoders of a CLIP are frozen. Learnt are 16 context vectors before six category words, and a regressor on the
    image feature and the six text features, one model per target. The image's prompt is not an input.
    """

    name = "clip_agiqa_tang"
    title = "CLIP-AGIQA (Tang et al.)"
    summary = "learnt context of six category words and a regressor on a frozen CLIP"
    targets = ("quality", "authenticity")
    selects_epoch = True
    trains_together = 10
    keeps_features = True
    groups = ("proposed",)
    citation = """@inproceedings{tang2024clipagiqa,
  title = {{CLIP-AGIQA}: Boosting the Performance of {AI}-Generated Image Quality Assessment with {CLIP}},
  author = {Tang, Zhenchen and Wang, Zichuan and Peng, Bo and Dong, Jing},
  booktitle = {International Conference on Pattern Recognition},
  year = {2024},
  note = {arXiv:2408.15098}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-vit",
            "n_ctx": 8,
            "hidden": 128,
            "dropout": 0.1,
            "epochs": 20,
            "learning_rate": 0.02,
            "scale": (0.5, 1.0),
        }
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "full": {},
        "without learnt context": {"n_ctx": 0},
    }

    class Config(ClipConfig):
        """The paper's settings."""

        backbone: str = Field(default="ViT-B-16:openai", description="the CLIP")
        n_ctx: int = Field(default=16, ge=0, description="context vectors that all categories share; 0: words alone")
        categories: tuple[str, ...] = Field(default=CATEGORIES, min_length=1, description="words of the text features")
        hidden: int = Field(default=512, ge=1, description="width of the regressor's hidden layer")
        dropout: float = Field(default=0.5, ge=0, lt=1, description="before both layers of the regressor")
        epochs: int = Field(default=100, ge=1, description="the first one warms up")
        batch_size: int = Field(
            default=32, ge=1, description="images per step; a last batch that is not full is left out"
        )
        learning_rate: float = Field(default=0.002, gt=0, description="of SGD with momentum 0.9, cosine schedule")
        weight_decay: float = Field(default=5e-4, ge=0, description="on context and regressor")
        warm_up_rate: float = Field(default=1e-5, gt=0, description="learning rate of the first epoch")
        scale: tuple[Share, Share] = Field(default=(0.08, 1.0), description="share of the area that a crop keeps")

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        """Train one model per target by SGD on the raw MOS; the epoch with the best SRCC on `validation` is kept."""
        (failure,) = self.fit_together([self], [(train, validation)])
        if failure is not None:
            raise failure
        return self

    @classmethod
    def fit_together(
        cls, methods: Sequence[Self], parts: Sequence[tuple[Samples, Samples | None]]
    ) -> Sequence[AgiqaError | None]:
        """Train the models of several repeats side by side: the text tower sees the contexts of all in one pass."""
        first, context = methods[0], methods[0].context
        failures: list[AgiqaError | None] = [None] * len(methods)
        for method in methods:
            method.networks.clear()
            method.history = []
        with threads_for(first.clip().model):
            views_of_all = first._view_features(parts[0][0])
            for column, target in enumerate(context.targets):
                going = [number for number, failure in enumerate(failures) if failure is None]
                learners = []
                for number in going:
                    method, (train, validation) = methods[number], parts[number]
                    seed_weights(method.context, target)
                    network = method.networks[target] = method.build()
                    held_back = None if validation is None else method._image_features(validation)
                    learner = _RegressionLearner(network, target, train, views_of_all, validation, held_back, context)
                    learners.append(learner)
                outcomes = train_together(
                    learners,
                    [len(parts[number][0]) for number in going],
                    first._recipe,
                    [methods[number].context for number in going],
                    cls.trains_together,
                    validate=parts[0][1] is not None,
                    name=target,
                )
                for number, outcome in zip(going, outcomes, strict=True):
                    if isinstance(outcome, AgiqaError):
                        failures[number] = outcome
                    else:
                        methods[number].history += [{"target": float(column)} | entry for entry in outcome]
        return failures

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS of each target, float64 (n, n_targets)."""
        with threads_for(self.clip().model):
            features = self._image_features(samples)
            return np.stack([_scores(self.networks[target], features) for target in self.context.targets], axis=1)

    @property
    def _recipe(self) -> Recipe:
        config = self.config
        return Recipe(
            config.epochs,
            config.batch_size,
            config.learning_rate,
            "sgd",
            weight_decay=config.weight_decay,
            schedule="cosine",
            warm_up_epochs=1,
            warm_up_rate=config.warm_up_rate,
            drop_last=True,
        )

    def build(self) -> CategoryRegressor:
        """Context and regressor of one target."""
        clip = self.clip()
        require_plain_text(clip.model, clip.tokenizer, self.name)
        return CategoryRegressor(clip, self.config).to(clip.device)

    def _image_features(self, samples: Samples) -> torch.Tensor:
        """Features of whole images, the shorter side resized and the middle cut out, (n, width), length 1 each.

        Those of all images of the data set are computed once, for all repeats and runs.
        """
        clip, context = self.clip(), self.context
        features = stored_features(clip, samples.images, View(), context, self.name)[samples.rows]
        return torch.from_numpy(features).to(context.device)

    def _view_features(self, samples: Samples) -> ViewFeatures:
        """Features of the training views of all images of the data set, shared by targets and repeats.

        The views' seed is that of the run, not of the repeat. No rating has a part in them.
        """
        clip, config, context = self.clip(), self.config, self.context
        everything = samples.images.everything
        pixels = open_pixels(everything, context.device)
        rows = np.arange(len(everything))
        preprocess = clip.resolved.preprocess
        batch = context.batch_size or _VIEWS_AT_ONCE

        def encode(epoch: int) -> npt.NDArray[np.float32]:
            uniform = views.draws(context.shared_seed, epoch, rows, 23)
            boxes = views.random_resized_crops(uniform[:, :22], pixels.sizes, config.scale)

            def features(positions: npt.NDArray[np.int64]) -> torch.Tensor:
                shown = _shown(pixels, positions, boxes[positions], preprocess.size)
                images = views.mirrored(shown, uniform[positions, 22] < 0.5)
                with arithmetic(context.device, context.precision):
                    found = clip.features(views.normalized(images, preprocess.mean, preprocess.std))
                return F.normalize(found.float(), dim=-1)

            what = f"encoding the views of epoch {epoch + 1}/{config.epochs}"
            return in_batches(features, len(rows), batch, context.device, context.progress, what).numpy()

        code = source_digest([Path(__file__), *(Path(str(module.__file__)) for module in _BEHIND_FEATURES)])
        parts = {
            "images": everything.fingerprint,
            "architecture": clip.resolved.architecture,
            "weights": clip.resolved.digest,
            "preprocess": preprocess,
            "code": code,
            "libraries": [version(library) for library in ("torch", "torchvision", "open_clip_torch", "Pillow")],
            "seed": context.shared_seed,
            "scale": config.scale,
            "batch": batch,
            "precision": context.precision,
            "device": torch.device(context.device).type,
        }
        return ViewFeatures(parts, encode)


class CategoryRegressor(nn.Module):
    """Text features of the categories behind learnt vectors, and an MLP on them and the image feature (section 3).

    1,844,225 parameters on ViT-B/16.
    """

    def __init__(self, clip: ClipBackbone, config: CLIPAGIQATang.Config) -> None:
        """Draw context from N(0, 0.02), as CoOp does, and the regressor as torch does."""
        super().__init__()
        width = clip.model.positional_embedding.shape[1]
        self.context = nn.Parameter(0.02 * torch.randn(config.n_ctx, width)) if config.n_ctx else None
        phrases = [f"{category}." for category in config.categories]
        self._texts = ContextTexts(clip.model, clip.tokenizer, phrases, config.n_ctx)
        self.regressor = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(clip.width * (1 + len(phrases)), config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, 1),
        )

    def texts(self) -> torch.Tensor:
        """Features of the categories, each of length 1, one after another: (categories * width,)."""
        return F.normalize(self._texts.encode(self.context), dim=-1).flatten()

    @staticmethod
    def texts_of(networks: Sequence[CategoryRegressor]) -> Sequence[torch.Tensor]:
        """`texts` of networks with the same CLIP and categories, in one pass of its text tower."""
        contexts = [network.context for network in networks if network.context is not None]
        if not contexts:
            return [network.texts() for network in networks]
        return list(F.normalize(networks[0]._texts.encode_together(contexts), dim=-1).flatten(1))

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Predicted MOS (n,) of image features (n, width) of length 1, with `texts`."""
        # In float32 whatever the precision: bfloat16 knows eight bits, and scores that are rounded so are tied.
        with torch.autocast(images.device.type, enabled=False):
            both = torch.cat([images, texts.float().expand(len(images), -1)], dim=1)
            return self.regressor(both)[:, 0]  # type: ignore[no-any-return]


def _shown(pixels: Pixels, positions: npt.NDArray[np.int64], boxes: npt.NDArray[np.int64], size: int) -> torch.Tensor:
    """A part of each image at size x size, uint8 (b, 3, size, size): all at once where that is faster."""
    images = pixels.at_once(positions)
    if images is not None:
        return views.resized_batch(images, boxes, size)
    pairs = zip(positions, boxes, strict=True)
    return torch.stack([views.resized(pixels.image(int(position)), box, size) for position, box in pairs])


def _scores(network: Any, features: torch.Tensor) -> npt.NDArray[np.float64]:
    with torch.inference_mode():
        found: npt.NDArray[np.float64] = network(features, network.texts()).double().cpu().numpy()
    return found


class _RegressionLearner(Learner):
    """Mean squared error to the raw MOS of one target."""

    model: CategoryRegressor

    def __init__(
        self,
        network: CategoryRegressor,
        target: str,
        samples: Samples,
        features: ViewFeatures,
        validation: Samples | None,
        held_back: torch.Tensor | None,
        context: Context,
    ) -> None:
        self.model = network
        self._features, self._rows, self._device = features, samples.rows, context.device
        self._mos = torch.from_numpy(samples.mos_of(target)).float().to(context.device)
        self._held_back = held_back
        self._wanted = None if validation is None else validation.mos_of(target)

    def shared(self) -> Shared:
        return {"texts": self.model.texts()}

    @classmethod
    def shared_of(cls, learners: Sequence[Self]) -> Sequence[Shared]:
        return [{"texts": texts} for texts in CategoryRegressor.texts_of([learner.model for learner in learners])]

    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:
        rows = torch.from_numpy(self._rows[positions]).to(self._device)
        images = self._features.tensor(epoch, self._device)[rows]
        return F.mse_loss(self.model(images, shared["texts"]), self._mos[torch.from_numpy(positions).to(self._device)])

    def validate(self) -> float | None:
        assert self._held_back is not None
        assert self._wanted is not None
        return agreement(_scores(self.model, self._held_back)[:, None], self._wanted[:, None])
