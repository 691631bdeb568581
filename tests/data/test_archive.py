from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from agiqa_bench.data.archive import archive_stem, is_archive, unpack
from agiqa_bench.errors import ArchiveError

FILES = {"set/a.txt": b"first", "set/deep/b.txt": b"second", "c.txt": b""}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("set")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_everything_is_unpacked(tmp_path: Path, make) -> None:
    archive = make(tmp_path / ("x.zip" if make is make_zip else "x.tar.gz"), FILES)
    assert unpack(archive, tmp_path / "out") == 3
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.txt", "leads out of the folder"),
        ("set/../../evil.txt", "leads out of the folder"),
        ("..\\evil.txt", "leads out of the folder"),
        ("/tmp/evil.txt", "has an absolute path"),
        ("\\evil.txt", "has an absolute path"),
        ("C:\\evil.txt", "has an absolute path"),
        ("C:evil.txt", "has an absolute path"),
    ],
)
def test_entries_that_lead_out_are_refused_before_anything_is_written(tmp_path: Path, name: str, why: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for archive in (make_zip(inner / "x.zip", FILES | {name: b"x"}), make_tar(inner / "x.tgz", FILES | {name: b"x"})):
        with pytest.raises(ArchiveError, match=why):
            unpack(archive, inner / "out")
    assert sorted(path.name for path in inner.iterdir()) == ["x.tgz", "x.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "c.txt"
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(make_tar(tmp_path / "x.tar.gz", FILES, member), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.txt", "two")
    with pytest.raises(ArchiveError, match="is there twice"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_damage_leaves_nothing_behind(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.txt": bytes(range(256)) * 64, "b.txt": b"x" * 5000})
    content = bytearray(path.read_bytes())
    content[120] ^= 0xFF
    path.write_bytes(content)
    cut = make_tar(tmp_path / "y.tar.gz", {"a.bin": bytes(range(256)) * 4096})
    cut.write_bytes(cut.read_bytes()[:-40])
    (tmp_path / "z.zip").write_bytes(b"no archive at all")
    for archive in (path, cut, tmp_path / "z.zip"):
        with pytest.raises(ArchiveError, match="delete it and fetch it again"):
            unpack(archive, tmp_path / "out")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["x.zip", "y.tar.gz", "z.zip"]


def test_names_of_archives() -> None:
    assert is_archive(Path("AGIQA-3K.zip"))
    assert is_archive(Path("a.TAR.GZ"))
    assert not is_archive(Path("data.csv"))
    assert [archive_stem(Path(name)) for name in ("AGIQA-3K.zip", "a.tar.gz", "b.tgz")] == ["AGIQA-3K", "a", "b"]
