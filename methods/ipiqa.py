"""IP-IQA (Qu et al. 2024): an image and its prompt together, through CLIP's two encoders and a cross-modality pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.checkpoint import file_digest
from agiqa_bench.backbones.method import ClipConfig, ClipMethod
from agiqa_bench.backbones.text import DistinctPrompts
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import CheckpointError, WeightsUnavailableError
from agiqa_bench.method import Context, MethodConfig, Weights
from agiqa_bench.methods.image2prompt import Image2Prompt, pretrain, read_encoder
from agiqa_bench.methods.ipiqa_network import IPIQANetwork
from agiqa_bench.parameters import ParameterCounts, count_parameters
from agiqa_bench.training import views
from agiqa_bench.training.learner import Learner, Shared, agreement
from agiqa_bench.training.loop import seed_weights
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.pixels import Pixels, open_pixels, whole
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.threads import threads_for

ON_TRAINING_PART = "Image2Prompt on the training part"


class IPIQA(ClipMethod):
    """Bringing textual prompt to AI-generated image quality assessment (ICME 2024; arXiv 2403.18714).

    The image encoder of a CLIP is fine-tuned. Its last feature map is read twice: by CLIP's own attention pool, and by
    a second pool that the embedding of the image's prompt asks (integral prompt). The prompt's embedding is read at a
    learnt token, [QA]. A head predicts all targets together from both. On a Vision Transformer the patch tokens are the
    feature map, and the class token stands for CLIP's own pool.
    """

    name = "ipiqa"
    title = "IP-IQA"
    summary = "CLIP image encoder fine-tuned, with a cross-modality pool asked by the prompt"
    targets = ("quality", "alignment")
    uses_prompt = True
    selects_epoch = True
    groups = ("proposed",)
    citation = """@inproceedings{qu2024ipiqa,
  title = {Bringing Textual Prompt to {AI}-Generated Image Quality Assessment},
  author = {Qu, Bowen and Li, Haohui and Gao, Wei},
  booktitle = {IEEE International Conference on Multimedia and Expo},
  year = {2024},
  note = {arXiv:2403.18714}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-rn",
            "resolution": 64,
            "epochs": 5,
            "batch_size": 16,
            "learning_rate": 3e-5,
            "head_factor": 100.0,
            "pool_init": "clip",
            "image2prompt_epochs": 2,
            "image2prompt_rate": 1e-4,
            "image2prompt_threshold": 0.0,
        }
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "CLIP regressor": {"image2prompt": False, "integral_prompt": False, "qa_token": False},
        "Image2Prompt": {"image2prompt": True, "integral_prompt": False, "qa_token": False},
        "integral prompt": {"image2prompt": False, "integral_prompt": True, "qa_token": False},
        "Image2Prompt + integral prompt": {"image2prompt": True, "integral_prompt": True, "qa_token": False},
        "all with [QA]": {"image2prompt": True, "integral_prompt": True, "qa_token": True},
    }

    class Config(ClipConfig):
        """The paper's settings; what depends on `variant` is None and may be set."""

        variant: Literal["paper", "official"] = Field(
            default="paper",
            description="official: AdamW, head rate x10, MLP head, batch 32, and the token table, text positions and "
            "text projection learn in place of [QA]",
        )
        backbone: str = Field(default="RN50:openai", description="the CLIP")
        resolution: int = Field(default=512, ge=32, description="both sides of the image, in pixels")
        integral_prompt: bool = Field(default=True, description="the cross-modality pool asked by the prompt")
        qa_token: bool = Field(default=True, description="learn the token at which the prompt's embedding is read")
        image2prompt: bool = Field(default=False, description="begin with an image encoder pretrained on prompts")
        image2prompt_weights: str = Field(
            default="", description="its file; empty: pretrain on the training part's own images and prompts"
        )
        image2prompt_epochs: int = Field(default=5, ge=1, description="where it is pretrained here")
        image2prompt_rate: float = Field(default=1e-6, gt=0, description="learning rate of that; not published")
        image2prompt_threshold: float = Field(
            default=0.35, description="pairs with a lower cosine of CLIP's own features are left out of that"
        )
        head: Literal["linear", "mlp"] | None = Field(default=None, description="paper: linear; official: mlp")
        head_factor: float | None = Field(default=None, gt=0, description="on the head's rate; paper: 1, official: 10")
        pool_init: Literal["random", "clip"] = Field(
            default="random",
            description="clip: the cross-modality pool begins with CLIP's own projections, so that the prompt attends "
            "to the cells that CLIP finds like it; neither paper nor official code do that",
        )
        pool_factor: float = Field(
            default=1.0, gt=0, description="on the rate of the cross-modality pool, which starts at random too"
        )
        dropout: float = Field(default=0.5, ge=0, lt=1, description="before both layers of the mlp head")
        epochs: int = Field(default=100, ge=1, description="passes over the training part")
        batch_size: int | None = Field(default=None, ge=1, description="images per step; paper: 40, official: 32")
        learning_rate: float = Field(default=1e-5, gt=0, description="constant")

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The CLIP that `config` names, fetched if it may be, and the image encoder of Image2Prompt."""
        assert isinstance(config, cls.Config)
        found = [*super().weights(config, context)]
        if config.image2prompt and config.image2prompt_weights:
            file = Path(config.image2prompt_weights).expanduser()
            if not file.is_file():
                raise WeightsUnavailableError(f"image2prompt_weights: {file} does not exist; name a file")
            found.append(Weights(f"Image2Prompt:{file.name}", file_digest(file)))
        elif config.image2prompt:
            found.append(Weights("Image2Prompt:training part", "", ON_TRAINING_PART))
        return tuple(found)

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """Say what the whole method lacks."""
        assert isinstance(config, cls.Config)
        if config.integral_prompt and config.qa_token and not config.image2prompt:
            return "without Image2Prompt, whose weights were not published"
        return ""

    @classmethod
    def weights_to_predict(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The CLIP alone: the image encoder is part of what is saved."""
        return super().weights(config, context)

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        """Fine-tune on the raw MOS of all targets together.

        The epoch with the largest SRCC + PLCC + KRCC on `validation`, summed over the targets, is kept.
        """
        config, official = self.config, self.config.variant == "official"
        recipe = Recipe(
            config.epochs,
            config.batch_size or (32 if official else 40),
            config.learning_rate,
            "adamw" if official else "adam",
            drop_last=official,
        )
        with threads_for(self.clip().model):
            encoder = self._encoder(train)
            # After the pretraining, which draws numbers only if it has not been finished before a kill.
            seed_weights(self.context)
            self._network = IPIQANetwork(self.clip(), config, len(self.context.targets), encoder)
            learner = _FineTuner(self, self._network, train, validation)
            self.history = run_training(learner, len(train), recipe, self.context, validate=validation is not None)
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS, float64 (n, n_targets)."""
        with threads_for(self.clip().model):
            return self._scores(_Inputs(self, self._network, samples))

    def attention(self, samples: Samples) -> npt.NDArray[np.float32] | None:
        """Attention of the cross-modality pool's heads over the image, (n, heads, side, side) (the paper's figure 3).

        A head's weights and the one of the mean token, which is left out, sum to 1. None without integral prompt.
        """
        network = self._network
        if network.cross_pool is None:
            return None
        inputs = _Inputs(self, network, samples)

        def weights(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            return network.attention(inputs.images(positions), inputs.texts(positions))

        found = in_batches(weights, len(samples), self._batch, self.context.device).numpy()
        side = round(found.shape[-1] ** 0.5)
        return np.asarray(found.reshape(*found.shape[:2], side, side), dtype=np.float32)

    def parameter_counts(self) -> ParameterCounts | None:
        """What is fine-tuned, and what is read of CLIP's own text encoder; its image encoder is there as a copy."""
        return count_parameters([self._network, self._network.frozen_text()], trained=True)

    def state(self) -> Mapping[str, torch.Tensor]:
        """The image encoder, both pools, the head, and what is learnt of the text encoder."""
        return self._network.state_dict()

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take over a fine-tuned network of the same settings."""
        self._network = IPIQANetwork(self.clip(), self.config, len(self.context.targets))
        try:
            self._network.load_state_dict(dict(state))
        except RuntimeError as error:
            raise CheckpointError(f"{self.name}: the saved tensors do not fit these settings and this CLIP") from error
        self._network.eval()
        return self

    @property
    def _batch(self) -> int:
        return self.context.batch_size or self.config.batch_size or 32

    def _encoder(self, train: Samples) -> Mapping[str, torch.Tensor] | None:
        """Weights of the image encoder behind Image2Prompt; None where training begins with CLIP's own."""
        config = self.config
        if not config.image2prompt:
            return None
        if config.image2prompt_weights:
            return read_encoder(Path(config.image2prompt_weights).expanduser())
        settings = Image2Prompt(
            epochs=config.image2prompt_epochs,
            batch_size=self._batch,
            learning_rate=config.image2prompt_rate,
            threshold=config.image2prompt_threshold,
        )
        return pretrain(self.clip(), train, settings, self.context)

    def _scores(self, inputs: _Inputs) -> npt.NDArray[np.float64]:
        network, context = self._network, self.context

        def score(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                return network(inputs.images(positions), inputs.texts(positions))  # type: ignore[no-any-return]

        found = in_batches(score, inputs.count, 2 * self._batch, context.device, context.progress)
        return np.asarray(found.double().numpy(), dtype=np.float64)


class _Inputs:
    """Images and prompts of some samples as a network takes them."""

    def __init__(self, method: IPIQA, network: IPIQANetwork, samples: Samples, *, learning: bool = False) -> None:
        """Open images and prompts; `learning`: the embeddings of prompts will change, and want gradients."""
        self.count = len(samples)
        self._network, self._context = network, method.context
        self._clip = method.clip()
        self._preprocess = self._clip.resolved.preprocess
        images = samples.images.at(method.config.resolution, resize="exact", crop="none")
        self._pixels: Pixels = open_pixels(images, method.context.device)
        self._wanted = network.cross_pool is not None
        if self._wanted:
            self._prompts = DistinctPrompts(self._clip.tokenizer, samples.prompts, self._clip.device)
            self._encoded = None if learning and network.learns_text else self._all_texts()

    def images(self, positions: npt.NDArray[np.int64], mirror: npt.NDArray[np.bool_] | None = None) -> torch.Tensor:
        """Normalised, (b, 3, resolution, resolution)."""
        pixels = whole(self._pixels, positions)
        if mirror is not None:
            pixels = views.mirrored(pixels, mirror)
        return views.normalized(pixels, self._preprocess.mean, self._preprocess.std)

    def texts(self, positions: npt.NDArray[np.int64]) -> torch.Tensor | None:
        """Embeddings of the prompts, (b, width); each distinct prompt is encoded once."""
        if not self._wanted:
            return None
        if self._encoded is not None:
            return self._encoded[torch.from_numpy(self._prompts.number[positions]).to(self._encoded.device)]
        distinct, places = np.unique(self._prompts.number[positions], return_inverse=True)
        return self._network.encode(self._prompts.batch(distinct))[torch.from_numpy(places)]

    def _all_texts(self) -> torch.Tensor:
        def encode(numbers: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(self._context.device, self._context.precision):
                return self._network.encode(self._prompts.batch(numbers))

        encoded = in_batches(encode, self._prompts.count, 256, self._context.device, what="encoding prompts")
        return encoded.to(self._context.device)


class _FineTuner(Learner):
    """Mean squared error to the raw MOS of all targets; images mirrored with probability 0.5."""

    model: IPIQANetwork

    def __init__(self, method: IPIQA, network: IPIQANetwork, samples: Samples, validation: Samples | None) -> None:
        self.model = network
        self._method, self._validation = method, validation
        self._seed, self._rows = method.context.seed, samples.rows
        self._inputs = _Inputs(method, network, samples, learning=True)
        self._mos = torch.from_numpy(samples.mos).float().to(method.context.device)

    def groups(self) -> Iterable[tuple[float, Iterable[nn.Parameter]]]:
        fresh: list[tuple[float, nn.Module]] = [(self.model.head_factor, self.model.head)]
        if self.model.cross_pool is not None:
            fresh.append((self._method.config.pool_factor, self.model.cross_pool))
        apart = {parameter for _, part in fresh for parameter in part.parameters()}
        body = [parameter for parameter in self.model.parameters() if parameter not in apart]
        return [(1.0, body), *((factor, part.parameters()) for factor, part in fresh)]

    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:  # noqa: ARG002
        mirror = views.draws(self._seed, epoch, self._rows[positions], 1)[:, 0] < 0.5
        scores = self.model(self._inputs.images(positions, mirror), self._inputs.texts(positions))
        return F.mse_loss(scores, self._mos[torch.from_numpy(positions).to(self._mos.device)])

    def save_memory(self) -> bool:
        return self.model.save_memory()

    def validate(self) -> float | None:
        assert self._validation is not None
        scores = self._method._scores(_Inputs(self._method, self.model, self._validation))
        return agreement(scores, self._validation.mos, sum_all=True)
