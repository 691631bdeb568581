"""Changes the code at random places, one place at a time, and counts the changes that no test notices.

    python tests/mutants.py evaluation execution training --sample 100 --seed 0 --results mutants.json

Mind that it writes into the modules beside it: `nox -s mutants` runs it in a copy of the repository.

cosmic-ray knows the changes: `<` for `<=`, `and` for `or`, 1 for 0, a condition negated, a loop without rounds ... Of
each place one change of each kind is drawn, and of these a random sample; left out is what no test can or should
notice, see `_noise`. First the tests that mirror a package run undisturbed, which tells what tests reach each line. A
change is then tried on those alone, the fastest first, until one fails. One that takes far longer than they did
undisturbed counts as noticed.

The tests of each change run in a process of their own, forked from this one, where torch and the like are imported
already. What lives is printed; some of it will be no change of what the code does, which only a reader can tell. The
exit code is 1 if less than 95 % are noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import json
import os
import random
import signal
import sys
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import coverage
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

REPOSITORY = Path(__file__).resolve().parents[1]

GOAL = 0.95
"""Share of the changes that tests notice."""

TESTS = {
    "evaluation": ("tests/evaluation", "tests/reporting/test_build_comparison.py", "tests/execution/test_cross.py"),
    "execution": (
        "tests/execution",
        "tests/reporting/test_damaged_stores.py",
        "--ignore=tests/execution/test_cluster.py",
        "--ignore=tests/execution/test_ray_driver.py",
        "--ignore=tests/execution/test_many_cells.py",
    ),
    "training": (
        "tests/training",
        "tests/execution/test_together.py",
        "tests/execution/test_costs.py",
        "tests/methods/test_cnniqa.py",
        "tests/methods/test_clip_agiqa_tang.py",
    ),
}
"""What is run for the modules of a package: the tests that mirror it, and a few that use it from afar.

Ray's tests take minutes; so `bench/execution/executors`, which they are for, is not changed.
"""

HEAVY = (
    "hypothesis",
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.stats",
    "sklearn.svm",
    "timm",
    "torch",
)
"""What takes long to import, and is imported once for all."""

MOST_SECONDS = 60.0
"""What the tests that a change is tried on may take without it, all together; the slowest are left out."""

ALIKE = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitOr", "BitAnd", "BitXor"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"In", "NotIn"},
    {"Delete", "Not"},
    {"Delete", "USub"},
    {"Delete", "Invert"},
)
"""Operators that take each other's place; any other would be no other code (`==` for `is`), or could not run."""

Place = tuple[int, int]
"""Line from 1 and column from 0."""


@dataclass
class Mutant:
    """One change of one module."""

    module: str
    line: int
    operator: str
    occurrence: int
    before: str = ""
    after: str = ""
    outcome: str = ""
    by: str = ""
    seconds: float = 0.0

    def changed(self, source: str) -> str | None:
        """The module's text with the change, whose first line is kept; None if cosmic-ray cannot make it."""
        try:
            changed = mutate_code(source, get_operator(f"core/{self.operator}")(), self.occurrence)
            compile(changed or "", self.module, "exec")
        except (AttributeError, SyntaxError):  # it takes each exception's name for one word, for instance
            return None
        pairs = zip(source.splitlines(), (changed or "").splitlines(), strict=False)
        self.before, self.after = next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))
        return changed if self.before != self.after else None


