"""CLIP probe: a ridge regression, or an SVR, on the features of a frozen CLIP. The strongest simple thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from agiqa_bench.backbones.clip import Features
from agiqa_bench.backbones.frozen import View, stored_features
from agiqa_bench.backbones.method import ClipConfig, ClipMethod
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import CheckpointError
from agiqa_bench.features.ridge import Ridge
from agiqa_bench.features.svr import Regressor, Scaling, SVRConfig, from_tensors, tensors_of
from agiqa_bench.parameters import ParameterCounts
from agiqa_bench.training.threads import threads_for

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]
Fitted = tuple[list[Regressor], Floats, Floats]
"""A regressor of standardised MOS per target, the strength chosen for it, and its error on left-out prompts."""

Part = Literal["image", "prompt", "product"]
Positive = Annotated[float, Field(gt=0)]

PENALTIES = tuple(10.0 ** (power / 2) for power in range(13))
"""1 to 10^6 in steps of half a power of ten, for standardised features."""


_FOLDS = 5
"""Parts into which the training prompts are divided to choose the bound of the SVR."""


class CLIPProbe(ClipMethod):
    """Regression on a frozen CLIP's features of the image, of its prompt, and their product element by element.

    Each feature is brought to mean 0 and variance 1 on the training part, and so are the MOS, one regression per
    target. How strongly the regression is held back is chosen inside the training part, by the mean squared error on
    prompts that it has not seen: ridge leaves out one prompt group after another (exactly, from one decomposition),
    the SVR a fifth of them at a time. No sample of the test part has a share in that.

    Images are shown as the CLIP wants them, resized and the middle cut out: what is at the borders of one that is not
    square is lost. They are encoded once for all repeats.
    """

    name = "clip_probe"
    title = "CLIP probe"
    summary = "ridge or SVR on frozen CLIP features of image, prompt and their product"
    targets = ("quality", "alignment", "authenticity")
    uses_prompt = True
    keeps_features = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {"backbone": "demo-vit"}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "image": {"features": ("image",)},
        "prompt": {"features": ("prompt",)},
        "product": {"features": ("product",)},
        "image + prompt": {"features": ("image", "prompt")},
        "all": {"features": ("image", "prompt", "product")},
    }

    class Config(ClipConfig):
        """A design of this project; no paper's."""

        backbone: str = Field(default="ViT-B-32:openai", description="the CLIP")
        head: Literal["ridge", "svr"] = Field(default="ridge", description="ridge, or svr with an RBF kernel")
        features: tuple[Part, ...] = Field(
            default=("image", "prompt", "product"), min_length=1, description="of image, prompt and product"
        )
        penalties: tuple[Positive, ...] = Field(
            default=PENALTIES, min_length=1, description="ridge: penalties of which one is chosen per target"
        )
        bounds: tuple[Positive, ...] = Field(
            default=(0.1, 1.0, 10.0), min_length=1, description="svr: bounds C of which one is chosen per target"
        )
        epsilon: float = Field(default=0.1, ge=0, description="svr: error that costs nothing, in deviations of the MOS")

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Standardise, choose and fit; `history` tells the choice per target and its error on left-out prompts."""
        features, mos = self._features(train), train.mos
        self._scaling = Scaling.fit(features, "standard")
        scaled, labels = self._scaling(features), Scaling.fit(mos, "standard")(mos)
        _, groups = np.unique(train.groups, return_inverse=True)
        head = self._ridge if self.config.head == "ridge" else self._svr
        fitted, chosen, errors = head(scaled, labels, groups)
        self._regressors = {
            target: _on_scale(regressor, column)
            for target, regressor, column in zip(self.context.targets, fitted, mos.T, strict=True)
        }
        self.history = [
            {"target": float(column), "chosen": float(choice), "left_out_error": float(error)}
            for column, (choice, error) in enumerate(zip(chosen, errors, strict=True))
        ]
        return self

    def predict(self, samples: Samples) -> Floats:
        """Predicted MOS of each target, float64 (n, n_targets)."""
        scaled = self._scaling(self._features(samples))
        return np.stack([self._regressors[target](scaled) for target in self.context.targets], axis=1)

    def parameter_counts(self) -> ParameterCounts | None:
        """The CLIP, and the weights and intercept of each target's ridge regression; support vectors do not count."""
        frozen = super().parameter_counts()
        assert frozen is not None  # a CLIP has parameters
        if self.config.head == "svr":
            return ParameterCounts(frozen.total, None)
        learnt = sum(regressor.vectors.size + 1 for regressor in self._regressors.values())
        return ParameterCounts(frozen.total + learnt, learnt)

    def state(self) -> Mapping[str, torch.Tensor]:
        """Scaling of the features, and what each target's regression is made of; float64."""
        return tensors_of(self._scaling, self._regressors)

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take over scaling and regressions."""
        width = self.clip().width * len(self.config.features)
        try:
            self._scaling, self._regressors = from_tensors(state, self.context.targets, self._kernel)
            if self._scaling.shift.size != width:
                raise ValueError(f"they are for {self._scaling.shift.size} features and not {width}")
        except ValueError as error:
            raise CheckpointError(
                f"{self.name}: the saved tensors do not fit these settings and this CLIP: {error}"
            ) from error
        return self

    @property
    def _kernel(self) -> Literal["linear", "rbf"]:
        return "linear" if self.config.head == "ridge" else "rbf"

    def _features(self, samples: Samples) -> Floats:
        """Features of the parts that are asked for, side by side, (n, d)."""
        clip = self.clip()
        with threads_for(clip.model):
            image = stored_features(clip, samples.images, View(), self.context, self.name)[samples.rows]
            prompt = clip.encode_text(samples.prompts)
        parts: Mapping[Part, Features] = {"image": image, "prompt": prompt, "product": image * prompt}
        return np.concatenate([parts[part] for part in self.config.features], axis=1).astype(np.float64)

    def _ridge(self, features: Floats, labels: Floats, groups: Groups) -> Fitted:
        ridge = Ridge.fit(features, labels, groups, self.config.penalties)
        one = np.ones(1), np.zeros(()), np.ones(())
        fitted = [Regressor("linear", np.ascontiguousarray(weights[None]), *one) for weights in ridge.weights.T]
        return fitted, ridge.penalties, ridge.errors.min(axis=0)

    def _svr(self, features: Floats, labels: Floats, groups: Groups) -> Fitted:
        from sklearn.model_selection import GroupKFold

        if groups.max() == 0:
            groups = np.arange(len(groups))
        folds = list(GroupKFold(min(_FOLDS, groups.max() + 1)).split(features, groups=groups))
        settings = [SVRConfig(c=bound, gamma="scale", epsilon=self.config.epsilon) for bound in self.config.bounds]
        fitted, chosen, errors = [], [], []
        for wanted in labels.T:
            tried = [_left_out_error(features, wanted, folds, setting) for setting in settings]
            best = int(np.argmin(tried))
            fitted.append(Regressor.fit(features, wanted, settings[best]))
            chosen.append(settings[best].c)
            errors.append(tried[best])
        return fitted, np.array(chosen), np.array(errors)


def _left_out_error(
    features: Floats, wanted: Floats, folds: Sequence[tuple[Groups, Groups]], settings: SVRConfig
) -> float:
    """Mean squared error of an SVR on the samples of each fold, fitted on the others."""
    errors = [Regressor.fit(features[seen], wanted[seen], settings)(features[new]) - wanted[new] for seen, new in folds]
    return float(np.mean(np.concatenate(errors) ** 2))


def _on_scale(regressor: Regressor, mos: Floats) -> Regressor:
    """A regressor of standardised MOS as one of the MOS themselves."""
    spread, mean = mos.std(), mos.mean()
    coefficients, intercept = spread * regressor.coefficients, np.asarray(spread * regressor.intercept + mean)
    return replace(regressor, coefficients=coefficients, intercept=intercept)
