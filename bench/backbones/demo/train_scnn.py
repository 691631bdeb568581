"""Train the demo S-CNN: `python -m agiqa_bench.backbones.demo.train_scnn --output DIR`.

It learns what DB-CNN's S-CNN learns, to name what was done to a picture and how badly, from the damages of
`agiqa_bench.synthetic`. Nothing is downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch.nn import functional as F

from agiqa_bench.atomic import write_bytes, write_text
from agiqa_bench.backbones.demo.captions import is_held_out, may_train
from agiqa_bench.backbones.demo.models import FOLDER
from agiqa_bench.backbones.scnn import DEMO_FILE, DEMO_WIDTHS, SCNN
from agiqa_bench.seeds import derive_seed
from agiqa_bench.synthetic.damage import IMAGE_DAMAGES, damage
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.scenes import Scene, random_scene, render
from agiqa_bench.training.views import IMAGENET_MEAN, IMAGENET_STD, mirrored, normalized

LEVELS = 5
KINDS = tuple(IMAGE_DAMAGES)
CLASSES = 1 + LEVELS * len(KINDS)
"""Undamaged, and five levels of each damage."""

SIZE = 128
"""Pictures are rendered at the size of the `demo` data set's."""

HELD_OUT = 250
"""Scenes of the test, four pictures of each."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Recipe:
    """How the demo S-CNN is trained.

    Attributes:
        seed: Of the pictures, their order and the initial weights.
        scenes: Scenes in the bank.
        pictures: Of each scene, each with another damage, or none.
        epochs: Passes over the bank.
        batch: Pictures per step.
        crop: Side of the random part of a picture that a step sees, in pixels.
        learning_rate: Peak of a one-cycle schedule (AdamW).
        weight_decay: On every parameter.
        precision: `bf16` for mixed precision, or `float32`.
    """

    seed: int = 0
    scenes: int = 2400
    pictures: int = 5
    epochs: int = 14
    batch: int = 64
    crop: int = 96
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    precision: str = "bf16"


@dataclass(frozen=True)
class Bank:
    """Damaged pictures, uint8 (n, 128, 128, 3), and the class of each, int64 (n,)."""

    images: Images
    classes: npt.NDArray[np.int64]


def severity_of(level: int, draws: Draws) -> float:
    """A severity of level 0 to `LEVELS` - 1: the range from 0.05 to 1 in five equal parts, any value inside one."""
    return 0.05 + 0.95 * (level + draws.uniform()) / LEVELS


def damaged(scene: Scene, count: int, draws: Draws) -> Bank:
    """One scene with `count` different classes of damage."""
    clean = render(scene, SIZE)
    classes = draws.shuffled(range(CLASSES))[:count]
    images = []
    for number in classes:
        if number == 0:
            images.append(clean)
            continue
        kind, level = divmod(number - 1, LEVELS)
        images.append(damage(clean, KINDS[kind], severity_of(level, draws), draws.child(number)))
    return Bank(np.stack(images), np.array(classes))


def training_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the bank that `seed` names: neither one that `demo` asks for nor one of the test."""
    draws = Draws("demo s-cnn training", seed, index)
    scene = random_scene(draws)
    while not may_train(scene):
        scene = random_scene(draws)
    return scene


def held_out_scenes(count: int) -> list[Scene]:
    """Scenes that are never trained on."""
    draws = Draws("demo s-cnn held out")
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = random_scene(draws)
        if is_held_out(scene):
            scenes.append(scene)
    return scenes


def render_bank(scenes: Sequence[Scene], pictures: int, name: str, seed: int = 0) -> Bank:
    """Render each scene with `pictures` classes of damage, drawn by `name` and `seed`."""
    draws = Draws("demo s-cnn damages", name, seed)
    parts = [damaged(scene, pictures, draws.child(number)) for number, scene in enumerate(scenes)]
    return Bank(np.concatenate([part.images for part in parts]), np.concatenate([part.classes for part in parts]))


