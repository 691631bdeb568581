"""Devices: from what a user asks for to a torch device, and how much of its memory was used."""

from __future__ import annotations

import re

from agiqa_bench.errors import ConfigError


def resolve_device(name: str) -> str:
    """`auto` becomes `cuda:0` where there is one and `cpu` otherwise; a name is checked.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "cpu":
        return name
    numbered = re.fullmatch(r"cuda(?::(\d+))?", name)
    if name != "auto" and numbered is None:
        raise ConfigError(f"--device {name}: write auto, cpu or cuda:N")
    import torch

    if numbered is None:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    number = int(numbered[1] or 0)
    if number >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; try --device cpu")
    return f"cuda:{number}"


class PeakMemory:
    """Peak memory allocated on a CUDA device inside a `with` block; None elsewhere."""

    def __init__(self, device: str) -> None:
        """Remember the device."""
        self._device = device if device.startswith("cuda") else None
        self.peak: int | None = None

    def __enter__(self) -> PeakMemory:
        if self._device is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._device is not None:
            import torch

            self.peak = int(torch.cuda.max_memory_allocated(self._device))
