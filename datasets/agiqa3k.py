"""AGIQA-3K: 2,982 images of six models in ten configurations, with MOS for quality and for alignment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.data.dataset import Fault, Source, Target
from agiqa_bench.data.published import PublishedDataset, read_annotations
from agiqa_bench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


class AGIQA3K(PublishedDataset):
    """AGIQA-3K, read from `data.csv`.

    File names read `<family>_<configuration>_<prompt number>.jpg`. A group is one of the 300 prompts.
    """

    name = "agiqa3k"
    title = "AGIQA-3K"
    summary = "2,982 images, 300 prompts, 6 generators in 10 configurations; MOS of quality and alignment"
    targets = (Target("quality", (0.0, 5.0)), Target("alignment", (0.0, 5.0)))
    licence = "MIT"
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
    sources = (
        Source(
            "url",
            "https://raw.githubusercontent.com/lcysyzxdxc/AGIQA-3k-Database/main/data.csv",
            "data.csv",
            "annotations",
            446_000,
            "https://github.com/lcysyzxdxc/AGIQA-3k-Database",
        ),
        Source(
            "google_drive",
            "1ObuOZ6YZqZuxe4oRlaf3kdOBlTRg2GE4",
            "AGIQA-3K.zip",
            "images",
            0,
            "https://drive.google.com/file/d/1ObuOZ6YZqZuxe4oRlaf3kdOBlTRg2GE4/view",
        ),
        Source(
            "hugging_face",
            "strawhat/agiqa-3k",
            "",
            "images",
            0,
            "https://huggingface.co/datasets/strawhat/agiqa-3k",
        ),
    )
    folder_names = ("AGIQA-3K", "AGIQA3K", "AGIQA-3k-Database")
    image_folder = "AGIQA-3K"
    rows = 2982

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """Read the ratings; generator, family and group come from the file name; see `Dataset.read`.

        Raises:
            DataError: A file name is not of the published form.
        """
        file = self.require("data.csv")
        table = read_annotations(file, ["name", "prompt", "mos_quality", "mos_align"])
        table.columns = ["image", "prompt", "mos_quality", "mos_alignment"]
        parts = table["image"].str.extract(r"^((.+)_[^_]+)_(\d+)\.\w+$")
        if parts.isna().any(axis=None):
            odd = table["image"][parts[0].isna()].iloc[0]
            raise DataError(
                f"{file}: '{odd}' is not of the form <model>_<configuration>_<number>.jpg; fetch the official file"
            )
        table["generator"], table["family"], table["group"] = parts[0], parts[1], parts[2]
        paths, image_faults = self.locate(table["image"].tolist())
        table["path"] = paths
        faults = [*self.check_rows(len(table), file), *_prompt_faults(table), *_generator_faults(table)]
        return table, (*faults, *image_faults)

    def owns(self, path: Path) -> bool:
        """Whether a file called data.csv, as many are, has this data set's columns."""
        with path.open("rb") as file:
            return b"mos_align" in file.readline(1000)


def _prompt_faults(table: pd.DataFrame) -> list[Fault]:
    texts = table.groupby("group")["prompt"].nunique()
    return [
        Fault("prompt-mismatch", f"images numbered {number} have {count} different prompts; the number is the group")
        for number, count in texts[texts > 1].items()
    ]


def _generator_faults(table: pd.DataFrame) -> list[Fault]:
    sizes = table["generator"].value_counts().sort_index()
    prompts = table["group"].nunique()
    short = [f"{name} {size}" for name, size in sizes.items() if size < prompts]
    if not short:
        return []
    return [
        Fault(
            "uneven-generators",
            f"not every one of the {prompts} prompts has an image of every generator: {', '.join(short)}; "
            "the rows are used as they are",
            known=short == ["DALLE2_normal 290", "midjourney_lowstep 296", "midjourney_normal 296"],
        )
    ]
