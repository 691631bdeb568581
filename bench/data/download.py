"""Downloading a data set: what its class names as sources, checked, recorded, unpacked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench.atomic import explain, write_json
from agiqa_bench.data.archive import archive_stem, is_archive, unpack
from agiqa_bench.data.dataset import Dataset, Source
from agiqa_bench.data.fetch import Progress, fetch, refuse_web_page
from agiqa_bench.data.folder_lock import folder_lock
from agiqa_bench.errors import DownloadError
from agiqa_bench.offline import VARIABLES, is_offline

if TYPE_CHECKING:
    from collections.abc import Iterable

Say = Callable[[str], None]

RECORD = ".agiqa-sources.json"


def download(
    dataset: Dataset | type[Dataset],
    root: Path,
    say: Say,
    progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> Path:
    """Fetch a data set into `root/<name>`, skipping what is there.

    Sources that name the same `content` stand in for each other: the next is tried when one cannot be reached. The
    SHA-256 of each file is recorded in `.agiqa-sources.json` when it is first seen and compared ever after. A file
    that was put there by hand under its own name is taken as if it had been downloaded. Archives are unpacked beside
    themselves and kept. Of several downloads of one data set at once, one fetches, and the others wait for it.

    Args:
        dataset: The data set; its `name` and `sources` are used.
        root: Folder of `--data-root`.
        say: Told in one line each what is fetched, from where, how large and to where, and what became of it.
        progress: Told the bytes while they come.

    Returns:
        The folder `root/<name>`.

    Raises:
        DownloadError: A source cannot be reached, must not be (`agiqa_bench.offline`), or its file is not the one that
            was recorded; the line holds the manual steps.
        ArchiveError: An archive is damaged or would write outside its folder.
        StoreError: The folder cannot be written, or its file system has no locks.
    """
    folder = root / dataset.name
    if not dataset.sources:
        raise DownloadError(f"data set '{dataset.name}' has no source to download from; see `datasets info`")
    contents = [list(sources) for _, sources in groupby(dataset.sources, key=lambda source: source.content)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(contents, folder, dataset.name, say):
            for sources in contents:
                _first_that_works(sources, folder, dataset.name, say, progress)
    except OSError as error:
        raise explain(error, folder) from error
    return folder


def _alone(contents: list[list[Source]], folder: Path, name: str, say: Say) -> AbstractContextManager[None]:
    """The lock on fetching and recording."""
    if all(any(_is_finished(source, folder) for source in sources) for sources in contents):
        return nullcontext()  # nothing will be written, and perhaps nothing can be
    return folder_lock(
        folder / RECORD,
        "download to another with --data-root and move the folder here",
        lambda: say(f"{name}: waiting for another download into {folder}"),
    )


def _is_finished(source: Source, folder: Path) -> bool:
    return local_path(source, folder).exists() and _recorded(folder, source) is not None


def _first_that_works(sources: list[Source], folder: Path, name: str, say: Say, progress: Progress) -> None:
    # What is here already, from whichever source, needs no network.
    present = [source for source in sources if _is_here(source, folder)]
    by_hand = (
        f"By hand: {' or '.join(manual_steps(source, folder) for source in sources)}; then type "
        f"`agiqa-bench datasets download {name}` again"
    )
    if not present and is_offline():
        raise DownloadError(
            f"cannot get the {sources[0].content} of '{name}': the network is off (--offline, or "
            f"{' or '.join(VARIABLES)} is set). {by_hand}"
        )
    failures = []
    for source in present or sources:
        try:
            _provide(source, folder, say, progress)
        except DownloadError as error:
            failures.append(f"{place(source)}: {error}")
            say(f"{name}: {failures[-1]}")
        else:
            return
    raise DownloadError(f"cannot get the {sources[0].content} of '{name}' ({'; '.join(failures)}). {by_hand}")


def _is_here(source: Source, folder: Path) -> bool:
    path = local_path(source, folder)
    if path.is_dir() and not _recorded(folder, source):
        # A folder without the hub's own notes was filled by hand; with them it may be half a download.
        return not (path / ".cache" / "huggingface").exists() and bool(_visible_files(path))
    return path.exists()


def _provide(source: Source, folder: Path, say: Say, progress: Progress) -> None:
    path = local_path(source, folder)
    if _is_here(source, folder):
        say(f"{source.content}: {path} is there")
        if path.is_file():
            refuse_web_page(path)
    else:
        size = f"about {readable_size(source.size)}" if source.size else "size not published"
        say(f"{source.content}: from {place(source)} ({size}) to {path}")
        fetch(source, path, progress)
    digest = _compare(source, path, folder)
    for archive in [path] if path.is_file() else _published_files(path):
        if is_archive(archive):
            _unpack_once(archive, say)
    # Only now: what could not be unpacked must not become the measure of later downloads.
    if _recorded(folder, source) is None:
        _record(source, path, folder, digest)
        say(f"{source.content}: sha256 {digest} recorded in {folder / RECORD}")


def _compare(source: Source, path: Path, folder: Path) -> str:
    """The content's SHA-256, which must be the recorded one if there is one."""
    digest, recorded = content_digest(path), _recorded(folder, source)
    if recorded not in (None, digest):
        kept = path.replace(path.with_name(path.name + ".rejected")) if path.is_file() else path
        raise DownloadError(
            f"its sha256 is {digest}, at the first download it was {recorded}: it is another file now (kept as "
            f"{kept}); to accept it, delete its entry in {folder / RECORD}"
        )
    return digest


