"""Short memory: what counts as out of memory, and prediction in batches that shrink until they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from agiqa_bench.errors import TrainingError
from agiqa_bench.training.cuts import note_cut

Progress = Callable[[int, int, str], None]

_SHORT = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""What the messages of the other errors hold that torch raises when memory is short."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not allocate; on the CPU, and in CUDA's libraries, that is a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _SHORT)
    )


def free(device: str) -> None:
    """Give cached blocks of a CUDA device back, so that smaller ones can be had."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def generator_states(device: str) -> list[torch.Tensor]:
    """States of torch's generators, from which dropout masks are drawn: the CPU's, and that of a CUDA device."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.startswith("cuda") else [])]


def set_generator_states(device: str, states: list[torch.Tensor]) -> None:
    """Put torch's generators back to `states`."""
    torch.set_rng_state(states[0])
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states[1], device)


def halved(size: int, what: str) -> int:
    """Half a batch.

    Raises:
        TrainingError: It was a single sample already.
    """
    if size <= 1:
        raise TrainingError(
            f"{what}: no memory for a single sample; use --precision bf16 or a machine with more memory"
        )
    return (size + 1) // 2


def in_batches(
    compute: Callable[[npt.NDArray[np.int64]], torch.Tensor],
    n: int,
    batch_size: int,
    device: str,
    progress: Progress | None = None,
    what: str = "scoring images",
) -> torch.Tensor:
    """Compute something for n samples without gradients, a batch at a time, with smaller batches if memory is short.

    What a batch was cut to is noted, see `agiqa_bench.training.cuts`.

    Args:
        compute: Positions (b,) to a tensor (b, ...).
        n: Number of samples, at least 1.
        batch_size: To begin with.
        device: torch device string.
        progress: Called with (done, n, what).
        what: In a few words.

    Returns:
        float32 (n, ...) on the CPU.

    Raises:
        TrainingError: Not even a single sample fits.
    """
    parts: list[torch.Tensor] = []
    done, size = 0, batch_size
    while done < n:
        positions = np.arange(done, min(done + size, n))
        try:
            with torch.inference_mode():
                parts.append(compute(positions).float().cpu())
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = halved(len(positions), what)
            note_cut(size)
        else:
            done += len(positions)
            if progress:
                progress(done, n, what)
            continue
        free(device)  # out of the except block, whose traceback holds the tensors
    return torch.cat(parts)


def pieces(positions: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cut positions into pieces of at most `size`."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