def mutants_of(module: Path, draw: random.Random) -> Iterator[Mutant]:
    """One change of each kind at each place of a module."""
    source = module.read_text("utf-8")
    nodes, parsed = list(ast_nodes(get_ast(source))), ast.parse(source)
    noise, sums = (
        _noise(parsed),
        _spans(node for node in ast.walk(parsed) if isinstance(node, ast.BinOp | ast.AugAssign)),
    )
    kinds: dict[tuple[Place, Place, str], list[tuple[str, int]]] = defaultdict(list)
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or _is_idle(name):
            continue
        found = (place for node in nodes for place in operator().mutation_positions(node))
        for occurrence, (start, end) in enumerate(found):
            if _within(noise, start, end) or ("Binary" in name and not _within(sums, start, end)):  # `*` of `*rest`
                continue
            kinds[start, end, name.split("_")[0]].append((name.removeprefix("core/"), occurrence))
    for (start, _, _), variants in sorted(kinds.items()):
        yield Mutant(str(module.relative_to(REPOSITORY)), start[0], *draw.choice(variants))


def _is_idle(operator: str) -> bool:
    """Whether an operator puts another kind of operator in the place."""
    names = set(operator.removeprefix("core/").split("_")[1:])
    return len(names) == 2 and not any(names <= alike for alike in ALIKE)


def _noise(tree: ast.Module) -> list[tuple[Place, Place]]:
    """Where no change counts: types, messages, and the options of dataclasses and of zip."""
    nodes: list[ast.expr | ast.stmt | None] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                nodes.append(node.returns)
            case ast.arg() | ast.AnnAssign():
                nodes.append(node.annotation)
            case ast.JoinedStr():
                nodes.append(node)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                nodes.append(node)
            case ast.ClassDef():
                nodes += [one for one in node.decorator_list if "dataclass" in ast.unparse(one)]
            case ast.Call(func=ast.Name(id="zip")):
                nodes += [keyword.value for keyword in node.keywords]
    return _spans(node for node in nodes if node)


def _spans(nodes: Iterable[ast.expr | ast.stmt]) -> list[tuple[Place, Place]]:
    return [((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)) for node in nodes]


def _within(spans: Iterable[tuple[Place, Place]], start: Place, end: Place) -> bool:
    return any(first <= start and end <= last for first, last in spans)


class Recorder:
    """A plugin of pytest that notes how long each test takes, and what lines it reaches."""

    def __init__(self, folder: Path) -> None:
        self.coverage = coverage.Coverage(data_file=None, include=[f"{folder}/*"])
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.coverage.switch_context(f"{item.nodeid}|setup")

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def lines(self) -> dict[str, dict[int, list[str]]]:
        """The tests that reach each line of each module; what a fixture reaches, all tests of its file may use."""
        data = self.coverage.get_data()
        found = {}
        for file in data.measured_files():
            name = str(Path(file).relative_to(REPOSITORY))
            found[name] = {
                line: sorted({test for context in contexts if context for test in self._users(context)})
                for line, contexts in data.contexts_by_lineno(file).items()
            }
        return found

    def _users(self, context: str) -> list[str]:
        test, _, what = context.partition("|")
        if not what:
            return [test]
        return [other for other in self.seconds if other.partition("::")[0] == test.partition("::")[0]]


class Witness:
    """A plugin of pytest that writes down what noticed a change first."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            NOTES.write_text(report.nodeid, "utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            NOTES.write_text(report.nodeid, "utf-8")


def undisturbed(package: str, tests: list[str]) -> dict[str, Any]:
    """Run the tests of a package without a change: the tests' seconds, and those that reach each line."""

    def record() -> int:
        recorder = Recorder(REPOSITORY / "bench" / package)
        recorder.coverage.start()
        code = pytest.main([*OPTIONS, *tests], plugins=[recorder])
        recorder.coverage.stop()
        NOTES.write_text(json.dumps({"seconds": recorder.seconds, "lines": recorder.lines()}), "utf-8")
        return int(code)

    code = forked(record, 3600)
    if code != 0:
        raise SystemExit(f"{package}: the tests fail without any change (exit code {code}); mend them first")
    found: dict[str, Any] = json.loads(NOTES.read_text("utf-8"))
    return found


NOTES = REPOSITORY / ".mutants-notes"
"""What the process of the tests tells this one."""

