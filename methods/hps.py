"""HPS v2 (Wu et al. 2023): human preference score, a CLIP ViT-H/14 fine-tuned on preferences, by its own package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from agiqa_bench.backbones.hub import hub_file
from agiqa_bench.external.interpreter import Package
from agiqa_bench.external.package import PackageConfig, PackageMethod
from agiqa_bench.method import Context, MethodConfig

REPOSITORY = "xswu/HPSv2"

CHECKPOINTS = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}


class HPS(PackageMethod):
    """Cosine of image and prompt by the published HPS v2.0 or v2.1.

    Not the HPS of the published tables: that is v1 (Wu et al., ICCV 2023), whose weights are on OneDrive alone. The
    package runs in the interpreter that `--python-for hps=...` names. Its own `score` computes in float16 on a GPU;
    here the run's precision counts, which is float32 unless `--precision fp16` is given.
    """

    name = "hps"
    title = "HPS v2"
    summary = "human preference score v2.0 or v2.1 on CLIP ViT-H/14, no training; needs an environment of its own"
    targets = ("alignment",)
    uses_prompt = True
    trainable = False
    takes_python = True
    citation = """@article{wu2023hpsv2,
  title = {Human Preference Score v2: A Solid Benchmark for Evaluating Human Preferences of Text-to-Image Synthesis},
  author = {Wu, Xiaoshi and Hao, Yiming and Sun, Keqiang and Chen, Yixiong and Zhu, Feng and Zhao, Rui and
            Li, Hongsheng},
  journal = {arXiv preprint arXiv:2306.09341},
  year = {2023}
}"""
    ablations = {"v2.0": {"version": "v2.0"}, "v2.1": {"version": "v2.1"}}  # noqa: RUF012 - literal class data

    class Config(PackageConfig):
        """Which weights."""

        version: Literal["v2.0", "v2.1"] = Field(default="v2.1", description="v2.0 or v2.1 of the published weights")

    package = Package(
        module="hpsv2.src.open_clip",
        distributions=("hpsv2x", "hpsv2"),
        libraries=("torch", "torchvision", "transformers", "timm", "Pillow"),
        install="hpsv2x",
        conflict="it pins protobuf and pytest to old versions",
    )
    worker = "score_hps.py"

    @classmethod
    def files(cls, config: MethodConfig, context: Context) -> tuple[Path, ...]:
        """The checkpoint, gigabytes, in the Hub's cache.

        Raises:
            WeightsUnavailableError: It is not here and cannot be fetched.
        """
        assert isinstance(config, cls.Config)
        names = (CHECKPOINTS[config.version],)
        return (hub_file(REPOSITORY, names, offline=context.offline, advice="run once with the network"),)

    @classmethod
    def weights_name(cls, config: MethodConfig) -> str:
        """Name of the published weights."""
        assert isinstance(config, HPS.Config)
        return f"HPS {config.version}"

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """What its scores can be compared with."""
        return "the published rows are HPS v1; made to compare images of one prompt"
