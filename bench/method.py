"""What a method is: the interface that every compared method implements, built-in or plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from agiqa_bench.data.samples import Samples

Scores = npt.NDArray[np.float64]
Selection = Literal["last", "validation", "test"]
Precision = Literal["float32", "bf16", "fp16"]


class MethodConfig(BaseModel):
    """Base of every method's settings: frozen, unknown keys refused, defaults as in the paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Weights:
    """Pretrained weights that a method computes with.

    Attributes:
        name: Name in tables and provenance, e.g. `ViT-B-32:openai`.
        digest: SHA-256 (hex) of the file's content; part of the key of every cell.
        stand_in: Empty for the real thing; otherwise what the table shows behind the method's name,
            e.g. `demo CLIP`, because a stand-in never passes for the real thing.
    """

    name: str
    digest: str
    stand_in: str = ""


@dataclass(frozen=True)
class Context:
    """What the harness tells a method about the run that it is part of.

    Attributes:
        dataset: Registry name of the data set.
        targets: Names of the targets, the columns of `predict`.
        mos_ranges: Lowest and highest possible MOS per target.
        device: torch device string, e.g. `cpu` or `cuda:0`.
        precision: Arithmetic for networks.
        batch_size: Batch size asked for by the user; None leaves it to the method.
        seed: Seed of this cell, derived from (seed, data set, method, repeat).
        selection: How the epoch is chosen by methods that choose one.
        offline: True if the network must not be touched.
        scratch: Folder that survives a kill of this cell and is deleted when it is finished (per-epoch
            checkpoints); None outside a run.
        progress: Called with (done, total, what) while fitting or predicting.
    """

    dataset: str = ""
    targets: tuple[str, ...] = ("quality",)
    mos_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    device: str = "cpu"
    precision: Precision = "float32"
    batch_size: int | None = None
    seed: int = 0
    selection: Selection = "validation"
    offline: bool = False
    scratch: Path | None = None
    progress: Callable[[int, int, str], None] = lambda done, total, what: None  # noqa: ARG005


class Method(ABC):
    """A method that predicts ratings of generated images.

    Class data are literals, so that listing methods need not import them (and torch with them):

    Attributes:
        name: Registry name.
        title: Name in tables.
        summary: One line for `methods list`.
        targets: Kinds of rating it predicts, of "quality", "alignment", "authenticity"; ("*",) means any.
        uses_images: False if it never looks at a pixel.
        uses_prompt: True if the prompt is an input.
        trainable: False for a zero-shot method: `fit` does nothing, a score depends on its own sample alone, and the
            harness scores each image once for all repeats.
        selects_epoch: True if `fit` uses validation samples to choose an epoch; only then are they held back.
        diagnostic: True for a baseline that is there to expose what a number is worth.
        citation: BibTeX entry.
        presets: Named changes of settings; `paper` is the defaults.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str] = ""
    targets: ClassVar[tuple[str, ...]] = ("quality",)
    uses_images: ClassVar[bool] = True
    uses_prompt: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    selects_epoch: ClassVar[bool] = False
    diagnostic: ClassVar[bool] = False
    citation: ClassVar[str] = ""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def __init__(self, config: MethodConfig | None = None, context: Context | None = None) -> None:
        """Keep settings and context; anything heavy belongs into `fit` or the first `predict`."""
        self.config: Any = config if config is not None else self.Config()
        self.context = context if context is not None else Context()
        self.history: list[dict[str, float]] = []
        """One entry per epoch (loss, learning rate, validation SRCC ...), kept with the cell."""

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """Why the method cannot run here, in one line; None if it can. Must be cheap."""
        return None

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:  # noqa: ARG003
        """The pretrained weights that `config` asks for, fetched if they may be.

        Raises:
            WeightsUnavailableError: They are not here and cannot be fetched.
        """
        return ()

    def prepare(self) -> None:  # noqa: B027 - most methods have nothing to prepare
        """Load weights and whatever else is not part of fitting or scoring; called before the clock starts."""

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Learn from rated samples.

        Args:
            train: Samples whose MOS may be read.
            validation: Samples to choose an epoch by; given only if `selects_epoch` and the selection asks for it.
        """
        return self

    @abstractmethod
    def predict(self, samples: Samples) -> npt.ArrayLike:
        """Score samples whose MOS cannot be read.

        Returns:
            Finite numbers, (n_samples, n_targets) with one column per `context.targets`, or (n_samples,) or
            (n_samples, 1) for a method with one score, which then stands for each target. Higher is better, always:
            a measure of distortion is turned round.
        """
