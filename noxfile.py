"""What CI runs, session by session: `nox` for all of them, `nox -s tests` for one."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests", "readme_check"]

PROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = None
PROJECT_PYTHONS = ["3.11", "3.12", "3.13"]
LIFTED_BOUNDS = """
from importlib.metadata import requires, version
from packaging.requirements import Requirement
for requirement in map(Requirement, requires("agiqa-bench")):
    bound = next(iter(requirement.specifier)).version
    if requirement.marker is None and not version(requirement.name).startswith(bound):
        print(f"warning: {requirement}, and {version(requirement.name)} is what is tested")
"""


def group(name: str) -> list[str]:
    return nox.project.dependency_groups(PROJECT, name)


def compiled(session: nox.Session) -> dict[str, str]:
    """Let commands keep what Python compiles: tests start hundreds of them, and each would compile torch again."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(session.virtualenv.location) / "compiled")}


@nox.session(python=THIS_PYTHON)
def lint(session: nox.Session) -> None:
    """Style and format, by ruff."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=THIS_PYTHON)
def typecheck(session: nox.Session) -> None:
    """Types, by mypy --strict on the installed package (an editable install hides it from mypy)."""
    session.install(".", *group("typecheck"))
    session.run("mypy", "--strict", "-p", "agiqa_bench")


def run_tests(session: nox.Session, *options: str, **environment: str) -> None:
    """Run the suite; arguments after -- go to pytest."""
    arguments = session.posargs or ["-n", "auto", "--dist", "loadfile"]
    # The workers share the cores already: threads of theirs would only wait for each other.
    session.run("pytest", *options, *arguments, env={"OMP_NUM_THREADS": "1"} | compiled(session) | environment)


@nox.session(python=THIS_PYTHON)
def tests(session: nox.Session) -> None:
    """The test suite, offline; arguments after -- go to pytest."""
    session.install("-e", ".", *group("test"))
    run_tests(session)


@nox.session(python=PROJECT_PYTHONS)
def tests_python(session: nox.Session) -> None:
    """The test suite on each supported version of Python that is here: `nox -s tests_python-3.13` for one."""
    session.install("-e", ".", *group("test"))
    run_tests(session)


@nox.session(python="3.11", venv_backend="uv")
def tests_lowest(session: nox.Session) -> None:
    """The test suite with the lowest version of each dependency, on the lowest version of Python."""
    session.install("--resolution", "lowest-direct", "-e", ".", *group("test"))
    # A bound that another package's needs lift is not the one that is tested: raise it to what is installed.
    session.run("python", "-c", LIFTED_BOUNDS)
    run_tests(session)


@nox.session(python=THIS_PYTHON)
def tests_wheel(session: nox.Session) -> None:
    """The test suite on the built wheel, in a copy of the tests that lies outside of the checkout."""
    folder = Path(tempfile.mkdtemp(prefix="wheel-"))
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder / "dist"))
    session.install(*map(str, (folder / "dist").glob("*.whl")), *group("test"))
    # The tests look at pages and scripts of the checkout; no folder of it can be imported as the package.
    for name in str(session.run("git", "ls-files", external=True, silent=True)).splitlines():
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, folder / "copy" / name)
    shared = Path.cwd().parent / "shared"
    if shared.is_dir():  # where the tests look for the published files beside a checkout
        (folder / "shared").symlink_to(shared)
    session.chdir(folder / "copy")
    session.run("python", "-c", "import agiqa_bench as a; assert 'site-packages' in a.__file__, a.__file__")
    try:
        run_tests(session)
    finally:
        shutil.rmtree(folder)


@nox.session(python=THIS_PYTHON)
def tests_elsewhere(session: nox.Session) -> None:
    """The test suite on a day in January, in Turkish, on the other side of the date line, and without the user's files.

    On Linux. The locale must be there (`localedef -i tr_TR -f UTF-8 tr_TR.UTF-8`): without it Python takes its own.
    """
    session.install("-e", ".", "libfaketime", *group("test"))
    library = next(Path(session.virtualenv.location).glob("lib/*/site-packages/libfaketime/vendor/**/libfaketime.so.1"))
    now = datetime.now(UTC)
    days = (datetime(now.year + 1, 1, 15, tzinfo=UTC) - now).days + 1
    run_tests(
        session,
        # A shift, and not a time: each process that starts begins at the same one.
        FAKETIME=f"+{days}d",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        DONT_FAKE_MONOTONIC="1",
        NO_FAKE_STAT="1",
        LD_PRELOAD=str(library.resolve()),
        LC_ALL="tr_TR.UTF-8",
        TZ="Pacific/Kiritimati",
        AGIQA_ANNOTATIONS="/nonexistent",
        AGIQA_SPEC="/nonexistent",
        CI="",
    )


@nox.session(python=THIS_PYTHON)
def fuzz(session: nox.Session) -> None:
    """Feed the readers of files with random examples, each for ten minutes; -- --minutes N TARGET... for others."""
    session.install("-e", ".", *group("test"))
    # The failing inputs that it prints become examples in tests/fuzz/test_fuzz.py.
    session.run("python", "tests/fuzz/keep_on.py", *session.posargs, env={"AGIQA_OFFLINE": "1", "OMP_NUM_THREADS": "1"})


@nox.session(python=THIS_PYTHON)
def mutants(session: nox.Session) -> None:
    """Change the code at random places and count the changes that no test notices, in hours; -- --help for options."""
    copy = Path(session.create_tmp()).resolve() / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(".", copy, ignore=shutil.ignore_patterns(".*", "*.egg-info", "__pycache__"))
    session.install("-e", str(copy), *group("test"), *group("mutants"))
    session.run(
        "python", str(copy / "tests/mutants.py"), *session.posargs, env={"HF_HUB_OFFLINE": "1"} | compiled(session)
    )


@nox.session(python=THIS_PYTHON)
def demo_clip(session: nox.Session) -> None:
    """Train the demo CLIPs again (under an hour on two CPU cores) and write weights and model card."""
    session.install("-e", ".")
    session.run("python", "-m", "agiqa_bench.backbones.demo.train", *session.posargs)


@nox.session(python=THIS_PYTHON)
def demo_scnn(session: nox.Session) -> None:
    """Train the demo S-CNN again (some ten minutes on one CPU core) and write weights and model card."""
    session.install("-e", ".")
    session.run("python", "-m", "agiqa_bench.backbones.demo.train_scnn", *session.posargs)


@nox.session(python=THIS_PYTHON)
def benchmark(session: nox.Session) -> None:
    """Measure speed and memory, compare with the last stored result, and store the new one.

    Results are compared with those of machines with the same model of processor, as many cores and the same GPU.
    Arguments after -- go to `agiqa-bench benchmark`, such as the names of single parts.
    """
    session.install("-e", ".")
    session.run("agiqa-bench", "benchmark", "--output", "results/reference/benchmarks", *session.posargs)


@nox.session(python=THIS_PYTHON)
def readme(session: nox.Session) -> None:
    """Compute the README's tables and pictures again; -- FOLDER holds the real data sets' annotation files."""
    session.install("-e", ".", "playwright", "pytest")
    output = Path(session.create_tmp())
    run, report, picture = output / "demo", output / "report", output / "report.png"
    run_demo(session, run)
    session.run("agiqa-bench", "report", str(run), "--output", str(report))
    session.run("python", "tests/reporting/screenshot.py", f"{report}/report.html", str(picture))
    session.run("python", "tests/readme.py", "write", str(run), str(report), str(picture))
    if not session.posargs:
        return
    for dataset, split in (
        ("agiqa3k", "grouped"),
        ("agiqa1k", "grouped"),
        ("aigciqa2023", "grouped"),
        ("agiqa3k", "image"),
    ):
        arguments = ["--methods", "generator_mean,prompt_text,generator_prompt", "--dataset", dataset]
        arguments += ["--split", split, "--annotations-only", "--data-root", session.posargs[0]]
        session.run("agiqa-bench", "run", *arguments, "--output", f"{output}/{dataset}-{split}")
    session.run("python", "tests/readme.py", "no-pixel", str(output))


@nox.session(python=THIS_PYTHON)
def readme_check(session: nox.Session) -> None:
    """Say whether the README's tables and pictures are what the code gives now: runs the demo in some minutes."""
    session.install("-e", ".")
    run = Path(session.create_tmp()) / "demo"
    run_demo(session, run)
    session.run("python", "tests/readme.py", "check", str(run))


def run_demo(session: nox.Session, output: Path) -> None:
    """Run all methods on the demo data set, on one thread: with more, last digits depend on their number."""
    environment = {"OMP_NUM_THREADS": "1"} | compiled(session)
    session.run("agiqa-bench", "run", "--dataset", "demo", "--output", str(output), env=environment)