def train(bank: Bank, recipe: Recipe) -> SCNN:
    """Train from random initial weights by cross-entropy on the classes; random crops and mirror images.

    Returns:
        The network, in evaluation mode.
    """
    torch.manual_seed(derive_seed("demo s-cnn weights", recipe.seed))
    network = SCNN(DEMO_WIDTHS, CLASSES).to(memory_format=torch.channels_last).train()
    images = torch.from_numpy(bank.images).permute(0, 3, 1, 2)
    classes = torch.from_numpy(bank.classes)
    random = np.random.default_rng(derive_seed("demo s-cnn order", recipe.seed))
    steps = len(images) // recipe.batch
    adam = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.learning_rate, recipe.epochs * steps)
    start = time.monotonic()
    for epoch in range(recipe.epochs):
        losses = []
        for chosen in np.array_split(random.permutation(len(images))[: steps * recipe.batch], steps):
            # One place for the whole batch: every picture of the next epoch is cut elsewhere.
            top, left = (int(corner) for corner in random.integers(0, SIZE - recipe.crop + 1, 2))
            parts = images[chosen, :, top : top + recipe.crop, left : left + recipe.crop]
            parts = mirrored(parts, random.random(len(parts)) < 0.5)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                loss = F.cross_entropy(network(_input(parts)).float(), classes[chosen])
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            schedule.step()
            losses.append(loss.item())
        typer.echo(f"epoch {epoch + 1}/{recipe.epochs}, loss {np.mean(losses):.3f}, {time.monotonic() - start:.0f} s")
    return network.eval()


