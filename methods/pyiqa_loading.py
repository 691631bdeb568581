"""pyiqa: whether it is installed, what it says of its metrics, and building one without network and without pickles.

pyiqa is by Chaofeng Chen and others, under the PolyForm Noncommercial licence 1.0.0 (and the S-Lab licence): free for
research, not for commercial use. This project only calls it where it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import pickle
import runpy
import socket
import sys
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import PluginError, WeightsUnavailableError

if TYPE_CHECKING:
    import torch

NEEDS_PYIQA = "needs pyiqa: pip install pyiqa; its licence is PolyForm Noncommercial"

LICENCE_NOTE = "computed with pyiqa, whose licence (PolyForm Noncommercial 1.0.0) allows noncommercial use only"
"""Stands beside each row that runs code of pyiqa, in the plan and in the report."""


def missing() -> str | None:
    """Why pyiqa cannot be used, in one line; None if it is installed. It is not imported."""
    return None if _folder() else NEEDS_PYIQA


def module_missing(name: str) -> bool:
    """Whether a top-level module cannot be found; it is not imported."""
    try:
        return importlib.util.find_spec(name) is None
    except ImportError:
        return True


def _folder() -> Path | None:
    try:
        spec = importlib.util.find_spec("pyiqa")
    except ImportError:
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def metric_facts() -> Mapping[str, Mapping[str, Any]]:
    """What pyiqa says of each of its metrics (`metric_mode`, `lower_better`, `score_range`); empty without pyiqa.

    Read from the one file that holds nothing else: importing pyiqa takes seconds.
    """
    folder = _folder()
    if folder is None:
        return {}
    facts: Mapping[str, Mapping[str, Any]] = runpy.run_path(str(folder / "default_model_configs.py"))["DEFAULT_CONFIGS"]
    return facts


def build(name: str, device: str, *, trust: bool = False) -> Any:
    """Build one of pyiqa's metrics for scoring.

    All its files must be here. While it is built the network is out of reach, and `torch.load` takes nothing but
    tensors and plain values, which pyiqa by itself does not ask for.

    Args:
        name: pyiqa's name of the metric.
        device: torch device.
        trust: Load pickled Python objects as well, whatever they do.

    Returns:
        pyiqa's `InferenceModel`.

    Raises:
        WeightsUnavailableError: A file holds pickled code.
        PluginError: pyiqa cannot build it; one line with its reason.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_clip_can_be_imported())
        stack.enter_context(_no_network())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if not trust:
            stack.enter_context(_weights_only())
        try:
            import pyiqa

            logging.getLogger("pyiqa").setLevel(logging.WARNING)
            return pyiqa.create_metric(name, device=_device(device))
        except pickle.UnpicklingError as error:
            raise WeightsUnavailableError(
                f"pyiqa's {name}: a file holds more than weights ({_first_sentence(error)}); if you trust its source "
                f"use --set pyiqa:{name}.trust=true, which lets it run whatever code it holds"
            ) from error
        except Exception as error:  # another library's constructor may fail in any way
            raise PluginError(f"pyiqa cannot build {name}: {type(error).__name__}: {_first_sentence(error)}") from error


def unit_tensor(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Turn uint8 (h, w, 3) to float32 (1, 3, h, w) in [0, 1], the input of pyiqa's metrics."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def check_no_programs(folder: Path) -> None:
    """Refuse a repository's snapshot with a `custom_generate` folder.

    pyiqa lets transformers trust the repositories of qalign and compare2score, and what is in that folder is the only
    code of theirs that it then runs: the networks and tokenizers are pyiqa's and transformers' own.

    Raises:
        WeightsUnavailableError: It has one; one line.
    """
    programs = folder / "custom_generate"
    if programs.exists():
        raise WeightsUnavailableError(
            f"{programs} holds code that transformers would run: remove it, or if you trust its source set 'trust'"
        )


def _device(device: str) -> Any:
    import torch

    return torch.device(device)


@contextlib.contextmanager
def _replaced(owner: Any, attribute: str, value: Any) -> Iterator[None]:
    before = getattr(owner, attribute)
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Let `torch.load` refuse pickled code whatever its caller asks for."""
    import torch

    load = torch.load

    def careful(*arguments: Any, **options: Any) -> Any:
        return load(*arguments, **options | {"weights_only": True})

    with _replaced(torch, "load", careful):
        yield


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    """Keep everything in this process from finding a host; libraries of the Hub are told so, and use their caches."""
    from huggingface_hub import constants

    def refuse(host: Any, *_: Any, **__: Any) -> NoReturn:
        raise OSError(f"{host} was asked for a file that should be here")

    with (
        _replaced(constants, "HF_HUB_OFFLINE", True),
        _replaced(socket, "getaddrinfo", refuse),
    ):
        yield


@contextlib.contextmanager
def _clip_can_be_imported() -> Iterator[None]:
    """Import OpenAI's package `clip`, if it is installed, which asks for a module that setuptools no longer has.

    It wants `packaging` out of `pkg_resources` and nothing else, and that is what it finds there.
    """
    if "clip" in sys.modules or module_missing("clip") or not module_missing("pkg_resources"):
        yield
        return
    import packaging.version

    stub = types.ModuleType("pkg_resources")
    stub.packaging = packaging  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = stub
    try:
        importlib.import_module("clip")
    finally:
        del sys.modules["pkg_resources"]
    yield


def _first_sentence(error: BaseException, limit: int = 160) -> str:
    text = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
