"""CLIP-AGIQA of Fu et al. (2024): quality by prompts in a frozen CLIP, guided by a second task, alignment."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.backbones.method import ClipConfig, ClipMethod
from agiqa_bench.backbones.text import ContextTexts, require_plain_text
from agiqa_bench.backbones.vision import encode_image, require_vit
from agiqa_bench.data.image_cache import Images, require_minimum_size
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import CheckpointError
from agiqa_bench.method import Context, MethodConfig
from agiqa_bench.parameters import ParameterCounts, count_parameters
from agiqa_bench.training import views
from agiqa_bench.training.learner import Learner, Shared, agreement
from agiqa_bench.training.loop import seed_weights
from agiqa_bench.training.loop import train as run_training
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.pixels import open_pixels
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.threads import threads_for

QUALITY_PHRASES = ("good photo.", "bad photo.")
ALIGNMENT_PHRASES = ("aligned photo.", "misaligned photo.")
AUXILIARY = "alignment"


class CLIPAGIQAFu(ClipMethod):
    """Vision-language consistency guided multi-modal prompt learning (IEEE Signal Processing Letters 2024).

    Learnable tokens at the input of every layer of both towers of a frozen CLIP; the score is the probability of "good
    photo" against "bad photo". Two tasks share the CLIP: quality, and alignment with classes "aligned photo" and
    "misaligned photo"; the visual tokens of the first are made from its own and those of the second. The image's prompt
    is not an input. Image size, depth and widths are the backbone's.
    """

    name = "clip_agiqa_fu"
    title = "CLIP-AGIQA (Fu et al.)"
    summary = "prompts at every layer of a frozen CLIP, guided by an alignment task"
    targets = ("quality",)
    selects_epoch = True
    groups = ("proposed",)
    citation = """@article{fu2024clipagiqa,
  title = {Vision-Language Consistency Guided Multi-modal Prompt Learning for Blind {AI} Generated Image Quality
           Assessment},
  author = {Fu, Jun and Zhou, Wei and Jiang, Qiuping and Liu, Hantao and Zhai, Guangtao},
  journal = {IEEE Signal Processing Letters},
  year = {2024},
  note = {arXiv:2406.16641}
}"""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "backbone": "demo-vit",
            "n_ctx": 4,
            "epochs": 4,
            "batch_size": 16,
            "learning_rate": 0.01,
            "resize": 64,
        }
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "full": {},
        "without auxiliary task": {"use_aux": False},
        "without text prompts": {"text_depth": 0},
        "without vision prompts": {"vision_depth": 0},
    }

    class Config(ClipConfig):
        """The paper's settings."""

        variant: Literal["paper", "official"] = Field(
            default="paper", description="official: inserted prompts are rounded to float16, as the authors' code does"
        )
        backbone: str = Field(default="ViT-B-32:openai", description="the CLIP, with a Vision Transformer")
        n_ctx: int = Field(default=8, ge=1, description="learnable tokens per layer")
        use_aux: bool = Field(default=True, description="learn from the alignment ratings too, where there are any")
        aux_weight: float = Field(default=0.1, ge=0, description="weight of the alignment loss (lambda)")
        text_depth: Literal[0, "full"] = Field(
            default="full", description="own tokens at every layer of the text tower, or (0) context at its input only"
        )
        vision_depth: Literal[0, "full"] = Field(
            default="full", description="own tokens at every layer of the image tower, or none"
        )
        epochs: int = Field(default=50, ge=1, description="at most so many")
        patience: int = Field(default=15, ge=1, description="stop after so many epochs without a better SRCC")
        batch_size: int = Field(default=64, ge=1, description="images per step")
        learning_rate: float = Field(default=1e-4, gt=0, description="of Adam, constant")
        resize: int | None = Field(
            default=None, ge=1, description="side that images are resized to before they are cropped; None: not at all"
        )
        stride: int = Field(default=64, ge=1, description="pixels between the crops of a test image")
        mean: tuple[float, float, float] = Field(
            default=(0.485, 0.456, 0.406), description="channel means taken out of the image: ImageNet's, not CLIP's"
        )
        std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
            default=(0.229, 0.224, 0.225), description="channel standard deviations"
        )

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:
        """Say where the second task falls away, and where no range of MOS is stated."""
        assert isinstance(config, cls.Config)
        absent = "without the auxiliary task: the data set rates no alignment"
        alone = config.use_aux and AUXILIARY not in context.mos_ranges
        scaled = context.range_note(["quality", AUXILIARY] if config.use_aux else ["quality"])
        return "; ".join(filter(None, (absent if alone else "", scaled)))

    @property
    def uses_aux(self) -> bool:
        """Whether the second task is trained: asked for, and rated."""
        return bool(self.config.use_aux) and AUXILIARY in self.context.mos_ranges

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        """Train the prompts by Adam on random crops; the epoch with the best SRCC on `validation` is kept."""
        config = self.config
        seed_weights(self.context)
        self.network = self._build()
        learner = _PromptLearner(self, train, validation)
        recipe = Recipe(config.epochs, config.batch_size, config.learning_rate, patience=config.patience)
        with threads_for(self.clip().model):
            self.history = run_training(learner, len(train), recipe, self.context, validate=validation is not None)
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Mean score of all crops of each image on the scale of the MOS, float64 (n,).

        The second task's image pass is not needed for it.
        """
        lowest, highest = self.mos_range("quality")
        with threads_for(self.clip().model):
            return lowest + (highest - lowest) * self.crop_scores(samples)

    def parameter_counts(self) -> ParameterCounts | None:
        """The CLIP and both tasks' prompts, all of which are learnt, although a score needs no text of the second."""
        return count_parameters([self.clip().model, self.network.prompts], trained=True)

    def state(self) -> Mapping[str, torch.Tensor]:
        """The prompts and the layers between the tasks."""
        return self.network.prompts.state_dict()

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take over prompts of the same settings."""
        self.network = self._build()
        try:
            self.network.prompts.load_state_dict(dict(state))
        except RuntimeError as error:
            raise CheckpointError(f"{self.name}: the saved prompts do not fit these settings and this CLIP") from error
        return self

    def images(self, samples: Samples) -> Images:
        """The images that crops are taken from.

        Raises:
            BadImageError: One is smaller than a crop.
        """
        side, images = self.config.resize, samples.images
        if side is not None:
            images = images.at(side)
        require_minimum_size(images, samples.names, self.network.size, self.name)
        return images

    def crop_scores(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Score all crops of all images, batched across images, and average them per image; float64 (n,), in [0, 1]."""
        network, config, context = self.network, self.config, self.context
        pixels = open_pixels(self.images(samples), context.device)
        grids = [views.crop_grid(height, width, network.size, config.stride) for height, width in pixels.sizes]
        owners = np.repeat(np.arange(len(samples)), [len(grid) for grid in grids])
        boxes = np.concatenate(grids)
        with torch.inference_mode(), arithmetic(context.device, context.precision):
            texts, visual = network.texts(with_aux=False)["quality"], network.prompts.visual()

        def score(chosen: npt.NDArray[np.int64]) -> torch.Tensor:
            crops = views.normalized(pixels.crops(owners[chosen], boxes[chosen]), config.mean, config.std)
            with arithmetic(context.device, context.precision):
                return network.probability(crops, visual, texts)

        # Crops of a test image need less memory than those of a step, which keep their history.
        size = 4 * (context.batch_size or config.batch_size)
        scores = in_batches(score, len(boxes), size, context.device, context.progress).double().numpy()
        sums = np.bincount(owners, weights=scores, minlength=len(samples))
        return np.asarray(sums / np.bincount(owners, minlength=len(samples)), dtype=np.float64)

    def _build(self) -> PromptedCLIP:
        return PromptedCLIP(self.clip(), self.config, use_aux=self.uses_aux)


