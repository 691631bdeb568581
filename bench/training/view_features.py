"""Features of augmented views by a frozen encoder: computed once per data set and epoch, used by all repeats.

A frozen encoder gives a view of an image the same features in every repeat. If all repeats see the same views (drawn
from a seed that they share), the encoder's work of a comparison is that of one repeat. One file per epoch is kept in
the cache folder, under a name that covers everything that can change its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from agiqa_bench.data.roots import cache_root
from agiqa_bench.features.array_file import stored_array

Encode = Callable[[int], npt.NDArray[np.float32]]


class ViewFeatures:
    """Features of one view per image and epoch, for all rows of a data set."""

    def __init__(self, parts: Mapping[str, object], encode: Encode, folder: Path | None = None) -> None:
        """Describe the features; nothing is computed yet.

        Args:
            parts: Everything that the features depend on, e.g. digests of images, weights and code, seed, device.
            encode: Epoch (from 0) to features, float32 (n_rows, width).
            folder: Of the cache; None means `agiqa_bench.data.roots.cache_root()`.
        """
        text = "\n".join(f"{name}={parts[name]}" for name in sorted(parts))
        root = folder if folder is not None else cache_root()
        self.folder = root / "features" / hashlib.sha256(text.encode()).hexdigest()
        self._encode = encode
        self._held: tuple[int, npt.NDArray[np.float32]] | None = None
        self._on_device: tuple[int, torch.Tensor] | None = None

    def epoch(self, epoch: int) -> npt.NDArray[np.float32]:
        """Features of all rows in an epoch, (n_rows, width), read-only; computed if no process has done so yet.

        Raises:
            StoreError: The cache folder cannot be written.
        """
        if self._held is None or self._held[0] != epoch:
            features = stored_array(self.folder / f"{epoch:04d}.array", lambda: self._encode(epoch))
            # One epoch at a time: a hundred of them would be most of a small machine's memory.
            self._held = (epoch, features)
        return self._held[1]

    def tensor(self, epoch: int, device: str) -> torch.Tensor:
        """The same as a tensor on a device; sent there once for all steps of all repeats that are trained together."""
        if self._on_device is None or self._on_device[0] != epoch:
            # Copied because a memory-mapped array is read-only, which torch does not know.
            self._on_device = (epoch, torch.from_numpy(np.array(self.epoch(epoch))).to(device))
        return self._on_device[1]
