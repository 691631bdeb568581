"""What is declared, pinned and shipped agrees with the code."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import agiqa_bench

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = ("bench", "methods", "datasets", "results")
COMES_WITH = {
    "pydantic_core": "pydantic",
    # Never imported by this package: it names what pyiqa's metrics compute with.
    "bitsandbytes": "pyiqa",
    "clip": "pyiqa",
    "cv2": "pyiqa",
    "facexlib": "pyiqa",
}


def declared(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported(file: Path) -> set[str]:
    """Top-level modules of other distributions that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"agiqa_bench"}


def test_every_package_that_the_code_imports_is_declared() -> None:
    known = declared(PROJECT["project"]["dependencies"]) | declared(PROJECT["project"]["optional-dependencies"]["ray"])
    distributions = packages_distributions()
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if "workers" not in file.parts]
    assert len(files) > 200
    modules = set().union(*map(imported, files))
    assert {"torch", "transformers", "tokenizers"} <= modules
    brought = {name: canonicalize_name(COMES_WITH.get(name) or distributions[name][0]) for name in modules}
    assert {name: by for name, by in brought.items() if by not in known} == {}


def test_pre_commit_runs_the_lowest_ruff_that_is_let_in() -> None:
    (ruff,) = map(Requirement, PROJECT["dependency-groups"]["lint"])
    pinned = re.search(r"ruff-pre-commit\n +rev: v(\S+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert pinned is not None
    assert [specifier.version for specifier in ruff.specifier] == [pinned[1]]


def test_the_citation_names_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    assert f'version: "{agiqa_bench.__version__}"' in lines
    assert f"license: {PROJECT['project']['license']}" in lines


def test_the_source_distribution_has_the_package_and_no_tests(tmp_path: Path) -> None:
    build = f"import setuptools.build_meta as build; build.build_sdist({str(tmp_path)!r})"
    made = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=made)
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "bench/method.py"} <= names
    assert any(name.startswith("bench/reporting/html/") and name.endswith(".css") for name in names)
    assert not [name for name in names if name.startswith("tests/")]