class TaskPrompts(nn.Module):
    """The learnable tokens of one task.

    Attributes:
        context: Input of the text tower's first layer, (n_ctx, text width).
        text: The same for layers 2, 3, ...; empty without deep text prompts.
        vision: Tokens behind the image's patches, for each layer (n_ctx, vision width); may be empty.
    """

    def __init__(self, n_ctx: int, text: tuple[int, int], vision: tuple[int, int], config: CLIPAGIQAFu.Config) -> None:
        """Draw tokens from N(0, 0.02), as CoOp and the authors' code do.

        Args:
            n_ctx: Tokens per layer.
            text: Layers and width of the text tower.
            vision: Layers and width of the image tower.
            config: The method's settings.
        """
        super().__init__()
        self.context = _tokens(n_ctx, text[1])
        deep = text[0] - 1 if config.text_depth == "full" else 0
        self.text = nn.ParameterList([_tokens(n_ctx, text[1]) for _ in range(deep)])
        layers = vision[0] if config.vision_depth == "full" else 0
        self.vision = nn.ParameterList([_tokens(n_ctx, vision[1]) for _ in range(layers)])


def _tokens(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(count, width))


class Prompts(nn.Module):
    """All that is learnt: the prompts of both tasks, and one linear layer per vision layer that lets the second guide.

    14,410,752 parameters on ViT-B/32.
    """

    def __init__(
        self, n_ctx: int, text: tuple[int, int], vision: tuple[int, int], config: CLIPAGIQAFu.Config, *, use_aux: bool
    ) -> None:
        """Build for towers of (layers, width)."""
        super().__init__()
        self.main = TaskPrompts(n_ctx, text, vision, config)
        self.aux = TaskPrompts(n_ctx, text, vision, config) if use_aux else None
        guided = len(self.main.vision) if use_aux else 0
        layers = [nn.Linear(2 * vision[1], vision[1]) for _ in range(min(guided, 2))]
        # As in the authors' code, the first layer begins with weights of its own, and all deeper ones as copies of one.
        layers += [copy.deepcopy(layers[1]) for _ in range(guided - len(layers))]
        self.guidance = nn.ModuleList(layers)

    def visual(self) -> list[torch.Tensor]:
        """Tokens of the quality task per vision layer: Linear([own ; auxiliary]), or its own without a second task."""
        own = list(self.main.vision)
        if self.aux is None:
            return own
        pairs = zip(self.guidance, own, self.aux.vision, strict=True)
        return [layer(torch.cat([mine, other], dim=1)) for layer, mine, other in pairs]


