"""Decoding of image files, under one stated policy, to 8-bit RGB.

The policy (`POLICY` names its version; it is part of the key of every cache of pixels):

- EXIF orientation is applied: the raters saw the image upright. EXIF that cannot be read counts as none, as in viewers.
- Transparency is composited on white.
- Palette, greyscale, bilevel, YCbCr and CMYK images are converted to RGB by Pillow.
- 16-bit greyscale is scaled by 1/257 and rounded (Pillow's own conversion clips it to white). 16-bit colour is reduced
  by Pillow to its high byte. Floating-point pixels, and integers beyond 16 bits, have no fixed white and are refused.
- Of an animation the first frame counts.
- Colour profiles are ignored, as by the official codes and CLIP's preprocessing (`convert("RGB")`).
- More than `MAX_PIXELS` pixels (half of it in WebP and JPEG 2000) are refused before anything is decoded, and a file of
  more than `MAX_BYTES` before it is read; so are no pixels at all, and a file that is cut short.
"""

from __future__ import annotations

import io
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from agiqa_bench.errors import BadImageError

POLICY = "1"
MAX_PIXELS = 8192 * 8192
"""Largest decoded image, in pixels: decoding one stays below 1 GB of memory."""

MAX_BYTES = 8 * MAX_PIXELS + (1 << 20)
"""Largest image file: the largest image without compression, in four channels of 16 bits, and 1 MiB for all else."""

_HUNGRY = ("WEBP", "JPEG2000")
"""Formats whose decoders hold several copies, so that half as many pixels are the limit."""

_STRIP = 1 << 22
"""Pixels that are converted at a time, for the sake of memory."""

# Formats that are decoded in process by well-tested code; EPS, for one, would start Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
_ORIENTATION_TAG = 0x0112
_TILE_TAGS = (322, 323)
"""TIFF's width and length of a tile."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers are known to raise on damaged input, beside OSError.
_DAMAGE = (
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# `warnings.catch_warnings` changes the whole process, so only one thread at a time may be inside.
_warnings_lock = threading.Lock()


@dataclass(frozen=True)
class Probe:
    """What an image file's header says.

    Attributes:
        width: Width in pixels as stored, before EXIF orientation.
        height: Height in pixels as stored.
        mode: Pillow's mode, e.g. `RGB`, `L`, `CMYK`, `I;16`.
        format: Pillow's name of the format, e.g. `PNG`; found from the content, not from the file name.
    """

    width: int
    height: int
    mode: str
    format: str


def decode(source: Path | bytes, name: str = "") -> npt.NDArray[np.uint8]:
    """Decode one image to sRGB, uint8 (height, width, 3), under this module's policy.

    Args:
        source: A file, or a file's content.
        name: Name for messages; by default the path.

    Raises:
        BadImageError: The file is missing, empty, not an image, damaged, cut short, too large, or of a kind that has
            no defined conversion to 8 bits.
    """
    label = name or (str(source) if isinstance(source, Path) else "image")
    with _one_line(label), _open(source) as image:
        # TIFF alone reads its tags, and warns of damaged ones, while it loads.
        with _quiet() if image.format == "TIFF" else nullcontext():
            image.load()
        _check_size(image)
        return _to_rgb(_upright(image))


def probe(path: Path) -> Probe:
    """Read an image file's header; pixels are not decoded, so damage further on goes unseen.

    Raises:
        BadImageError: The file is missing, empty, not an image or too large.
    """
    with _one_line(str(path)), _open(path) as image:
        return Probe(image.width, image.height, image.mode, image.format or "unknown")


@contextmanager
def kept_memory(images: int) -> Iterator[None]:
    """Let Pillow keep the memory of so many images for the next ones, until the block ends.

    Otherwise the memory of each image goes back to the system and is asked for again, page by page, which costs as much
    as a quarter of decoding a JPEG file. Holds for the whole process; of several blocks at once the largest counts.
    """
    _keep(images)
    try:
        yield
    finally:
        _keep(-images)


_keeping: list[int] = []
_own: list[int] = []
_keeping_lock = threading.Lock()


def _keep(images: int) -> None:
    """Begin to keep the memory of so many images, or, with a minus, end what was begun."""
    memory = Image.core  # type: ignore[attr-defined]  # public, and missing in Pillow's types
    with _keeping_lock:
        if not _keeping:
            _own[:] = [memory.get_blocks_max()]
        _keeping.append(images) if images > 0 else _keeping.remove(-images)
        memory.set_blocks_max(max(*_own, *_keeping, 0))


class _RefusedError(Exception):
    """An image that Pillow can read and the policy refuses."""


@contextmanager
def _one_line(label: str) -> Iterator[None]:
    """Turn whatever Pillow raises into a BadImageError that names the image and the reason."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise BadImageError(f"cannot decode {label}: not an image of a known format; replace the file") from error
    except FileNotFoundError as error:
        raise BadImageError(f"cannot decode {label}: no such file") from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise BadImageError(f"cannot decode {label}: {reason}; replace the file") from error
    except _RefusedError as error:
        raise BadImageError(f"cannot decode {label}: {error}") from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImageError(f"cannot decode {label}: damaged ({reason}); replace the file") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow's warnings: each is either answered by the policy or followed by an error."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(source: Path | bytes) -> Image.Image:
    """Open an image and check its size against the limits."""
    if isinstance(source, Path):
        status = source.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            # To open a named pipe would wait for somebody who writes into it.
            raise _RefusedError("it is a device or a pipe and not a file; replace the file")
    size = status.st_size if isinstance(source, Path) else len(source)
    if size == 0:
        raise _RefusedError("the file is empty; replace the file")
    if size > MAX_BYTES:
        raise _RefusedError(too_long(size))
    with _quiet():
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)
    try:
        _check_size(image)
    except _RefusedError:
        image.close()
        raise
    return image


