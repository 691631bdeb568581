"""What the headers of weight files claim, checked before a library believes them; nothing is executed or unpickled."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
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

MAX_CODE = 64 << 20
"""Bytes that the code of a TorchScript archive, which alone is compressed, may have when it is unpacked."""

_LENGTH = 8
_ZIP = b"PK\x03\x04"
_CODE = (".py", ".debug_pkl")
"""Endings of TorchScript's code, which this package never reads, and whoever runs such an archive does."""

_OLD_PICKLES = 5
"""A file from before torch 1.6 has so many pickles: magic number, version, machine, content, names of storages."""

_WEIGHTS = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)|_codecs encode"
    r"|torch(\.cuda|\.sparse|\.storage)? \w+Storage|torch (Size|Tensor|[a-z]\w*)|torch\.serialization _get_layout"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._tensor _rebuild_from_type_v2|torch\.nn\.parameter Parameter"
)
"""What a state dict names: less than `torch.load(weights_only=True)` lets through, which calls `bytearray(12 * 10**9)`
and builds tensors that are larger than what the file holds of them."""


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
        zipfile.BadZipFile: It is damaged, its list of parts is too long, a part is compressed or longer than the
            file, or code that is compressed is longer than `MAX_CODE`.
    """
    refusal = WeightsUnavailableError(f"weight file {path}: its list of parts is larger than {MAX_HEADER:,} bytes")
    with path.open("rb") as raw:
        reader = BoundedReader(raw, MAX_HEADER, refusal)
        file = zipfile.ZipFile(cast("IO[bytes]", reader))
        parts = [part for part in file.infolist() if not part.filename.endswith(_CODE)]
        if sum(part.file_size for part in file.infolist()) - sum(part.file_size for part in parts) > MAX_CODE:
            raise zipfile.BadZipFile(f"its code has more than {MAX_CODE:,} bytes when it is unpacked")
        for part in parts:
            if part.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile("a part is compressed, as torch never does")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise zipfile.BadZipFile("its parts claim to be larger than the file")
        reader.lift()  # a part may be large
        yield file


def read_pickle(archive: zipfile.ZipFile, part: zipfile.ZipInfo, *, only_weights: bool = False) -> bytes:
    """The content of a pickle in a zip that `open_zip` has opened, if it makes nobody take more memory than it has.

    Args:
        archive: The zip.
        part: The pickle.
        only_weights: Refuse one that names anything but what weights need.

    Raises:
        ValueError: It is longer than `MAX_PICKLE`, would make Python's reader take far more memory than its own length,
            or is no pickle.
        pickle.UnpicklingError: It names something else.
    """
    if part.file_size > MAX_PICKLE:
        raise ValueError(f"its pickle has {part.file_size:,} bytes, and more than {MAX_PICKLE:,} are refused")
    content = archive.read(part)
    _check_opcodes(io.BytesIO(content), part.file_size, only_weights=only_weights)
    return content


def check_state_dict(path: Path) -> None:
    """Refuse a file of torch that names anything but what weights need, before torch reads it.

    Raises:
        pickle.UnpicklingError: It names something else.
        zipfile.BadZipFile: As `open_zip`.
        ValueError: As `read_pickle`, or it is no file of torch.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
        if start != _ZIP:  # what torch goes by
            start += file.read(MAX_PICKLE)
    if start == _ZIP:
        with open_zip(path) as archive:
            for part in archive.infolist():
                if part.filename.endswith(".pkl"):
                    read_pickle(archive, part, only_weights=True)
        return
    content = io.BytesIO(start)
    for _ in range(_OLD_PICKLES):
        _check_opcodes(content, len(start), only_weights=True)
        if content.tell() == len(start):
            return


def _check_opcodes(content: io.BytesIO, size: int, *, only_weights: bool) -> None:
    """Go through one pickle without doing what it says; see `read_pickle`."""
    for opcode, argument, _ in pickletools.genops(content):
        # The reader makes a list as long as the highest number under which something is remembered.
        if opcode.name in ("PUT", "LONG_BINPUT") and cast("int", argument) > size:
            raise ValueError("its pickle remembers objects under numbers that are too high")
        if only_weights and opcode.name in ("GLOBAL", "INST") and not _WEIGHTS.fullmatch(str(argument)):
            raise pickle.UnpicklingError(f"it names {str(argument).replace(' ', '.')}")