class PromptedCLIP:
    """A frozen CLIP with the prompts of both tasks in it."""

    def __init__(self, clip: ClipBackbone, config: CLIPAGIQAFu.Config, *, use_aux: bool) -> None:
        """Put fresh prompts into a loaded CLIP, which stays as it is.

        Raises:
            ConfigError: The backbone has no Vision Transformer, or not OpenAI's kind of text tower.
        """
        method = CLIPAGIQAFu.name
        require_vit(clip.model.visual, method)
        require_plain_text(clip.model, clip.tokenizer, method)
        self._clip = clip.model
        self.size = clip.resolved.image_size
        self._half = config.variant == "official"
        towers = [(tower.layers, tower.width) for tower in (clip.model.transformer, clip.model.visual.transformer)]
        self.prompts = Prompts(config.n_ctx, towers[0], towers[1], config, use_aux=use_aux).to(clip.device)
        self._main = ContextTexts(clip.model, clip.tokenizer, QUALITY_PHRASES, config.n_ctx)
        self._aux = ContextTexts(clip.model, clip.tokenizer, ALIGNMENT_PHRASES, config.n_ctx)

    def texts(self, *, with_aux: bool = True) -> dict[str, torch.Tensor]:
        """Normalised features of each task's two classes, (2, embed_dim); they do not depend on the image."""
        tasks = {"quality": (self._main, self.prompts.main)}
        if self.prompts.aux is not None and with_aux:
            tasks["alignment"] = (self._aux, self.prompts.aux)
        return {
            name: F.normalize(texts.encode(prompts.context, self._inserted(list(prompts.text))), dim=-1)
            for name, (texts, prompts) in tasks.items()
        }

    def probability(self, images: torch.Tensor, visual: list[torch.Tensor], texts: torch.Tensor) -> torch.Tensor:
        """Probability of the first class: softmax of exp(logit_scale) times the cosines.

        Args:
            images: Normalised, (n, 3, size, size).
            visual: Tokens per vision layer; may be empty.
            texts: Features of the two classes, (2, embed_dim).

        Returns:
            float32 (n,), in [0, 1].
        """
        features = encode_image(self._clip.visual, images, self._inserted(visual))
        # In float32 whatever the precision: logits reach 100, where bfloat16 knows steps of one half.
        with torch.autocast(features.device.type, enabled=False):
            logits = self._clip.logit_scale.exp() * F.normalize(features.float(), dim=-1) @ texts.float().T
            probabilities: torch.Tensor = logits.softmax(dim=-1)
        return probabilities[:, 0]

    def _inserted(self, tokens: list[torch.Tensor]) -> list[torch.Tensor]:
        """Tokens as they are put into the towers: the official code rounds them to float16."""
        return [each.half().float() for each in tokens] if self._half else tokens


