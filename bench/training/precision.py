"""Arithmetic of networks: float32, or bfloat16 and float16 by autocast with weights in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from agiqa_bench.method import Precision

_LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


def arithmetic(device: str, precision: Precision) -> AbstractContextManager[object]:
    """A context in which networks compute in `precision` on `device`."""
    dtype = _LOW.get(precision)
    return torch.autocast(torch.device(device).type, dtype=dtype) if dtype else nullcontext()


def loss_scaler(device: str, precision: Precision) -> torch.amp.GradScaler:
    """Scales the loss so that float16 gradients do not vanish; does nothing for the other precisions."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "fp16")
