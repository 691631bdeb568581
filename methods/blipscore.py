"""BLIPScore: how well an image fits its prompt, by BLIP (Li et al. 2022)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.backbones.hub import HubModel, find_model
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Context, Method, MethodConfig, Weights

_TOKENS = 35
"""Length that a prompt is cut at, in BLIP's retrieval code and in ImageReward's BLIPScore."""

_BATCH = 32


class BLIPScore(Method):
    """Cosine of BLIP's contrastive features of image and prompt.

    The formula is that of the code of ImageReward's paper, which introduces the name (THUDM/ImageReward,
    models/BLIPScore.py). Its weights are not: there it is the pretrained BLIP with a ViT-L at 224 x 224, here one of
    the Hub, by default the ViT-B at 384 x 384 that was tuned for retrieval on COCO. Images are brought to the model's
    size with both sides, as BLIP's processor does. `head = "matching"` takes BLIP's matching head instead: the log odds
    that image and text belong together, which order images as its probability does and do not saturate.
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

    presets = {"quick": {"weights": ""}}  # noqa: RUF012 - literal class data

    class Config(MethodConfig):
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
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """It needs the library transformers, and weights; a quick comparison does not fetch 0.9 GB for one row."""
        assert isinstance(config, cls.Config)
        if not config.weights:
            return "the quick preset fetches no weights (0.9 GB): --preset paper, or --set blipscore.weights=FOLDER"
        return None if find_spec("transformers") else "needs the package transformers: type 'pip install transformers'"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The model that `config` names, fetched if it may be.

        Raises:
            WeightsUnavailableError: It is not here and cannot be fetched; there is no stand-in.
        """
        found = _files(config, context)
        return (Weights(found.name, found.digest),)

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """That the weights are others than the published rows'."""
        return "other BLIP weights than in ImageReward's paper"

    def prepare(self) -> None:
        """Load model and tokenizer."""
        from transformers import BlipForImageTextRetrieval

        from agiqa_bench.backbones.hub import load_model, load_tokenizer

        files = _files(self.config, self.context)
        self._model = load_model(BlipForImageTextRetrieval, files, self.context.device)
        self._tokenizer = load_tokenizer(files, _TOKENS, "[PAD]")

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Cosine in [-1, 1], or log odds, float64 (n,).

        Raises:
            TrainingError: There is no memory for a single image.
        """
        import torch
        from torch.nn.functional import normalize

        from agiqa_bench.backbones.hub import normalized
        from agiqa_bench.training.memory import in_batches
        from agiqa_bench.training.pixels import open_pixels, whole
        from agiqa_bench.training.precision import arithmetic

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
                seen = model.vision_model(pixel_values=normalized(whole(pixels, positions))).last_hidden_state
                if head == "matching":
                    read = model.text_encoder(**text, encoder_hidden_states=seen).last_hidden_state
                    no, yes = model.itm_head(read[:, 0]).float().unbind(dim=1)
                    odds: torch.Tensor = yes - no
                    return odds
                read = model.text_encoder(**text).last_hidden_state
                image, prompt = model.vision_proj(seen[:, 0]), model.text_proj(read[:, 0])
            return (normalize(image.float(), dim=1) * normalize(prompt.float(), dim=1)).sum(dim=1)

        batch = context.batch_size or _BATCH
        found = in_batches(scores, len(samples), batch, context.device, context.progress, "scoring images")
        result: npt.NDArray[np.float64] = found.double().numpy()
        return result


def _files(config: MethodConfig, context: Context) -> HubModel:
    assert isinstance(config, BLIPScore.Config)
    return find_model(config.weights, offline=context.offline, setting="blipscore.weights")
