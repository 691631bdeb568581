"""The demo data set: 360 pictures rendered by code and rated by a simulated panel. No person rated anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.data.dataset import Dataset, Fault, Target
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.generators import GENERATORS, Generator, Plan, paint, plan_picture
from agiqa_bench.synthetic.panel import HIGHEST, LOWEST, impression, mean_opinion, recruit
from agiqa_bench.synthetic.png import encode_png
from agiqa_bench.synthetic.scenes import Item, Scene, describe

if TYPE_CHECKING:
    import pandas as pd

SEED = 2026
SAMPLES_PER_PROMPT = 2
SIZE = 128


_ASKED: Mapping[str, tuple[Scene, ...]] = {
    "object": (
        Scene((Item("apple", "red"),)),
        Scene((Item("umbrella", "orange"),)),
        Scene((Item("cat", "white"),)),
        Scene((Item("car", "yellow"),)),
        Scene((Item("house", "blue"),)),
        Scene((Item("mushroom", "red"),)),
        Scene((Item("boat", "green"),)),
        Scene((Item("fish", "orange"),)),
    ),
    "attribute": (
        Scene((Item("balloon", "pink", 3),)),
        Scene((Item("bird", "blue", 2, "small"),)),
        Scene((Item("flower", "purple", 4),)),
        Scene((Item("star", "yellow", 3, "small"),)),
        Scene((Item("cup", "blue", 1, "large"), Item("apple", "green", 2))),
        Scene((Item("tree", "green", 2), Item("house", "red"))),
        Scene((Item("cat", "purple", 2), Item("balloon", "yellow"))),
        Scene((Item("umbrella", "pink", 2), Item("car", "white"))),
    ),
    "scene": (
        Scene((Item("boat", "red"),), "beach"),
        Scene((Item("house", "yellow"), Item("tree", "pink")), "snow"),
        Scene((Item("fish", "pink", 3),), "sea"),
        Scene((Item("cup", "orange", 2),), "table"),
        Scene((Item("mushroom", "purple", 3),), "meadow"),
        Scene((Item("car", "green"),), "desert"),
        Scene((Item("cat", "orange"), Item("star", "white", 2)), "night"),
    ),
    "style": (
        Scene((Item("house", "orange"),), "night", "pixel"),
        Scene((Item("flower", "red", 2),), "meadow", "watercolour"),
        Scene((Item("umbrella", "blue"),), "beach", "poster"),
        Scene((Item("fish", "green", 2),), "sea", "neon"),
        Scene((Item("bird", "yellow"), Item("cup", "red")), "table", "pencil"),
        Scene((Item("balloon", "red", 2),), "desert", "poster"),
        Scene((Item("tree", "blue", 3),), "snow", "watercolour"),
    ),
}

SCENES: tuple[tuple[str, Scene], ...] = tuple(
    (category, scene) for category, scenes in _ASKED.items() for scene in scenes
)
"""What the 30 prompts ask for, as (category, scene)."""

PROMPTS: tuple[str, ...] = tuple(describe(scene) for _, scene in SCENES)
"""The 30 prompts; the demo CLIP is trained on none of them."""


@dataclass(frozen=True)
class Picture:
    """One picture of the data set, before it is painted.

    Attributes:
        name: File name.
        prompt: Number of the prompt, 0 to 29.
        generator: Who made it.
        plan: What it shows and what is wrong with it.
        quality: MOS of the simulated panel in [0, 5].
        alignment: Likewise.
    """

    name: str
    prompt: int
    generator: Generator
    plan: Plan
    quality: float
    alignment: float

    def png(self) -> bytes:
        """The picture's file."""
        return encode_png(paint(self.plan, SIZE))


@cache
def pictures() -> tuple[Picture, ...]:
    """The 360 pictures in published order: by generator, prompt and sample. Nothing is painted."""
    panel = recruit(Draws("demo", SEED, "panel"))
    result = []
    for generator in GENERATORS:
        for prompt, (_, scene) in enumerate(SCENES):
            for sample in range(SAMPLES_PER_PROMPT):
                draws = Draws("demo", SEED, generator.name, prompt, sample)
                plan = plan_picture(generator, scene, draws.child("plan"))
                quality, alignment = (
                    mean_opinion(panel, impression(plan.damages, target, plan.scene.style), draws.child(target))
                    for target in ("quality", "alignment")
                )
                name = f"{generator.name}_{prompt:02d}_{sample}.png"
                result.append(Picture(name, prompt, generator, plan, quality, alignment))
    return tuple(result)


def version() -> str:
    """Digest of the code that paints: pictures painted by other code are in another folder, never taken for these."""
    import agiqa_bench.synthetic

    folder = Path(agiqa_bench.synthetic.__path__[0])
    return source_digest([*sorted(folder.glob("*.py")), Path(__file__)])[:16]


def image_folder() -> Path:
    """The folder with the painted pictures, in the user's cache; they are painted on first use (a few seconds).

    Several processes may ask at once: one paints, the others wait for it.

    Raises:
        StoreError: The cache cannot be written.
    """
    from agiqa_bench.atomic import new_directory
    from agiqa_bench.data.folder_lock import folder_lock
    from agiqa_bench.data.roots import cache_root

    folder = cache_root() / "demo" / version()
    if _painted(folder):
        return folder
    with folder_lock(folder):
        if not _painted(folder):
            with new_directory(folder) as temporary:
                for picture in pictures():
                    (temporary / picture.name).write_bytes(picture.png())
    return folder


def _painted(folder: Path) -> bool:
    return all((folder / picture.name).is_file() for picture in pictures())


class Demo(Dataset):
    """Rendered pictures with simulated ratings, to try everything at once; says nothing about real images."""

    name = "demo"
    title = "Demo (synthetic)"
    targets = (Target("quality", (LOWEST, HIGHEST)), Target("alignment", (LOWEST, HIGHEST)))
    citation = (
        "@misc{agiqa_bench_demo, title={The demo data set of agiqa-bench: synthetic pictures with simulated ratings}, "
        "author={{The agiqa-bench authors}}, year={2026}}"
    )
    licence = "Apache-2.0 (rendered by this project)"
    summary = "synthetic: 360 rendered pictures, 30 prompts, 6 make-believe generators, simulated panel"
    synthetic = True
    preset = "quick"

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """The table of samples; see `Dataset.read`. The extra column `category` says what a prompt tests.

        Raises:
            StoreError: The pictures cannot be written to the cache.
        """
        import pandas as pd

        folder = None if self.annotations_only else image_folder()
        rows = [
            {
                "image": picture.name,
                "path": str(folder / picture.name) if folder else "",
                "prompt": PROMPTS[picture.prompt],
                "group": f"prompt {picture.prompt:02d}",
                "generator": picture.generator.name,
                "family": picture.generator.family,
                "category": SCENES[picture.prompt][0],
                "mos_quality": picture.quality,
                "mos_alignment": picture.alignment,
            }
            for picture in pictures()
        ]
        return pd.DataFrame(rows), ()
