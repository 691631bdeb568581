"""Images that belong to no data set: single files, folders and lists of them, as samples for a fitted method."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agiqa_bench.data.images import decode, probe
from agiqa_bench.data.layout import IMAGE_SUFFIXES
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, DataError, DataNotFoundError
from agiqa_bench.named_file import expanded


@dataclass(frozen=True)
class LooseFiles:
    """Image files with or without prompts.

    Attributes:
        names: What to call each image, length n: as the user's table writes it, or its path within the folder.
        paths: The files, length n.
        prompts: Prompt of each image, length n; None where nothing gives prompts.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    prompts: tuple[str, ...] | None = None


def from_table(path: Path) -> LooseFiles:
    """Images listed in a .csv, .tsv, .parquet or .xlsx table: column `image`, optionally `prompt`; others are ignored.

    Paths are absolute or relative to the table's folder; they may leave it, and are only ever read.

    Raises:
        DataNotFoundError: There is no such table.
        DataError: The table is malformed or has no rows or no column `image`, or a row names no image.
    """
    from agiqa_bench.data.tables import as_text, read_table, refuse_duplicates

    raw = read_table(path)
    refuse_duplicates([str(name) for name in raw.columns], path)
    columns = {str(name).strip().lower(): as_text(raw[name]).to_list() for name in raw.columns}
    if "image" not in columns:
        raise DataError(f"table {path} has no column 'image' (it has: {', '.join(filter(None, columns)) or 'none'})")
    names = columns["image"]
    if not names:
        raise DataError(f"table {path} has a header and no rows")
    if "" in names:
        raise DataError(f"table {path}: data row {names.index('') + 1} names no image")
    prompts = tuple(columns["prompt"]) if "prompt" in columns else None
    # A tilde is a letter like any other there, and means a home folder only at the very beginning.
    folder = path.parent.absolute() if any(name.startswith("~") for name in names) else path.parent
    return LooseFiles(tuple(names), tuple(folder / name for name in names), prompts)


def from_folder(folder: Path) -> LooseFiles:
    """All images in a folder and the folders below it, in the order of their paths; hidden ones are left out.

    Raises:
        DataNotFoundError: There are none.
    """
    found = sorted(
        (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda path: path.parts,
    )
    within = [
        path for path in found if not any(part.startswith(".") for part in path.parts) and (folder / path).is_file()
    ]
    if not within:
        raise DataNotFoundError(f"folder {folder} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return LooseFiles(tuple(_name(path) for path in within), tuple(folder / path for path in within))


def _name(path: Path) -> str:
    """What to call a file; bytes in its name that are no UTF-8 show as a mark."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def check_images(paths: Sequence[Path | str]) -> None:
    """Look at the header of every file, so that a missing image is known before the others are scored.

    Raises:
        BadImageError: A file is missing or not an image; the first is named.
    """
    _refuse_bad(paths, probe)


@contextmanager
def open_samples(paths: Sequence[Path | str], prompts: Sequence[str], targets: Sequence[str]) -> Iterator[Samples]:
    """Give image files as samples without MOS; what is decoded lies in a temporary folder until the block ends.

    Args:
        paths: Image files, length n.
        prompts: Prompt of each, length n; may be empty texts.
        targets: Names of the targets that are to be predicted.

    Raises:
        BadImageError: An image cannot be decoded; the first is named.
    """
    import pandas as pd

    from agiqa_bench.data.image_cache import ImageCache

    absolute = [str(expanded(Path(path)).absolute()) for path in paths]
    prompts = list(prompts)
    table = pd.DataFrame(
        {
            "image": [str(path) for path in paths],
            "path": absolute,
            "prompt": prompts,
            "group": prompts,
            "generator": "",
            "family": "",
        }
    )
    # On Windows a mapped file cannot be deleted while the method still holds one of its images.
    with tempfile.TemporaryDirectory(prefix="agiqa-", ignore_cleanup_errors=True) as folder:
        images = ImageCache(absolute, Path(folder))
        try:
            _ = images.store
        except BadImageError:
            _refuse_bad(paths, decode)  # the cache's own message points to a data set, and there is none
            raise
        yield Samples(table, targets, images, mos_hidden=True)


def _refuse_bad(paths: Sequence[Path | str], look: Callable[[Path], Any]) -> None:
    bad: list[BadImageError] = []
    for path in dict.fromkeys(paths):
        try:
            look(expanded(Path(path)))
        except BadImageError as error:
            bad.append(error)
    if bad:
        others = f" ({len(bad) - 1} more images cannot be used)" if len(bad) > 1 else ""
        raise BadImageError(f"{bad[0]}{others}")
