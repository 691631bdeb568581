"""Prompt text: what a method reaches that reads the prompt and never sees the image."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.method import Method, MethodConfig


class PromptTextConfig(MethodConfig):
    """Settings of `prompt_text`."""

    alpha: float = Field(default=1.0, gt=0, description="strength of the ridge penalty")
    words: int = Field(default=2, ge=1, description="longest word sequence that counts as a feature")


class PromptText(Method):
    """Ridge regression from the TF-IDF of the prompt's words and word pairs to the MOS."""

    name = "prompt_text"
    title = "Prompt text"
    summary = "ridge regression on the TF-IDF of the prompt: sees no pixel"
    targets = ("*",)
    uses_images = False
    uses_prompt = True
    diagnostic = True
    Config = PromptTextConfig

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:  # noqa: ARG002
        """Fit vocabulary and regression on the training prompts."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline

        # Single letters count as words: "a" and "3" carry meaning in prompts.
        features = TfidfVectorizer(ngram_range=(1, self.config.words), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")  # noqa: S106 - a pattern of tokens
        # A solver without a random start: the same rows give the same model.
        self._model = make_pipeline(features, Ridge(alpha=self.config.alpha, solver="sparse_cg", tol=1e-10))
        self._model.fit(train.prompts, train.mos)
        return self

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Regress on the prompts; (n, n_targets) on the MOS scale."""
        predicted: npt.NDArray[np.float64] = np.asarray(self._model.predict(samples.prompts), dtype=np.float64)
        return predicted.reshape(len(samples), -1)
