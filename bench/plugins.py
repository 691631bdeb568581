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
from agiqa_bench.registry import dataset_registry, method_registry


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
    names = []
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__ or inspect.isabstract(cls):
            continue
        if issubclass(cls, Method):
            method_registry().register(_name_of(cls, file), cls, origin=str(file))
        elif issubclass(cls, Dataset):
            dataset_registry().register(_name_of(cls, file), cls, origin=str(file))
        else:
            continue
        names.append(cls.name)
    if not names:
        raise PluginError(f"plugin {file}: defines no subclass of agiqa_bench.Method or agiqa_bench.Dataset")
    return names


def _name_of(cls: type, file: Path) -> str:
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise PluginError(
            f"plugin {file}: class {cls.__name__} has no 'name'; add e.g. name = '{cls.__name__.lower()}'"
        )
    return name


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
    except Exception as error:  # a plugin may fail in any way while it is imported
        del sys.modules[name]
        raise PluginError(f"plugin {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module
