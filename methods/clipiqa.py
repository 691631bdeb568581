"""CLIP-IQA (Wang, Chan and Loy 2023): whether CLIP finds an image more like a good photo or a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.backbones.method import ClipConfig, ClipMethod
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context, MethodConfig

if TYPE_CHECKING:
    from agiqa_bench.backbones.clip import ClipBackbone
    from agiqa_bench.backbones.frozen import View
    from agiqa_bench.backbones.spec import ResolvedBackbone


class CLIPIQAConfig(ClipConfig):
    """What CLIP-IQA and CLIP-IQA+ share: the CLIP, and how it is shown an image."""

    backbone: str = Field(default="RN50:openai", description="the CLIP")
    positive: str = Field(default="Good photo.", description="prompt of a score of 1")
    negative: str = Field(default="Bad photo.", description="prompt of a score of 0")
    positions: bool | None = Field(
        default=None,
        description="keep the position embedding, and with it the CLIP's own input: resized, the middle cut out; by "
        "default only with a Vision Transformer, which cannot do without",
    )
    side: int = Field(
        default=0,
        ge=0,
        description="without positions: bring the shorter side to so many pixels, 512 for SPAQ in the paper; 0: leave "
        "images as they are",
    )


class CLIPIQA(ClipMethod):
    """Softmax probability of "Good photo." against "Bad photo." (AAAI 2023; equation 2).

    Settings as in the official code (IceClear/CLIP-IQA, configs/clipiqa): images at their own size, the position
    embedding of the residual network's attention pool left out, CLIP's logit scale, which is 100 for OpenAI's models.
    """

    name = "clipiqa"
    title = "CLIPIQA"
    summary = "CLIP's choice between a good and a bad photo, no training"
    targets = ("quality",)
    trainable = False
    citation = """@inproceedings{wang2023clipiqa,
  title = {Exploring {CLIP} for Assessing the Look and Feel of Images},
  author = {Wang, Jianyi and Chan, Kelvin C. K. and Loy, Chen Change},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume = {37},
  pages = {2555--2563},
  year = {2023}
}"""
    # The demo CLIP has seen 64 x 64 pixels only.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {"backbone": "demo-rn", "side": 64}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without positions": {"positions": False},
        "with positions": {"positions": True},
    }

    class Config(CLIPIQAConfig):
        """The paper's settings."""

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:
        """Say where images are not shown as in the paper."""
        assert isinstance(config, CLIPIQAConfig)
        return note_on_positions(config, context)

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Probability of the positive prompt in [0, 1], float64 (n,).

        Raises:
            BadImageError: An image is smaller than 32 pixels.
            ConfigError: The CLIP cannot do without positions.
        """
        from scipy.special import expit

        from agiqa_bench.backbones.frozen import encode

        clip, config = self.clip(), self.config
        images = encode(clip, samples.images, view(clip, config, self.name), self.context, self.name)
        positive, negative = clip.encode_text([config.positive, config.negative]).astype(np.float64)
        scale = float(clip.model.logit_scale.exp())
        probability: npt.NDArray[np.float64] = expit(scale * (images.astype(np.float64) @ (positive - negative)))
        return probability


def view(clip: ClipBackbone, config: CLIPIQAConfig, method: str) -> View:
    """How a CLIP is shown an image with these settings.

    Raises:
        ConfigError: It cannot do without positions.
    """
    from agiqa_bench.backbones.frozen import View
    from agiqa_bench.backbones.vision import is_residual

    if keeps_positions(config, clip.resolved):
        return View()
    if not is_residual(clip.model.visual):
        raise ConfigError(
            f"{method} without position embedding needs a CLIP with a residual network, e.g. --backbone RN50:openai; "
            f"leave out {method}.positions for {clip.resolved.name}"
        )
    return View(any_size=True, side=config.side)


def keeps_positions(config: CLIPIQAConfig, resolved: ResolvedBackbone) -> bool:
    """Whether images are shown to this CLIP at its own size, with the position embedding."""
    return not resolved.residual if config.positions is None else config.positions


def note_on_positions(config: CLIPIQAConfig, context: Context) -> str:
    """What to say where images are not shown as in the paper; empty where they are."""
    from agiqa_bench.backbones.spec import resolve

    shown = keeps_positions(config, resolve(config.backbone, context.offline))
    return "with CLIP's position embedding and its own input size" if shown else ""
