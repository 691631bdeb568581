"""Weights, images and ratings that follow from a name: figures computed on them need no weight file.

Every array has a random stream of its own, told by `salt` and its name, and values that float16 holds exactly. How wide
a tensor's values are spread follows from its name and shape, so that a network of them neither fades nor explodes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]


def seeded(name: str, shape: Sequence[int], salt: str) -> torch.Tensor:
    """The tensor called `name` in a state dict: float32, but int64 zeros for the counters of batch norms."""
    if _leaf(name) == "num_batches_tracked":
        return torch.zeros(tuple(shape), dtype=torch.int64)
    normal = _stream(salt, name).standard_normal(tuple(shape), dtype=np.float32)
    values = _vector(name, normal) if normal.ndim < 2 else _matrix(name, normal)
    return torch.from_numpy(np.asarray(values, dtype=np.float16).astype(np.float32))


def images(n: int, size: int, salt: str) -> torch.Tensor:
    """A batch of normalised images of standard normal noise, float32 (n, 3, size, size)."""
    stream = _stream(salt, f"images/{n}/{size}")
    return torch.from_numpy(stream.standard_normal((n, 3, size, size), dtype=np.float32))


def mos(n: int, k: int, salt: str) -> torch.Tensor:
    """Ratings in [0, 1) of k targets, float32 (n, k)."""
    return torch.from_numpy(_stream(salt, f"mos/{n}/{k}").uniform(size=(n, k)).astype(np.float32))


def _stream(salt: str, name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{salt}/{name}".encode()))


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _vector(name: str, normal: Floats) -> Floats:
    """Scales lie around one and variances above it; biases and means lie around zero."""
    if name == "logit_scale":
        return np.full_like(normal, math.log(100.0))
    match _leaf(name):
        case "running_var":
            return 1 + 0.1 * np.abs(normal)
        case "running_mean":
            return 0.1 * normal
        case "weight" if normal.ndim == 1:
            return 1 + 0.1 * normal
        case _:
            return 0.05 * normal


def _matrix(name: str, normal: Floats) -> Floats:
    """Learnt tokens are small, as they are drawn; the others are scaled so that their products keep their size."""
    shape, leaf = normal.shape, _leaf(name)
    if ("prompt" in name or leaf.endswith("ctx")) and leaf != "weight":
        return 0.02 * normal
    if name.endswith("token_embedding.weight"):
        return 0.05 * normal
    if leaf.endswith("positional_embedding"):
        return normal / math.sqrt(shape[-1])
    if leaf in ("proj", "text_projection"):
        return normal / math.sqrt(shape[0])
    return normal / math.sqrt(math.prod(shape[1:]))
