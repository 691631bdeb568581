"""The plan of a run: which cells are to be computed, and which are already there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import AgiqaError, DataNotFoundError
from agiqa_bench.evaluation.cross_splits import shared_images
from agiqa_bench.evaluation.rules import SplitRule
from agiqa_bench.evaluation.splits import Rows, Split, splits_digest
from agiqa_bench.execution.cell_result import CellResult
from agiqa_bench.execution.code_digest import CodeDigest
from agiqa_bench.execution.keys import changed_components
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.store import Store
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.seeds import derive_seed

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset
    from agiqa_bench.data.image_cache import ImageCache


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """What a plan keeps in mind of a finished cell: the records of ten thousand would fill a hundred megabytes.

    Attributes:
        folder: Where it lies.
        model: The fitted model, if it was saved.
    """

    folder: Path
    model: Path | None

    @classmethod
    def of(cls, stored: CellResult) -> FinishedCell:
        """That of a stored cell."""
        return cls(stored.folder, stored.model)


@dataclass
class PlannedCell:
    """One method under one split."""

    repeat: int
    key: str
    components: dict[str, Any]
    result: FinishedCell | None = None


@dataclass
class PlannedMethod:
    """One row of the comparison.

    Attributes:
        label: Name in the store: `name`, with `[ablation row,settings]` that the user gave and ` (stand-in)`.
        display: The same for people, with the method's title.
        preset: The preset whose settings it runs with; empty if that changes nothing.
        note: What a reader must know about this row: why a stand-in is used, and what the method says of itself.
        skip: Why it does not run here; None if it does.
        score_key: Key of the zero-shot scores; None for a trained method.
        changed: In what the missing cells differ from stored ones of the same row, e.g. `code`.
        damaged: What is wrong with stored cells that are computed again, one line each.
        without_model: True if finished cells are computed again, because their models are wanted and were not saved.
    """

    label: str
    display: str
    cls: type[Method]
    config: MethodConfig
    context: Context
    weights: tuple[Weights, ...] = ()
    code: CodeDigest | None = None
    preset: str = ""
    note: str = ""
    skip: str | None = None
    score_key: str | None = None
    score_components: dict[str, Any] = field(default_factory=dict)
    cells: list[PlannedCell] = field(default_factory=list)
    changed: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    without_model: bool = False

    @property
    def savable(self) -> bool:
        """Whether a fitted model can be saved, as far as one can tell without fitting."""
        return self.cls.trainable and self.cls.state is not Method.state

    @property
    def missing(self) -> list[PlannedCell]:
        """The cells that are not in the store."""
        return [cell for cell in self.cells if cell.result is None]


@dataclass
class Plan:
    """All that a run does, decided before it begins.

    Attributes:
        rule: The split rule; of imported splits the one in the file.
        say: Gets one line before anything is downloaded.
        unusable: Why a registered method cannot even be loaded, by name.
        images_fingerprint: Digest of all image files; None if no method looks at them.
        step: Told (done, total, what) while images are decoded; whoever watches the run sets it.
        splits_of_parts: The splits of each of the data set's parts, which are its own if it is not joined.
    """

    request: RunRequest
    dataset: Dataset
    rule: SplitRule
    splits: tuple[Split, ...]
    methods: list[PlannedMethod]
    device: str
    say: Callable[[str], None]
    unusable: dict[str, str] = field(default_factory=dict)
    step: Callable[[int, int, str], None] = lambda done, total, what: None  # noqa: ARG005
    images_fingerprint: str | None = None
    splits_of_parts: tuple[tuple[Split, ...], ...] = ()
    _bad_images: AgiqaError | None = None

    def __post_init__(self) -> None:
        """One data set's splits are those of its only part."""
        self.splits_of_parts = self.splits_of_parts or (self.splits,)

    def method(self, label: str) -> PlannedMethod:
        """The row with this label; labels are distinct.

        Raises:
            KeyError: There is none.
        """
        for method in self.methods:
            if method.label == label:
                return method
        raise KeyError(label)

    @cached_property
    def images(self) -> ImageCache:
        """The images of all rows, decoded on first use."""
        if not self.dataset.has_images:
            raise DataNotFoundError(
                f"data set '{self.dataset.name}': images are missing; {self.dataset.describe_sources()}"
            )
        return _images_of(self.dataset, lambda *progress: self.step(*progress))

    def decode_images(self) -> None:
        """Decode the images before the first method that looks at them, so that no method is billed for it.

        Bad images are found here once; each method that looks at images then fails with that line.
        """
        try:
            self.images.prove()
        except AgiqaError as error:
            self._bad_images = error

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What must agree for two runs to be comparable, JSON-ready."""
        request = self.request
        crossing = self._crossing() if len(self.dataset.parts) > 1 else {}
        return crossing | {
            "dataset": self.dataset.name,
            "annotations": self.dataset.fingerprint,
            "synthetic": self.dataset.synthetic,
            "split": self.rule,
            "splits_digest": splits_digest(self.splits),
            "repeats": len(self.splits),
            "seed": request.seed,
            "select": request.select,
            "leaked_prompts": _mean([split.leakage.prompt for split in self.splits]),
            "leaked_groups": _mean([split.leakage.group for split in self.splits]),
            "leaked_generators": _mean([split.leakage.generator for split in self.splits]),
            "candidates": self.dataset.candidates,
        }

    def _crossing(self) -> dict[str, Any]:
        """What tells which plain runs, on the training set and on the test set, are comparable with this one."""
        found: dict[str, Any] = {}
        looks = self.images_fingerprint is not None
        for side, part, splits in zip(("train", "test"), self.dataset.parts, self.splits_of_parts, strict=True):
            found |= {
                f"{side}_on": part.name,
                f"{side}_title": part.title,
                f"{side}_annotations": part.fingerprint,
                f"{side}_splits_digest": splits_digest(splits),
                f"{side}_images": _images_of(part).fingerprint if looks else None,
                f"{side}_rows": len(part.samples),
            }
        return found | {"shared_images": shared_images(self.images.entries, self.splits) if looks else None}

    @property
    def scored_rows(self) -> Rows:
        """The rows, int64, that a zero-shot method scores: all, but none that it could only have learnt from."""
        first = sum(len(part.samples) for part in self.dataset.parts[:-1])
        return np.arange(first, len(self.dataset.samples), dtype=np.int64)

    def samples(self, method: PlannedMethod) -> Samples:
        """All rows of the data set as `method` may see them.

        Raises:
            AgiqaError: It looks at images, and they cannot be decoded or stored.
        """
        if method.cls.uses_images and self._bad_images is not None:
            raise self._bad_images
        images = self.images if method.cls.uses_images else None
        return Samples(self.dataset.samples, method.context.targets, images)

    def wants_model(self, method: PlannedMethod) -> bool:
        """Whether the fitted models of `method` are to be saved."""
        return self.request.save_models and method.savable

    def find_results(self, store: Store) -> None:
        """Look up which cells are finished, and why others are not the ones that are stored."""
        for method in self.methods:
            for cell in method.cells:
                if cell.result is None:
                    self.find_result(store, method, cell)
            damage = (
                store.cell_damage(method.label, cell.repeat, cell.key, with_model=True) for cell in method.missing
            )
            method.damaged = tuple(filter(None, damage))
            for cell in method.missing[:1]:
                other = store.find_other_cell(method.label, cell.repeat, cell.key)
                if other is not None:
                    method.changed = tuple(changed_components(other["components"], cell.components))

    def find_result(self, store: Store, method: PlannedMethod, cell: PlannedCell) -> None:
        """Look up whether a cell is finished, and has the model that is wanted."""
        stored = store.find_cell(method.label, cell.repeat, cell.key)
        if stored is not None and self.wants_model(method) and not stored.asked_for_model:
            stored, method.without_model = None, True
        cell.result = None if stored is None else FinishedCell.of(stored)


def cell_seed(plan: Plan, method: PlannedMethod, repeat: int) -> int:
    """Seed of a cell: a hash of what it learns, so that it learns the same for whatever data set it is judged on."""
    return derive_seed(plan.request.seed, plan.dataset.parts[0].name, method.cls.name, repeat, "fit")


def shared_seed(plan: Plan, cls: type[Method]) -> int:
    """Seed that all repeats of a method share."""
    return derive_seed(plan.request.seed, plan.dataset.parts[0].name, cls.name, "shared")


def cell_context(plan: Plan, method: PlannedMethod, cell: PlannedCell, scratch: Path | None) -> Context:
    """The method's context with what belongs to one cell."""
    return replace(method.context, seed=cell_seed(plan, method, cell.repeat), repeat=cell.repeat, scratch=scratch)


def _images_of(dataset: Dataset, step: Callable[[int, int, str], None] | None = None) -> ImageCache:
    from agiqa_bench.data.image_cache import ImageCache

    return ImageCache([Path(path) for path in dataset.samples["path"]], progress=step)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
