"""Unpacking archives that nobody has to trust: whole or not at all, and never outside the folder.

Archives within an archive stay packed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, BinaryIO, NamedTuple, cast

from agiqa_bench.atomic import new_directory
from agiqa_bench.bounded import BoundedReader
from agiqa_bench.errors import ArchiveError, StoreError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

MAX_ENTRIES = 200_000
"""Files and folders of an archive."""

MAX_BYTES = 500 * 10**9
"""All files together, unpacked."""

MAX_RATIO = 100
"""So many times larger than the archive its files may be, if they are larger than `SMALL`: images hardly shrink."""

SMALL = 100 * 10**6
MAX_NAME, MAX_PATH = 255, 1024
"""Bytes of a name and of a path in UTF-8; file systems have the former limit too."""

_ZIP_LIST = 16 << 20
"""Bytes of a zip's list of files, which is read at once; 200,000 entries of the usual length fit."""

_BLOCK = 1 << 20
_PADDING = 64
"""Blocks of zeros that may follow the end of a tar archive."""

_TAR_BLOCK = 512
_PACKED_BY: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_ENCRYPTED = 0x1
_SHOWN = 100

# What the readers of the standard library are known to raise on damaged input.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
)


def is_archive(path: Path) -> bool:
    """Whether the name of `path` is that of an archive this module unpacks."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def archive_stem(path: Path) -> str:
    """File name without the archive suffix: `AGIQA-3K.zip` gives `AGIQA-3K`."""
    suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def unpack(archive: Path, target: Path) -> int:
    """Unpack a .zip or .tar.* archive into the folder `target`, which appears only when all is written.

    Every entry is checked before the first byte is written. Refused are absolute paths, `..`, drive letters, links,
    device files, sparse and encrypted files, names with control characters or too long, two entries whose names are
    equal up to letter case and Unicode normalisation, and a file that is a folder too; and archives with more than
    `MAX_ENTRIES` entries, more than `MAX_BYTES`, or that swell by more than `MAX_RATIO`.

    Returns:
        Number of files written.

    Raises:
        ArchiveError: The archive is damaged, or refused.
        StoreError: The folder cannot be written, or has no space for the files.
    """
    if zipfile.is_zipfile(archive):
        with _damage(archive), archive.open("rb") as raw:
            refusal = ArchiveError(f"archive {archive} is not unpacked: its list of files is larger than 16 MiB")
            with zipfile.ZipFile(cast("IO[bytes]", BoundedReader(raw, _ZIP_LIST, refusal))) as file:
                return _write(_zip_entries(file, archive), target, archive)
    with _damage(archive), _decompressed(archive) as stream:
        refusal = ArchiveError(f"archive {archive} is not unpacked: it has a header larger than 1 MiB")
        reader = BoundedReader(stream, _BLOCK, refusal)
        try:
            opened = tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r:")  # noqa: SIM115 - closed below
        except tarfile.ReadError as error:
            raise ArchiveError(f"{archive} is neither a zip nor a tar archive; delete it and fetch it again") from error
        with opened as tar:
            return _write(_tar_entries(tar, reader, archive), target, archive)


class _Entry(NamedTuple):
    """A file to be written: where, its size in bytes, and how its content is opened."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def _zip_entries(file: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for number, info in enumerate(file.infolist()):
        _refuse_too_many(number, archive)
        name = info.filename
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, name, "is a link or a device file")
        path = _inside(name, archive)
        if info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            raise _refusal(archive, name, "is encrypted", "unpack it by hand")
        if info.compress_type not in _ZIP_METHODS:
            raise _refusal(archive, name, "is compressed in a way that is not read here", "unpack it by hand")
        yield _Entry(path, info.file_size, lambda info=info: file.open(info))  # type: ignore[misc]


def _tar_entries(file: tarfile.TarFile, stream: BoundedReader, archive: Path) -> Iterator[_Entry]:
    for number, member in enumerate(file):
        _refuse_too_many(number, archive)
        path = _inside(member.name, archive)
        if member.issparse():
            raise _refusal(archive, member.name, "is a file with holes", "unpack it by hand")
        if member.isfile():
            if member.size < 0:
                raise tarfile.ReadError("a file of negative size")
            yield _Entry(path, member.size, lambda member=member: cast("IO[bytes]", file.extractfile(member)))  # type: ignore[misc]
        elif not member.isdir():
            raise _refusal(archive, member.name, "is a link or a device file")
    _check_end(stream, file.offset)


