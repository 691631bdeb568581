"""Image files that are made to do harm: refused with one line, or read under the stated policy."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agiqa_bench.data import images
from agiqa_bench.data.file_digests import FileContent
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.images import MAX_BYTES, MAX_PIXELS, decode, probe
from agiqa_bench.errors import BadImageError

GREY = Image.new("RGB", (8, 8), (9, 9, 9))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    png = encoded(GREY)
    return png[:33] + chunk(kind, content) + png[33:]


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], next_ifd: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + struct.pack("<I", next_ifd) + bytes(64)


PLAIN = ((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 100),
         (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64))  # fmt: skip
BOMB = zlib.compress(bytes(64 << 20), 9)

NOTHING = "not an image|damaged|no pixels"
REFUSED: dict[str, tuple[bytes, str]] = {
    "0 x 8": (png(0, 8), NOTHING),
    "8 x 0": (png(8, 0), NOTHING),
    "GIF of 0 x 0": (b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\2\2\x44\1\0;", NOTHING),
    "text of 64 MiB": (with_chunk(b"zTXt", b"x\0\0" + BOMB), "too large"),
    "international text of 64 MiB": (with_chunk(b"iTXt", b"x\0\1\0\0\0" + BOMB), "too large"),
    "chunk of 2 GiB": (encoded(GREY)[:33] + b"\x7f\xff\xff\xfftEXtabc", "Truncated File Read"),
    "colour profile of 64 MiB": (with_chunk(b"iCCP", b"x\0\0" + BOMB), "too large"),
    "60,000 x 60,000": (png(60_000, 60_000), "pixels"),
    "1 x 2 thousand million": (png(1, (1 << 31) - 1), "pixels"),
    "tile of 60,000 x 60,000": (tiff(*PLAIN, (322, 4, 1, 60_000), (323, 4, 1, 60_000)), "pixels"),
    "TIFF of 2**32 samples": (tiff(*PLAIN[:6], (277, 4, 1, (1 << 32) - 1)), "damaged|unknown|not an image"),
    "TIFF without tags": (tiff(), "damaged|not an image|Missing dimensions"),
    "BMP of negative width": (
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, -5, 5, 1, 24, 0) + bytes(90),
        "not an image|damaged|no pixels",
    ),
    "too many pixels in WebP": (encoded(Image.new("L", (16_000, 2_200)).convert("RGB"), "WEBP", method=0), "33554432"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_image_is_one_line(case: str) -> None:
    content, why = REFUSED[case]
    with pytest.raises(BadImageError, match=why) as caught:
        decode(content, "hostile")
    assert str(caught.value).startswith("cannot decode hostile: ")
    assert str(caught.value).isprintable()


READ = {
    "colour profile of nonsense": with_chunk(b"iCCP", b"x\0\0nonsense"),
    "EXIF of 8 MiB": with_chunk(b"eXIf", b"II*\0" + bytes(8 << 20)),
    "EXIF in a circle": with_chunk(b"eXIf", struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x8769, 4, 1, 8, 8)),
    "wrong extension": encoded(GREY, "BMP"),
}


@pytest.mark.parametrize("case", READ)
def test_what_does_not_belong_to_the_pixels_does_no_harm(case: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(READ[case])
    np.testing.assert_array_equal(decode(path), np.full((8, 8, 3), 9))


def test_a_tiff_whose_pages_run_in_a_circle_is_its_first_page() -> None:
    content = bytearray(tiff(*PLAIN, next_ifd=8) + bytes(64))
    content[100 + 27 : 100 + 28] = b"\x07"
    assert decode(bytes(content)).shape == (8, 8, 3)


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (5_000, 900)])
def test_extreme_shapes_are_read_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_STRIP", 1 << 12)
    levels = (np.arange(size[0] * size[1]) % 251).astype(np.uint8).reshape(size[1], size[0])
    found = decode(encoded(Image.fromarray(levels), compress_level=1))
    np.testing.assert_array_equal(found, np.repeat(levels[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "CMYK", "1"])
def test_strips_give_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 31, 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 256 + noise[..., 1])
    elif mode == "P":
        image = image.convert("RGB").quantize(200)
    elif mode != "RGBA":
        image = image.convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG", **options)
    whole = decode(content)
    monkeypatch.setattr(images, "_STRIP", 100)
    np.testing.assert_array_equal(decode(content), whole)


def test_pipes_devices_and_circles_of_links_are_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    cases = {"pipe.png": "a device or a pipe", "circle.png": "Too many levels of symbolic links"}
    for name, why in cases.items():
        for read in (decode, probe):
            with pytest.raises(BadImageError, match=why):
                read(tmp_path / name)
        with pytest.raises(BadImageError, match=why):
            _ = ImageCache([tmp_path / name], tmp_path / "cache").store
    with pytest.raises(BadImageError, match="a device or a pipe"):
        decode(Path("/dev/zero"))


def test_a_file_with_gigabytes_behind_the_image_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded(GREY))
    os.truncate(path, 5 * 10**9)  # with holes: it takes no space
    line = "x.png: the file has 5,000,000,000 bytes, and an image has at most 537,919,488; replace the file"
    for read in (decode, probe):
        with pytest.raises(BadImageError, match=line):
            read(path)
    with pytest.raises(BadImageError, match=line):
        _ = ImageCache([path], tmp_path / "cache").store
    os.truncate(path, MAX_BYTES)
    np.testing.assert_array_equal(decode(path), np.full((8, 8, 3), 9))


def test_of_a_file_that_has_grown_no_more_is_read_than_it_had(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded(GREY))
    known = FileContent(path.stat().st_size, path.stat().st_mtime_ns)
    assert known.read(str(path)) == path.read_bytes()
    os.truncate(path, 64 << 20)
    os.utime(path, ns=(known.changed, known.changed))
    tracemalloc.start()
    try:
        assert known.read(str(path)) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


MEMORY = """
import resource, sys
from pathlib import Path
from agiqa_bench.data.images import decode

resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
shape = decode(Path(sys.argv[1])).shape
print(shape, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "form"), [("RGBA", "PNG"), ("I;16", "PNG"), ("RGB", "JPEG")])
def test_the_largest_image_needs_less_than_1_gb(mode: str, form: str, tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5)
    options = {"JPEG": {"progressive": True, "subsampling": 0}, "PNG": {"compress_level": 1}}[form]
    Image.new(mode, (side, side), 7 if mode == "I;16" else (1, 2, 3, 100)[: len(mode)]).save(
        tmp_path / "large", form, **options
    )
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path / "large"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shape, _, memory = done.stdout.rpartition(" ")
    assert shape == f"({side}, {side}, 3)"
    assert int(memory) < 954
