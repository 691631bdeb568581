"""StairReward (Li et al. 2023): a row of the published tables that nobody can compute again."""

from __future__ import annotations

from typing import NoReturn

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.method import Context, Method, MethodConfig

REASON = (
    "no readable specification: how it cuts a prompt into segments and weights them is not published, nor is its code; "
    "ImageReward, which it builds on, is 'imagereward'"
)


class StairReward(Method):
    """ImageReward on the segments of a prompt. Registered so that the published tables have all their rows.

    It is always skipped: AGIQA-3K's paper introduces it, but its rule of segmentation and its weights are in no
    readable source. The data set's own columns (prompt, adjectives, style) would make usable segments, but the rule
    would be ours and not StairReward.
    """

    name = "stairreward"
    title = "StairReward"
    summary = "always skipped: segmentation and weights are not published"
    targets = ("alignment",)
    uses_prompt = True
    trainable = False
    citation = """@article{li2023agiqa3k,
  title   = {{AGIQA-3K}: An Open Database for {AI}-Generated Image Quality Assessment},
  author  = {Li, Chunyi and Zhang, Zicheng and Wu, Haoning and Sun, Wei and Min, Xiongkuo and Liu, Xiaohong and
             Zhai, Guangtao and Lin, Weisi},
  journal = {IEEE Transactions on Circuits and Systems for Video Technology},
  volume  = {34},
  number  = {8},
  pages   = {6833--6846},
  year    = {2023},
  eprint  = {2306.04717},
  archivePrefix = {arXiv}
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
