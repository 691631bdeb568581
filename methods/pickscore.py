"""PickScore (Kirstain et al. 2023): a CLIP ViT-H/14 fine-tuned on users' choices between two images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.backbones.hub import HubConfig, HubMethod
from agiqa_bench.backbones.spec import CLIP_MEAN, CLIP_STD
from agiqa_bench.data.samples import Samples

if TYPE_CHECKING:
    import torch

_BATCH = 32


class PickScore(HubMethod):
    """The published CLIP's scale times the cosine of image and prompt, the prompt cut at its context length.

    As in the authors' README (yuvalkirstain/PickScore), before its softmax over the images of one prompt. Projections
    and cosine are in float32 whatever the precision of the towers.
    """

    name = "pickscore"
    title = "PickScore"
    summary = "CLIP ViT-H/14 tuned on users' choices between images, no training"
    targets = ("alignment",)
    uses_prompt = True
    trainable = False
    citation = """@inproceedings{kirstain2023pickapic,
  title = {{Pick-a-Pic}: An Open Dataset of User Preferences for Text-to-Image Generation},
  author = {Kirstain, Yuval and Polyak, Adam and Singer, Uriel and Matiana, Shahbuland and Penna, Joe and Levy, Omer},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {36},
  year = {2023}
}"""

    architecture = "CLIPModel"
    size = "4 GB"
    # Attention is causal and the feature is that of the first end token: what is padded with does not count.
    padding = "!"
    # The authors take the tokenizer of the CLIP that theirs was tuned from.
    tokenizer = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"

    presets = {"quick": {"weights": ""}}  # noqa: RUF012 - literal class data

    class Config(HubConfig):
        """Which weights."""

        weights: str = Field(
            default="yuvalkirstain/PickScore_v1",
            description="a repository of the Hub (the published one: about 4 GB), or a folder with config.json, "
            "model.safetensors and tokenizer.json",
        )

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Scale times cosine, float64 (n,).

        Raises:
            TrainingError: There is no memory for a single image.
        """
        texts = sorted(set(samples.prompts))
        number = {text: row for row, text in enumerate(texts)}
        image = self._image_features(samples)
        text = self._text_features(texts)[[number[prompt] for prompt in samples.prompts]]
        scale = float(self._model.logit_scale.exp())
        scores: npt.NDArray[np.float64] = scale * (image * text).sum(dim=1).double().numpy()
        return scores

    def _image_features(self, samples: Samples) -> torch.Tensor:
        """float32 (n, width), of length 1."""
        from agiqa_bench.training.memory import in_batches
        from agiqa_bench.training.pixels import open_pixels, whole
        from agiqa_bench.training.precision import arithmetic
        from agiqa_bench.training.views import normalized

        model, context = self._model, self.context
        pixels = open_pixels(samples.images.at(model.config.vision_config.image_size), context.device)

        def features(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                images = normalized(whole(pixels, positions), CLIP_MEAN, CLIP_STD)
                seen = model.vision_model(pixel_values=images).pooler_output
            return unit(model.visual_projection(seen.float()))

        batch = context.batch_size or _BATCH
        return in_batches(features, len(samples), batch, context.device, context.progress, "encoding images")

    def _text_features(self, texts: list[str]) -> torch.Tensor:
        """float32 (n, width), of length 1."""
        import torch

        from agiqa_bench.training.memory import in_batches
        from agiqa_bench.training.precision import arithmetic

        model, context = self._model, self.context
        tokens = torch.tensor([encoding.ids for encoding in self._tokenizer.encode_batch(texts)])

        def features(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                read = model.text_model(input_ids=tokens[positions].to(context.device)).pooler_output
            return unit(model.text_projection(read.float()))

        return in_batches(features, len(texts), context.batch_size or _BATCH, context.device, what="encoding prompts")


def unit(features: torch.Tensor) -> torch.Tensor:
    """Features (b, width) as float32 of length 1."""
    from torch.nn.functional import normalize

    return normalize(features.float(), dim=-1)
