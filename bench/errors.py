"""The package's exceptions: each is one line that names the thing, the place and the next step.

The command line prints the message without a traceback (`--debug` shows it) and exits with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AgiqaError(Exception):
    """Base of every error this package raises on purpose; `exit_code` 2 means that the request was wrong."""

    exit_code = 2


_FEW = 8
"""So many names are listed even where one of them is near."""


class UnknownNameError(AgiqaError):
    """A method, data set, option or key that nothing is registered under."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        parts = [f"did you mean {' or '.join(close)}?"] if close else []
        if not close or len(names) <= _FEW:
            parts.append(f"known: {', '.join(names) or 'none'}")
        super().__init__(f"unknown {kind} '{name}': {' '.join(parts)}{' ' + hint if hint else ''}")
        self.name = name
        self.suggestions = tuple(close)


class RegistrationError(AgiqaError):
    """Two entries claim one name, or an entry is not what its group holds."""


class PluginError(AgiqaError):
    """A plugin exists but cannot be imported or used."""


class ConfigError(AgiqaError):
    """An option, configuration file or method setting is not valid."""


class DataError(AgiqaError):
    """A data set's files are not what they should be."""


class DataNotFoundError(DataError):
    """A data set, or a part of it, is not where it was looked for."""


class BadImageError(DataError):
    """One or more images cannot be decoded or are not fit for a method."""


class DownloadError(AgiqaError):
    """A file could not be fetched, or is not the file that was expected."""


class ArchiveError(AgiqaError):
    """An archive is damaged or would write outside its folder."""


class WeightsUnavailableError(AgiqaError):
    """Pretrained weights are not here and cannot be fetched.

    Args:
        reason: One line that says which weights, why they cannot be had, and what to do.
        stand_in: Settings under which the method runs with a stand-in of this project instead; the table then
            names the stand-in. Empty when there is none.
    """

    def __init__(self, reason: str, stand_in: dict[str, object] | None = None) -> None:
        super().__init__(reason)
        self.stand_in = dict(stand_in or {})


class SplitError(AgiqaError):
    """A split file or a request for splits is not valid."""


class HiddenMOSError(AgiqaError):
    """A method asked for the MOS of samples that it is to predict."""


class PredictionError(AgiqaError):
    """A method's scores have the wrong shape or are not finite numbers."""

    exit_code = 1


class TrainingError(AgiqaError):
    """Training cannot go on: a loss that is not finite, or no memory for a single image."""

    exit_code = 1


class CheckpointError(AgiqaError):
    """The file of a fitted model is damaged, or does not belong to the method and settings that it names."""


class StoreError(AgiqaError):
    """Results cannot be written or read back."""


class BenchmarkError(AgiqaError):
    """Something could not be measured."""

    exit_code = 1
