"""ImageReward (Xu et al. 2023): a reward model of human preferences on BLIP, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from agiqa_bench.backbones.checkpoint import check_no_code
from agiqa_bench.backbones.hub import hub_file
from agiqa_bench.external.interpreter import Package
from agiqa_bench.external.package import PackageConfig, PackageMethod
from agiqa_bench.method import Context, MethodConfig

REPOSITORY = "THUDM/ImageReward"


class ImageReward(PackageMethod):
    """The published ImageReward-v1.0 by its own package, image by image as its README shows.

    The package cannot be imported beside this project's libraries (pyiqa needs transformers 5, ImageReward functions of
    transformers 4 that are gone), so it runs in the interpreter that `--python-for imagereward=...` names.
    It computes in float32 whatever `--precision` says: its score is the output of a network, which a lower precision
    would round.
    """

    name = "imagereward"
    title = "ImageReward"
    summary = "reward model of human preferences on BLIP, no training; needs an environment of its own"
    targets = ("alignment",)
    uses_prompt = True
    trainable = False
    takes_python = True
    citation = """@inproceedings{xu2023imagereward,
  title = {{ImageReward}: Learning and Evaluating Human Preferences for Text-to-Image Generation},
  author = {Xu, Jiazheng and Liu, Xiao and Wu, Yuchen and Tong, Yuxuan and Li, Qinkai and Ding, Ming and Tang, Jie and
            Dong, Yuxiao},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {36},
  year = {2023}
}"""

    Config = PackageConfig

    package = Package(
        module="ImageReward",
        distributions=("image-reward",),
        libraries=("torch", "torchvision", "transformers", "timm", "Pillow"),
        install='image-reward "transformers<4.50" openai-clip "setuptools<81"',
        conflict="it needs transformers 4, pyiqa transformers 5",
    )
    worker = "score_imagereward.py"

    @classmethod
    def files(cls, config: MethodConfig, context: Context) -> tuple[Path, ...]:  # noqa: ARG003
        """Checkpoint (about 1.8 GB) and configuration, where the package or the Hub keeps them.

        Raises:
            WeightsUnavailableError: They, or BERT's vocabulary, are not here and cannot be fetched, or the checkpoint
                holds code.
        """
        # The package asks the Hub for it by itself; here that is announced, or said to be impossible, beforehand.
        cls._file("vocab.txt", "bert-base-uncased", context)
        checkpoint, settings = (cls._file(name, REPOSITORY, context) for name in ("ImageReward.pt", "med_config.json"))
        # The package has torch load it, which before its version 2.6 runs whatever code a file holds.
        check_no_code(checkpoint, f"get it again from {REPOSITORY} on the Hub")
        return checkpoint, settings

    @classmethod
    def _file(cls, name: str, repository: str, context: Context) -> Path:
        own = Path.home() / ".cache" / "ImageReward" / name
        if repository == REPOSITORY and own.is_file():
            return own
        advice = f"run once with the network, or put the file at {own}"
        if repository != REPOSITORY:
            advice = "run once with the network"
        return hub_file(repository, (name,), offline=context.offline, advice=advice)

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """That the precision of the run does not count."""
        return "" if context.precision == "float32" else "computed in float32"

    @classmethod
    def weights_name(cls, config: MethodConfig) -> str:  # noqa: ARG003
        """Name of the published model."""
        return "ImageReward-v1.0"