def too_long(size: int) -> str:
    """What is wrong with a file of more than `MAX_BYTES`."""
    return f"the file has {size:,} bytes, and an image has at most {MAX_BYTES:,}; replace the file"


def _check_size(image: Image.Image) -> None:
    if image.width < 1 or image.height < 1:
        raise _RefusedError(f"it has no pixels ({image.width} x {image.height}); replace the file")
    # A tile is decoded whole, however little of it is in the image.
    tags = getattr(image, "tag_v2", {})
    width, height = (max(side, *_numbers(tags.get(tag))) for side, tag in zip(image.size, _TILE_TAGS, strict=True))
    most = MAX_PIXELS // 2 if image.format in _HUNGRY else MAX_PIXELS
    if width * height > most:
        raise _RefusedError(f"{width} x {height} is more than {most} pixels; make it smaller")


def _numbers(value: object) -> tuple[int, ...]:
    """The value of a tag if it is a number; 0 too, so that there is one."""
    return (0, value) if isinstance(value, int) else (0,)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of a loaded image."""
    with _quiet():
        try:
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        except (OSError, *_DAMAGE):
            orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Convert a loaded image to uint8 (height, width, 3)."""
    if image.mode == "F":
        raise _RefusedError("floating-point pixels have no fixed white; save it with 8 bits a channel")
    rows = max(1, _STRIP // image.width)
    if rows >= image.height:
        return np.asarray(_strip_to_rgb(image), dtype=np.uint8)
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(_strip_to_rgb(strip))
    return pixels


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    """Convert a part of an image to mode RGB; each pixel for itself."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; 65535 = 255 * 257, so the ends are met exactly."""
    levels = np.asarray(image).astype(np.int64)
    if levels.size and (levels.min() < 0 or levels.max() > 65535):
        raise _RefusedError("its integers go beyond 16 bits and have no fixed white; save it with 8 bits a channel")
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
