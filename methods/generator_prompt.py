"""Generator and prompt: what a method reaches by recognising both, which only an image-level split rewards."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Method, MethodConfig


class GeneratorPromptConfig(MethodConfig):
    """Settings of `generator_prompt`."""

    alpha: float = Field(default=1.0, gt=0, description="strength of the ridge penalty")


class GeneratorPrompt(Method):
    """Additive model of two identities: overall mean + effect of the generator + effect of the prompt, by ridge.

    Under a grouped split no test prompt was seen, so that only the generator's effect is left; under an image-level
    split it shows how much of a score is recognition of the prompt.
    """

    name = "generator_prompt"
    title = "Generator + prompt"
    summary = "identities of generator and prompt: sees no pixel; telling under --split image"
    targets = ("*",)
    uses_images = False
    uses_prompt = True
    diagnostic = True
    Config = GeneratorPromptConfig

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Fit the two sets of effects."""
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder

        identities = OneHotEncoder(handle_unknown="ignore")
        # A solver without a random start: the same rows give the same effects.
        self._model = make_pipeline(identities, Ridge(alpha=self.config.alpha, solver="sparse_cg", tol=1e-10))
        self._model.fit(_identities(train), train.mos)
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Add the effects up; (n, n_targets) on the MOS scale. An unknown identity has no effect."""
        predicted: npt.NDArray[np.float64] = np.asarray(self._model.predict(_identities(samples)), dtype=np.float64)
        return predicted.reshape(len(samples), -1)


def _identities(samples: Samples) -> npt.NDArray[np.object_]:
    return np.array(list(zip(samples.generators, samples.groups, strict=True)), dtype=object)
