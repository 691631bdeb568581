"""Finding a data set's files in the folder layouts that people have."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from agiqa_bench.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

OWN_DEPTH = 4
"""How deep a data set's own folder is searched: repository, archive and the archive's folders nest."""


def candidate_folders(root: Path, names: Iterable[str]) -> list[Path]:
    """Folders that may hold a data set, most specific first: `root/<name>` for each name, then `root` itself.

    Names match without regard to case; folders that do not exist are left out.

    Raises:
        DataError: `root` exists and cannot be listed.
    """
    if not root.is_dir():
        return []
    try:
        present = {entry.name.lower(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    except PermissionError as error:
        raise DataError(f"{root} cannot be listed: {error.strerror}; check the folder's permissions") from error
    matching = [present[name.lower()] for name in names if name.lower() in present]
    return [*dict.fromkeys(matching), root]


def walk(folder: Path, depth: int) -> Iterator[tuple[Path, list[str]]]:
    """Folders at most `depth` levels below `folder`, nearest first, each with its sorted file names.

    Hidden files and folders are left out; links to folders are followed, each folder is visited once.
    """
    seen: set[str] = set()
    queue = deque([(folder, 0)])
    while queue:
        here, level = queue.popleft()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except (PermissionError, FileNotFoundError):
            # Somebody else's folder (lost+found) or one that vanished holds nothing that could be read from it.
            continue
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        folders = {entry.name for entry in visible if entry.is_dir()}
        yield here, [entry.name for entry in visible if entry.name not in folders]
        if level < depth:
            queue.extend((here / name, level + 1) for name in sorted(folders))


def find_file(
    folder: Path,
    names: Sequence[str],
    accept: Callable[[Path], bool] = lambda path: True,  # noqa: ARG005
    depth: int = 2,
) -> Path | None:
    """The file called like one of `names` that is nearest to `folder` (at most `depth` levels below), else None.

    Case does not count; of two names in one folder the earlier in `names` is taken. Files that `accept` refuses are
    passed over.
    """
    wanted = [name.lower() for name in names]
    for here, files in walk(folder, depth):
        present = {name.lower(): name for name in files}
        for name in wanted:
            if name in present and accept(here / present[name]):
                return here / present[name]
    return None


def find_images(folder: Path, wanted: Sequence[str]) -> dict[str, Path]:
    """Find image files by their published names, listing the tree once.

    All images of a data set lie in one place, so the one folder is taken that holds most of them: the same name in
    another folder (thumbnails, another data set) is never mixed in. Names match without regard to case and with
    another image extension, if the exact name is not there.

    Args:
        folder: Where to look, down to four levels.
        wanted: Names as `file.png`, or as `part/file.png` where the layout has a folder per generator.

    Returns:
        Absolute path of each name that was found.
    """
    by_key = {_loose(name): name for name in wanted}
    exact = set(wanted)
    nested = any("/" in name for name in wanted)
    found: dict[Path, dict[str, Path]] = {}
    for here, files in walk(folder.absolute(), OWN_DEPTH):
        base, prefix = (here.parent, f"{here.name}/") if nested else (here, "")
        for file in files:
            name = by_key.get(_loose(prefix + file))
            if name is None:
                continue
            names = found.setdefault(base, {})
            if name not in names or prefix + file in exact:
                names[name] = here / file
    return max(found.values(), key=len, default={})


def _loose(name: str) -> str:
    lowered = name.lower()
    suffix = f".{lowered.rpartition('.')[2]}"
    return lowered.removesuffix(suffix) if suffix in IMAGE_SUFFIXES else lowered
