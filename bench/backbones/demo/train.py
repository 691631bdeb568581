"""Train the demo CLIPs: `python -m agiqa_bench.backbones.demo.train --architecture all --output DIR`.

Nothing is downloaded: pictures and captions are made by `agiqa_bench.synthetic`.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import save as to_bytes
from torch.nn import functional as F

from agiqa_bench.atomic import write_bytes
from agiqa_bench.backbones.demo.bank import Images, render_bank, training_family
from agiqa_bench.backbones.demo.captions import FAMILY, Caption, Picture, quality_phrases, random_caption, truth
from agiqa_bench.backbones.demo.card import write_card
from agiqa_bench.backbones.demo.evaluation import HELD_OUT, held_out_accuracy
from agiqa_bench.backbones.demo.models import (
    ARCHITECTURES,
    FOLDER,
    build,
    config_file,
    to_input,
    tokenizer,
    weights_file,
)
from agiqa_bench.backbones.demo.objective import contrastive_loss
from agiqa_bench.seeds import derive_seed
from agiqa_bench.synthetic.draws import Draws

if TYPE_CHECKING:
    import open_clip

_MAX_SCALE = math.log(100.0)


@dataclass(frozen=True)
class Recipe:
    """How a demo CLIP is trained.

    Attributes:
        steps: Gradient steps.
        seed: Seed of the pictures, the captions and the initial weights.
        families: Families of `FAMILY` pictures in the bank.
        batch: Pictures per step, a multiple of `FAMILY`.
        learning_rate: Peak of a cosine schedule with a linear warm-up over a twentieth of the steps (AdamW).
        weight_decay: On matrices only.
        phrase_share: Share of the loss on phrases that speak of quality alone; the rest is on whole captions.
        precision: `float32`, or `bf16` for mixed precision where the processor has it.
    """

    steps: int = 3000
    seed: int = 0
    families: int = 6000
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    phrase_share: float = 0.5
    precision: str = "float32"


RECIPES = {"demo-vit": Recipe(phrase_share=0.7), "demo-rn": Recipe(precision="bf16")}
"""How the shipped weights were trained. Phrases weigh more for the Vision Transformer, which is slow to see damages."""


@dataclass(frozen=True)
class Texts:
    """Tokens of different texts, int64 (m, context length), and which is true of which picture, bool (n, m)."""

    tokens: torch.Tensor
    true: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """Pictures, normalised, (n, 3, 64, 64), with captions and with phrases that speak of quality alone."""

    images: torch.Tensor
    captions: Texts
    phrases: Texts


def batches(bank: Images, recipe: Recipe, tokenize: open_clip.SimpleTokenizer) -> Iterator[Batch]:
    """Endless batches of whole families, mirrored at random, with captions worded anew each time."""
    pictures = [picture for index in range(len(bank) // FAMILY) for picture in training_family(recipe.seed, index)]
    order = np.random.default_rng(derive_seed("demo clip order", recipe.seed))
    count = min(recipe.batch, len(bank)) // FAMILY
    queue = np.empty(0, dtype=np.int64)
    for step in itertools.count():
        if len(queue) < count:
            queue = order.permutation(len(bank) // FAMILY)
        chosen = (queue[:count, None] * FAMILY + np.arange(FAMILY)).ravel()
        queue = queue[count:]
        mirrored = order.random(len(chosen)) < 0.5
        images = np.where(mirrored[:, None, None, None], bank[chosen][:, :, ::-1], bank[chosen])
        shown = [pictures[index] for index in chosen]
        draws = Draws("demo clip captions", recipe.seed, step)
        captions = [random_caption(picture, draws) for picture in shown]
        phrases = [Caption(phrase, phrase) for picture in shown for phrase in quality_phrases(picture)]
        yield Batch(to_input(images), *(_texts(said, shown, tokenize) for said in (captions, phrases)))


def _texts(captions: Sequence[Caption], pictures: Sequence[Picture], tokenize: open_clip.SimpleTokenizer) -> Texts:
    different = list(dict.fromkeys(captions))
    tokens = tokenize([caption.text for caption in different])
    return Texts(tokens, torch.from_numpy(truth(different, pictures)))


def ahead(source: Iterator[Batch]) -> Iterator[Batch]:
    """Prepare the next batch in a thread while the current one is trained on."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        future = thread.submit(next, source)
        while True:
            batch = future.result()
            future = thread.submit(next, source)
            yield batch


