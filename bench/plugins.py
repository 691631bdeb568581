"""One-file plugins: `--plugin FILE` registers the methods and data sets that a Python file defines.

A plugin is code that the user chose to run, with all rights of the user.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from agiqa_bench.data.dataset import Dataset
from agiqa_bench.errors import PluginError
from agiqa_bench.method import Method
from agiqa_bench.registry import dataset_registry, method_registry, problem_with_class_data


def load_plugin(path: Path) -> list[str]:
    """Import a file and register every method and data set class that it defines.

    Returns:
        The registered names.

    Raises:
        PluginError: The file is not there, fails while it is imported, or defines nothing to register.
        RegistrationError: A name is taken.
    """
    file = path.expanduser().resolve()
    if not file.is_file():
        raise PluginError(f"plugin {path}: no such file; write one with 'agiqa-bench methods new NAME'")
    module = _import_file(file)
    names: list[str] = []
    abstract: list[str] = []
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__ or not issubclass(cls, (Method, Dataset)):
            continue
        if inspect.isabstract(cls):
            abstract.append(f"class {cls.__name__} lacks {', '.join(sorted(cls.__abstractmethods__))}")
            continue
        problem = problem_with_class_data(cls)
        if problem:
            raise PluginError(f"plugin {file}: {problem}")
        if issubclass(cls, Method):
            method_registry().register(cls.name, cls, origin=str(file))
        else:
            dataset_registry().register(cls.name, cls, origin=str(file))
        names.append(cls.name)
    if not names:
        why = "; ".join(abstract) or "defines no subclass of agiqa_bench.Method or agiqa_bench.Dataset"
        raise PluginError(f"plugin {file}: {why}")
    return names


def _import_file(file: Path) -> ModuleType:
    name = f"agiqa_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin {file}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way while it is imported
        del sys.modules[name]
        raise PluginError(f"plugin {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module
