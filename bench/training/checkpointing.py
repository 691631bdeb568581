"""Parts of a network that keep their input alone, and compute the rest again on the way back, to save memory.

Chen et al. 2016, "Training deep nets with sublinear memory cost". A step takes about a third longer and gives the same
gradients. Cutting the batch instead, the other answer to short memory, would change what batch norm sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, method: str = "forward") -> bool:
    """Let a method of a module keep its input alone wherever gradients are wanted; names of tensors stay as they are.

    Dropout draws the same masks both times, and batch norm counts the batch once. What else changes a buffer on the way
    forward would do so twice.

    Args:
        module: It must not change its input in place.
        method: Name of a method from tensors to a tensor.

    Returns:
        Whether it kept more before.
    """
    plain = getattr(module, method)
    if isinstance(plain, _Recomputed):
        return False
    setattr(module, method, _Recomputed(plain, module))
    return True


def recompute_blocks(network: nn.Module) -> bool:
    """`recompute` for each of a network's blocks.

    Returns:
        Whether anything kept more before; False for a network without blocks, such as VGG.
    """
    changed = [recompute(block) for block in blocks_of(network)]
    return any(changed)


def blocks_of(network: nn.Module) -> Sequence[nn.Module]:
    """The smallest modules with parts of their own that stand in a row: residual blocks, or layers of a transformer."""
    rows = [row for row in network.modules() if isinstance(row, nn.Sequential | nn.ModuleList)]
    found = [part for row in rows for part in row if any(True for _ in part.children())]
    return [block for block in found if not any(other in found for other in block.modules() if other is not block)]


class _Recomputed:
    """A bound method in a checkpoint; a deep copy of the module has it bound to the copy."""

    def __init__(self, plain: Callable[..., torch.Tensor], module: nn.Module) -> None:
        self._plain, self._module = plain, module

    def __call__(self, *inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return self._plain(*inputs, **options)
        found: torch.Tensor = checkpoint(
            self._plain, *inputs, use_reentrant=False, context_fn=self._contexts, **options
        )
        return found

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _averages_held(self._module)


@contextmanager
def _averages_held(module: nn.Module) -> Iterator[None]:
    """Leave the running averages of batch norm as they are: it has counted this batch on the way forward."""
    # Batch norm without its averages would save other tensors than on the way forward, which torch refuses.
    counting = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(part.momentum, part.num_batches_tracked) for part in counting]
    for part in counting:
        part.momentum, part.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for part, (momentum, seen) in zip(counting, before, strict=True):
            part.momentum, part.num_batches_tracked = momentum, seen