OPTIONS = ("-x", "-q", "--no-header", "-m", "not gpu", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore")


def forked(work: Callable[[], int], limit: float) -> int | None:
    """What `work` returns in a process of its own, or None if that takes longer than so many seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    ends = time.monotonic() + limit
    status = None
    while status is None:
        pid, found = os.waitpid(child, os.WNOHANG)
        if pid:
            status = os.waitstatus_to_exitcode(found)
        elif time.monotonic() > ends:
            break
        else:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # also what the tests have started
    if status is None:
        os.waitpid(child, 0)
    return status


def judge(mutant: Mutant, known: dict[str, Any], moment: int) -> bool:
    """Try a change on the tests that reach its line; False if there is nothing to try."""
    file = REPOSITORY / mutant.module
    source = file.read_text("utf-8")
    changed = mutant.changed(source)
    if changed is None:
        return False
    lines = known["lines"].get(mutant.module, {})
    seconds = known["seconds"]
    # What runs at import time, or in other processes alone, may concern all tests that use the module.
    tests = lines.get(str(mutant.line)) or {test for reached in lines.values() for test in reached} or seconds
    order = sorted(tests, key=lambda test: seconds[test])
    total = list(accumulate(seconds[test] for test in order))
    order = order[: max(1, bisect_right(total, MOST_SECONDS))]
    begun = time.monotonic()
    NOTES.unlink(missing_ok=True)
    try:
        file.write_text(changed, "utf-8")
        os.utime(file, (moment, moment))  # what is compiled is kept by size and second
        limit = MOST_SECONDS + 5 * total[len(order) - 1]
        code = forked(lambda: int(pytest.main([*OPTIONS, *order], plugins=[Witness()])), limit)
    finally:
        file.write_text(source, "utf-8")
    mutant.outcome = "survived" if code == 0 else "hangs" if code is None else "killed"
    mutant.by = NOTES.read_text("utf-8") if NOTES.exists() else ""
    mutant.seconds = round(time.monotonic() - begun, 1)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", default=list(TESTS))
    parser.add_argument("--sample", type=int, default=100, help="number of changes in each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="a JSON file for all of them")
    options = parser.parse_args()
    os.chdir(REPOSITORY)
    os.environ["OMP_NUM_THREADS"] = "1"
    where = importlib.util.find_spec("agiqa_bench")
    if where is None or where.origin != str(REPOSITORY / "bench" / "__init__.py"):
        raise SystemExit(f"agiqa_bench must be installed from here: pip install -e {REPOSITORY}")
    for name in HEAVY:
        importlib.import_module(name)
    tried: list[Mutant] = []
    for package in options.packages:
        draw = random.Random(f"{options.seed} {package}")
        modules = sorted((REPOSITORY / "bench" / package).glob("*.py"))
        everything = [mutant for module in modules for mutant in mutants_of(module, draw)]
        draw.shuffle(everything)
        known = undisturbed(package, list(TESTS[package]))
        say(f"{package}: {options.sample} of {len(everything)} changes, with {len(known['seconds'])} tests")
        first = len(tried)
        for mutant in everything:
            if len(tried) == first + options.sample:
                break
            if not judge(mutant, known, 1_000_000_000 + len(tried)):
                continue
            tried.append(mutant)
            say(f"{mutant.outcome:9} {mutant.seconds:6.1f} s  {mutant.module}:{mutant.line} {mutant.operator}")
            if mutant.outcome == "survived":
                say(f"    - {mutant.before}\n    + {mutant.after}")
            if options.results:
                options.results.write_text(json.dumps([asdict(one) for one in tried], indent=1) + "\n", "utf-8")
    alive = [mutant for mutant in tried if mutant.outcome == "survived"]
    noticed = 1 - len(alive) / len(tried)
    say(f"{len(tried)} changes, {len(tried) - len(alive)} noticed ({noticed:.1%}), {len(alive)} not")
    return int(noticed < GOAL)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
