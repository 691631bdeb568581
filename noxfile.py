"""What CI runs, session by session: `nox` for all of them, `nox -s tests` for one."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests", "readme_check"]

PROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = None
README = Path("README.md")
FIGURE = Path("results/reference/demo-srcc.svg")
SCREENSHOT = Path("results/reference/demo-report.png")
TOLERANCE = 0.02
"""How far the README's numbers may be from today's: another processor rounds otherwise while a network learns."""


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
    session.run("python", "-m", "agiqa_bench.synthetic.contact_sheet", "results/reference/demo-contact-sheet.png")
    output = Path(session.create_tmp())
    block = demo_block(session, output / "demo")
    replace_block("demo table", block)
    session.run("agiqa-bench", "report", f"{output}/demo", "--output", f"{output}/report")
    figure = (output / "report/figures/strip-srcc-quality.svg").read_text("utf-8")
    FIGURE.write_text(figure.replace("</svg>", f"<!-- {stamp(block)} --></svg>"), "utf-8")
    session.run("python", "tests/reporting/screenshot.py", f"{output}/report/report.html", str(SCREENSHOT))
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
    replace_block("no-pixel table", "\n".join(f"| {' | '.join(line)} |" for line in lines))


@nox.session(python=THIS_PYTHON)
def readme_check(session: nox.Session) -> None:
    """Say whether the README's table and figure are what the code gives now: runs the demo again, in some minutes."""
    session.install("-e", ".")
    shown = block_of("demo table")
    if stamp(shown) not in FIGURE.read_text("utf-8"):
        session.error(f"{FIGURE} was not drawn with the README's table: nox -s readme")
    now = demo_block(session, Path(session.create_tmp()) / "demo")
    before, after = numbers(shown), numbers(now)
    if before.keys() != after.keys():
        session.error(f"rows come or go: {sorted(before.keys() ^ after.keys())}; nox -s readme")
    moved = {
        row: (old, new)
        for row, old in before.items()
        if len(old) != len(new := after[row]) or any(abs(x - y) > TOLERANCE for x, y in zip(old, new, strict=True))
    }
    if moved:
        session.error(f"the README's table is stale by more than {TOLERANCE}: {moved}; nox -s readme")
    session.log(f"the README's table is fresh: {len(after)} rows within {TOLERANCE}")


def demo_block(session: nox.Session, output: Path) -> str:
    """Run all methods on the demo data set and give the README's tables of it."""
    session.run("agiqa-bench", "run", "--dataset", "demo", "--output", str(output), env=compiled(session))
    show = ("agiqa-bench", "report", "--brief", "--format", "markdown", str(output))
    text = str(session.run(*show, silent=True))
    return "\n\n".join(section(text, target) for target in ("quality", "alignment"))


def section(markdown: str, target: str) -> str:
    """The table of one target out of a Markdown report, under a plain line instead of a heading."""
    part = markdown.split(f"### Target: {target}\n", 1)[1]
    table = next(block for block in part.split("\n\n") if block.startswith("|"))
    return f"Target: {target}\n\n{table}"


def numbers(block: str) -> dict[str, list[float]]:
    """Every number of each row of the README's tables, by target and method."""
    found, target = {}, ""
    for line in block.splitlines():
        target = line if line.startswith("Target: ") else target
        if line.startswith("| ") and not line.startswith(("| ---", "| Method")):
            name, *cells = line.strip("| ").split(" | ")
            found[f"{target}: {name}"] = [float(text) for text in re.findall(r"-?\d+\.\d+", " ".join(cells))]
    return found


def stamp(block: str) -> str:
    """What ties a picture to the table that it was drawn with."""
    return f"table {hashlib.sha256(block.encode()).hexdigest()}"


def summary(row: dict[str, str]) -> tuple[str, ...]:
    """One row of a results table with the metrics that the README shows."""
    metrics = []
    for key in ("srcc", "plcc", "srcc_within_generator", "srcc_within_prompt"):
        mean, std = row[f"{key}_mean"], row[f"{key}_std"]
        metrics.append(f"{float(mean):.3f} ± {float(std):.3f}" if mean else "undefined")
    return (row["dataset"], row["split"], row["target"], f"`{row['method']}`", *metrics)


def block_of(name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- end of name -->` of the README."""
    text = README.read_text("utf-8").split(f"<!-- {name} -->\n", 1)[1]
    return text.split(f"\n<!-- end of {name} -->", 1)[0]


def replace_block(name: str, block: str) -> None:
    """Put a block between `<!-- name -->` and `<!-- end of name -->` of the README."""
    before, rest = README.read_text("utf-8").split(f"<!-- {name} -->\n", 1)
    after = rest.split(f"<!-- end of {name} -->", 1)[1]
    README.write_text(f"{before}<!-- {name} -->\n{block}\n<!-- end of {name} -->{after}", "utf-8")
