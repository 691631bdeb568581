"""What a method is: the interface that every compared method implements, built-in or plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import AgiqaError, ConfigError
from agiqa_bench.parameters import ParameterCounts, count_parameters, held_networks

if TYPE_CHECKING:
    import torch

Scores = npt.NDArray[np.float64]
Selection = Literal["refit", "validation", "last", "test"]
Epoch = tuple[int, int]
"""The number of an epoch, counted from 1, and of how many."""
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
        mos_ranges: Lowest and highest possible MOS of everything that the data set rates, whatever `targets` are; None
            where nobody states them. When a method is fitted, those are the lowest and highest MOS that the repeat
            learns from, so that no test rating is among them; `Method.mos_range` reads them.
        device: torch device string, e.g. `cpu` or `cuda:0`.
        precision: Arithmetic for networks.
        batch_size: Batch size asked for by the user; None leaves it to the method.
        seed: Seed of this cell, derived from (seed, data set, method, repeat).
        repeat: Number of the repeat, from 0; nothing but the place in a batch of repeats may depend on it.
        shared_seed: Seed that all repeats of the method share, for what is drawn once for all of them.
        selection: How the epoch is chosen by methods that choose one; see `Split.training`.
        chosen: Of a second fit under the selection `refit`, by name of each training: the epoch that the first fit has
            chosen. Empty in every other fit. `epochs_of` reads it.
        offline: True if the network must not be touched.
        python: The interpreter that the user named for this method (`--python-for`); None if none was.
        deterministic: True if a CUDA device must give the same numbers each time, at some cost; the CPU does anyway.
        scratch: Folder that survives a kill of this cell and is deleted when it is finished (per-epoch
            checkpoints); None outside a run.
        progress: Called with (done, total, what) while fitting or predicting.
        kept: Called by a `fit` that chooses an epoch, and by the second one, with (name of the training, epoch, of how
            many) of the state that it keeps. The training loop does so; a method with a loop of its own that does not
            is fitted once, and learns nothing from the validation samples.
    """

    dataset: str = ""
    targets: tuple[str, ...] = ("quality",)
    mos_ranges: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    device: str = "cpu"
    precision: Precision = "float32"
    batch_size: int | None = None
    seed: int = 0
    repeat: int = 0
    shared_seed: int = 0
    selection: Selection = "refit"
    chosen: Mapping[str, Epoch] = field(default_factory=dict)
    offline: bool = False
    python: Path | None = None
    deterministic: bool = False
    scratch: Path | None = None
    progress: Callable[[int, int, str], None] = lambda done, total, what: None  # noqa: ARG005
    kept: Callable[[str, int, int], None] = lambda name, epoch, of: None  # noqa: ARG005

    def epochs_of(self, name: str, epochs: int) -> int:
        """How many of its `epochs` a training is to run: all, or in a second fit as many as the first has chosen.

        The schedule stays that of all `epochs`. Where their number depends on that of the samples (a training of so
        many steps), the same share of them is run.

        >>> Context(chosen={"model": (7, 20)}).epochs_of("model", 20), Context().epochs_of("model", 20)
        (7, 20)
        """
        epoch, of = self.chosen.get(name, (epochs, epochs))
        return max(1, round(epochs * epoch / of))

    def range_note(self, targets: Sequence[str]) -> str:
        """For `Method.note` of a method that scales by the ranges of `targets`: where one is not stated; else empty."""
        unstated = [target for target in targets if target in self.mos_ranges and self.mos_ranges[target] is None]
        if not unstated:
            return ""
        return (
            f"scaled by the range of {' and '.join(unstated)} MOS in each repeat's training part: none is stated "
            "(--mos-range)"
        )