def accuracy(network: SCNN, bank: Bank) -> dict[str, float]:
    """Share of whole pictures that are named rightly, in percent: `class`, and `kind` of damage whatever its level."""
    with torch.inference_mode():
        images = torch.from_numpy(bank.images).permute(0, 3, 1, 2)
        scores = [network(_input(images[start : start + 64])) for start in range(0, len(images), 64)]
    found = torch.cat(scores).argmax(dim=1).numpy()
    kinds = [(classes + LEVELS - 1) // LEVELS for classes in (found, bank.classes)]
    return {
        "class": 100.0 * float(np.mean(found == bank.classes)),
        "kind": 100.0 * float(np.mean(kinds[0] == kinds[1])),
    }


def held_out_accuracy(path: Path, scenes: int = HELD_OUT) -> dict[str, float]:
    """`accuracy` of a weight file on scenes that are never trained on, four classes of damage of each."""
    network = SCNN(DEMO_WIDTHS, CLASSES)
    network.load_state_dict(load_file(path))
    return accuracy(network.eval(), render_bank(held_out_scenes(scenes), 4, "held out"))


def save(network: SCNN, path: Path, metadata: dict[str, str]) -> None:
    """Write weights as float16 safetensors; counters keep their integer type."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    write_bytes(path, to_bytes({name: value.contiguous() for name, value in state.items()}, metadata))


def train_and_save(recipe: Recipe, folder: Path) -> dict[str, str]:
    """Render, train, write weights and card to `folder`.

    Returns:
        What the weight file says about itself: recipe, parameters, minutes of a core and held-out accuracy.
    """
    start = time.process_time()
    scenes = [training_scene(recipe.seed, index) for index in range(recipe.scenes)]
    bank = render_bank(scenes, recipe.pictures, "training", recipe.seed)
    typer.echo(f"rendered {len(bank.images)} pictures, {time.process_time() - start:.0f} s")
    network = train(bank, recipe)
    facts = {name: str(value) for name, value in asdict(recipe).items()}
    facts["parameters"] = str(sum(parameter.numel() for parameter in network.parameters()))
    facts["core_minutes"] = f"{(time.process_time() - start) / 60:.0f}"
    path = folder / DEMO_FILE.name
    save(network, path, facts)
    # Measured as it was written: rounding to float16 counts.
    facts |= {f"held_out_{name}": f"{value:.1f}" for name, value in held_out_accuracy(path).items()}
    save(network, path, facts)
    write_text(folder / "SCNN_CARD.md", card(facts))
    return facts


def card(facts: Mapping[str, str]) -> str:
    """The model card, from what the weight file says about itself."""
    names = [*(field.name for field in fields(Recipe)), "parameters", "core_minutes"]
    recipe = "\n".join(f"| {name.replace('_', ' ')} | {facts[name]} |" for name in names)
    chance = f"{100 / CLASSES:.1f}"
    return _CARD.format(recipe=recipe, classes=CLASSES, chance=chance, held_out_scenes=HELD_OUT, **facts)


def main(
    output: Annotated[Path, typer.Option(help="Folder for weights and model card.")] = FOLDER,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes to render, five pictures of each.")] = Recipe.scenes,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = Recipe.epochs,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = Recipe.seed,
    precision: Annotated[str, typer.Option(help="float32, or bf16 where the processor has it.")] = Recipe.precision,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores to use.")] = 1,
) -> None:
    """Train the demo S-CNN on pictures rendered for it."""
    torch.set_num_threads(threads)
    recipe = Recipe(scenes=scenes, epochs=epochs, seed=seed, precision=precision)
    facts = train_and_save(recipe, output)
    typer.echo(f"held out: class {facts['held_out_class']} %, kind {facts['held_out_kind']} %")


def _input(images: torch.Tensor) -> torch.Tensor:
    return normalized(images, IMAGENET_MEAN, IMAGENET_STD).contiguous(memory_format=torch.channels_last)


_CARD = """\
# Demo S-CNN

A tiny S-CNN that this package trains itself, so that DB-CNN runs at once, offline, on any machine: `demo-scnn`. It is a
**stand-in for trying things out**. It knows six kinds of damage to pictures of a drawn toy world, and nothing of
photographs; no result on real images may be taken from it.

## Model

The S-CNN of DB-CNN (Zhang et al. 2020) with a third of its channels: nine 3 x 3 convolutions with batch norm, four of
them with stride 2, then the mean over all places, two 1 x 1 convolutions and a classifier. DB-CNN takes the nine
convolutions alone. The weights have the official code's names, in float16. Input is normalised with ImageNet's means
and standard deviations.

## Data

Pictures are made by `agiqa_bench.synthetic`; no image or weight of anybody else is in them. Of each random scene there
are five pictures of 128 x 128 with different classes of damage. A class is one of blur, noise, blocking, colour cast,
washed-out colours and broken geometry at one of five levels (equal parts of the severities from 0.05 to 1), or none at
all: {classes} classes. The paper's 39 classes have no undamaged one. No picture has two damages, and many pictures of
`demo` have.

Kept out of training, as for the demo CLIPs: every scene that a prompt of the `demo` data set asks for, in whatever
style, and one scene in sixteen, chosen by the hash of its description, for the test below.

## Training

Cross-entropy on random parts of the pictures, half of them mirrored; AdamW, one-cycle schedule. Trained on one core of
a CPU by

    python -m agiqa_bench.backbones.demo.train_scnn --output DIR

| | demo-scnn |
| --- | ---: |
{recipe}

## Accuracy on held-out scenes

{held_out_scenes} scenes that are never trained on, with four classes of damage each, whole: kind and level are named
rightly for {held_out_class} % of the pictures (chance: {chance} %), the kind whatever its level for {held_out_kind} %.
The weight file carries these numbers in its metadata. A test measures them again.

## Limits

- Recipe and widths were chosen once, before any score on `demo` was seen.
- Training again gives the same pictures on every machine, but not the same weights to the last bit: the order of
  floating-point sums differs between processors and versions of torch.

Licence: that of this package.
"""


if __name__ == "__main__":
    typer.run(main)
