"""Methods of others: installed packages and single files."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agiqa_bench.errors import PluginError, RegistrationError
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry

PACKAGE = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "somebodys-iqa"
version = "3.2.1"
[project.entry-points."agiqa_bench.methods"]
their_method = "somebodys_iqa:TheirMethod"
their_broken = "somebodys_iqa_broken:Whatever"
niqe = "somebodys_iqa:TheirMethod"
[tool.setuptools]
py-modules = ["somebodys_iqa", "somebodys_iqa_broken"]
"""

MODULE = """
from agiqa_bench import Method

class TheirMethod(Method):
    name = "their_method"
    title = "Their method"
    targets = ("quality",)
    uses_images = False
    trainable = False

    def predict(self, samples):
        return [len(generator) for generator in samples.generators]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A third party's package, installed by pip into a folder of its own."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PACKAGE)
    (source / "somebodys_iqa.py").write_text(MODULE)
    (source / "somebodys_iqa_broken.py").write_text("import a_module_that_nobody_has\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run([*pip, "--target", str(site), str(source)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return str(site)


def test_an_installed_package_is_listed_and_its_broken_method_with_the_reason(command, installed):
    lines = command("methods", "list", PYTHONPATH=installed).stdout.splitlines()
    theirs = next(line for line in lines if line.startswith("their_method"))
    assert "somebodys-iqa 3.2.1" in theirs
    assert "Their method" in theirs
    broken = next(line for line in lines if line.startswith("their_broken"))
    assert "broken" in broken
    # The terminal breaks a long reason at spaces.
    assert "ModuleNotFoundError: No module named" in " ".join(" ".join(lines).split())
    assert any("the name is taken by agiqa-bench" in " ".join(line.split()) for line in lines)


def test_an_installed_package_runs_and_a_broken_one_harms_nothing(command, installed, rated_table):
    done = command("run", "--methods", "all", "--dataset", rated_table, "--annotations-only", "--repeats", 2,
                   PYTHONPATH=installed)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Their method" in done.stdout
    assert (
        "their_broken: cannot be used: method 'their_broken' of somebodys-iqa 3.2.1 cannot be imported" in done.stdout
    )
    named = command("run", "--methods", "their_broken", "--dataset", rated_table, "--annotations-only",
                    PYTHONPATH=installed)  # fmt: skip
    assert named.returncode == 2
    assert named.stderr.startswith("error: method 'their_broken' of somebodys-iqa 3.2.1 cannot be imported")
    assert len(named.stderr.splitlines()) == 1


def write(path, text):
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import a_module_that_nobody_has", "cannot be imported: ModuleNotFoundError"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("x = 1", "defines no subclass of agiqa_bench.Method"),
        (
            "from agiqa_bench import Method\nclass A(Method):\n    def predict(self, samples): ...",
            "class A needs a text as its 'name', and has None",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why(tmp_path, text, message, fresh_registries):
    with pytest.raises(PluginError, match=message):
        load_plugin(write(tmp_path / "plugin.py", text))


def test_a_plugin_without_predict_or_that_exits_says_so(tmp_path, fresh_registries):
    with pytest.raises(PluginError, match="class A lacks predict"):
        load_plugin(
            write(tmp_path / "a.py", "from agiqa_bench import Method\nclass A(Method):\n    name = title = 'a'")
        )
    with pytest.raises(PluginError, match="cannot be imported: SystemExit: 3"):
        load_plugin(write(tmp_path / "b.py", "raise SystemExit(3)"))


def test_the_readmes_example_method_keeps_the_contract(tmp_path, fresh_registries, monkeypatch):
    from agiqa_bench.contract import check_method

    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
    example = next(block for block in readme.split("```python\n")[1:] if "class Sharpness" in block).split("```")[0]
    assert load_plugin(write(tmp_path / "sharpness.py", example)) == ["sharpness"]
    checks = list(check_method(method_registry().load("sharpness")))
    assert [check.detail for check in checks if check.passed is False] == []
    assert sum(check.passed is True for check in checks) == 9


def test_a_plugin_that_takes_a_name_is_refused(tmp_path, fresh_registries):
    file = write(tmp_path / "plugin.py", MODULE.replace('"their_method"', '"generator_mean"'))
    with pytest.raises(
        RegistrationError, match=r"'generator_mean' of .*plugin.py collides with the one of agiqa-bench"
    ):
        load_plugin(file)
    with pytest.raises(PluginError, match="no such file"):
        load_plugin(tmp_path / "absent.py")


def test_loading_a_plugin_twice_is_harmless(tmp_path, fresh_registries):
    file = write(tmp_path / "plugin.py", MODULE)
    assert load_plugin(file) == load_plugin(file) == ["their_method"]
    assert method_registry().entry("their_method").origin == str(file)


@pytest.mark.slow
def test_methods_new_writes_a_method_that_runs_keeps_the_contract_and_passes_its_test(command, tmp_path):
    written = command("methods", "new", "my_idea")
    assert written.returncode == 0, written.stderr
    assert sorted(path.name for path in tmp_path.glob("*my_idea*")) == ["my_idea.py", "test_my_idea.py"]
    checked = command("methods", "check", "my_idea.py")
    assert checked.returncode == 0, checked.stdout
    assert "BROKEN" not in checked.stdout
    assert checked.stdout.count("  ok ") == 8
    run = command("run", "--plugin", "my_idea.py", "--methods", "my_idea,generator_mean", "--dataset", "demo")
    assert run.returncode == 0, run.stderr
    assert "MyIdea" in run.stdout
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_idea.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=os.environ | {"AGIQA_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    again = command("methods", "new", "my_idea")
    assert again.returncode == 2
    assert "exists already: choose another name or --folder" in again.stderr


def test_methods_new_refuses_names_that_cannot_be(command):
    assert "use small letters, digits and _" in command("methods", "new", "My-Idea").stderr
    assert "is taken by agiqa-bench" in command("methods", "new", "niqe").stderr