class _PromptLearner(Learner):
    """Both losses on random crops (equation 8 of the paper): MSE(quality) + lambda * MSE(alignment), MOS in [0, 1]."""

    def __init__(self, method: CLIPAGIQAFu, samples: Samples, validation: Samples | None) -> None:
        self._method, self._validation = method, validation
        self._network = method.network
        self.model = self._network.prompts
        self._pixels = open_pixels(method.images(samples), method.context.device)
        self._rows = samples.rows
        rated = ("quality", AUXILIARY) if method.uses_aux else ("quality",)
        self._mos = {target: self._scaled(samples, target) for target in rated}

    def _scaled(self, samples: Samples, target: str) -> torch.Tensor:
        """MOS brought to [0, 1]; where the lowest possible one is 0 that is the authors' division by 5 and by 100."""
        lowest, highest = self._method.mos_range(target)
        mos = (samples.mos_of(target) - lowest) / (highest - lowest)
        return torch.from_numpy(mos).float().to(self._method.context.device)

    def shared(self) -> Shared:
        return self._network.texts()

    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:
        config, prompts = self._method.config, self._network.prompts
        images = self._views(positions, epoch)
        chosen = torch.from_numpy(positions).to(images.device)
        quality = self._network.probability(images, prompts.visual(), shared["quality"])
        loss = F.mse_loss(quality, self._mos["quality"][chosen])
        if prompts.aux is not None:
            alignment = self._network.probability(images, list(prompts.aux.vision), shared["alignment"])
            loss = loss + config.aux_weight * F.mse_loss(alignment, self._mos[AUXILIARY][chosen])
        return loss

    def _views(self, positions: npt.NDArray[np.int64], epoch: int) -> torch.Tensor:
        config, seed = self._method.config, self._method.context.seed
        uniform = views.draws(seed, epoch, self._rows[positions], 3)
        boxes = views.random_crops(uniform[:, :2], self._pixels.sizes[positions], self._network.size)
        crops = views.mirrored(self._pixels.crops(positions, boxes), uniform[:, 2] < 0.5)
        return views.normalized(crops, config.mean, config.std)

    def validate(self) -> float | None:
        assert self._validation is not None
        scores = self._method.crop_scores(self._validation)
        return agreement(scores[:, None], self._validation.mos_of("quality")[:, None])
