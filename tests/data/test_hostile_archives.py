"""Archives that are made to do harm: refused with one line, and nothing is written."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agiqa_bench.data import archive as archives
from agiqa_bench.data.archive import unpack
from agiqa_bench.errors import ArchiveError, StoreError

Files = list[tuple[str, bytes]]


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as file:
        for name, text in files:
            file.writestr(zipfile.ZipInfo(name), text, method)
    return content.getvalue()


def tarred(files: Files, *members: tarfile.TarInfo) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for name, text in files:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            file.addfile(info, io.BytesIO(text))
        for member in members:
            file.addfile(member)
    return content.getvalue()


def member(size: int = 0, kind: bytes = tarfile.REGTYPE, name: str = "a.png") -> bytes:
    """A header alone, whatever it claims."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def encrypted() -> bytes:
    content = bytearray(zipped([("a.png", b"secret")]))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def claiming(size: int) -> bytes:
    """A zip whose one entry claims to be so large."""
    content = bytearray(zipped([("a.png", b"x" * 100)]))
    for place in (22, content.index(b"PK\x01\x02") + 24):
        content[place : place + 4] = size.to_bytes(4, "little")
    return bytes(content)


def overlapping() -> bytes:
    """A zip whose thousand entries are all the same bytes."""
    one = zipped([("a.png", bytes(1 << 20))])
    local, entry = one[: one.index(b"PK\x01\x02")], one[one.index(b"PK\x01\x02") : one.index(b"PK\x05\x06")]
    entries = [entry.replace(b"a.png", f"{number:05}".encode()) for number in range(1000)]
    end = bytearray(one[one.index(b"PK\x05\x06") :])
    end[8:12] = (1000).to_bytes(2, "little") * 2
    end[12:16] = sum(map(len, entries)).to_bytes(4, "little")
    return local + b"".join(entries) + bytes(end)


END = bytes(1024)
ESCAPE = "\x1b]0;pwned\x07.png"
NAMES = {
    "escape sequence": (ESCAPE, "has control characters in its name"),
    "line feed": ("a\nb.png", "has control characters in its name"),
    "long name": ("x" * 300, "has too long a name"),
    "deep path": ("/".join("d" * 700), "has too long a name"),
    "device of Windows": ("\\\\.\\C:\\x", "has an absolute path"),
    "network path": ("\\\\server\\share\\x", "has an absolute path"),
    "no name": (".", "has no name"),
}
SPECIAL: dict[str, tuple[bytes, str]] = {
    "encrypted": (encrypted(), "is encrypted; unpack it by hand"),
    "other compression": (zipped([("a.png", b"x")], zipfile.ZIP_LZMA), "is compressed in a way that is not read here"),
    "claims 4 GB": (claiming((1 << 32) - 2), "as only an archive does that is made to fill the disk"),
    "overlapping": (overlapping(), "as only an archive does that is made to fill the disk"),
    "zip bomb": (zipped([("a.png", bytes(150 << 20))]), "as only an archive does that is made to fill the disk"),
    "empty zip": (zipped([]), "holds no file"),
    "no tar": (b"\x1f\x8b" + bytes(50), "is damaged"),
    "tar of 8 TB": (member(1 << 43) + END, "as only an archive does that is made to fill the disk"),
    "negative size": (member(-512) + END, "is damaged"),
    "huge header": (member(1 << 40, tarfile.XHDTYPE) + END, "is neither a zip nor a tar archive"),
    "header of 64 MB": (gzip.compress(member(64 << 20, tarfile.XHDTYPE) + bytes(64 << 20)), "a header larger than 1"),
    "name of 64 MB": (gzip.compress(member(64 << 20, tarfile.GNUTYPE_LONGNAME) + bytes(64 << 20)), "larger than 1"),
    "chain of headers": (member(0, tarfile.XHDTYPE) * 5000 + END, "is damaged"),
    "holes": (member(0, tarfile.GNUTYPE_SPARSE) + END, "is a file with holes"),
    "unknown type": (member(0, b"Z") + END, "is a link or a device file"),
    "two tars": (tarred([("a.png", b"1")]) + tarred([("b.png", b"2")]), "it goes on behind its end mark"),
    "no end mark": (member(), "it breaks off before its end mark"),
    "broken member": (tarred([("a.png", b"1")])[:1024] + b"\xff" * 512 + END, "breaks off before its end mark"),
}
PACK: dict[str, Callable[[Files], bytes]] = {
    ".zip": zipped,
    ".tar": tarred,
    ".tar.gz": lambda files: gzip.compress(tarred(files)),
    ".tar.bz2": lambda files: bz2.compress(tarred(files)),
    ".tar.xz": lambda files: lzma.compress(tarred(files)),
}


