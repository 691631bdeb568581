"""Provenance: what ran, on what, with which versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import agiqa_bench

LIBRARIES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "pyiqa",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "Pillow",
    "pyarrow",
)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def environment(device: str) -> dict[str, Any]:
    """Describe interpreter, libraries, machine, device and the state of the checkout, JSON-ready.

    Args:
        device: torch device string of the run.

    The result is kept for the life of the process: asking git for every cell would cost more than many cells.
    """
    return {
        "agiqa_bench": agiqa_bench.__version__,
        "git": git_state(Path(agiqa_bench.__file__).parent),
        "python": platform.python_version(),
        "libraries": library_versions(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "argv": sys.argv,
        "device": describe_device(device),
    }


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that compute."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def describe_device(device: str) -> dict[str, Any]:
    """Name, driver and memory of a torch device; the processor's name for the CPU."""
    if not device.startswith("cuda"):
        return {"type": "cpu", "name": _processor(), "threads": os.cpu_count()}
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "type": "cuda",
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
        "driver": _nvidia_driver(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that holds `folder` and whether it has local changes; None outside a checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)} if tracked else None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _nvidia_driver() -> str | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()[0].strip()