def _record(source: Source, path: Path, folder: Path, digest: str) -> None:
    record = _read_record(folder)
    record[_key(source)] = {"sha256": digest, "path": path.relative_to(folder).as_posix()}
    write_json(folder / RECORD, record)


def _unpack_once(archive: Path, say: Say) -> None:
    target = archive.with_name(archive_stem(archive))
    if target.exists():
        say(f"{archive.name}: already unpacked in {target}; left as it is")
        return
    say(f"{archive.name}: unpacked {unpack(archive, target)} files to {target}")


def local_path(source: Source, folder: Path) -> Path:
    """Where `source` is stored: a file, or a folder named after the repository for a whole one."""
    return folder / (source.filename or source.location.rsplit("/", 1)[-1])


def place(source: Source) -> str:
    """Where `source` is, for messages."""
    return {
        "google_drive": f"Google Drive file {source.location}",
        "hugging_face": f"Hugging Face data set {source.location}",
        "url": source.location,
    }[source.kind]


def manual_steps(source: Source, folder: Path) -> str:
    """What a person does in a browser to put the file where `download` finds it."""
    what = "save it as" if source.filename else "put its files into"
    return f"open {source.manual or source.location} and {what} {local_path(source, folder)}"


def readable_size(size: int) -> str:
    """Bytes as a person reads them: `readable_size(53_000)` is `53 kB`."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, or of the names and digests of a folder's visible files except unpacked ones."""
    if path.is_file():
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in _published_files(path):
        digest.update(f"{content_digest(file)}  {file.relative_to(path).as_posix()}\n".encode())
    return digest.hexdigest()


def _published_files(folder: Path) -> list[Path]:
    """The visible files of a folder except what was unpacked there: archives in archives stay packed."""
    files = _visible_files(folder)
    unpacked = {file.with_name(archive_stem(file)) for file in files if is_archive(file)}
    return [file for file in files if not unpacked & set(file.parents)]


def _visible_files(folder: Path) -> list[Path]:
    def visible(paths: Iterable[Path]) -> list[Path]:
        return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]

    return sorted(path for path in visible(folder.rglob("*")) if path.is_file())


def _key(source: Source) -> str:
    return f"{source.kind}:{source.location}:{source.filename}"


def _read_record(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
        return {key: {"sha256": entry["sha256"], "path": entry["path"]} for key, entry in record.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DownloadError(f"{path} is not a record of downloads ({error}); delete it to record anew") from error


def _recorded(folder: Path, source: Source) -> str | None:
    entry = _read_record(folder).get(_key(source))
    return entry["sha256"] if entry else None
