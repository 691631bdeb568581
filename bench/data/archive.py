"""Unpacking archives that nobody has to trust: whole or not at all, and never outside the folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from agiqa_bench.atomic import new_directory
from agiqa_bench.errors import ArchiveError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether the name of `path` is that of an archive this module unpacks."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def archive_stem(path: Path) -> str:
    """File name without the archive suffix: `AGIQA-3K.zip` gives `AGIQA-3K`."""
    suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def unpack(archive: Path, target: Path) -> int:
    """Unpack a .zip or .tar.* archive into the folder `target`, which appears only when all is written.

    Every entry is checked before the first byte is written: absolute paths, `..`, drive letters, links and device
    files are refused, and so are two entries of one name.

    Returns:
        Number of files written.

    Raises:
        ArchiveError: The archive is damaged, or an entry is refused.
        StoreError: The folder cannot be written.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                return _write(_zip_entries(file, archive), target, archive)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                return _write(_tar_entries(file, archive), target, archive)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise ArchiveError(f"archive {archive} is damaged ({error}); delete it and fetch it again") from error
    raise ArchiveError(f"{archive} is neither a zip nor a tar archive; delete it and fetch it again")


class _Entry:
    """A file to be written: where, and how its content is opened."""

    def __init__(self, path: PurePosixPath, source: zipfile.ZipFile | tarfile.TarFile, member: object) -> None:
        self.path = path
        self._source = source
        self._member = member

    def open(self) -> IO[bytes]:
        if isinstance(self._source, zipfile.ZipFile):
            assert isinstance(self._member, zipfile.ZipInfo)
            return self._source.open(self._member)
        assert isinstance(self._member, tarfile.TarInfo)
        content = self._source.extractfile(self._member)
        assert content is not None  # only regular files become entries
        return content


def _zip_entries(file: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, info.filename, "is a link or a device file")
        path = _inside(info.filename, archive)
        if not info.is_dir():
            yield _Entry(path, file, info)


def _tar_entries(file: tarfile.TarFile, archive: Path) -> Iterator[_Entry]:
    for member in file.getmembers():
        path = _inside(member.name, archive)
        if member.isfile():
            yield _Entry(path, file, member)
        elif not member.isdir():
            raise _refusal(archive, member.name, "is a link or a device file")


def _inside(name: str, archive: Path) -> PurePosixPath:
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.drive or windows.root:
        raise _refusal(archive, name, "has an absolute path")
    path = PurePosixPath(*windows.parts)  # splits at both kinds of slash
    if ".." in path.parts or "\0" in name:
        raise _refusal(archive, name, "leads out of the folder")
    return path


def _refusal(archive: Path, name: str, why: str) -> ArchiveError:
    return ArchiveError(f"archive {archive} is not unpacked: its entry '{name}' {why}; do not trust this file")


def _write(entries: Iterator[_Entry], target: Path, archive: Path) -> int:
    checked = list(entries)
    names = [str(entry.path) for entry in checked]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _refusal(archive, twice, "is there twice")
    with new_directory(target) as folder:
        for entry in checked:
            path = folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with entry.open() as source, path.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
    return len(checked)