def _refuse_too_many(number: int, archive: Path) -> None:
    if number >= MAX_ENTRIES:
        raise ArchiveError(f"archive {archive} is not unpacked: it has more than {MAX_ENTRIES:,} entries")


def _check_end(stream: BoundedReader, place: int) -> None:
    """Refuse a tar archive whose reading ended at `place` without its end mark, or that goes on behind it."""
    stream.seek(place)
    mark = stream.read(_TAR_BLOCK)
    if len(mark) < _TAR_BLOCK or any(mark):
        raise tarfile.ReadError("it breaks off before its end mark")
    for _ in range(_PADDING):
        # Compressed streams are compared with their check sums only where they end.
        if not (block := stream.read(_BLOCK)):
            return
        if any(block):
            break
    raise tarfile.ReadError("it goes on behind its end mark")


def _decompressed(archive: Path) -> BinaryIO:
    with archive.open("rb") as file:
        start = file.read(8)
    opener = next((opener for magic, opener in _PACKED_BY.items() if start.startswith(magic)), None)
    return archive.open("rb") if opener is None else cast("BinaryIO", opener(archive))


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The path of an entry within the folder."""
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.drive or windows.root:
        raise _refusal(archive, name, "has an absolute path")
    path = PurePosixPath(*windows.parts)  # splits at both kinds of slash
    if ".." in path.parts:
        raise _refusal(archive, name, "leads out of the folder")
    # Control characters, and what is not text in the encoding that the archive names.
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise _refusal(archive, name, "has control characters in its name")
    if len(str(path).encode()) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in path.parts):
        raise _refusal(archive, name, "has too long a name")
    return path


def _refusal(archive: Path, name: str, why: str, next_step: str = "do not trust this file") -> ArchiveError:
    short = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    shown = short if short.isprintable() else ascii(short)[1:-1]
    return ArchiveError(f"archive {archive} is not unpacked: its entry '{shown}' {why}; {next_step}")


def _write(entries: Iterator[_Entry], target: Path, archive: Path) -> int:
    checked = _checked(entries, target, archive)
    with new_directory(target) as folder:
        for entry in checked:
            path = folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as copy:
                for block in _content(entry, archive):
                    copy.write(block)
    return len(checked)


def _content(entry: _Entry, archive: Path) -> Iterator[bytes]:
    # What goes wrong while reading is the archive's fault, and must not be taken for that of the folder.
    with _damage(archive), entry.open() as source:
        while block := source.read(_BLOCK):
            yield block


def _checked(entries: Iterator[_Entry], target: Path, archive: Path) -> list[_Entry]:
    """All entries, if together they may be written."""
    packed = archive.stat().st_size
    free = shutil.disk_usage(next(folder for folder in target.absolute().parents if folder.is_dir())).free
    found: dict[str, _Entry] = {}
    total = 0
    for entry in entries:
        if not entry.path.parts:
            raise _refusal(archive, str(entry.path), "has no name")
        key = _key(entry.path)
        if key in found:
            raise _refusal(archive, str(entry.path), "is there twice, or under a name that only looks different")
        found[key] = entry
        total += entry.size
        if total > MAX_BYTES or total > max(SMALL, MAX_RATIO * packed):
            raise ArchiveError(
                f"archive {archive} is not unpacked: its {packed:,} bytes hold {total:,} and more, as only an archive "
                "does that is made to fill the disk; do not trust this file"
            )
        if total > free:
            raise StoreError(
                f"cannot unpack {archive}: {target.parent} has {free:,} bytes free and it needs more; make room and "
                "type the same command again"
            )
    if not found:
        raise ArchiveError(f"archive {archive} holds no file; delete it and fetch it again")
    for entry in found.values():
        for parent in entry.path.parents:
            if _key(parent) in found:
                raise _refusal(archive, str(entry.path), "lies in what is a file too")
    return list(found.values())


def _key(path: PurePosixPath) -> str:
    """What paths have in common that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", str(path)).casefold())


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """Turn what a reader raises into an ArchiveError of one line."""
    try:
        yield
    except _DAMAGE as error:
        why = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
        why = why if why.isprintable() else ascii(why)
        raise ArchiveError(f"archive {archive} is damaged ({why}); delete it and fetch it again") from error
