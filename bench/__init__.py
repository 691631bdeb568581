"""agiqa-bench: fair, repeatable comparisons of methods for AI-generated image quality assessment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if __name__ == "bench":
    raise ImportError("'bench' is a folder of the agiqa-bench repository: type 'import agiqa_bench' instead")

__version__ = "0.1.0"

__all__ = [
    "Context",
    "Dataset",
    "Images",
    "Method",
    "MethodConfig",
    "Samples",
    "Target",
    "Weights",
    "__version__",
    "load_model",
]

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset, Target
    from agiqa_bench.data.image_cache import Images
    from agiqa_bench.data.samples import Samples
    from agiqa_bench.method import Context, Method, MethodConfig, Weights
    from agiqa_bench.saved import load_model

_HOMES = {
    "Context": "agiqa_bench.method",
    "Dataset": "agiqa_bench.data.dataset",
    "Images": "agiqa_bench.data.image_cache",
    "Method": "agiqa_bench.method",
    "MethodConfig": "agiqa_bench.method",
    "Samples": "agiqa_bench.data.samples",
    "Target": "agiqa_bench.data.dataset",
    "Weights": "agiqa_bench.method",
    "load_model": "agiqa_bench.saved",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import agiqa_bench` costs nothing."""
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'agiqa_bench' has no attribute '{name}'")
