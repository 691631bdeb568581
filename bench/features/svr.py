"""Support vector regression on features of images: all that a feature-based method needs beside its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import CheckpointError
from agiqa_bench.features.cache import ExtractingMethod, Features
from agiqa_bench.method import MethodConfig

if TYPE_CHECKING:
    import torch

Scale = Literal["none", "minmax", "standard"]

BOUND = "bound on the coefficient of a support vector, on the scale of the MOS"
"""Description of the setting `c`."""


class SVRConfig(MethodConfig):
    """Settings of an epsilon-SVR (libsvm's type 3, by scikit-learn); each method has its own defaults.

    C and epsilon are on the scale of the MOS, which go in as they are. So the same numbers mean another thing on a data
    set rated from 0 to 5 than on one rated from 0 to 100: 20 times C and epsilon there are what C and epsilon are here.
    """

    kernel: Literal["rbf", "linear"] = Field(default="rbf", description="rbf or linear")
    c: float = Field(default=1.0, gt=0, description=BOUND)
    gamma: Annotated[float, Field(gt=0)] | Literal["auto", "scale"] = Field(
        default="auto",
        description="of the RBF kernel: a number, auto (1 / number of features, libsvm's default) or scale "
        "(1 / (number of features x variance of all their values), scikit-learn's)",
    )
    epsilon: float = Field(
        default=0.1, ge=0, description="error that costs nothing, on the scale of the MOS (libsvm's default 0.1)"
    )
    scale: Scale = Field(
        default="none",
        description="features as they are (none), to [-1, 1] as by svm-scale (minmax) or to mean 0 and variance 1 "
        "(standard), by the training images",
    )


class FeatureMethod(ExtractingMethod):
    """Features of each image and one SVR per target on the raw MOS. What is left to a method is `extract`."""

    Config: ClassVar[type[MethodConfig]] = SVRConfig

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Fit the scaling of the features and one SVR per target.

        Raises:
            BadImageError: The features of a training image are undefined.
        """
        features = self.features(train)
        self._scaling = Scaling.fit(features, self.config.scale)
        scaled = self._scaling(features)
        self._regressors = {
            target: Regressor.fit(scaled, mos, self.config)
            for target, mos in zip(self.context.targets, train.mos.T, strict=True)
        }
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Predicted MOS of each target, float64 (n, n_targets).

        Raises:
            BadImageError: The features of an image are undefined.
        """
        scaled = self._scaling(self.features(samples))
        return np.stack([self._regressors[target](scaled) for target in self.context.targets], axis=1)

    def state(self) -> Mapping[str, torch.Tensor]:
        """Scaling of the features, and support vectors, coefficients, intercept and gamma of each target; float64."""
        return tensors_of(self._scaling, self._regressors)

    def restore(self, state: Mapping[str, torch.Tensor]) -> Self:
        """Take over scaling and regressors.

        Raises:
            CheckpointError: The tensors are not those of these settings.
        """
        try:
            self._scaling, self._regressors = from_tensors(state, self.context.targets, self.config.kernel)
        except ValueError as error:
            raise CheckpointError(f"{self.name}: the saved tensors do not fit these settings: {error}") from error
        return self


@dataclass(frozen=True)
class Scaling:
    """(features - shift) * factor, column by column.

    Attributes:
        shift: float64 (d,).
        factor: float64 (d,); 0 for a feature that is the same for all training images.
    """

    shift: Features
    factor: Features

    def __post_init__(self) -> None:
        """Refuse shapes that do not belong together."""
        if self.shift.ndim != 1 or self.shift.shape != self.factor.shape:
            raise ValueError(f"shift and factor of shape {self.shift.shape} and {self.factor.shape}")

    @classmethod
    def fit(cls, features: Features, scale: Scale) -> Self:
        """Measure the scaling on training features, float64 (n, d)."""
        width = features.shape[1]
        if scale == "none":
            return cls(np.zeros(width), np.ones(width))
        if scale == "minmax":
            low, high = features.min(axis=0), features.max(axis=0)
            shift, spread = (low + high) / 2, (high - low) / 2
        else:
            shift, spread = features.mean(axis=0), features.std(axis=0)
        varies = (np.ptp(features, axis=0) > 0) & (spread > 0)
        return cls(shift, np.divide(1.0, spread, out=np.zeros(width), where=varies))

    def __call__(self, features: Features) -> Features:
        """Scale features, float64 (n, d); values outside the range of the training images are not cut."""
        return (features - self.shift) * self.factor


@dataclass(frozen=True)
class Regressor:
    """A fitted SVR: sum_i coefficients[i] K(vectors[i], x) + intercept.

    The sum is ours and not scikit-learn's, so that what is read back from a file predicts the same to the last digit.

    Attributes:
        kernel: `rbf`, exp(-gamma |x - y|^2), or `linear`, x . y.
        vectors: Support vectors, float64 (m, d); none if all training labels lie within epsilon.
        coefficients: float64 (m,).
        intercept: float64, 0-d.
        gamma: float64, 0-d; without meaning for the linear kernel.
    """

    kernel: Literal["rbf", "linear"]
    vectors: Features
    coefficients: Features
    intercept: Features
    gamma: Features

    def __post_init__(self) -> None:
        """Refuse shapes that do not belong together."""
        shapes = self.vectors.shape, self.coefficients.shape, self.intercept.shape, self.gamma.shape
        if self.vectors.ndim != 2 or shapes[1:] != (shapes[0][:1], (), ()):
            raise ValueError(f"vectors, coefficients, intercept and gamma of shapes {', '.join(map(str, shapes))}")

    @classmethod
    def fit(cls, features: Features, labels: Features, config: SVRConfig) -> Self:
        """Fit to scaled features (n, d) and labels (n,) by libsvm, in float64; its result depends on nothing else."""
        from sklearn.svm import SVR

        gamma = _gamma(features, config.gamma)
        svr = SVR(kernel=config.kernel, C=config.c, gamma=gamma, epsilon=config.epsilon)
        svr.fit(features, labels)
        return cls(config.kernel, svr.support_vectors_, svr.dual_coef_[0], np.array(svr.intercept_[0]), np.array(gamma))

    def __call__(self, features: Features) -> npt.NDArray[np.float64]:
        """Predicted labels of scaled features (n, d), float64 (n,)."""
        from scipy.spatial.distance import cdist

        if self.kernel == "linear":
            kernel = features @ self.vectors.T
        else:
            kernel = np.exp(-self.gamma * cdist(features, self.vectors, "sqeuclidean"))
        return kernel @ self.coefficients + self.intercept


def tensors_of(scaling: Scaling, regressors: Mapping[str, Regressor]) -> dict[str, torch.Tensor]:
    """What a scaling and the regressors of each target are made of but for their kernel; float64, by name."""
    import torch

    parts: dict[str, Scaling | Regressor] = {"features": scaling, **regressors}
    return {
        f"{name}.{part}": torch.from_numpy(np.array(getattr(value, part)))
        for name, value in parts.items()
        for part in _arrays_of(type(value))
    }


def from_tensors(
    tensors: Mapping[str, torch.Tensor], targets: Sequence[str], kernel: Literal["rbf", "linear"]
) -> tuple[Scaling, dict[str, Regressor]]:
    """Scaling and regressors again, from what `tensors_of` gave.

    Raises:
        ValueError: The tensors are not those of these targets, or do not belong together.
    """
    arrays = {name: tensor.double().cpu().numpy() for name, tensor in tensors.items()}

    def taken(name: str, cls: type[Scaling | Regressor]) -> dict[str, Features]:
        return {part: arrays.pop(f"{name}.{part}") for part in _arrays_of(cls)}

    try:
        scaling = Scaling(**taken("features", Scaling))
        regressors = {target: Regressor(kernel, **taken(target, Regressor)) for target in targets}
    except KeyError as error:
        raise ValueError(f"they lack {error.args[0]}") from error
    if arrays:
        raise ValueError(f"nothing asks for {', '.join(arrays)}")
    width = scaling.shift.size
    for target, regressor in regressors.items():
        if regressor.vectors.shape[1] != width:
            raise ValueError(f"shift has {width} and vectors of {target} have {regressor.vectors.shape[1]} features")
    return scaling, regressors


def _arrays_of(cls: type[Scaling | Regressor]) -> list[str]:
    return [field.name for field in fields(cls) if field.name != "kernel"]


def _gamma(features: Features, gamma: float | Literal["auto", "scale"]) -> float:
    width: int = features.shape[1]
    if gamma == "auto":
        return 1 / width
    if gamma == "scale":
        variance = float(features.var())
        return 1 / (width * variance) if variance > 0 else 1.0
    return gamma
