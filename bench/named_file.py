"""Files that a person names: whatever is there, it is read in full or refused in one line."""

from __future__ import annotations

import stat
from pathlib import Path

from agiqa_bench.errors import AgiqaError


def require_file(
    path: Path,
    what: str,
    error: type[AgiqaError],
    most: int | None = None,
    missing: type[AgiqaError] | None = None,
) -> None:
    """Refuse what cannot be read as a file: a folder, a device, or a pipe that somebody would have to fill.

    Args:
        path: The file.
        what: What it should be, for the message, e.g. `config`.
        error: What is raised.
        most: Bytes that it may have; None means any number.
        missing: What is raised instead where there is no such file.

    Raises:
        error: There is no such file, it is no file, or it is too large.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise (missing or error)(f"{what} {path}: no such file; check the path") from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{what} {path}: cannot be read ({reason}); check the path") from cause
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise error(f"{what} {path}: is {kind}, not a file; check the path")
    if most is not None and found.st_size > most:
        raise error(f"{what} {path}: has {found.st_size:,} bytes where {most:,} are the most; cut it")


def expanded(path: Path) -> Path:
    """The path with the home folder in place of `~`; as it is where nobody has that name."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def read_text(path: Path, what: str, error: type[AgiqaError], most: int) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should be, for the message.
        error: What is raised.
        most: Bytes that it may have.

    Raises:
        error: See `require_file`; or it cannot be read, or is not UTF-8.
    """
    require_file(path, what, error, most)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{what} {path}: is not UTF-8 text (byte {cause.start}); save it as UTF-8") from cause
    except OSError as cause:
        raise error(f"{what} {path}: cannot be read ({cause.strerror or cause}); check its permissions") from cause