class Method(ABC):
    """A method that predicts ratings of generated images.

    Class data are literals, so that listing methods need not import them (and torch with them):

    Attributes:
        name: Registry name.
        title: Name in tables.
        summary: One line for `methods list`.
        targets: Kinds of rating it predicts, of "quality", "alignment", "authenticity"; ("*",) means any.
        uses_images: False if it never looks at a pixel.
        uses_prompt: True if the prompt is an input; where an image has none such a method is skipped.
        prompt_optional: True if it scores images without a prompt too, and is not skipped: it is given an empty text.
        trainable: False for a zero-shot method: `fit` does nothing, a score depends on its own sample alone, and the
            harness scores each image once for all repeats.
        selects_epoch: True if `fit` uses validation samples to choose an epoch. Under the default selection, `refit`, a
            second instance is then fitted on training and validation samples; see `Context.chosen` and `Context.kept`.
        diagnostic: True for a baseline that is there to expose what a number is worth.
        trains_together: Number of repeats at most that `fit_together` trains in one go, because that is faster; 1 means
            that each repeat is trained for itself.
        keeps_features: True if it computes features of all images once, for all repeats and runs: then their time is in
            the first repeat's training, or nowhere, and the time per image is without them.
        takes_python: True if it can compute in another Python interpreter, named by `--python-for NAME=PATH`.
        num_cpus: CPU cores that a task of it asks a cluster for (`--executor ray`), which may be a fraction. Unless
            OMP_NUM_THREADS is set, it computes with as many threads there, 1 at least.
        num_gpus: GPUs that a task of it asks a cluster for where it computes on CUDA: a fraction of one for a small
            method, several of which then share it, 0 for one that computes on the CPU whatever the device. A method
            that never imports torch asks for none.
        groups: Families that it belongs to, names for `--methods`, e.g. "proposed", "deep", "handcrafted", "svr". The
            groups "zero-shot", "alignment" and "no-pixel" follow from the other class data.
        citation: BibTeX entry.
        presets: Named changes of settings; `paper` is the defaults.
        ablations: Named changes of settings that switch parts of the method off and on, in the order of the paper's
            table; `name[ablation]` runs them all, `name[ablation=row]` one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str] = ""
    targets: ClassVar[tuple[str, ...]] = ("quality",)
    uses_images: ClassVar[bool] = True
    uses_prompt: ClassVar[bool] = False
    prompt_optional: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    selects_epoch: ClassVar[bool] = False
    diagnostic: ClassVar[bool] = False
    trains_together: ClassVar[int] = 1
    keeps_features: ClassVar[bool] = False
    takes_python: ClassVar[bool] = False
    num_cpus: ClassVar[float] = 1
    num_gpus: ClassVar[float] = 1
    groups: ClassVar[tuple[str, ...]] = ()
    citation: ClassVar[str] = ""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

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

    @classmethod
    def weights_to_predict(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """Those of `weights` that a saved model still needs, because they are not part of its `state`."""
        return cls.weights(config, context)

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """What a reader of the table must know about a row with these settings, in one line; empty if nothing."""
        return ""

    @classmethod
    def chooses_epoch(cls, config: MethodConfig) -> bool:  # noqa: ARG003
        """Whether a row with these settings chooses an epoch; only then are validation samples held back for it."""
        return cls.selects_epoch

    @classmethod
    def row_name(cls, config: MethodConfig) -> str:  # noqa: ARG003
        """What tells this row from others of the method in tables; empty: the settings that the user gave."""
        return ""

    def mos_range(self, target: str) -> tuple[float, float]:
        """Lowest and highest MOS that the scale of a rated target allows, in `fit` and after it; the lower one first.

        Raises:
            ConfigError: It is not known, or all ratings to learn from are the same.
        """
        limits = self.context.mos_ranges.get(target)
        if limits is None:
            raise ConfigError(f"{self.name}: the range of the {target} MOS is not known; give it in Context.mos_ranges")
        if not limits[0] < limits[1]:
            raise ConfigError(
                f"{self.name}: each {target} MOS to learn from is {limits[0]:g}, which gives no range to scale by; "
                "state that of the scale (--mos-range)"
            )
        return limits

    def prepare(self) -> None:  # noqa: B027 - most methods have nothing to prepare
        """Load weights and whatever else is not part of fitting or scoring; called before the clock starts."""

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Learn from rated samples.

        Args:
            train: Samples whose MOS may be read.
            validation: Samples to choose an epoch by; given only if `chooses_epoch` and the selection asks for it, and
                never in a second fit, whose number of epochs `context.epochs_of` tells.
        """
        return self

    @classmethod
    def fit_together(
        cls,
        methods: Sequence[Self],
        parts: Sequence[tuple[Samples, Samples | None]],
    ) -> Sequence[AgiqaError | None]:
        """Fit several repeats of one row of the comparison in one go; called where `trains_together` is more than 1.

        Each must learn what `fit` would teach it alone, to the last digit: after a kill, or where one failed, the
        company is another. An array with as many places as `trains_together`, in which each has that of its repeat,
        does that (`agiqa_bench.training.loop.train_together`).

        Args:
            methods: Prepared instances that differ in their context's seed, repeat, scratch folder and ranges of MOS
                alone.
            parts: What `fit` of each is to be given.

        Returns:
            For each None, or why it could not be fitted: the others are kept.
        """
        raise NotImplementedError(f"method '{cls.name}' sets trains_together and has no fit_together")

    @abstractmethod
    def predict(self, samples: Samples) -> npt.ArrayLike:
        """Score samples whose MOS cannot be read.

        Returns:
            Finite numbers, (n_samples, n_targets) with one column per `context.targets`, or (n_samples,) or
            (n_samples, 1) for a method with one score, which then stands for each target. Higher is better, always:
            a measure of distortion is turned round.
        """

    def parameter_counts(self) -> ParameterCounts | None:
        """How many parameters the method computes with; None where that says nothing: no network, or one elsewhere.

        Asked after `fit` and `predict`. By default all torch modules that are reached from the instance's attributes
        count; a method whose networks lie elsewhere, or that holds one that no score depends on, counts itself.
        """
        return count_parameters(held_networks(self), trained=self.trainable)

    def state(self) -> Mapping[str, torch.Tensor] | None:
        """What `fit` has learnt, as tensors by name; None if the method cannot be saved."""
        return None

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take over what an instance with the same settings has learnt, in place of `fit`.

        Args:
            state: From `state`.

        Raises:
            CheckpointError: The tensors are not those of these settings.
        """
        raise NotImplementedError(f"method '{self.name}' cannot be restored")

    def attention(self, samples: Samples) -> npt.NDArray[np.float32] | None:  # noqa: ARG002
        """Where a fitted method looks: weights >= 0, float32 (n_samples, heads, rows, columns); None if it has none.

        Rows and columns divide the image, resized to the method's input, into a grid; the weights of one head need
        not sum to 1.
        """
        return None
