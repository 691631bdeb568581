"""Where data sets and caches live on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(option: Path | None = None) -> Path:
    """Folder that holds the data sets: `option` (`--data-root`), else `AGIQA_DATA`, else the user's data folder.

    Returns:
        An absolute path; it need not exist.
    """
    return _choose(option, "AGIQA_DATA", "user_data_path")


def cache_root() -> Path:
    """Folder for what can be computed again, e.g. decoded images: `AGIQA_CACHE`, else the user's cache folder.

    Returns:
        An absolute path; it need not exist.
    """
    return _choose(None, "AGIQA_CACHE", "user_cache_path")


def _choose(option: Path | None, variable: str, default: str) -> Path:
    # An empty variable counts as unset: Path("") would silently mean the current folder.
    chosen = option or os.environ.get(variable)
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    folder: Path = getattr(platformdirs, default)("agiqa-bench", appauthor=False)
    return folder.absolute()
