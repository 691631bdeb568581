"""Image2Prompt: incremental pretraining of CLIP's image encoder on images and the prompts that they were made from.

Section 3.1 of IP-IQA (Qu et al. 2024): the text encoder is frozen, the loss is 1 - cosine of the two embeddings,
and pairs that CLIP itself finds unlike are left out. The authors took a subset of DiffusionDB; their weights, learning
rate, batch and epochs were not published. This makes an image encoder from any images with prompts:

    python -m agiqa_bench.methods.image2prompt pairs.csv --backbone RN50:openai --output encoder.safetensors
    agiqa-bench run --methods "ipiqa[image2prompt=true,image2prompt_weights=encoder.safetensors]" --dataset agiqa3k
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
import typer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional as F

from agiqa_bench.atomic import write_bytes
from agiqa_bench.backbones.clip import IMAGE_BATCH, ClipBackbone
from agiqa_bench.backbones.vision import is_residual
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import AgiqaError, ConfigError, DataError, WeightsUnavailableError
from agiqa_bench.method import Context, Precision
from agiqa_bench.training import views
from agiqa_bench.training.checkpointing import recompute_blocks
from agiqa_bench.training.learner import Learner, Shared
from agiqa_bench.training.loop import train
from agiqa_bench.training.memory import in_batches
from agiqa_bench.training.pixels import open_pixels, whole
from agiqa_bench.training.precision import arithmetic
from agiqa_bench.training.recipe import Recipe
from agiqa_bench.training.threads import threads_for


@dataclass(frozen=True)
class Image2Prompt:
    """Settings of the pretraining.

    Attributes:
        epochs: Passes over the pairs that are kept.
        batch_size: Pairs per step.
        learning_rate: Of Adam, constant.
        threshold: Pairs are kept whose cosine of CLIP's own features is larger; the authors' is 0.35.
    """

    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 1e-6
    threshold: float = 0.35


def pretrain(
    clip: ClipBackbone, pairs: Samples, settings: Image2Prompt, context: Context
) -> Mapping[str, torch.Tensor]:
    """Pretrain a copy of a CLIP's image encoder on images and prompts; no rating is read.

    Args:
        clip: The backbone, which stays as it is; images are resized as it wants them.
        pairs: Images and prompts.
        settings: Epochs, batch, learning rate and threshold.
        context: Device, seed, scratch folder and progress.

    Returns:
        The image encoder's `state_dict`.

    Raises:
        ConfigError: No pair is above the threshold.
    """
    recipe = Recipe(settings.epochs, settings.batch_size, settings.learning_rate)
    with threads_for(clip.model):
        learner = _PromptMatcher(clip, pairs, settings.threshold, context)
        train(learner, learner.count, recipe, context, validate=False, name="image2prompt")
    return learner.model.state_dict()


def read_encoder(file: Path) -> Mapping[str, torch.Tensor]:
    """Read an image encoder that `pretrain` has made.

    Raises:
        WeightsUnavailableError: The file is no safetensors file.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsUnavailableError(f"image2prompt_weights: {file} is not a whole safetensors file") from error


