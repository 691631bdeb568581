"""BLIPScore: how well an image fits its prompt, by BLIP (Li et al. 2022)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.backbones.hub import HubConfig, HubMethod
from agiqa_bench.backbones.spec import CLIP_MEAN, CLIP_STD
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Context, MethodConfig

_BATCH = 32


class BLIPScore(HubMethod):
    """Cosine of BLIP's contrastive features of image and prompt.

    The formula is that of the code of ImageReward's paper, which introduces the name (THUDM/ImageReward,
    models/BLIPScore.py). Its weights are not: there it is the pretrained BLIP with a ViT-L at 224 x 224, here one of
    the Hub, by default the ViT-B at 384 x 384 that was tuned for retrieval on COCO. Images are brought to the model's
    size with both sides, as BLIP's processor does. `head = "matching"` takes BLIP's matching head instead: the log odds
    that image and text belong together, which order images as its probability does and do not saturate. The last layer
    and the cosine are in float32 whatever the precision of the networks before.
    """

    name = "blipscore"
    title = "BLIPScore"
    summary = "cosine of BLIP's image and prompt features, no training"
    targets = ("alignment",)
    uses_prompt = True
    trainable = False
    citation = """@inproceedings{li2022blip,
  title = {{BLIP}: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and Generation},
  author = {Li, Junnan and Li, Dongxu and Xiong, Caiming and Hoi, Steven},
  booktitle = {International Conference on Machine Learning},
  pages = {12888--12900},
  year = {2022}
}"""
    ablations = {"cosine": {}, "matching head": {"head": "matching"}}  # noqa: RUF012 - literal class data

    architecture = "BlipForImageTextRetrieval"
    size = "0.9 GB"
    padding = "[PAD]"
    # As BLIP's retrieval code and ImageReward's BLIPScore cut them.
    tokens = 35

    presets = {"quick": {"weights": ""}}  # noqa: RUF012 - literal class data

    class Config(HubConfig):
        """Which weights, and which of the two heads."""

        weights: str = Field(
            default="Salesforce/blip-itm-base-coco",
            description="a repository of the Hub (the default: about 0.9 GB), or a folder with config.json, "
            "model.safetensors and tokenizer.json",
        )
        head: Literal["cosine", "matching"] = Field(
            default="cosine", description="cosine of the contrastive features, or log odds of the matching head"
        )

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """That the weights are others than the published rows'."""
        return "other BLIP weights than in ImageReward's paper"

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Cosine in [-1, 1], or log odds, float64 (n,).

        Raises:
            TrainingError: There is no memory for a single image.
        """
        import torch
        from torch.nn.functional import normalize

        from agiqa_bench.training.memory import in_batches
        from agiqa_bench.training.pixels import open_pixels, whole
        from agiqa_bench.training.precision import arithmetic
        from agiqa_bench.training.views import normalized

        model, context, head = self._model, self.context, self.config.head
        images = samples.images.at(model.config.vision_config.image_size, resize="exact", crop="none")
        pixels = open_pixels(images, context.device)
        encodings = self._tokenizer.encode_batch(samples.prompts)
        tokens = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])

        def scores(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            text = {
                "input_ids": tokens[positions].to(context.device),
                "attention_mask": mask[positions].to(context.device),
            }
            with arithmetic(context.device, context.precision):
                images = normalized(whole(pixels, positions), CLIP_MEAN, CLIP_STD)
                seen = model.vision_model(pixel_values=images).last_hidden_state
                looked_at = {"encoder_hidden_states": seen} if head == "matching" else {}
                read = model.text_encoder(**text, **looked_at).last_hidden_state
            image, prompt = seen[:, 0].float(), read[:, 0].float()
            if head == "matching":
                no, yes = model.itm_head(prompt).unbind(dim=1)
                odds: torch.Tensor = yes - no
                return odds
            image, prompt = model.vision_proj(image), model.text_proj(prompt)
            return (normalize(image, dim=1) * normalize(prompt, dim=1)).sum(dim=1)

        batch = context.batch_size or _BATCH
        found = in_batches(scores, len(samples), batch, context.device, context.progress, "scoring images")
        result: npt.NDArray[np.float64] = found.double().numpy()
        return result
