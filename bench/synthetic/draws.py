"""Random draws by SHA-256: the same numbers on every machine and in every version of every library."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


class Draws:
    """A stream of random numbers that depends on the parts of its name only.

    >>> Draws("demo", 1).integer(0, 1000) == Draws("demo", 1).integer(0, 1000)
    True
    """

    def __init__(self, *parts: str | int) -> None:
        """Name the stream; the order of `parts` counts, and neither ("ab", "c") nor (1,) is ("a", "bc") or ("1",)."""
        self.parts = parts
        digest = hashlib.sha256()
        for part in parts:
            token = f"{type(part).__name__}:{part}".encode()
            digest.update(len(token).to_bytes(8, "big"))
            digest.update(token)
        self._key = digest.digest()
        self._count = 0
        self._block: list[int] = []

    def child(self, *parts: str | int) -> Draws:
        """An independent stream named by this stream's parts and `parts`; how far this one was read is irrelevant."""
        return Draws(*self.parts, *parts)

    def word(self) -> int:
        """The next 64 random bits, an integer in [0, 2**64)."""
        if not self._block:
            block = hashlib.sha256(self._key + self._count.to_bytes(8, "big")).digest()
            self._count += 1
            self._block = [int.from_bytes(block[i : i + 8], "big") for i in (24, 16, 8, 0)]
        return self._block.pop()

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high)."""
        return low + ((self.word() * (high - low)) >> 64)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high), on a grid of 2**53 steps."""
        return low + (high - low) * ((self.word() >> 11) / 9007199254740992.0)

    def chance(self, probability: float) -> bool:
        """True with `probability`."""
        return self.uniform() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`, all equally likely."""
        return options[self.integer(0, len(options))]

    def weighted(self, options: Sequence[T], weights: Sequence[int]) -> T:
        """One of `options`, each as likely as its non-negative integer weight says."""
        ticket = self.integer(0, sum(weights))
        for option, weight in zip(options, weights, strict=True):
            ticket -= weight
            if ticket < 0:
                return option
        raise ValueError("weights must be non-negative and not all zero")

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """`options` in random order (Fisher-Yates)."""
        items = list(options)
        for last in range(len(items) - 1, 0, -1):
            other = self.integer(0, last + 1)
            items[last], items[other] = items[other], items[last]
        return items

    def gauss(self) -> float:
        """About standard normal: the sum of twelve 16-bit uniforms (Irwin-Hall), in [-6, 6]."""
        total = 0
        for _ in range(3):
            word = self.word()
            total += (word & 65535) + (word >> 16 & 65535) + (word >> 32 & 65535) + (word >> 48)
        return (total - 12 * 32767.5) / 65536.0

    def words(self, *shape: int) -> npt.NDArray[np.uint64]:
        """Random 64-bit words, uint64 of `shape`: SplitMix64 over a counter that starts at this stream's next word."""
        count = 1
        for length in shape:
            count *= length
        golden = 0x9E3779B97F4A7C15
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(golden) + np.uint64(self.word())
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))).reshape(shape)

    def gaussians(self, *shape: int) -> npt.NDArray[np.int64]:
        """About normal integers, int64 of `shape`: four 16-bit uniforms summed, mean 0, standard deviation 37837."""
        z = self.words(*shape)
        mask = np.uint64(65535)
        total = (z & mask) + (z >> np.uint64(16) & mask) + (z >> np.uint64(32) & mask) + (z >> np.uint64(48))
        centred: npt.NDArray[np.int64] = total.astype(np.int64) - np.int64(131070)
        return centred
