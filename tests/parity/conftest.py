"""What the methods' official codes computed, on weights and inputs that need no file.

`fixtures/` holds the figures (forward values, losses, gradient norms) of each method and names the commit that gave
them. AGIQA_PARITY_DIR names another folder with files of the same names and form, and salts of their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Official:
    """The figures of one method's official code, and the weights and inputs that they were computed on."""

    figures: Mapping[str, Any]
    seeded: ModuleType

    @property
    def config(self) -> Mapping[str, Any]:
        return self.figures["config"]

    @property
    def trainable(self) -> dict[str, tuple[int, ...]]:
        """Shape of each trainable tensor, by its official name."""
        return {name: tuple(shape) for name, shape in self.figures["trainable"]}

    @property
    def batches(self) -> list[tuple[int, int]]:
        """Number and side of the images of each batch, in the order in which the fixture tells them."""
        found = re.findall(r"images\((\d+), (\d+), salt\)", self.figures["inputs"])
        return [(int(n), int(size)) for n, size in found]

    def images(self, batch: int = 0) -> torch.Tensor:
        return self.seeded.images(*self.batches[batch], self.figures["salt"])

    def mos(self) -> torch.Tensor:
        """Ratings (n, k) on the scale that the loss wants."""
        ((scale, n, k),) = re.findall(r"(?:(\d+) \* )?mos\((\d+), (\d+), salt\)", self.figures["inputs"])
        return int(scale or 1) * self.seeded.mos(int(n), int(k), self.figures["salt"])

    def tensor(self, name: str, shape: torch.Size) -> torch.Tensor:
        return self.seeded.seeded(name, shape, self.figures["salt"])

    def fill(self, module: torch.nn.Module, official_name: Callable[[str], str]) -> None:
        """Give every tensor of a module the values of its official name."""
        state = module.state_dict()
        module.load_state_dict({name: self.tensor(official_name(name), old.shape) for name, old in state.items()})

    def clip(self) -> Any:
        """The full-size CLIP of the fixture, frozen, seeded by OpenAI's names."""
        import open_clip

        from agiqa_bench.backbones.clip import ClipBackbone
        from agiqa_bench.backbones.spec import Preprocess, ResolvedBackbone

        (shapes,) = re.findall(r"OpenAI (\S+) shapes", self.figures["clip"])
        name = f"{shapes.replace('/', '-')}-quickgelu"
        config = open_clip.get_model_config(name)
        model = open_clip.CLIP(**config).eval().requires_grad_(False)
        self.fill(model, lambda openai_name: openai_name)
        preprocess = Preprocess(config["vision_cfg"]["image_size"], (0.5,) * 3, (0.5,) * 3)
        resolved = ResolvedBackbone(name, name, name, Path(), "", preprocess)
        return ClipBackbone(model, open_clip.get_tokenizer(name), resolved, "cpu", "float32")


@pytest.fixture(scope="session")
def official() -> Callable[[str], Official]:
    """`official("ipiqa")`: the fixture of a method."""
    specification = importlib.util.spec_from_file_location("seeded", HERE / "seeded.py")
    assert specification is not None
    assert specification.loader is not None
    seeded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(seeded)
    folder = Path(os.environ.get("AGIQA_PARITY_DIR") or HERE / "fixtures")
    return lambda method: Official(json.loads((folder / f"{method}.json").read_text("utf-8")), seeded)


@pytest.fixture(scope="session")
def threads() -> Callable[[int], AbstractContextManager[None]]:
    """`with threads(1)`: torch computes on so many threads.

    Their number decides the order of sums; and where workers of the test suite share the cores, more than one each
    wait for one another longer than they compute.
    """

    @contextmanager
    def use(count: int) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return use


class _CaughtError(Exception):
    """A training got as far as its optimiser."""


@pytest.fixture(scope="session")
def paper_recipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Any]:
    """`paper_recipe(method)`: the recipe that a method's defaults lead to, caught where training would begin."""
    import pandas as pd
    from PIL import Image

    from agiqa_bench import Context, Samples
    from agiqa_bench.data.image_cache import ImageCache

    def catch(recipe: Any, *rest: Any, **options: Any) -> None:
        raise _CaughtError(recipe)

    def recipe_of(method: Any) -> Any:
        folder = tmp_path_factory.mktemp("images")
        paths = [folder / "black.png", folder / "grey.png"]
        for shade, path in enumerate(paths):
            Image.fromarray(np.full((64, 64, 3), 100 * shade, np.uint8)).save(path)
        columns = {"image": [path.name for path in paths], "prompt": "a cat", "generator": "g", "group": ["a", "b"]}
        ratings = {"mos_quality": [1.0, 4.0], "mos_alignment": [2.0, 3.0]}
        samples = Samples(pd.DataFrame({**columns, **ratings}), ("quality",), ImageCache(paths, folder))
        context = Context(mos_ranges={"quality": (0.0, 5.0), "alignment": (0.0, 5.0)}, offline=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AGIQA_CACHE", str(folder))
            patch.setattr("agiqa_bench.training.under_way.build_optimiser", catch)
            with pytest.raises(_CaughtError) as caught:
                method(method.Config(backbone="demo-vit"), context).fit(samples)
        return caught.value.args[0]

    return recipe_of


@pytest.fixture(scope="session")
def gradient_norms() -> Callable[[torch.nn.Module, Callable[[str], str]], dict[str, float]]:
    """`gradient_norms(module, official_name)`: norm of each tensor's gradient by its official name."""
    return lambda module, name: {
        name(own): tensor.grad.norm().item() for own, tensor in module.named_parameters() if tensor.grad is not None
    }
