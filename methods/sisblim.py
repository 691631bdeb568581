"""SISBLIM (Gu et al. 2014): a row of the published tables that nobody can compute again."""

from __future__ import annotations

from typing import NoReturn

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context, Method, MethodConfig

REASON = (
    "no readable specification: its noise and blur estimators, denoiser and fusion formula are published as protected "
    "MATLAB code (P-code) only, in four variants of which two rise and two fall with distortion"
)


class SISBLIM(Method):
    """Six-Step BLInd Metric. Registered so that the published tables have all their rows; it is always skipped.

    The paper describes six steps that estimate noise, blur and JPEG artefacts and their joint effects, with ideas of
    early vision and free energy. Two of its parts are readable (the JPEG score of Wang et al. 2002, and a free-energy
    predictor), the others are not, and a guess in their place would not be SISBLIM.
    """

    name = "sisblim"
    title = "SISBLIM"
    summary = "always skipped: published as protected code only"
    targets = ("quality",)
    trainable = False
    groups = ("handcrafted",)
    citation = """@article{gu2014sisblim,
  title = {Hybrid No-Reference Quality Metric for Singly and Multiply Distorted Images},
  author = {Gu, Ke and Zhai, Guangtao and Yang, Xiaokang and Zhang, Wenjun},
  journal = {IEEE Transactions on Broadcasting},
  volume = {60},
  number = {3},
  pages = {555--567},
  year = {2014}
}"""

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """Why it cannot run anywhere."""
        return REASON

    def predict(self, samples: Samples) -> NoReturn:  # noqa: ARG002
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self.name}: {REASON}")
