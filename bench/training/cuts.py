"""Notes of batches that were cut because memory was short, where no training's history holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_sizes: ContextVar[list[int] | None] = ContextVar("sizes", default=None)


@contextmanager
def noted_cuts() -> Iterator[list[int]]:
    """Gather the sizes that batches are cut to in the block: a list that is empty while memory suffices."""
    sizes: list[int] = []
    token = _sizes.set(sizes)
    try:
        yield sizes
    finally:
        _sizes.reset(token)


def note_cut(size: int) -> None:
    """Note that from now on only `size` samples are taken at a time; without anybody who gathers it is lost."""
    sizes = _sizes.get()
    if sizes is not None:
        sizes.append(size)
