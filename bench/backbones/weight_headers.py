"""What the headers of weight files claim, checked before a library believes them; nothing is executed or unpickled."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from agiqa_bench.bounded import BoundedReader
from agiqa_bench.errors import WeightsUnavailableError

MAX_HEADER = 16 << 20
"""Bytes of a safetensors header or of a zip's list of parts; those of the largest CLIP have less than 1 MiB."""

MAX_PICKLE = 64 << 20
"""Bytes of the pickle that names an archive's tensors; that of the largest CLIP has less than 1 MiB."""

_LENGTH = 8
_NEVER_READ = (".py", ".debug_pkl")


def safetensors_fault(start: bytes, size: int) -> str:
    """What is wrong with the length of a safetensors header; empty if nothing is.

    Args:
        start: The first 8 bytes of the file.
        size: Length of the file in bytes.
    """
    if len(start) < _LENGTH:
        return f"has {size} bytes, which is no safetensors file"
    claimed = int.from_bytes(start[:_LENGTH], "little")
    if claimed > size - _LENGTH:
        return f"is truncated or not a safetensors file (a header of {claimed:,} bytes in a file of {size:,})"
    if claimed > MAX_HEADER:
        return f"claims a header of {claimed:,} bytes, and more than {MAX_HEADER:,} are refused"
    return ""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip of torch, whose parts torch stores as they are: they cannot be larger than the file.

    Raises:
        zipfile.BadZipFile: It is damaged, its list of parts is too long, or a part is compressed or longer than the
            file.
    """
    refusal = WeightsUnavailableError(f"weight file {path}: its list of parts is larger than {MAX_HEADER:,} bytes")
    with path.open("rb") as raw:
        reader = BoundedReader(raw, MAX_HEADER, refusal)
        file = zipfile.ZipFile(cast("IO[bytes]", reader))
        parts = [part for part in file.infolist() if not part.filename.endswith(_NEVER_READ)]
        for part in parts:
            if part.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile("a part is compressed, as torch never does")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise zipfile.BadZipFile("its parts claim to be larger than the file")
        reader.lift()  # a part may be large
        yield file


def check_pickle(content: bytes) -> None:
    """Refuse a pickle that would make Python's reader take far more memory than its own length.

    Raises:
        ValueError: It would, or it is no pickle.
    """
    if len(content) > MAX_PICKLE:
        raise ValueError(f"its pickle has {len(content):,} bytes, and more than {MAX_PICKLE:,} are refused")
    for opcode, argument, _ in pickletools.genops(content):
        # The reader makes a list as long as the highest number under which something is remembered.
        if opcode.name in ("PUT", "LONG_BINPUT") and cast("int", argument) > len(content):
            raise ValueError("its pickle remembers objects under numbers that are too high")
