"""Reading files whose headers may claim anything."""

from __future__ import annotations

import io
from typing import BinaryIO

from agiqa_bench.errors import AgiqaError


class BoundedReader(io.RawIOBase):
    """A file that gives so many bytes at a time and no more.

    Readers of archives take a whole header into memory, however long it says it is; here that is an error.
    """

    def __init__(self, file: BinaryIO, most: int, refusal: AgiqaError) -> None:
        """Wrap a file, which stays the caller's to close.

        Args:
            file: Open for reading, seekable.
            most: Bytes that one call may ask for and be given.
            refusal: What is raised otherwise.
        """
        super().__init__()
        self._file = file
        self._most: int | None = most
        self._refusal = refusal

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, all that is left by default."""
        # What is left may be less than what a header claims, and then its own reader says what is wrong.
        if self._most is None:
            return self._file.read(-1 if size is None else size)
        content = self._file.read(self._most + 1 if size is None or size < 0 else min(size, self._most + 1))
        if len(content) > self._most:
            raise self._refusal
        return content

    def lift(self) -> None:
        """Give as much as is asked for from now on: the headers are read."""
        self._most = None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place in the file."""
        return self._file.tell()
