"""What the published data sets share: where their files are looked for, and how rows meet images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from agiqa_bench.data.dataset import Dataset, Fault
from agiqa_bench.data.layout import OWN_DEPTH, candidate_folders, find_file, find_images
from agiqa_bench.data.roots import data_root
from agiqa_bench.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    import pandas as pd


class PublishedDataset(Dataset):
    """A data set read from its official annotation files and image archive.

    Attributes:
        folder_names: Names that its folder goes by in people's trees, besides the registry name.
        image_folder: Where the archive puts the images; named in messages about missing ones.
        rows: Number of rows of the complete official annotation.
        image_size: (width, height) of every official image, or None if they differ.
        unlisted: Images of the official archive that the official annotation does not list.
        generator_titles: Readable titles of generators whose published names say little.
    """

    folder_names: ClassVar[tuple[str, ...]] = ()
    image_folder: ClassVar[str] = "images"
    rows: ClassVar[int]
    image_size: ClassVar[tuple[int, int] | None] = None
    unlisted: ClassVar[tuple[str, ...]] = ()
    generator_titles: ClassVar[Mapping[str, str]] = {}

    @property
    def data_folder(self) -> Path:
        """The folder given by `--data-root`, or the default one."""
        return data_root(self.root)

    @property
    def folders(self) -> list[Path]:
        """Existing folders that may hold this data set, most specific first."""
        return candidate_folders(self.data_folder, [self.name, *self.folder_names])

    def find(self, *names: str) -> Path | None:
        """The annotation file that goes by one of `names`, in the first folder that has one."""
        root = self.data_folder
        for folder in self.folders:
            if folder == root:
                # A file of that name in another folder of the common root may be another data set's.
                path = find_file(root, names, lambda path: path.parent == root or self.owns(path))
            else:
                path = find_file(folder, names, depth=OWN_DEPTH)
            if path is not None:
                return path
        return None

    def owns(self, path: Path) -> bool:  # noqa: ARG002
        """Whether an annotation file in a folder of unknown name is this data set's; True where the name says so."""
        return True

    def require(self, *names: str) -> Path:
        """Like `find`, but it must be there.

        Raises:
            DataNotFoundError: It is not; the message names the expected path and how to get it.
        """
        path = self.find(*names)
        if path is None:
            raise DataNotFoundError(
                f"data set '{self.name}': {names[0]} is missing (expected {self.data_folder / self.name / names[0]}; "
                f"searched {', '.join(str(folder) for folder in self.folders) or self.data_folder}); {self.how_to_get}"
            )
        return path

    @property
    def how_to_get(self) -> str:
        """The next step for somebody who lacks a file."""
        return (
            f"type `agiqa-bench datasets download {self.name}`, or name its folder with --data-root, or fetch it by "
            f"hand ({self.describe_sources()})"
        )

    def locate(self, images: Sequence[str], *layouts: Sequence[str]) -> tuple[list[str], list[Fault]]:
        """Find the image of each row.

        Args:
            images: Published file name of each row.
            layouts: The rows' file names in each further layout, e.g. with a folder per generator.

        Returns:
            Absolute path of each row's image ("" if it is missing, or with `annotations_only`), and the faults of
            this copy.
        """
        if self.annotations_only:
            return [""] * len(images), []
        paths: list[str] = [""] * len(images)
        for folder in self.folders:
            for names in (images, *layouts):
                found = find_images(folder, names)
                if len(found) > len({path for path in paths if path}):
                    paths = [str(found.get(name, "")) for name in names]
            if all(paths):
                break
        return paths, self._image_faults(images, paths)

    def _image_faults(self, images: Sequence[str], paths: Sequence[str]) -> list[Fault]:
        faults = []
        missing = list(dict.fromkeys(image for image, path in zip(images, paths, strict=True) if not path))
        if missing:
            home = next((Path(path).parent for path in paths if path), None)
            expected = (home or self.data_folder / self.name / self.image_folder) / missing[0]
            faults.append(
                Fault(
                    "missing-images",
                    f"{len(missing)} of {len(set(images))} images are missing (first: expected {expected}); "
                    f"{self.how_to_get}",
                )
            )
        changed = [path for image, path in zip(images, paths, strict=True) if path and _suffix(path) != _suffix(image)]
        if changed:
            faults.append(
                Fault(
                    "other-format",
                    f"{len(changed)} images are stored in another format than the published one (first: "
                    f"{changed[0]}): this copy was converted, which can change what a method sees",
                )
            )
        return faults

    def check_rows(self, count: int, where: Path) -> list[Fault]:
        """A fault of this copy if it has not as many rows as the official annotation."""
        if count == self.rows:
            return []
        return [
            Fault("row-count", f"{where} has {count} rows where the official file has {self.rows}: not the whole set")
        ]


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return ".jpg" if suffix == ".jpeg" else suffix


def read_annotations(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read an official .csv or .xlsx annotation file and check that it is what it should be.

    Words like "None" or "null" in a prompt stay words.

    Args:
        path: The file.
        columns: Columns that must be there; those called MOS or mos_* are made float64 (empty cells become NaN, which
            `check_samples` refuses), the others str.

    Raises:
        DataError: It cannot be read, is empty, or lacks a column.
    """
    from agiqa_bench.data.tables import read_table

    try:
        table = read_table(path).map(lambda cell: "" if cell is None else str(cell))
    except DataError as error:
        raise DataError(f"{error}; fetch the official file again") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column '{missing[0]}' (it has: {', '.join(map(str, table.columns)) or 'none'}); "
            "fetch the official file again"
        )
    table = table[list(columns)].copy()
    for column in columns:
        if column.lower().startswith("mos"):
            table[column] = _numbers(table[column], path)
    return table


def _numbers(values: pd.Series[str], path: Path) -> list[float]:
    numbers = []
    for row, text in enumerate(values, start=1):
        try:
            numbers.append(float(text or "nan"))
        except ValueError as error:
            raise DataError(f"{path}: '{text}' in column '{values.name}', data row {row}, is not a number") from error
    return numbers
