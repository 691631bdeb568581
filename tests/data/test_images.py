from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agiqa_bench.data import images
from agiqa_bench.data.images import Probe, decode, probe
from agiqa_bench.errors import BadImageError

RAMP = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def one_line(error: BadImageError) -> str:
    message = str(error)
    assert "\n" not in message
    return message


def test_rgb_comes_back_exactly_from_a_file_and_from_bytes(tmp_path: Path) -> None:
    path = tmp_path / "ramp.png"
    Image.fromarray(RAMP).save(path)
    for decoded in (decode(path), decode(path.read_bytes())):
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, RAMP)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_image_upright(orientation: int) -> None:
    upright = np.kron(RAMP[:, :, :1], np.ones((16, 16, 3), dtype=np.uint8))
    # The inverse of each EXIF orientation, by numpy: what a camera held that way would store.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(content), upright)


def test_unreadable_exif_counts_as_none() -> None:
    content = encoded(Image.fromarray(RAMP), "PNG", exif=b"Exif\x00\x00nonsense, no TIFF header")
    np.testing.assert_array_equal(decode(content), RAMP)


def test_transparency_is_composited_on_white() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = [0, 128, 255]
    expected = [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(rgba)))[0], expected)


def test_palette_with_a_transparent_entry_is_composited_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(encoded(image))[0], [[10, 20, 30], [40, 50, 60]])
    np.testing.assert_array_equal(decode(encoded(image, transparency=0))[0], [[255, 255, 255], [40, 50, 60]])


@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (Image.fromarray(np.array([[7, 200]], dtype=np.uint8)), "PNG", [[7] * 3, [200] * 3]),
        (Image.fromarray(np.array([[[7, 255], [200, 0]]], dtype=np.uint8), "LA"), "PNG", [[7] * 3, [255] * 3]),
        (Image.fromarray(np.array([[False, True]])), "PNG", [[0] * 3, [255] * 3]),
        (Image.new("CMYK", (2, 1), (255, 0, 0, 0)), "TIFF", [[0, 255, 255]] * 2),
    ],
    ids=["greyscale", "grey with alpha", "bilevel", "CMYK"],
)
def test_other_modes_become_rgb(image: Image.Image, form: str, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(decode(encoded(image, form))[0], expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_is_scaled_by_257_and_not_clipped(form: str) -> None:
    levels = np.array([[0, 128, 129, 257 * 100, 40000, 65535]], dtype=np.uint16)
    expected = np.round(levels / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(levels), form))[:, :, 0], expected)


def test_pixels_without_a_fixed_white_are_refused() -> None:
    with pytest.raises(BadImageError, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF"))
    with pytest.raises(BadImageError, match="beyond 16 bits"):
        decode(encoded(Image.fromarray(np.full((2, 2), 70000, dtype=np.int32)), "TIFF"))


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(content), np.broadcast_to([255, 0, 0], (4, 5, 3)))


def test_one_pixel_is_an_image() -> None:
    np.testing.assert_array_equal(decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))), [[[1, 2, 3]]])


def test_8000_by_8000_decodes() -> None:
    decoded = decode(encoded(Image.new("L", (8000, 8000), 9), compress_level=1))
    assert decoded.shape == (8000, 8000, 3)
    assert decoded[-1, -1].tolist() == [9, 9, 9]


@pytest.mark.parametrize("side", [13_000, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 12_000**2)
    content = bytearray(encoded(Image.new("1", (8, 8))))
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImageError, match=r"cannot decode big\.png: .*pixels"):
            decode(bytes(content), "big.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"just some text", "not an image of a known format"),
        (b"\x00" * 500, "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not an image"),
    ],
    ids=["zero bytes", "text", "zeros", "PostScript"],
)
def test_a_file_that_is_no_image_is_named_with_the_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "img_7.jpg"
    path.write_bytes(content)
    for read in (decode, probe):
        with pytest.raises(BadImageError) as caught:
            read(path)
        assert reason in one_line(caught.value)
        assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"gone\.png: no such file"):
        decode(tmp_path / "gone.png")
    with pytest.raises(BadImageError, match=r"Is a directory|Permission denied"):
        decode(tmp_path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_a_file_cut_short_is_never_half_an_image(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(BadImageError) as caught:
            decode(content[: int(share * len(content))], "cut")
        assert one_line(caught.value).startswith("cannot decode cut: ")


VALID = [
    encoded(Image.fromarray(np.kron(RAMP, np.ones((4, 4, 1), np.uint8))), f) for f in ("PNG", "JPEG", "GIF", "TIFF")
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(VALID), st.data())
def test_damage_gives_pixels_or_one_line_and_nothing_else(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(damaged))
    except BadImageError as error:
        one_line(error)
    else:
        assert decoded.dtype == np.uint8
        assert decoded.shape[2] == 3


def test_probe_reads_the_header(tmp_path: Path) -> None:
    path = tmp_path / "wrong_suffix.png"
    path.write_bytes(encoded(Image.new("CMYK", (9, 5)), "JPEG"))
    assert probe(path) == Probe(9, 5, "CMYK", "JPEG")
