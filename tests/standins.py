"""Small stand-in images under the official file names, beside the official annotation files.

The images of the published data sets cannot be shipped. These have their names, their folder layout and a look that
varies (blur, noise, colour), so that a whole run works on them; what a method scores on them means nothing.

    python tests/standins.py agiqa3k OUT --annotations FOLDER
    agiqa-bench datasets info agiqa3k --data-root OUT
"""

from __future__ import annotations

import argparse
import csv
import shutil
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

AIGCIQA2023_GENERATORS = ("Controlnet", "DALLE", "Glide", "Lafite", "stable-diffusion", "Unidiffuser")
LAYOUTS = ("official", "other")


def make_standins(
    dataset: str,
    annotations: Path,
    out: Path,
    size: int = 112,
    count: int | None = None,
    layout: str = "official",
) -> Path:
    """Write a data set's annotation files and stand-in images to `out/<dataset>`.

    Args:
        dataset: `agiqa1k`, `agiqa3k` or `aigciqa2023`.
        annotations: Folder with a sub-folder of official annotation files per data set.
        out: What to give as `--data-root` afterwards.
        size: Width and height of the images in pixels; NIQE needs 96 or more.
        count: Render only so many images, evenly spread over the list; None means all.
        layout: `official` as the archive unpacks, or `other`: the second layout that is in use.

    Returns:
        The folder `out/<dataset>`.
    """
    source, folder = annotations / dataset, out / dataset
    folder.mkdir(parents=True, exist_ok=True)
    names = {"agiqa1k": _agiqa1k, "agiqa3k": _agiqa3k, "aigciqa2023": _aigciqa2023}[dataset](source, folder, layout)
    if count is not None:
        names = [names[round(i * (len(names) - 1) / max(count - 1, 1))] for i in range(min(count, len(names)))]
    for name in names:
        save_standin(folder / name, size)
    return folder


def save_standin(path: Path, size: int = 112) -> None:
    """Render the image that belongs to the file name `path.name` (and its folder's) and save it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(zlib.crc32(f"{path.parent.name}/{path.name}".encode()))
    # A coarse grid enlarged is a blurred picture, a fine one a sharp picture.
    grid = int(random.choice([6, 12, 24, 48, size]))
    coarse = Image.fromarray(random.integers(0, 256, (grid, grid, 3), dtype=np.uint8))
    shape = Image.fromarray(random.integers(0, 256, (3, 3, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    ground = np.asarray(shape.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    noise = random.normal(0, float(random.choice([0, 4, 16, 32])), (size, size, 1))
    mixed = np.clip(ground + (picture - 128) * random.uniform(0.2, 0.8) + noise, 0, 255).astype(np.uint8)
    options = {"compress_level": 1} if path.suffix == ".png" else {"quality": 90}
    Image.fromarray(mixed).save(path, **options)


def _agiqa1k(source: Path, folder: Path, layout: str) -> list[str]:
    from openpyxl import load_workbook

    shutil.copyfile(source / "AIGC_MOS_Zscore.xlsx", folder / "AIGC_MOS_Zscore.xlsx")
    shutil.copyfile(source / "AIGC_all.csv", folder / "AIGC_all.csv")
    sheet = load_workbook(source / "AIGC_MOS_Zscore.xlsx", read_only=True).worksheets[0]
    listed = [str(row[0]) for row in sheet.iter_rows(min_row=2, max_col=1, values_only=True)]
    place = "file/" if layout == "official" else ""
    # The archive also holds the image that the list forgets.
    return [place + name for name in dict.fromkeys([*listed, "dreamStudio_8_5_0_0.jpg"])]


def _agiqa3k(source: Path, folder: Path, layout: str) -> list[str]:
    shutil.copyfile(source / "data.csv", folder / "data.csv")
    with (source / "data.csv").open(encoding="utf-8", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    return [("AGIQA-3K/" if layout == "official" else "img/") + name for name in names]


def _aigciqa2023(source: Path, folder: Path, layout: str) -> list[str]:
    place = folder / "DATA" / "MOS" if layout == "official" else folder
    write_matlab_ratings(source / "mos_quality_authenticity.csv", place)
    shutil.copyfile(source / "AIGCIQA2023_Prompts.xlsx", folder / "AIGCIQA2023_Prompts.xlsx")
    if layout == "official":
        return [f"Image/allimg/{n}.png" for n in range(2400)]
    return [f"{AIGCIQA2023_GENERATORS[n // 400]}/{n % 400 // 4:03d}-{n % 4 + 1}.png" for n in range(2400)]


def write_matlab_ratings(table: Path, folder: Path, alignment: bool = False) -> None:
    """Write `mosz1.mat` and `mosz2.mat` from the published CSV, as the official files are: MOSz, 2400 x 1.

    The correspondence file is not to be had; with `alignment` the mean of the other two stands in for it.
    """
    import scipy.io

    folder.mkdir(parents=True, exist_ok=True)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    quality = np.array([[float(row["mos_quality"])] for row in rows])
    authenticity = np.array([[float(row["mos_authenticity"])] for row in rows])
    scipy.io.savemat(folder / "mosz1.mat", {"MOSz": quality})
    scipy.io.savemat(folder / "mosz2.mat", {"MOSz": authenticity})
    if alignment:
        scipy.io.savemat(folder / "mosz3.mat", {"MOSz": (quality + authenticity) / 2})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=("agiqa1k", "agiqa3k", "aigciqa2023"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--count", type=int)
    parser.add_argument("--layout", choices=LAYOUTS, default="official")
    options = parser.parse_args()
    folder = make_standins(
        options.dataset, options.annotations, options.out, options.size, options.count, options.layout
    )
    print(f"stand-ins for {options.dataset} are in {folder}")  # noqa: T201


if __name__ == "__main__":
    main()
