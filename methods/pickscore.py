"""PickScore (Kirstain et al. 2023): a CLIP ViT-H/14 fine-tuned on users' choices between two images."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.backbones.hub import HubModel, find_model
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Context, Method, MethodConfig, Weights

if TYPE_CHECKING:
    import torch

_TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""The authors take the tokenizer of the CLIP that theirs was tuned from."""

_BATCH = 32


class PickScore(Method):
    """The published CLIP's scale times the cosine of image and prompt, the prompt cut at its context length.

    As in the authors' README (yuvalkirstain/PickScore), before its softmax over the images of one prompt.
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

    presets = {"quick": {"weights": ""}}  # noqa: RUF012 - literal class data

    class Config(MethodConfig):
        """Which weights."""

        weights: str = Field(
            default="yuvalkirstain/PickScore_v1",
            description="a repository of the Hub (the published one: about 4 GB), or a folder with config.json, "
            "model.safetensors and tokenizer.json",
        )

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """It needs the library transformers, and weights; a quick comparison does not fetch 4 GB for one row."""
        assert isinstance(config, cls.Config)
        if not config.weights:
            return "the quick preset fetches no weights (4 GB): --preset paper, or --set pickscore.weights=FOLDER"
        return None if find_spec("transformers") else "needs the package transformers: type 'pip install transformers'"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The model that `config` names, fetched if it may be.

        Raises:
            WeightsUnavailableError: It is not here and cannot be fetched; there is no stand-in.
        """
        found = _files(config, context)
        return (Weights(found.name, found.digest),)

    def prepare(self) -> None:
        """Load model and tokenizer."""
        from transformers import CLIPModel

        from agiqa_bench.backbones.hub import load_model, load_tokenizer

        files = _files(self.config, self.context)
        self._model = load_model(CLIPModel, files, self.context.device)
        # Attention is causal and the feature is that of the first end token: what is padded with does not count.
        self._tokenizer = load_tokenizer(files, self._model.config.text_config.max_position_embeddings, "!")

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
        from agiqa_bench.backbones.hub import normalized
        from agiqa_bench.training.memory import in_batches
        from agiqa_bench.training.pixels import open_pixels, whole
        from agiqa_bench.training.precision import arithmetic

        model, context = self._model, self.context
        pixels = open_pixels(samples.images.at(model.config.vision_config.image_size), context.device)

        def features(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                seen = model.vision_model(pixel_values=normalized(whole(pixels, positions)))
                return unit(model.visual_projection(seen.pooler_output))

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
                read = model.text_model(input_ids=tokens[positions].to(context.device))
                return unit(model.text_projection(read.pooler_output))

        return in_batches(features, len(texts), context.batch_size or _BATCH, context.device, what="encoding prompts")


def unit(features: torch.Tensor) -> torch.Tensor:
    """Features (b, width) as float32 of length 1."""
    from torch.nn.functional import normalize

    return normalize(features.float(), dim=-1)


def _files(config: MethodConfig, context: Context) -> HubModel:
    assert isinstance(config, PickScore.Config)
    published = config.weights == PickScore.Config().weights
    return find_model(
        config.weights,
        offline=context.offline,
        setting="pickscore.weights",
        tokenizer=_TOKENIZER if published else "",
    )
