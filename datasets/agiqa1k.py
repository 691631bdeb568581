"""AGIQA-1K: 1,080 images of two Stable Diffusion models, with one MOS each for quality and correspondence together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.data.dataset import Fault, Source, Target
from agiqa_bench.data.published import PublishedDataset, read_annotations

if TYPE_CHECKING:
    import pandas as pd


class AGIQA1K(PublishedDataset):
    """AGIQA-1K, read from `AIGC_MOS_Zscore.xlsx`; the raw-score file `AIGC_all.csv` is only looked at for its fault.

    Prompts are comma-separated keywords (object, action, place, style). A group is one (object, action) label, whose
    images are the candidates of the SRCC in prompt: 361 of the 720 prompts have one image, 358 have two.
    """

    name = "agiqa1k"
    title = "AGIQA-1K"
    summary = "1,080 images, 180 (object, action) labels, 2 generators; one coupled MOS"
    targets = (Target("quality", (0.0, 5.0), measures=("quality", "alignment")),)
    licence = "MIT"
    citation = """@inproceedings{zhang2023perceptual,
  title     = {A Perceptual Quality Assessment Exploration for {AIGC} Images},
  author    = {Zhang, Zicheng and Li, Chunyi and Sun, Wei and Liu, Xiaohong and Min, Xiongkuo and Zhai, Guangtao},
  booktitle = {2023 IEEE International Conference on Multimedia and Expo Workshops (ICMEW)},
  pages     = {440--445},
  year      = {2023},
  eprint    = {2303.12618},
  archivePrefix = {arXiv}
}"""
    sources = (
        Source(
            "url",
            "https://raw.githubusercontent.com/lcysyzxdxc/AGIQA-1k-Database/main/AIGC_MOS_Zscore.xlsx",
            "AIGC_MOS_Zscore.xlsx",
            "annotations",
            53_000,
            "https://github.com/lcysyzxdxc/AGIQA-1k-Database",
        ),
        Source(
            "google_drive",
            "158uTLMnxGlzYA11r5jOtXFAWAG_4sjia",
            "file.zip",
            "images",
            0,
            "https://drive.google.com/file/d/158uTLMnxGlzYA11r5jOtXFAWAG_4sjia/view",
        ),
    )
    folder_names = ("AGIQA-1K", "AGIQA1K", "AGIQA-1k-Database")
    image_folder = "file"
    rows = 1080
    image_size = (512, 512)
    candidates = "group"
    unlisted = ("dreamStudio_8_5_0_0.jpg",)
    generator_titles = {"deepai": "Stable Diffusion v2 (DeepAI)", "dreamStudio": "Stable Inpainting v1 (DreamStudio)"}  # noqa: RUF012

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """Read all rows, the doubly listed image included, as the papers do; see `Dataset.read`."""
        file = self.require("AIGC_MOS_Zscore.xlsx")
        table = read_annotations(file, ["Image", "Prompt", "MOS"])
        table.columns = ["image", "prompt", "mos_quality"]
        table["group"] = table["prompt"].str.split(",").str[:2].map(lambda words: ", ".join(map(str.strip, words)))
        table["generator"] = table["family"] = table["image"].str.split("_").str[0]
        faults = [*self.check_rows(len(table), file), *self._listing_faults(table)]
        raw = self.find("AIGC_all.csv")
        if raw is not None:
            faults += _raw_score_faults(raw)
        table["path"], image_faults = self.locate(table["image"].tolist())
        return table, (*faults, *image_faults)

    def _listing_faults(self, table: pd.DataFrame) -> list[Fault]:
        faults = []
        for image, rows in table[table["image"].duplicated(keep=False)].groupby("image", sort=False):
            group = rows["group"].iloc[0]
            faults.append(
                Fault(
                    "duplicate-row",
                    f"{image} is listed {len(rows)} times, with MOS {' and '.join(map(str, rows['mos_quality']))}; "
                    f"every row is kept, so the label '{group}' has {int((table['group'] == group).sum())} rows",
                    known=image == "dreamStudio_8_9_1_1.jpg",
                )
            )
        for image in self.unlisted:
            if image not in set(table["image"]):
                siblings = table["image"].str.startswith(image.rsplit("_", 2)[0] + "_")
                group = table.loc[siblings, "group"].iloc[0] if siblings.any() else "unknown"
                count = int((table["group"] == group).sum())
                message = f"{image} is not listed and not used, so the label '{group}' has {count} rows"
                faults.append(Fault("unlisted-image", message, known=True))
        return faults


def _raw_score_faults(path: Path) -> list[Fault]:
    names = read_annotations(path, ["Image"])["Image"]
    cut = names[~names.str.fullmatch(r"[A-Za-z]+(_\d+){4}\.jpg")]
    return [
        Fault(
            "cut-name",
            f"AIGC_all.csv (raw scores, not used) names an image '{name}', where a digit is missing",
            known=name == "dreamStudio_8_9_1_.jpg",
        )
        for name in cut
    ]
