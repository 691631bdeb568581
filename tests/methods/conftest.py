"""The demo data set, whole and as a slice that a trained method learns from in a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Context, Method

TARGETS = ("quality", "alignment")


@dataclass(frozen=True)
class Bench:
    """A table of images and ratings, and a cache folder that AGIQA_CACHE names as well."""

    table: pd.DataFrame
    images: ImageCache
    cache: Path

    def samples(self, targets: Sequence[str] = TARGETS, **columns: Any) -> Samples:
        """All rows, with some columns in place of the table's."""
        return Samples(self.table.assign(**columns), targets, self.images)

    def context(self, targets: Sequence[str] = TARGETS, **changes: Any) -> Context:
        return Context(**{
            "dataset": "demo",
            "targets": tuple(targets),
            "mos_ranges": dict.fromkeys(TARGETS, (0.0, 5.0)),
            "selection": "last",
            "offline": True,
        } | changes)  # fmt: skip

    def method(self, cls: type[Method], targets: Sequence[str] = TARGETS, **settings: Any) -> Any:
        """A method with its quick preset, some settings changed."""
        return cls(quick(cls, **settings), self.context(targets))


def quick(cls: type[Method], **settings: Any) -> Any:
    values: Mapping[str, Any] = cls.presets["quick"]
    return cls.Config(**{**values, **settings})


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """All 360 rows; what is rendered and decoded serves all modules.

    Torch computes on one thread, as the methods themselves do with the demo CLIPs: on a busy machine the steps of so
    small a network would mostly wait for the other threads.
    """
    import torch

    from agiqa_bench.datasets.demo import Demo

    cache = tmp_path_factory.getbasetemp() / "demo-cache"
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGIQA_CACHE", str(cache))
        torch.set_num_threads(1)
        table = Demo().samples
        yield Bench(table, ImageCache(list(table["path"])), cache)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few(demo: Bench) -> Bench:
    """40 rows of all generators and prompts."""
    table = demo.table.iloc[::9].reset_index(drop=True)
    return Bench(table, ImageCache(list(table["path"])), demo.cache)


@pytest.fixture
def recipe_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`recipe_of(method, samples)`: recipe and learner that `fit` hands to the training loop, which does nothing."""

    def catch(method: Any, samples: Samples) -> tuple[Any, Any]:
        caught: list[Any] = []

        def train(learner: Any, n: int, recipe: Any, *rest: Any, **options: Any) -> list[Any]:
            caught.append((recipe, learner))
            return []

        def train_together(
            learners: Sequence[Any], counts: Sequence[int], recipe: Any, *rest: Any, **options: Any
        ) -> list[list[Any]]:
            return [train(learner, n, recipe) for learner, n in zip(learners, counts, strict=True)]

        with monkeypatch.context() as patch:
            # In the method's own module: what it calls for a start, e.g. a pretraining, does take place.
            module = sys.modules[type(method).__module__]
            for name, instead in {"run_training": train, "train_together": train_together}.items():
                patch.setattr(module, name, instead, raising=False)
            method.fit(samples)
        return caught[0]

    return catch


@pytest.fixture
def pyiqa_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch, with pyiqa's folder in it; nothing is found elsewhere either."""
    import pyiqa.utils.download_util as downloads

    folder = tmp_path / "torch" / "hub" / "pyiqa"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "DEFAULT_CACHE_DIR", str(folder))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments, **options: None)
    return folder
