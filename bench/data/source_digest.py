"""Digest of source files: what is kept on disk is found by the code that made it, so mended code makes it anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def source_digest(files: Iterable[Path]) -> str:
    """SHA-256 (hex) of the files' contents in the given order, whatever their line ends."""
    digest = hashlib.sha256()
    for file in files:
        # Git may check text out with other line ends.
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()
