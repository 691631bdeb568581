"""Devices: from what a user asks for to a torch device, how much of its memory was used, and the same numbers again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def repeatable(device: str, *, wanted: bool) -> Iterator[None]:
    """Make a CUDA device compute the same numbers each time inside a `with` block, at some cost; else do nothing.

    An operation for which torch knows no such algorithm raises RuntimeError. The CPU repeats itself without this.
    See torch's notes on reproducibility and `torch.use_deterministic_algorithms`.

    Args:
        device: torch device string.
        wanted: Whether the user asked for it.
    """
    if not (wanted and device.startswith("cuda")):
        yield
        return
    import torch

    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
    # cuBLAS reads it once, when it is first used; it stays set, because it holds for the rest of the process anyway.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]


class PeakMemory:
    """Peak memory inside a `with` block, to be read behind it.

    Attributes:
        device_bytes: Allocated on the CUDA device by torch; None on the CPU.
        host_bytes: Resident memory of this process: the interpreter, its libraries, the pages of memory-mapped files
            that were touched, and what earlier cells have left behind count too; other processes do not. None where the
            system cannot tell (anything but Linux) or refuses to.
        host_bytes_before: The same when the block began; None likewise.
    """

    def __init__(self, device: str) -> None:
        """Remember the device."""
        self._device = device if device.startswith("cuda") else None
        self._is_reset = False
        self.device_bytes: int | None = None
        self.host_bytes: int | None = None
        self.host_bytes_before: int | None = None

    def __enter__(self) -> PeakMemory:
        self._is_reset = _reset_peak_resident()
        if self._is_reset:
            self.host_bytes_before = _peak_resident()
        if self._device is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_reset:
            self.host_bytes = _peak_resident()
        if self._device is not None:
            import torch

            self.device_bytes = int(torch.cuda.max_memory_allocated(self._device))


_PROCESS = Path("/proc/self")
"""What Linux tells a process of itself; see proc(5)."""


def _reset_peak_resident() -> bool:
    """Let the high-water mark of the resident memory begin anew; whether that was done."""
    try:
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, a kernel without it, or a sandbox that forbids it
        return False
    return True


def _peak_resident() -> int | None:
    """The high-water mark of the resident memory in bytes; None if it is not to be had."""
    try:
        lines = (_PROCESS / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith("VmHWM:")), None)
    return None if found is None else 1024 * int(found[1])
