"""The parts of the benchmark: names, and the modules that measure them.

A part is a module with `SUMMARY`, one line of text, and `measure(settings, say) -> PartResult`; both types are in
`agiqa_bench.benchmarks.model`. Nothing of a part is imported before it is measured.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from agiqa_bench.errors import UnknownNameError

PARTS: Mapping[str, str] = {
    "startup": "agiqa_bench.benchmarks.parts.startup",
    "overhead": "agiqa_bench.benchmarks.parts.overhead",
    "scale": "agiqa_bench.benchmarks.parts.scale",
    "statistics": "agiqa_bench.benchmarks.parts.statistics",
    "reports": "agiqa_bench.benchmarks.parts.reports",
    "decode": "agiqa_bench.benchmarks.parts.decode",
    "memory": "agiqa_bench.benchmarks.parts.memory",
    "scoring": "agiqa_bench.benchmarks.parts.scoring",
    "trained": "agiqa_bench.benchmarks.parts.trained",
}
"""In the order in which they are measured: the quick ones first."""


def chosen_parts(names: Sequence[str]) -> list[str]:
    """The parts of these names, each once, in their own order; all of them if none is named.

    Raises:
        UnknownNameError: There is no part of that name.
    """
    for name in names:
        if name not in PARTS:
            raise UnknownNameError("part", name, PARTS, "(see 'agiqa-bench benchmark --list')")
    return [name for name in PARTS if name in names or not names]


def summary_of(module: str) -> str:
    """A part's `SUMMARY`, read from its source without importing it; empty if there is none."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    for statement in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id == "SUMMARY":
            return str(ast.literal_eval(value))
    return ""
