"""Weight files: what format one has, whether it fits an architecture, and its digest. Nothing in it is executed."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agiqa_bench.backbones.torchscript import is_torchscript, read_torchscript
from agiqa_bench.backbones.weight_headers import check_state_dict, open_zip, safetensors_fault
from agiqa_bench.errors import WeightsUnavailableError

if TYPE_CHECKING:
    import torch

_OPENAI_CONSTANTS = {"input_resolution", "context_length", "vocab_size"}
"""What only OpenAI's own files hold beside the weights."""

_PLAIN_CONFIG = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}

_NEXT_STEP = "give an OpenAI archive, an open_clip checkpoint or a .safetensors file"

_SENTENCE = 160
"""Letters of another library's reason in a message."""

_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch and pickle raise for a file that is not a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A weight file that has been looked into.

    Attributes:
        path: The file.
        format: `torchscript` (OpenAI's archives), `torch` (a state dict, bare or under "state_dict") or `safetensors`.
        shapes: Shape of each tensor, without the prefix that data-parallel training leaves.
        openai: True for OpenAI's own files, whose models were trained with QuickGELU.
    """

    path: Path
    format: Literal["torchscript", "torch", "safetensors"]
    shapes: Mapping[str, tuple[int, ...]]
    openai: bool


def inspect(path: Path) -> Checkpoint:
    """Look into a weight file: names and shapes are read, the weights themselves are not.

    Raises:
        WeightsUnavailableError: The file is missing, truncated, not a checkpoint, or holds pickled code.
    """
    _require_file(path, _NEXT_STEP)
    if path.suffix.lower() == ".safetensors" != path.suffix:
        # open_clip goes by the lower-case ending, and would take it for a pickled file.
        raise WeightsUnavailableError(f"weight file {path}: rename it to end in .safetensors, in small letters")
    if path.suffix == ".safetensors":
        return Checkpoint(path, "safetensors", _safetensors_shapes(path), openai=False)
    try:
        # Mapped, a state dict costs no memory; files from before torch 1.6 are no zips and cannot be mapped.
        zipped = zipfile.is_zipfile(path)
        if zipped and _holds_torchscript(path):
            return Checkpoint(path, "torchscript", _shapes(read_torchscript(path, shapes_only=True)), openai=True)
        tensors = _state_dict(path, mmap=zipped)
    except _DAMAGED as error:
        raise _unusable(path, error) from error
    if not tensors:
        raise WeightsUnavailableError(f"weight file {path} holds no tensors by name: {_NEXT_STEP}")
    return Checkpoint(path, "torch", _shapes(tensors), openai=tensors.keys() >= _OPENAI_CONSTANTS)


def read_openai(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Read the weights of one of OpenAI's own files, without the constants among them; mostly float16, on the CPU.

    Raises:
        WeightsUnavailableError: The file is damaged, or a weight is not a finite number.
    """
    try:
        if checkpoint.format == "torchscript":
            tensors = read_torchscript(checkpoint.path)
        else:
            tensors = _state_dict(checkpoint.path, mmap=False)
        _check_claims(checkpoint.path, tensors)
    except _DAMAGED as error:
        raise _unusable(checkpoint.path, error) from error
    weights = {name: tensor for name, tensor in tensors.items() if name not in _OPENAI_CONSTANTS}
    check_finite(checkpoint.path, weights)
    return weights


def read_tensors(path: Path, next_step: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a state dict (bare, or under "state_dict" or "model") or of a .safetensors file, on the CPU.

    Args:
        path: The file.
        next_step: What the message of a file that cannot be used asks for.

    Raises:
        WeightsUnavailableError: The file is missing, truncated, holds no tensors by name, numbers that are not finite,
            or pickled code.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path, next_step)
    if path.suffix == ".safetensors":
        _check_header(path, next_step)
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _state_dict(path, mmap=False)
        _check_claims(path, tensors)
    except (SafetensorError, *_DAMAGED) as error:
        raise _unusable(path, error, next_step) from error
    if not tensors:
        raise WeightsUnavailableError(f"weight file {path} holds no tensors by name: {next_step}")
    check_finite(path, tensors)
    return tensors


def check_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that training has broken.

    Args:
        path: Their file, for the message.
        tensors: By name; integers pass.

    Raises:
        WeightsUnavailableError: One holds NaN or infinity; the first is named.
    """
    import torch

    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for name, tensor in tensors.items():
        if tensor.dtype in floats and not torch.isfinite(tensor).all():
            raise WeightsUnavailableError(
                f"weight file {path} is of no use: {_printable(name)} holds NaN or infinity; get it again or train anew"
            )


def check_fit(checkpoint: Checkpoint, architecture: str, config: Mapping[str, Any]) -> None:
    """Compare a file's tensors with those of an architecture.

    open_clip would stretch a position embedding of another image size or context length to fit; a file that was made
    for another architecture is refused here instead. Architectures with a text or image tower of another library are
    left to open_clip's own check while loading.

    Args:
        checkpoint: The file.
        architecture: Its name, for the message.
        config: open_clip's model configuration.

    Raises:
        WeightsUnavailableError: A tensor is missing, left over, or of another shape.
    """
    import open_clip
    import torch

    towers = [config["vision_cfg"], config["text_cfg"]]
    if config.keys() - _PLAIN_CONFIG or any(key.startswith(("timm_", "hf_")) for tower in towers for key in tower):
        if checkpoint.openai:
            raise WeightsUnavailableError(
                f"weight file {checkpoint.path} is one of OpenAI's and does not fit {architecture}: name the "
                "architecture that it was made for, e.g. ViT-B-32"
            )
        return
    with torch.device("meta"):
        expected = _shapes(open_clip.CLIP(**config).state_dict())
    found = {name: shape for name, shape in checkpoint.shapes.items() if name not in _OPENAI_CONSTANTS}
    # Batch norm's count of batches is no weight, and absent from old files.
    missing = sorted(name for name in expected.keys() - found.keys() if not name.endswith("num_batches_tracked"))
    surplus = sorted(found.keys() - expected.keys())
    different = [
        f"{name} is {found[name]} and should be {shape}"
        for name, shape in sorted(expected.items())
        if name in found and found[name] != shape and name != "logit_scale"
    ]
    faults = [
        *different,
        *(f"{name} is missing" for name in missing),
        *(f"{_printable(name)} is surplus" for name in surplus),
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise WeightsUnavailableError(
            f"weight file {checkpoint.path} does not fit {architecture}: {faults[0]}{more}; name the architecture "
            "that it was made for"
        )


def file_digest(*paths: Path) -> str:
    """SHA-256 (hex) of a file's content, or of the digests of several files in the given order.

    The digest of a file is kept for the life of the process, until its size or time of change differ.
    """
    digests = []
    for path in paths:
        facts = path.stat()
        digests.append(_digest(path, facts.st_size, facts.st_mtime_ns))
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:  # noqa: ARG001
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_no_code(
    path: Path,
    next_step: str = "get it again, or if you trust its source set 'trust', which lets it run whatever code it holds",
) -> None:
    """Refuse a PyTorch file that holds more than tensors and plain values, without unpickling the rest.

    Args:
        path: The file; one whose name is not that of a PyTorch file is not looked into.
        next_step: What to do, for the message.

    Raises:
        WeightsUnavailableError: It does, or it is damaged; one line.
    """
    import torch

    if path.suffix not in (".pt", ".pth", ".bin", ".pkl"):
        return
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped and _holds_torchscript(path):
            return  # a program in torch's own language, which torch runs and Python does not
        check_state_dict(path)
        torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except _DAMAGED as error:
        why = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        why = why if len(why) <= _SENTENCE else f"{why[: _SENTENCE - 3]}..."
        raise WeightsUnavailableError(f"{path} cannot be read as plain weights ({why}): {next_step}") from error


def one_line(error: BaseException, limit: int = 200) -> str:
    """The text of another library's exception on one line of at most `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return _printable(text, limit)


def _printable(text: str, limit: int = _SENTENCE) -> str:
    """A text out of a file as a message may show it."""
    return text[:limit] if text.isprintable() else ascii(text[:limit])[1:-1]


def _require_file(path: Path, next_step: str) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise WeightsUnavailableError(f"weight file {path} {what}: {next_step}")
    if not _first_bytes(path):
        raise WeightsUnavailableError(f"weight file {path} is empty: {next_step}")


def _check_header(path: Path, next_step: str) -> None:
    fault = safetensors_fault(_first_bytes(path), path.stat().st_size)
    if fault:
        raise WeightsUnavailableError(f"weight file {path} {fault}: {next_step}")


def _holds_torchscript(path: Path) -> bool:
    with open_zip(path) as archive:
        return is_torchscript(archive)


def _state_dict(path: Path, *, mmap: bool) -> dict[str, torch.Tensor]:
    """The tensors of a state dict by name; empty if the file holds something else."""
    import torch

    check_state_dict(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unusual pickle is read or refused, and neither needs a second line
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    for wrapper in ("state_dict", "model"):
        content = content.get(wrapper, content) if isinstance(content, dict) else {}
    named = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    return {name.removeprefix("module."): value for name, value in named.items()}


def _check_claims(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors that have more numbers than their file holds, before anything looks at each of them.

    Torch makes a storage larger where a tensor says so, and a tensor with a stride of 0 needs none; both cost memory
    only when they are read.

    Raises:
        ValueError: There are some.
    """
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    swollen = any(
        tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() for tensor in tensors.values()
    )
    if swollen or sum(storages.values()) > path.stat().st_size:
        raise ValueError("its tensors claim more numbers than the file holds")


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    _check_header(path, _NEXT_STEP)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        why = f"is truncated or not a safetensors file ({one_line(error)})"
        raise WeightsUnavailableError(f"weight file {path} {why}: {_NEXT_STEP}") from error


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _first_bytes(path: Path) -> bytes:
    """The eight bytes that tell a zip, or the length of a safetensors header; empty only for an empty file."""
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise WeightsUnavailableError(f"weight file {path} cannot be read: {error.strerror}") from error


def _unusable(path: Path, error: Exception, next_step: str = _NEXT_STEP) -> WeightsUnavailableError:
    refused = re.search(r"(?:GLOBAL|it names) (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if refused:
        why = f"holds pickled objects that are not tensors, and these are never loaded ({_printable(refused.group(1))})"
    elif _first_bytes(path).startswith(b"PK"):
        why = f"is truncated or damaged ({one_line(error, 80)})"
    else:
        why = "is not a checkpoint"
    return WeightsUnavailableError(f"weight file {path} {why}: {next_step}")