def optimiser(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that leaves gains, biases and the temperature undecayed."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-6)


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up over a twentieth of the steps, then a cosine down to 0."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def train(architecture: str, bank: Images, recipe: Recipe) -> open_clip.CLIP:
    """Train one demo CLIP from random initial weights.

    Args:
        architecture: One of `ARCHITECTURES`.
        bank: The recipe's rendered families, uint8 (families * FAMILY, 64, 64, 3).
        recipe: Everything else.

    Returns:
        The model, in evaluation mode.
    """
    torch.manual_seed(derive_seed("demo clip weights", architecture, recipe.seed))
    model = build(architecture).train()
    adam = optimiser(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: rate(step, recipe.steps))
    start = time.monotonic()
    for step, batch in zip(range(recipe.steps), ahead(batches(bank, recipe, tokenizer())), strict=False):
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            images = model.encode_image(batch.images)
            captions = model.encode_text(batch.captions.tokens)
            phrases = model.encode_text(batch.phrases.tokens)
        images, captions, phrases = (F.normalize(vectors.float(), dim=-1) for vectors in (images, captions, phrases))
        scale = model.logit_scale.exp()
        caption_loss = contrastive_loss(images, captions, batch.captions.true, scale)
        phrase_loss = contrastive_loss(images, phrases, batch.phrases.true, scale)
        adam.zero_grad()
        torch.autograd.backward(torch.lerp(caption_loss, phrase_loss, recipe.phrase_share))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, _MAX_SCALE)
        if step % 50 == 0 or step == recipe.steps - 1:
            losses = f"caption loss {caption_loss.item():.3f}, phrase loss {phrase_loss.item():.3f}"
            typer.echo(f"{architecture}: step {step + 1}/{recipe.steps}, {losses}, {time.monotonic() - start:.0f} s")
    return model.eval()


def save(model: open_clip.CLIP, path: Path, metadata: dict[str, str]) -> None:
    """Write weights as float16 safetensors under open_clip's names; counters keep their integer type."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    write_bytes(path, to_bytes({name: value.contiguous() for name, value in state.items()}, metadata))


def train_and_save(architecture: str, bank: Images, recipe: Recipe, folder: Path) -> dict[str, float]:
    """Train one demo CLIP, write it to `folder`, and measure what was written; the file's metadata tell all that.

    Returns:
        Zero-shot retrieval accuracy in percent; see `evaluation.retrieval`.
    """
    start = time.monotonic()
    model = train(architecture, bank, recipe)
    facts = {name: str(value) for name, value in asdict(recipe).items()}
    facts["parameters"] = str(sum(parameter.numel() for parameter in model.parameters()))
    facts["minutes"] = f"{(time.monotonic() - start) / 60:.0f}"
    path = weights_file(architecture, folder)
    save(model, path, facts)
    accuracy = held_out_accuracy(build(architecture, path), HELD_OUT)
    facts["held_out_pictures"] = str(HELD_OUT)
    save(model, path, facts | {name: f"{value:.1f}" for name, value in accuracy.items()})
    return accuracy


def main(
    output: Annotated[Path, typer.Option(help="Folder for weights and model card.")] = FOLDER,
    architecture: Annotated[str, typer.Option(help=f"{', '.join(ARCHITECTURES)} or all.")] = "all",
    steps: Annotated[int | None, typer.Option(min=1, help="Gradient steps.", show_default="the recipe's")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything.", show_default="the recipe's")] = None,
    families: Annotated[
        int | None, typer.Option(min=1, help="Families of four pictures to render.", show_default="the recipe's")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=FAMILY, help="Pictures per step.", show_default="the recipe's")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bf16, fast where the processor has it.", show_default="the recipe's")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores to use.")] = os.cpu_count() or 1,
) -> None:
    """Train the demo CLIPs on pictures rendered for it."""
    names = ARCHITECTURES if architecture == "all" else (architecture,)
    for name in names:
        config_file(name)
    torch.set_num_threads(threads)
    asked = {"steps": steps, "seed": seed, "families": families, "batch": batch, "precision": precision}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    recipes = {name: replace(RECIPES[name], **changes) for name in names}
    bank_of = cache(lambda seed, families: render_bank(seed, families, threads))
    for name, recipe in recipes.items():
        typer.echo(f"{name}: rendering {recipe.families * FAMILY} pictures (once), {recipe.steps} steps")
        accuracy = train_and_save(name, bank_of(recipe.seed, recipe.families), recipe, output)
        typer.echo(f"{name}: " + ", ".join(f"{key} {value:.1f} %" for key, value in accuracy.items()))
    if all(weights_file(name, output).is_file() for name in ARCHITECTURES):
        write_card(output)


if __name__ == "__main__":
    typer.run(main)