def refused(content: bytes, folder: Path, suffix: str = ".zip", kind: type[Exception] = ArchiveError) -> str:
    inner = folder / "inner"
    inner.mkdir(exist_ok=True)
    path = inner / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        unpack(path, inner / "out")
    line = str(caught.value)
    assert type(caught.value) is kind
    assert line.isprintable()
    assert len(line) < 600
    assert [found.name for found in inner.iterdir()] == [path.name]
    assert [found.name for found in folder.iterdir()] == ["inner"]
    path.unlink()
    return line


@pytest.mark.parametrize("case", NAMES)
def test_a_hostile_name_is_refused_and_shown_harmlessly(case: str, tmp_path: Path) -> None:
    name, why = NAMES[case]
    for pack in (zipped, tarred):
        assert why in refused(pack([("good.png", b"x"), (name, b"y")]), tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    content = tarred([("caf?.png", b"x")]).replace(b"caf?", b"caf\xe9")
    fixed = bytearray(content)
    fixed[148:156] = b" " * 8
    fixed[148:156] = b"%06o\0 " % sum(fixed[:512])
    assert "has control characters in its name" in refused(bytes(fixed), tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.png", "a.png"),
        ("Set/A.png", "set/a.PNG"),
        ("a/b.png", "a//b.png"),
        ("./a.png", "a.png"),
        (unicodedata.normalize("NFC", "caf\xe9.png"), unicodedata.normalize("NFD", "caf\xe9.png")),
        ("stra\xdfe.png", "STRASSE.png"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_one_on_some_file_system_are_refused(first: str, second: str, tmp_path: Path) -> None:
    for pack in (zipped, tarred):
        assert "is there twice" in refused(pack([(first, b"1"), (second, b"2")]), tmp_path)


def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    for pack in (zipped, tarred):
        assert "lies in what is a file too" in refused(pack([("a", b"1"), ("A/b.png", b"2")]), tmp_path)


@pytest.mark.parametrize("case", SPECIAL)
def test_a_hostile_archive_is_refused(case: str, tmp_path: Path) -> None:
    content, why = SPECIAL[case]
    assert why in refused(content, tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("suffix", PACK)
def test_a_truncated_archive_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    content = PACK[suffix]([(f"{number}.png", bytes(range(256)) * 20) for number in range(20)])
    refused(content[: int(share * len(content))], tmp_path, suffix)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_flipped_bit_in_a_compressed_tar_is_noticed(suffix: str, tmp_path: Path) -> None:
    content = bytearray(PACK[suffix]([("a.png", bytes(range(256)) * 20)]))
    content[-6] ^= 1  # in the check sum, behind all that a reader of files needs
    assert "is damaged" in refused(bytes(content), tmp_path, suffix)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 20)
    files = [(f"{number}.png", b"") for number in range(21)]
    for pack in (zipped, tarred):
        assert "it has more than 20 entries" in refused(pack(files), tmp_path)
        (tmp_path / "x.zip").write_bytes(pack(files[:20]))
        assert unpack(tmp_path / "x.zip", tmp_path / f"out {pack.__name__}") == 20
        shutil.rmtree(tmp_path / f"out {pack.__name__}")
        (tmp_path / "x.zip").unlink()


def test_no_space_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    line = refused(zipped([("a.png", b"x" * 2000)]), tmp_path, kind=StoreError)
    assert "has 1,000 bytes free and it needs more; make room" in line


def test_an_archive_in_an_archive_stays_packed(tmp_path: Path) -> None:
    inner = zipped([("a.png", b"x")])
    (tmp_path / "x.zip").write_bytes(zipped([("inner.zip", inner)]))
    assert unpack(tmp_path / "x.zip", tmp_path / "out") == 1
    assert (tmp_path / "out" / "inner.zip").read_bytes() == inner
    assert len(list((tmp_path / "out").rglob("*"))) == 1


MILLION = """
import gzip, resource, struct, sys, tarfile
from pathlib import Path
from agiqa_bench.data.archive import unpack
from agiqa_bench.errors import ArchiveError

folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
entry = b"PK\\1\\2" + bytes(24) + struct.pack("<HHHHHLL", 7, 0, 0, 0, 0, 0, 0)
with (folder / "million.zip").open("wb") as file:
    for number in range(1_000_000):
        file.write(entry + b"%07d" % number)
    length = file.tell()
    file.write(b"PK\\5\\6" + struct.pack("<HHHHLLH", 0, 0, 65535, 65535, length, 0, 0))
with gzip.open(folder / "million.tar.gz", "wb", 1) as file:
    header = tarfile.TarInfo("a").tobuf()
    for number in range(201):
        file.write(header * 1000)
for name in ("million.zip", "million.tar.gz"):
    try:
        unpack(folder / name, folder / "out")
    except ArchiveError as error:
        print(error)
# What getrusage says would begin with the memory of the process that started this one.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024, "MiB")
"""


def test_a_million_entries_need_little_memory(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MILLION, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second, memory = done.stdout.splitlines()
    assert "its list of files is larger than 16 MiB" in first
    assert "is there twice" in second
    assert int(memory.split()[0]) < 500
    assert not (tmp_path / "out").exists()
