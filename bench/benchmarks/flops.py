"""Arithmetic: how much a computation asks for, and how much a device can do."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from agiqa_bench.method import Precision
from agiqa_bench.training.precision import arithmetic

_SIDE = {"cpu": 2048, "cuda": 8192}
_TRIES = 5


def count_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products, convolutions and attentions of a call, forwards and backwards.

    A product and a sum are two operations. The count is the same for each version of torch and each device: attention
    is computed as plain products here. Torch counts a fused attention only where it knows the kernel (that of the CPU
    since 2.15), and backwards with what the kernel computes a second time to spare memory.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # In one operation of its own, which is not counted, attention would be computed without gradients.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def matrix_product_rate(device: str, precision: Precision) -> float:
    """Floating-point operations per second of a large product of square matrices: the best of five tries."""
    side = _SIDE[torch.device(device).type]
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    seconds = []
    with torch.inference_mode(), arithmetic(device, precision):
        # Cast once, as a network's weights are, and not with every product.
        if precision != "float32":
            left, right = (each.to((left[:1, :1] @ right[:1, :1]).dtype) for each in (left, right))
        for _ in range(_TRIES + 1):
            wait_for(device)
            started = time.perf_counter()
            _ = left @ right
            wait_for(device)
            seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds[1:])


def wait_for(device: str) -> None:
    """Wait until a CUDA device has done what it was asked for; the CPU has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
