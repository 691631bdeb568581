"""Other Python interpreters: whether a package can be imported there, and which versions it would compute with."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from agiqa_bench.offline import SWITCHES

WORKERS = Path(__file__).parent / "workers"
"""Scripts that run in other interpreters: Python 3.8 or later, importing only what is installed there."""

OURS_ALONE = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")
"""Variables that another interpreter does not get: by them it would import our torch and transformers, not its own."""

_PROBE_SECONDS = 300
"""A first import of torch and its company from a slow disk takes minutes."""


@dataclass(frozen=True)
class Package:
    """A package that cannot be installed beside ours.

    Attributes:
        module: What is imported of it.
        distributions: Names that it is installed under, best first.
        libraries: Other distributions that its scores depend on.
        install: What to type behind `pip install`.
        conflict: Why it cannot be installed here.
    """

    module: str
    distributions: tuple[str, ...]
    libraries: tuple[str, ...]
    install: str
    conflict: str


@dataclass(frozen=True)
class Probe:
    """What was found in an interpreter.

    Attributes:
        problem: Why the package cannot be used there, in one line; empty if it can.
        versions: Version of each distribution that is installed there.
    """

    problem: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def interpreter_of(package: Package, named: Path | None) -> Path | None:
    """The interpreter to use: the one that the user named, else this one if the package is installed here, else None.

    Nothing is imported.
    """
    if named is not None:
        # A bare name is meant as a shell means it.
        found = shutil.which(named) if named.name == str(named) else None
        # Not resolved: an environment's interpreter is a link, and the environment is found by the link's place.
        return Path(found or named).expanduser().absolute()
    return Path(sys.executable) if importlib.util.find_spec(package.module.partition(".")[0]) is not None else None


def how_to_install(package: Package, method: str) -> str:
    """What to do where there is no interpreter with a package, in one line."""
    return (
        f"needs the package {package.distributions[0]}, which cannot be installed beside ours ({package.conflict}): "
        f"type 'python -m venv ENV', 'ENV/bin/pip install {package.install}', and add "
        f"--python-for {method}=ENV/bin/python"
    )


@lru_cache(maxsize=16)
def probe(package: Package, python: Path) -> Probe:
    """Import a package in an interpreter, once for the life of this process."""
    if python.is_dir():
        return Probe(f"{python} is a folder: name the interpreter in it, e.g. {python / 'bin' / 'python'}")
    if not python.exists():
        return Probe(f"there is no interpreter {python}: check the path")
    wanted = [*package.distributions, *package.libraries]
    try:
        done = subprocess.run(
            [python, WORKERS / "probe.py", package.module, *wanted],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            # What a package looks up on its import may wait; nothing is to be fetched by a question.
            env={name: value for name, value in os.environ.items() if name not in OURS_ALONE} | dict(SWITCHES),
        )
    except subprocess.TimeoutExpired:
        return Probe(f"importing {package.module} by {python} did not end within {_PROBE_SECONDS} s")
    except OSError as error:
        return Probe(f"{python} is not a Python interpreter ({error.strerror or error})")
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        why = lines[-1].strip() if lines else f"exit code {done.returncode}"
        return Probe(
            f"{python} cannot import {package.module} ({why}): type '{python} -m pip install {package.install}'"
        )
    try:
        return Probe(versions=json.loads(lines[-1]))
    except (ValueError, IndexError):
        return Probe(f"{python} is not a Python interpreter")