class _PromptMatcher(Learner):
    """1 - cosine of an image's embedding and that of its prompt, which is computed once."""

    def __init__(self, clip: ClipBackbone, pairs: Samples, threshold: float, context: Context) -> None:
        self.model = copy.deepcopy(clip.model.visual).requires_grad_(True)
        if is_residual(self.model):
            self.model.to(memory_format=torch.channels_last)  # as in IP-IQA's own network, and for the same reason
        self._preprocess, self._seed = clip.resolved.preprocess, context.seed
        texts = clip.encode_text(pairs.prompts)
        self._pixels, self._rows = open_pixels(clip.sized(pairs.images), context.device), pairs.rows
        self._texts = torch.from_numpy(texts).to(context.device)

        def cosine(positions: npt.NDArray[np.int64]) -> torch.Tensor:
            with arithmetic(context.device, context.precision):
                features = clip.features(self._inputs(positions))
            return F.cosine_similarity(features.float(), self._texts[torch.from_numpy(positions).to(context.device)])

        what = "comparing images and prompts"
        cosines = in_batches(cosine, len(pairs), IMAGE_BATCH, context.device, context.progress, what).numpy()
        self._kept = np.flatnonzero(cosines > threshold)
        self.count = len(self._kept)
        if not self.count:
            best = float(cosines.max()) if len(cosines) else float("nan")
            raise ConfigError(
                f"Image2Prompt: no pair of image and prompt has a cosine above {threshold} (the best has {best:.2f}); "
                "lower the threshold"
            )

    def _inputs(self, positions: npt.NDArray[np.int64], mirror: npt.NDArray[np.bool_] | None = None) -> torch.Tensor:
        """Whole images, normalised, (b, 3, size, size)."""
        pixels = whole(self._pixels, positions)
        if mirror is not None:
            pixels = views.mirrored(pixels, mirror)
        return views.normalized(pixels, self._preprocess.mean, self._preprocess.std)

    def loss(self, positions: npt.NDArray[np.int64], epoch: int, shared: Shared) -> torch.Tensor:  # noqa: ARG002
        chosen = self._kept[positions]
        mirror = views.draws(self._seed, epoch, self._rows[chosen], 1)[:, 0] < 0.5
        features = self.model(self._inputs(chosen, mirror))
        texts = self._texts[torch.from_numpy(chosen).to(self._texts.device)]
        return 1.0 - F.cosine_similarity(features.float(), texts, dim=-1).mean()

    def save_memory(self) -> bool:
        return recompute_blocks(self.model)

    def validate(self) -> float | None:
        return None


def main(
    table: Annotated[Path, typer.Argument(help="CSV, Parquet or Excel table with columns image and prompt.")],
    output: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    backbone: Annotated[str, typer.Option(help="The CLIP whose image encoder is trained on.")] = "RN50:openai",
    epochs: Annotated[int, typer.Option(min=1)] = Image2Prompt.epochs,
    batch_size: Annotated[int, typer.Option(min=1)] = Image2Prompt.batch_size,
    learning_rate: Annotated[float, typer.Option()] = Image2Prompt.learning_rate,
    threshold: Annotated[float, typer.Option(help="Smallest cosine of a pair.")] = Image2Prompt.threshold,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, bf16 or fp16.")] = "float32",
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Pretrain an image encoder on a table of images and prompts."""
    from safetensors.torch import save

    from agiqa_bench.backbones.clip import load
    from agiqa_bench.backbones.spec import resolve
    from agiqa_bench.data.loose_files import from_table, open_samples
    from agiqa_bench.execution.device import resolve_device
    from agiqa_bench.training.loop import seed_weights

    files = from_table(table)
    if files.prompts is None:
        raise DataError(f"table {table} has no column 'prompt'")
    if precision not in get_args(Precision):
        raise ConfigError(f"--precision {precision}: write {', '.join(get_args(Precision))}")
    place = resolve_device(device)
    context = Context(device=place, precision=cast(Precision, precision), seed=seed, progress=_tell)
    clip = load(resolve(backbone), place, context.precision)
    settings = Image2Prompt(epochs, batch_size, learning_rate, threshold)
    with open_samples(files.paths, files.prompts, ()) as pairs:
        seed_weights(context)
        encoder = pretrain(clip, pairs, settings, context)
    held = {name: tensor.cpu().contiguous() for name, tensor in encoder.items()}
    facts = {"backbone": clip.resolved.name, "pairs": str(len(files.paths)), "settings": str(settings)}
    write_bytes(output, save(held, facts))
    typer.echo(f"wrote {output}")


def _tell(done: int, total: int, what: str) -> None:
    if done == total or done % 100 == 0:
        typer.echo(f"{what}: {done}/{total}", err=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except AgiqaError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
