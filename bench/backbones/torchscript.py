"""OpenAI's own CLIP files: TorchScript archives, of which the tensors are read and nothing is run.

`torch.jit.load` would compile and may run the code that such an archive carries, and `torch.load(weights_only=True)`
refuses TorchScript. An archive is a zip: `data.pkl` names the modules and tensors, `data/<key>` holds their bytes.
The reader below follows `data.pkl` with an unpickler that knows tensors and empty containers and refuses all else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agiqa_bench.backbones.weight_headers import open_zip, read_pickle

if TYPE_CHECKING:
    import torch

_STORAGES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}

_NO_WEIGHTS = ("attn_mask", "context_length", "input_resolution", "vocab_size")
"""Constants that OpenAI's modules carry as tensors; each follows from the architecture."""


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether a zip that torch wrote is a TorchScript archive and not a state dict."""
    return _root(archive) is not None


def read_torchscript(path: Path, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """Read the weights of a TorchScript archive under their names in `state_dict`, on the CPU.

    Args:
        path: The archive.
        shapes_only: Give tensors on the meta device, without reading their bytes.

    Returns:
        Parameters and buffers without OpenAI's constants (`input_resolution` and the like).

    Raises:
        pickle.UnpicklingError: The archive names something that is neither tensor nor container.
        zipfile.BadZipFile, ValueError: It is damaged, or claims more than it holds.
        KeyError: A part is missing.
    """
    with open_zip(path) as archive:
        root = _root(archive)
        if root is None:
            raise zipfile.BadZipFile("no TorchScript in this zip")
        content = read_pickle(archive, archive.getinfo(f"{root}data.pkl"))
        module = _TensorUnpickler(io.BytesIO(content), archive, root, shapes_only).load()
    if not isinstance(module, _Module):
        raise pickle.UnpicklingError("the archive holds no module")
    return {name: tensor for name, tensor in module.tensors(set()) if name.rpartition(".")[2] not in _NO_WEIGHTS}


def _root(archive: zipfile.ZipFile) -> str | None:
    """The folder that all of a TorchScript archive is in; for torch it is that of the first part."""
    names = archive.namelist()
    root = f"{names[0].partition('/')[0]}/" if names else ""
    return root if f"{root}constants.pkl" in names else None


class _Module:
    """A TorchScript object of any class, reduced to its attributes."""

    attributes: dict[str, Any]

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}

    def tensors(self, seen: set[int], prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        import torch

        # A few modules that hold each other twice would have more names than anybody can count.
        if id(self) in seen:
            raise pickle.UnpicklingError("a module of the archive stands in two places")
        seen.add(id(self))
        for name, value in getattr(self, "attributes", {}).items():
            if isinstance(value, torch.Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Module):
                yield from value.tensors(seen, f"{prefix}{name}.")


class _TensorUnpickler(pickle.Unpickler):
    """Builds modules as bags of attributes, and tensors from the archive's bytes; refuses every other name."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str, shapes_only: bool) -> None:
        super().__init__(file)
        self._archive = archive
        self._root = root
        self._shapes_only = shapes_only
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch.jit._pickle":  # lists with their element type, e.g. build_intlist, restore_type_tag
            return lambda value, *_: value
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, reference: Any) -> torch.Tensor:
        import torch

        _, type_name, key, _, count = reference
        if type_name not in _STORAGES.values():
            raise pickle.UnpicklingError("a tensor has no type")
        if key not in self._storages:
            dtype = getattr(torch, type_name)
            if self._shapes_only:
                self._storages[key] = torch.empty(count, dtype=dtype, device="meta")
            else:
                content = bytearray(self._archive.read(f"{self._root}data/{key}"))
                self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _rebuild(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: object) -> torch.Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)
