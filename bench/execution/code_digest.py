"""A digest of the code that a method's result depends on: its own module and all it imports of this package.

Imports are followed in the source, not at run time, so that the digest is the same whatever has been loaded. The
versions of third-party libraries in reach are part of it; those that only draw or parse are not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agiqa_bench.method import Method

HARNESS = "agiqa_bench"

_EVERY_METHOD = ("agiqa_bench.evaluation.metrics",)
_IMAGE_METHODS = ("agiqa_bench.data.image_cache",)
"""What methods reach through the samples that they are given, not through an import of their own."""

_ROAD = ("agiqa_bench.execution.cell", "agiqa_bench.execution.tasks", "agiqa_bench.evaluation.splits")
"""Run every cell: which rows a method learns from, is given, and is measured on. What they import beyond the above
plans, watches and stores, and does not compute."""

_DO_NOT_COMPUTE = {"jinja2", "matplotlib", "platformdirs", "pydantic", "rich", "typer", "typing_extensions"}


_LIGHT = {"numpy", "pandas", "scipy", "sklearn"}
"""Libraries that do not bring torch with them."""


@dataclass(frozen=True)
class CodeDigest:
    """What a method runs.

    Attributes:
        sources: SHA-256 (hex) over the source files in reach.
        libraries: Version of each third-party distribution in reach, by import name.
        modules: Names of the modules in reach, for messages.
    """

    sources: str
    libraries: dict[str, str]
    modules: tuple[str, ...]


@cache
def code_digest(cls: type[Method]) -> CodeDigest:
    """Digest the code of a method class, of its base classes, and of what runs every cell.

    Args:
        cls: Built-in, installed or from a one-file plugin.
    """
    roots = [base.__module__ for base in cls.__mro__ if base.__module__ != "builtins"]
    own = {root.partition(".")[0] for root in roots} | {HARNESS}
    files: dict[str, Path] = {}
    libraries: set[str] = set()
    pending = [*roots, *_EVERY_METHOD, *(_IMAGE_METHODS if cls.uses_images else ())]
    while pending:
        name = pending.pop()
        top = name.partition(".")[0]
        if name in files or top in sys.stdlib_module_names:
            continue
        if top not in own and _is_installed(top):
            libraries.add(top)
            continue
        file = _source_file(name)
        if file is not None:
            files[name] = file
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            pending.extend(_imports(file.read_bytes(), package))
    for name in _ROAD:
        file = _source_file(name)
        if file is not None:
            files[name] = file
    digest = hashlib.sha256()
    for name in sorted(files):
        # A plugin's module name holds a hash of its path; its place on the disk must not count.
        shown = name if name.partition(".")[0] == HARNESS else files[name].name
        digest.update(f"{shown}\0".encode())
        digest.update(hashlib.sha256(files[name].read_bytes()).digest())
    return CodeDigest(digest.hexdigest(), _versions(libraries - _DO_NOT_COMPUTE), tuple(sorted(files)))


def may_use_torch(cls: type[Method]) -> bool:
    """Whether a method may import torch at some time; what does not is spared the seconds that this takes."""
    return cls.uses_images or bool(set(code_digest(cls).libraries) - _LIGHT)


def _source_file(name: str) -> Path | None:
    """The file of a module, or None; a module that is not loaded is not imported to be found, nor is its package."""
    origin = getattr(sys.modules.get(name), "__file__", None)
    parent, _, last = name.rpartition(".")
    if origin is None and parent and name.partition(".")[0] != HARNESS:
        package = _source_file(parent)
        if package is None or package.name != "__init__.py":
            return None  # `from module import attribute`: the last part is no module
        candidates = (package.with_name(f"{last}.py"), package.with_name(last) / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec else None
    path = Path(origin) if origin else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


@cache
def _imports(source: bytes, package: str) -> list[str]:
    """Modules that a module of a package names in its imports; parsed once, though many methods reach it."""
    found: list[str] = []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return found  # somebody's file that Python cannot read either: its bytes are in the digest
    for node in ast.walk(_without_type_checking(tree)):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found.append(base)
            # What is imported from a package that is followed may itself be a module.
            if not _is_installed(base.partition(".")[0]):
                found.extend(f"{base}.{alias.name}" for alias in node.names)
    return found


class _DropTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST:
        is_guard = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if is_guard:
            return ast.Module(body=node.orelse, type_ignores=[])
        self.generic_visit(node)
        return node


def _without_type_checking(tree: ast.Module) -> ast.AST:
    """Drop `if TYPE_CHECKING:` blocks: what they import never runs."""
    return _DropTypeChecking().visit(tree)  # type: ignore[no-any-return]


def _versions(names: set[str]) -> dict[str, str]:
    distributions = _distributions()
    return {name: version(distributions[name][0]) for name in sorted(names) if name in distributions}


@cache
def _is_installed(name: str) -> bool:
    """Whether a top-level module is a library with a version, which stands for its code.

    Our own package, a file beside a plugin, and a checkout installed in editable mode change without a new version:
    they are followed into their source.
    """
    if name == HARNESS or name not in _distributions():
        return False
    origin = distribution(_distributions()[name][0]).read_text("direct_url.json")
    editable: bool = origin is not None and json.loads(origin).get("dir_info", {}).get("editable", False)
    return not editable


@cache
def _distributions() -> dict[str, list[str]]:
    return {name: list(found) for name, found in packages_distributions().items()}
