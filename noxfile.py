"""What CI runs, session by session: `nox` for all of them, `nox -s tests` for one."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = None


def group(name: str) -> list[str]:
    return nox.project.dependency_groups(PROJECT, name)


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
    session.run("pytest", *arguments, env={"HF_HUB_OFFLINE": "1"})


@nox.session(python=THIS_PYTHON)
def demo_clip(session: nox.Session) -> None:
    """Train the demo CLIPs again (under an hour on two CPU cores) and write weights and model card."""
    session.install("-e", ".")
    session.run("python", "-m", "agiqa_bench.backbones.demo.train", *session.posargs)


@nox.session(python=THIS_PYTHON)
def pictures(session: nox.Session) -> None:
    """Render the README's contact sheet of the demo data set again."""
    session.install("-e", ".")
    session.run("python", "-m", "agiqa_bench.synthetic.contact_sheet", "results/reference/demo-contact-sheet.png")
