"""Fixtures that several test packages share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

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
    repository = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("AGIQA_ANNOTATIONS") or repository.parent / "shared" / "annotations")
    missing = [name for name in ANNOTATION_FILES if not (folder / name).is_file()]
    if missing:
        pytest.skip(f"the published annotation files are not here: {', '.join(missing)} missing in {folder}")
    return folder


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
