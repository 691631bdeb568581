"""What CI runs, session by session: `nox` for all of them, `nox -s tests` for one."""

from __future__ import annotations

import csv
import io
from pathlib import Path

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
    # The workers share the cores already: threads of theirs would only wait for each other.
    session.run("pytest", *arguments, env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})


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
    """Print how many images per second the handcrafted methods score; arguments after -- are the module's own."""
    session.install("-e", ".")
    session.run("python", "-m", "agiqa_bench.benchmarks.features", *session.posargs)


@nox.session(python=THIS_PYTHON)
def readme(session: nox.Session) -> None:
    """Compute the README's tables and contact sheet again; -- FOLDER holds the real data sets' annotation files."""
    session.install("-e", ".")
    session.run("python", "-m", "agiqa_bench.synthetic.contact_sheet", "results/reference/demo-contact-sheet.png")
    show = ("report", "--format", "markdown")
    output = session.create_tmp()
    session.run("agiqa-bench", "run", "--dataset", "demo", "--output", f"{output}/demo")
    text = str(session.run("agiqa-bench", *show, f"{output}/demo", silent=True))
    replace_block("demo table", [section(text, target) for target in ("quality", "alignment")])
    if not session.posargs:
        return
    titles = ("Data set", "Split", "Target", "Method", "SRCC", "PLCC", "SRCC in generator", "SRCC in prompt")
    lines = [titles, ("---",) * 4 + ("---:",) * 4]
    for dataset, split in (
        ("agiqa3k", "grouped"),
        ("agiqa1k", "grouped"),
        ("aigciqa2023", "grouped"),
        ("agiqa3k", "image"),
    ):
        where = f"{output}/{dataset}-{split}"
        arguments = ["--methods", "generator_mean,prompt_text,generator_prompt", "--dataset", dataset]
        arguments += ["--split", split, "--annotations-only", "--data-root", session.posargs[0], "--output", where]
        session.run("agiqa-bench", "run", *arguments)
        table = str(session.run("agiqa-bench", "report", "--format", "csv", where, silent=True))
        Path(f"results/reference/no-pixel/{dataset}-{split}.csv").write_text(table, "utf-8")
        lines += [summary(row) for row in csv.DictReader(io.StringIO(table))]
    replace_block("no-pixel table", ["\n".join(f"| {' | '.join(line)} |" for line in lines)])


def summary(row: dict[str, str]) -> tuple[str, ...]:
    """One row of a results table with the metrics that the README shows."""
    metrics = []
    for key in ("srcc", "plcc", "srcc_within_generator", "srcc_within_prompt"):
        mean, std = row[f"{key}_mean"], row[f"{key}_std"]
        metrics.append(f"{float(mean):.3f} ± {float(std):.3f}" if mean else "undefined")
    return (row["dataset"], row["split"], row["target"], f"`{row['method']}`", *metrics)


def section(markdown: str, target: str) -> str:
    """The table of one target out of a Markdown report, under a plain line instead of a heading."""
    body = markdown.split(f"### Target: {target}\n\n", 1)[1].split("\n\n", 1)[0]
    return f"Target: {target}\n\n{body}"


def replace_block(name: str, parts: list[str]) -> None:
    """Put parts between `<!-- name -->` and `<!-- end of name -->` of the README."""
    file = Path("README.md")
    before, rest = file.read_text("utf-8").split(f"<!-- {name} -->\n", 1)
    after = rest.split(f"<!-- end of {name} -->", 1)[1]
    block = "\n\n".join(parts)
    file.write_text(f"{before}<!-- {name} -->\n{block}\n<!-- end of {name} -->{after}", "utf-8")
