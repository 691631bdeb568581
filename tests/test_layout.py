"""The folders and their import names."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"agiqa_bench.datasets": "datasets", "agiqa_bench.methods": "methods", "agiqa_bench.results": "results"}


def in_root(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_every_package_folder_is_listed_in_pyproject():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    found = set(FOLDERS)
    for init in (ROOT / "bench").rglob("__init__.py"):
        parts = init.parent.relative_to(ROOT / "bench").parts
        found.add(".".join(["agiqa_bench", *parts]))
    for name, folder in FOLDERS.items():
        found |= {
            ".".join([name, *i.parent.relative_to(ROOT / folder).parts]) for i in (ROOT / folder).rglob("__init__.py")
        }
    assert listed == found


def test_the_bare_name_datasets_in_the_root_is_hugging_faces_package():
    done = in_root("import datasets; print(datasets.__file__); print(datasets.Dataset.__module__)")
    file, module = done.stdout.split()
    assert Path(file).parent.parent.name == "site-packages"
    assert module == "datasets.arrow_dataset"


def test_the_bare_name_datasets_without_hugging_face_is_one_line_that_says_what_to_type(tmp_path):
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "try:\n    import datasets\nexcept ImportError as error:\n    print(error)"
    )
    done = in_root(code)
    assert "type 'import agiqa_bench.datasets' for ours, or 'pip install datasets' for theirs" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1


@pytest.mark.parametrize(("name", "ours"), [("methods", "agiqa_bench.methods"), ("bench", "agiqa_bench")])
def test_other_bare_names_in_the_root_say_what_to_type(name, ours):
    done = in_root(f"import {name}")
    assert f"type 'import {ours}' instead" in done.stderr.splitlines()[-1]


def test_our_package_in_the_root_is_the_mapped_one():
    done = in_root("import agiqa_bench.datasets as d, agiqa_bench.methods as m; print(d.__name__, m.__name__)")
    assert done.stdout.split() == ["agiqa_bench.datasets", "agiqa_bench.methods"]


def test_the_readme_test_command_is_what_ci_runs():
    line = 'pip install --quiet "nox[uv]" && nox'
    assert line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert line.replace(" --quiet", "") in (ROOT / "README.md").read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        ([sys.executable, "-m", "pytest", "tests/test_seeds.py", "-q", "-p", "no:cacheprovider"], "passed"),
        ([sys.executable, "-m", "agiqa_bench", "--version"], "agiqa-bench 0."),
        ([str(Path(sys.executable).with_name("agiqa-bench")), "--version"], "agiqa-bench 0."),
    ],
)
def test_everything_starts_from_the_repository_root(start, shown):
    done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shown in done.stdout
