"""Looking into other interpreters, and the worker scripts that run there."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agiqa_bench.external import interpreter
from agiqa_bench.external.interpreter import WORKERS, Package, how_to_install, interpreter_of, probe

ABSENT = Package("no_such_module", ("no-such", "never"), ("numpy",), "no-such", "it is made up")
PRESENT = Package("json.decoder", ("no-such", "numpy"), ("never", "pandas"), "numpy", "it is not in conflict")


def test_the_named_interpreter_comes_before_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert interpreter_of(ABSENT, None) is None
    assert interpreter_of(PRESENT, None) == Path(sys.executable)
    assert interpreter_of(PRESENT, Path("env/bin/python")) == tmp_path / "env/bin/python"
    # A link is kept: an environment is found by the link's place.
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert interpreter_of(PRESENT, link) == link
    monkeypatch.setenv("PATH", str(link.parent))
    assert interpreter_of(PRESENT, Path(link.name)) == link


def test_versions_are_those_of_the_interpreter() -> None:
    found = probe(PRESENT, Path(sys.executable))
    assert found.problem == ""
    assert found.versions == {"numpy": np.__version__, "pandas": pd.__version__}


def test_what_is_no_interpreter_or_lacks_the_package_is_said_in_one_line(tmp_path: Path) -> None:
    python = Path(sys.executable)
    told = {
        "there is no interpreter": probe(ABSENT, tmp_path / "nowhere"),
        "is a folder: name the interpreter in it, e.g.": probe(ABSENT, tmp_path),
        f"cannot import no_such_module (ModuleNotFoundError: No module named 'no_such_module'): type '{python} -m pip "
        "install no-such'": probe(ABSENT, python),
    }
    text = tmp_path / "text"
    text.write_text("no program")
    told["is not a Python interpreter (Permission denied)"] = probe(ABSENT, text)
    told["is not a Python interpreter"] = probe(ABSENT, Path("/bin/echo"))
    for words, found in told.items():
        assert words in found.problem
        assert "\n" not in found.problem
    assert "it is made up" in how_to_install(ABSENT, "my_method")
    assert "--python-for my_method=ENV/bin/python" in how_to_install(ABSENT, "my_method")


def test_an_import_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(interpreter, "_PROBE_SECONDS", 0.5)
    found = probe(Package("endless", ("x",), (), "x", "x"), python)
    assert "did not end within 0.5 s" in found.problem


@pytest.mark.parametrize("worker", sorted(WORKERS.glob("*.py")), ids=lambda path: path.name)
def test_workers_are_python_3_8_and_import_nothing_of_ours(worker: Path) -> None:
    tree = ast.parse(worker.read_text("utf-8"), feature_version=(3, 8))
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported
    assert not any(name.startswith("agiqa_bench") for name in imported)


def test_workers_are_packaged() -> None:
    import tomllib

    root = Path(__file__).resolve().parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert settings["package-data"]["agiqa_bench.external"] == ["workers/*.py"]
    assert not (WORKERS / "__init__.py").exists()
