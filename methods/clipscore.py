"""CLIPScore (Hessel et al. 2021): how well an image fits its prompt, by CLIP."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.backbones.method import ClipConfig, ClipMethod
from agiqa_bench.data.samples import Samples


class CLIPScore(ClipMethod):
    """2.5 * max(cos(image, text), 0), the text being the prompt behind a prefix, cut at CLIP's context length.

    Section 3 of the paper; prefix, factor and preprocessing as in the authors' code (jmhessel/clipscore).
    """

    name = "clipscore"
    title = "CLIPScore"
    summary = "cosine of CLIP's image and prompt features, no training"
    targets = ("alignment",)
    uses_prompt = True
    trainable = False
    citation = """@inproceedings{hessel2021clipscore,
  title = {{CLIPScore}: A Reference-free Evaluation Metric for Image Captioning},
  author = {Hessel, Jack and Holtzman, Ari and Forbes, Maxwell and Le Bras, Ronan and Choi, Yejin},
  booktitle = {Proceedings of the 2021 Conference on Empirical Methods in Natural Language Processing},
  pages = {7514--7528},
  year = {2021}
}"""
    presets = {"quick": {"backbone": "demo-vit"}}  # noqa: RUF012 - literal class data

    class Config(ClipConfig):
        """The paper's settings."""

        backbone: str = Field(
            default="ViT-B-32:openai", description="the CLIP: architecture:tag, architecture:FILE, demo-vit or demo-rn"
        )
        prefix: str = Field(default="A photo depicts ", description="what is put before the prompt")

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Score in [0, 2.5], float64 (n,)."""
        clip, context = self.clip(), self.context
        image = clip.encode_image(
            clip.resized(samples.images), batch_size=context.batch_size, progress=context.progress
        )
        text = clip.encode_text([self.config.prefix + prompt for prompt in samples.prompts])
        return 2.5 * np.maximum(np.sum(image * text, axis=1, dtype=np.float64), 0.0)
