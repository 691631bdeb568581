"""Generator mean: what a method reaches that never looks at an image, only at who made it."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Method


class GeneratorMean(Method):
    """Predicts each image's MOS by the training mean of its generator configuration.

    A generator that is not in the training part gets the mean over all training samples.
    """

    name = "generator_mean"
    title = "Generator mean"
    summary = "training mean of the image's generator: sees no pixel"
    targets = ("*",)
    uses_images = False
    diagnostic = True

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Average the training MOS of each generator configuration."""
        generators, mos = np.asarray(train.generators), train.mos
        self._overall = mos.mean(axis=0)
        self._means = {name: mos[generators == name].mean(axis=0) for name in sorted(set(train.generators))}
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Look up each sample's generator; (n, n_targets) on the MOS scale."""
        return np.stack([self._means.get(name, self._overall) for name in samples.generators])
