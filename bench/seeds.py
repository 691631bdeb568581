"""Seeds by hash: what a cell draws depends on what it is, never on when it runs."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """Hash `parts` to a seed in [0, 2**32), the same on every machine.

    Args:
        parts: What the seed is for, e.g. `(seed, dataset, method, repeat, "fit")`. The order counts, and neither
            `("ab", "c")` nor `(1,)` collides with `("a", "bc")` or `("1",)`.

    >>> derive_seed(0, "demo", "ipiqa", 3, "fit") == derive_seed(0, "demo", "ipiqa", 3, "fit")
    True
    >>> derive_seed("ab", "c") == derive_seed("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        token = f"{type(part).__name__}:{part}".encode()
        digest.update(len(token).to_bytes(8, "big"))
        digest.update(token)
    return int.from_bytes(digest.digest()[:4], "big")
