"""Continuation: what a killed training needs to go on from a finished epoch as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from pathlib import Path
from typing import Any

import torch

from agiqa_bench.atomic import write_bytes
from agiqa_bench.errors import ConfigError
from agiqa_bench.reading import patiently

_log = logging.getLogger(__name__)

DEFAULT_SECONDS = 20.0
"""A finished epoch is worth writing down when this much work would be lost; AGIQA_CHECKPOINT_SECONDS changes it, and 0
writes every epoch down."""

_SHARE = 20

_DIGEST = hashlib.sha256().digest_size


class Continuation:
    """A file in a cell's scratch folder, which survives a kill and goes with the folder when the cell is finished.

    Its first bytes are the SHA-256 of the others: torch reads a file of altered numbers without a complaint.
    """

    def __init__(self, folder: Path | None, name: str, beside: int = 1) -> None:
        """Remember where.

        Args:
            folder: The cell's scratch folder; None outside a run: nothing is written then.
            name: Of the training, for methods that train several models.
            beside: Number of trainings, this one among them, that are written down at the same times.

        Raises:
            ConfigError: AGIQA_CHECKPOINT_SECONDS is not a number.
        """
        self._file = folder / f"{name}.pt" if folder is not None else None
        self._seconds = _seconds()
        self._beside = beside
        self._cost = 0.0
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state that was written last, on the CPU; None if there is none or it is damaged: training begins anew.

        Raises:
            StoreError: The file system does not say what was written.
        """
        if self._file is None:
            return None
        try:
            content = patiently(Path.read_bytes, self._file)
        except FileNotFoundError:
            return None
        if hashlib.sha256(memoryview(content)[_DIGEST:]).digest() != content[:_DIGEST]:
            _log.warning("%s is not as it was written; training begins anew", self._file)
            return None
        buffer = io.BytesIO(content)
        buffer.seek(_DIGEST)
        state: dict[str, Any] = torch.load(buffer, map_location="cpu", weights_only=True)
        return state

    def save(self, state: dict[str, Any], *, now: bool = False) -> None:
        """Write the state after an epoch, if enough work has gone in since the last time.

        Args:
            state: What `load` is to give back.
            now: Write it in any case, because there may be no next time.

        Raises:
            StoreError: The file system refuses.
        """
        started = time.monotonic()
        # A large model takes seconds to write down: never more than a twentieth of the time goes there.
        wanted = max(self._seconds, _SHARE * self._beside * self._cost) if self._seconds else 0.0
        if self._file is None or (started - self._last < wanted and not now):
            return
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        write_bytes(self._file, hashlib.sha256(content).digest() + content)
        self._last = time.monotonic()
        self._cost = self._last - started


def _seconds() -> float:
    text = os.environ.get("AGIQA_CHECKPOINT_SECONDS", str(DEFAULT_SECONDS))
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"AGIQA_CHECKPOINT_SECONDS is '{text}': set it to a number of seconds") from error
