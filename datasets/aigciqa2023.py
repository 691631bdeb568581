"""AIGCIQA2023: 2,400 images of six models from 100 prompts, with MOS for quality, authenticity and correspondence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.data.dataset import Fault, Source, Target
from agiqa_bench.data.published import PublishedDataset, read_annotations
from agiqa_bench.errors import DataError
from agiqa_bench.named_file import require_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

GENERATORS = ("Controlnet", "DALLE", "Glide", "Lafite", "stable-diffusion", "Unidiffuser")
PROMPTS = 100
PER_PROMPT = 4

_MATLAB_FILES = {"quality": "mosz1.mat", "authenticity": "mosz2.mat", "alignment": "mosz3.mat"}
_PROMPT_FILES = ("AIGCIQA2023_Prompts.xlsx", "prompts.xlsx", "prompt.xlsx")
_MOST_MATLAB_BYTES = 2**18
"""The official files have 20 kB; such a file may unpack to a thousand times its size."""

_TABLE = "AIGCIQA2023.csv"
_TABLE_COLUMNS = {"quality": "quality_mos", "authenticity": "authenticity_mos", "alignment": "correspondence_mos"}


class AIGCIQA2023(PublishedDataset):
    """AIGCIQA2023, read from `mosz1.mat` to `mosz3.mat` and the prompt table.

    Image n is `n.png` (in `allimg/`), n = 400 g + 4 p + k for generator g, prompt p and sample k, or
    `<generator>/<p>-<k+1>.png` in the layout with a folder per generator. A group is one of the 100 prompts.
    Alignment is what the authors call correspondence.

    Copies often lack a .mat file. A target whose file is absent is read from `AIGCIQA2023.csv` (a table of all
    ratings offered to the authors' repository) where that lies with the data, and is otherwise left out of this
    copy's `targets`.
    """

    name = "aigciqa2023"
    title = "AIGCIQA2023"
    summary = "2,400 images, 100 prompts, 6 generators; MOS of quality, authenticity and alignment"
    targets: tuple[Target, ...] = (
        Target("quality", (0.0, 100.0)),
        Target("authenticity", (0.0, 100.0)),
        Target("alignment", (0.0, 100.0)),
    )
    licence = "not stated: research use"
    citation = """@inproceedings{wang2023aigciqa2023,
  title     = {{AIGCIQA2023}: A Large-Scale Image Quality Assessment Database for {AI} Generated Images: From the
               Perspectives of Quality, Authenticity and Correspondence},
  author    = {Wang, Jiarui and Duan, Huiyu and Liu, Jing and Chen, Shi and Min, Xiongkuo and Zhai, Guangtao},
  booktitle = {CAAI International Conference on Artificial Intelligence (CICAI)},
  publisher = {Springer},
  year      = {2023},
  eprint    = {2307.00211},
  archivePrefix = {arXiv}
}"""
    sources = (
        Source(
            "hugging_face",
            "IntMeGroup/AIGCIQA2023",
            "",
            "images and annotations",
            0,
            "https://huggingface.co/datasets/IntMeGroup/AIGCIQA2023",
        ),
        Source(
            "url",
            "https://raw.githubusercontent.com/wangjiarui153/AIGCIQA2023/main/AIGCIQA2023_Prompts.xlsx",
            "AIGCIQA2023_Prompts.xlsx",
            "prompts",
            13_000,
            "https://github.com/wangjiarui153/AIGCIQA2023",
        ),
        Source(
            "url",
            "https://raw.githubusercontent.com/wangjiarui153/AIGCIQA2023/68283bba2490059b5071bca0c2686495998b0aa2/AIGCIQA2023.csv",
            "AIGCIQA2023.csv",
            "ratings as one table",
            383_000,
            "https://github.com/wangjiarui153/AIGCIQA2023/pull/4",
        ),
    )
    folder_names = ("AIGCIQA2023", "AIGCIQA-2023", "AIGCIQA2023K")
    image_folder = "allimg"
    rows = len(GENERATORS) * PROMPTS * PER_PROMPT
    image_size = (512, 512)

    def __init__(self, root: Path | None = None, *, annotations_only: bool = False) -> None:
        """Remember where the files are, and narrow `targets` to those whose ratings are there, if any are."""
        super().__init__(root, annotations_only=annotations_only)
        table = self.find(_TABLE)
        self._files = {target.name: self.find(_MATLAB_FILES[target.name]) or table for target in type(self).targets}
        present = tuple(target for target in type(self).targets if self._files[target.name])
        # `targets` is class data for the registry; a copy that lacks a file is the one case where it differs.
        self.targets = present or type(self).targets

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        """Read the ratings that are there; see `Dataset.read`.

        Raises:
            DataNotFoundError: No rating, or no prompt table, is there.
            DataError: A file has another shape than the official one.
        """
        import pandas as pd

        if not any(self._files.values()):
            self.require(*_MATLAB_FILES.values())
        count = self.rows
        prompts = self._prompts()
        numbers = range(count)
        generators = [GENERATORS[n // (PROMPTS * PER_PROMPT)] for n in numbers]
        positions = [n // PER_PROMPT % PROMPTS for n in numbers]
        images = [f"{n}.png" for n in numbers]
        by_generator = [
            f"{generator}/{position:03d}-{n % PER_PROMPT + 1}.png"
            for n, generator, position in zip(numbers, generators, positions, strict=True)
        ]
        paths, image_faults = self.locate(images, by_generator)
        table = pd.DataFrame(
            {
                "image": images,
                "path": paths,
                "prompt": [prompts[position] for position in positions],
                "group": [f"{position:03d}" for position in positions],
                "generator": generators,
                "family": generators,
            }
        )
        for target in self.targets:
            file = self._files[target.name]
            assert file is not None  # `targets` holds only what has a file
            table[f"mos_{target.name}"] = _ratings(file, target.name, count)
        return table, (*self._rating_faults(), *image_faults)

    def _prompts(self) -> list[str]:
        file = self.find(*_PROMPT_FILES)
        table = self.find(_TABLE)
        if file is None and table is not None:
            # The first 400 rows are one generator's, four to a prompt.
            return read_annotations(table, ["prompt"])["prompt"].tolist()[: PROMPTS * PER_PROMPT : PER_PROMPT]
        return _prompt_column(self.require(*_PROMPT_FILES))

    def _rating_faults(self) -> list[Fault]:
        faults = []
        for target, file in self._files.items():
            official = _MATLAB_FILES[target]
            if file is None:
                message = (
                    f"{official} is not in this copy, so the target '{target}' is left out; put it beside "
                    f"{next(name for name in self._files.values() if name)}"
                )
                faults.append(Fault("missing-target", message, known=True))
            elif file.name == _TABLE:
                message = (
                    f"{official} is not in this copy: '{target}' is read from {_TABLE}, a table that was offered to "
                    "the authors' repository and not taken over; it is rounded to about 10 digits"
                )
                faults.append(Fault("unofficial-table", message, known=True))
        return faults


def _ratings(file: Path, target: str, count: int) -> npt.NDArray[np.float64]:
    """MOS of one target in the order of the images, float64 (count,)."""
    import numpy as np

    if file.suffix.lower() == ".mat":
        return _matlab_ratings(file, count)
    column = _TABLE_COLUMNS[target]
    table = read_annotations(file, ["name", column])
    if table["name"].tolist() != [f"{n}.png" for n in range(count)]:
        raise DataError(f"{file} does not list 0.png to {count - 1}.png in order; fetch it again")
    try:
        return table[column].to_numpy(dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{file}, column {column}: {error}; fetch it again") from error


def _matlab_ratings(file: Path, count: int) -> npt.NDArray[np.float64]:
    import numpy as np
    import scipy.io

    require_file(file, "MATLAB file", DataError, _MOST_MATLAB_BYTES)
    try:
        content = scipy.io.loadmat(file, variable_names=["MOSz"])
    except Exception as error:
        # The reader raises whatever a damaged file makes it stumble over.
        raise DataError(f"{file} is not a readable MATLAB file ({error}); fetch the official one again") from error
    values = content.get("MOSz")
    if not isinstance(values, np.ndarray) or values.size != count or values.dtype.kind not in "iuf":
        found = f"MOSz of shape {values.shape}, type {values.dtype}" if isinstance(values, np.ndarray) else "no MOSz"
        raise DataError(f"{file} holds {found} where the official file has {count} x 1 numbers; fetch it again")
    ratings: npt.NDArray[np.float64] = values.astype(np.float64).ravel()
    return ratings


def _prompt_column(file: Path) -> list[str]:
    """The 100 prompts: last of the columns category, challenge, prompt of a sheet without a header."""
    from agiqa_bench.data.tables import read_table

    try:
        table = read_table(file)
    except DataError as error:
        raise DataError(f"{error}; fetch the official file again") from error
    rows = [[str(cell) for cell in row] for row in (table.columns.tolist(), *table.to_numpy().tolist())]
    if len(rows) == PROMPTS + 1 and rows[0][-1].strip().lower() in {"prompt", "prompts"}:
        rows = rows[1:]
    if len(rows) != PROMPTS or len(rows[0]) < 3:
        raise DataError(
            f"{file} has {len(rows)} rows and {len(rows[0])} columns where the official table has {PROMPTS} and 3; "
            "fetch it again"
        )
    return [row[2] for row in rows]
