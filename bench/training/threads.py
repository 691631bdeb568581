"""Threads of the processor: one for a small network, all for a large one.

The threads of an operation wait for each other in a busy loop. In a network of a million parameters they wait longer
than they compute, and where other programs want the same cores, many times longer. On one thread its numbers do not
depend on the number of cores either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

SMALL = 5_000_000
"""Parameters up to which a network computes on one thread."""


@contextmanager
def threads_for(network: nn.Module) -> Iterator[None]:
    """Set torch's number of threads to what suits a network, inside a `with` block."""
    before = torch.get_num_threads()
    if sum(parameter.numel() for parameter in network.parameters()) <= SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
