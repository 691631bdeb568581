"""Where results go if nobody says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agiqa_bench.execution.plan import Plan


def default_output(plan: Plan) -> Path:
    """`results/runs/<data set>`, or `<one>-to-<other>`.

    Each split rule has a folder of its own, and so has a table that bears a registered name.
    """
    from agiqa_bench.data.catalogue import TABLE_SUFFIXES
    from agiqa_bench.registry import dataset_registry

    names = []
    for asked, part in zip(plan.request.data, plan.dataset.parts, strict=True):
        is_table = asked.lower().endswith(TABLE_SUFFIXES)
        names.append(f"{part.name}-table" if is_table and part.name in dataset_registry() else part.name)
    name = "-to-".join(names)
    if plan.request.splits_file is not None:
        name += f"-{plan.request.splits_file.stem}"
    elif plan.rule != "grouped":
        name += f"-{plan.rule}"
    return Path("results") / "runs" / name
