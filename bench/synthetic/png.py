"""A PNG writer without compression: the same file bytes whatever the version of zlib or Pillow."""

from __future__ import annotations

import struct
import zlib

from agiqa_bench.synthetic.filters import Image

_STORED_LIMIT = 65535
"""Longest stored block of a deflate stream (RFC 1951, section 3.2.4)."""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encode_png(image: Image) -> bytes:
    """Encode a picture, uint8 (height, width, 3), as an 8-bit RGB PNG file."""
    height, width = image.shape[:2]
    rows = b"".join(b"\x00" + row.tobytes() for row in image)
    blocks = [rows[start : start + _STORED_LIMIT] for start in range(0, len(rows), _STORED_LIMIT)]
    stream = b"\x78\x01"
    for number, block in enumerate(blocks, start=1):
        final = number == len(blocks)
        stream += struct.pack("<BHH", final, len(block), len(block) ^ 0xFFFF) + block
    stream += struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")
