"""Surroundings of all tests, fixtures that several test packages share, and what a machine lacked for some tests."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

SETTINGS = ("AGIQA_ANNOTATIONS", "AGIQA_CHROMIUM", "AGIQA_PARITY_DIR", "AGIQA_SPEC", "AGIQA_WRITE_GOLDEN")
"""Variables that are meant for the tests themselves."""

_OF_THE_USER = re.compile(
    # of this package, of terminals, of the language, of matplotlib
    r"AGIQA_.*|COLUMNS|LINES|TERM|(NO|FORCE)_COLOR|CLICOLOR.*|TTY_.*|LANG|LANGUAGE|LC_.*|MPL.*|MATPLOTLIB.*|"
    # of Python and what is started by it, of folders with somebody's own files, of the network
    r"PYTHON(IOENCODING|UTF8|WARNINGS)|PIP_.*|GIT_.*|RAY_.*|XDG_.*|TORCH_HOME|(HF|HUGGINGFACE|TRANSFORMERS)_.*|"
    r".*_proxy",
    re.IGNORECASE,
)


def settle() -> None:
    """Give this process, and those that it starts, the same surroundings on every machine, for every user, each day."""
    for name in [name for name in os.environ if _OF_THE_USER.fullmatch(name) and name not in SETTINGS]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="home-of-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    # An empty home folder: no configuration of matplotlib, pip or git, and no downloaded weights.
    os.environ |= {"HOME": home, "USERPROFILE": home, "PIP_CONFIG_FILE": os.devnull, "HF_HUB_OFFLINE": "1"}
    os.environ |= {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONUTF8": "1"}
    if hasattr(time, "tzset"):
        time.tzset()
    os.umask(0o022)


# Before any test module is imported; the workers of pytest-xdist have it from the process that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    settle()

FOR_WANT = "for want of "
"""How the reason of a skipped test begins if the machine lacks something that can be had."""


def lacking(what: str, remedy: str, *, ought: bool) -> NoReturn:
    """Skip a test for want of something; in CI it fails if the thing ought to be there."""
    reason = f"{FOR_WANT}{what}: {remedy}"
    if ought and os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once, at the end, how many tests were skipped for want of what, and how to have it."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if (reason := reason.removeprefix("Skipped: ")).startswith(FOR_WANT):
            reasons[reason] += 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} test{'s' * (count > 1)} skipped {reason}", yellow=True)


ANNOTATION_FILES = (
    "agiqa1k/AIGC_MOS_Zscore.xlsx",
    "agiqa1k/AIGC_all.csv",
    "agiqa3k/data.csv",
    "aigciqa2023/AIGCIQA2023_Prompts.xlsx",
    "aigciqa2023/mos_quality_authenticity.csv",
    "aigciqa2023/pic-index.xlsx",
)


@pytest.fixture(scope="session")
def annotations() -> Path:
    """Folder with the real annotation files: `AGIQA_ANNOTATIONS`, else `../shared/annotations` of the repository."""
    folder, ought = _given("AGIQA_ANNOTATIONS", "annotations")
    missing = [name for name in ANNOTATION_FILES if not (folder / name).is_file()]
    if missing:
        what = f"the published annotation files ({', '.join(missing)})"
        lacking(what, "set AGIQA_ANNOTATIONS to the folder that holds them, see CONTRIBUTING.md", ought=ought)
    return folder


@pytest.fixture(scope="session")
def specification() -> Path:
    """Folder with the published figures as the project got them: `AGIQA_SPEC`, else `../shared/spec`."""
    folder, ought = _given("AGIQA_SPEC", "spec")
    if not (folder / "published.csv").is_file():
        remedy = "set AGIQA_SPEC to the folder that holds it, see CONTRIBUTING.md"
        lacking("the specification (published.csv)", remedy, ought=ought)
    return folder


def _given(variable: str, name: str) -> tuple[Path, bool]:
    """The folder that a variable names, else the default one, and whether its files ought to be there."""
    folder = Path(os.environ.get(variable) or Path(__file__).resolve().parents[2] / "shared" / name)
    return folder, bool(os.environ.get(variable)) or folder.is_dir()


@pytest.fixture(scope="session")
def _guarded() -> list[str]:
    """Forbids this process to leave the machine, and lists what it has tried."""
    attempts: list[str] = []
    _module("no_network").guard(attempts.append)
    return attempts


@pytest.fixture(autouse=True)
def attempts_to_leave(_guarded: list[str]) -> Iterator[list[str]]:
    """No test leaves the machine: one that tries fails, unless it takes its attempts off this list."""
    _guarded.clear()
    yield _guarded
    assert not _guarded, f"a test speaks to servers of its own alone: {_guarded}"


@pytest.fixture(scope="session")
def ended() -> Callable[[int], bool]:
    """Whether a process, by its number, is gone within two seconds; one that nobody has waited for counts as gone."""

    def is_gone(pid: int) -> bool:
        for _ in range(100):
            try:
                os.kill(pid, 0)
                if Path("/proc/self").exists() and ") Z" in Path(f"/proc/{pid}/stat").read_text():
                    return True
            except (ProcessLookupError, FileNotFoundError):
                return True
            time.sleep(0.02)
        return False

    return is_gone


RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> RunCommand:
    """Runs the installed `agiqa-bench` in a folder of the test's own: `command("methods", "list")`."""

    def run(*arguments: object, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        executable = shutil.which("agiqa-bench", path=str(Path(sys.executable).parent))
        assert executable is not None, "the command is not installed beside this interpreter: pip install -e ."
        return subprocess.run(
            [executable, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"AGIQA_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def rated_table(tmp_path: Path) -> Path:
    """A table data set without images: 20 prompts x 3 generators, quality that depends on both."""
    generators = {"good": 4.0, "fair": 3.0, "poor": 1.0}
    rows = ["image,prompt,generator,mos_quality"]
    for prompt in range(20):
        for generator, mean in generators.items():
            # Spread without ties, so that every correlation is defined and no two cells agree by accident.
            mos = mean + ((prompt * 7) % 20) / 40 + len(generator) / 1000
            rows.append(f"{generator}_{prompt}.png,a picture of thing {prompt},{generator},{mos:.4f}")
    path = tmp_path / "rated.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def example_methods() -> Path:
    """A plugin file with small methods that exercise the road: trained, zero-shot, failing, slow."""
    return Path(__file__).parent / "example_methods.py"


@pytest.fixture(scope="session")
def standins() -> ModuleType:
    """The module `tests/standins.py`, which renders images under the official file names."""
    return _module("standins")


@pytest.fixture(scope="session")
def stored_runs() -> ModuleType:
    """The module `tests/stored_runs.py`, whose `make_store` writes finished runs of made-up methods in seconds."""
    return _module("stored_runs")


@pytest.fixture(scope="session")
def readme() -> ModuleType:
    """The module `tests/readme.py`, which writes and checks what the README shows of runs."""
    return _module("readme")


def _module(name: str) -> ModuleType:
    """A module beside this one: the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fresh_registries() -> Iterator[None]:
    """Registries of the test's own: what it registers is forgotten afterwards."""
    from agiqa_bench.registry import dataset_registry, method_registry

    for clear in (method_registry.cache_clear, dataset_registry.cache_clear):
        clear()
    yield
    for clear in (method_registry.cache_clear, dataset_registry.cache_clear):
        clear()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes on one thread: on a busy machine, small operations would mostly wait for the other threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
