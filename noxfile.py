"""What CI runs, session by session: `nox` for all of them, `nox -s tests` for one."""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests", "readme_check"]

PROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = None


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


@nox.session(python=THIS_PYTHON)
def tests(session: nox.Session) -> None:
    """The test suite, offline; arguments after -- go to pytest."""
    session.install("-e", ".", *group("test"))
    arguments = session.posargs or ["-n", "auto", "--dist", "loadfile"]
    # The workers share the cores already: threads of theirs would only wait for each other.
    session.run("pytest", *arguments, env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | compiled(session))


@nox.session(python=THIS_PYTHON)
def fuzz(session: nox.Session) -> None:
    """Feed the readers of files with random examples, each for ten minutes; -- --minutes N TARGET... for others."""
    session.install("-e", ".", *group("test"))
    # The failing inputs that it prints become examples in tests/fuzz/test_fuzz.py.
    session.run("python", "tests/fuzz/keep_on.py", *session.posargs, env={"AGIQA_OFFLINE": "1", "OMP_NUM_THREADS": "1"})


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
