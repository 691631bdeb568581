"""What a run keeps of its inputs, so that a report needs nothing but the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agiqa_bench.evaluation.split_file import export_splits
from agiqa_bench.evaluation.splits import splits_digest
from agiqa_bench.execution.store import Store

if TYPE_CHECKING:
    from agiqa_bench.execution.plan import Plan


def store_inputs(plan: Plan, store: Store) -> None:
    """Write a plan's splits and the table of its data set's samples; what is there already is left.

    Raises:
        StoreError: The file system refuses.
    """
    for part, splits in zip(plan.dataset.parts, plan.splits_of_parts, strict=True):
        file = store.root / "splits" / f"{splits_digest(splits)[:16]}.json"
        if not file.exists():
            export_splits(
                file,
                splits,
                part.samples,
                dataset=part.name,
                fingerprint=part.fingerprint,
                rule=plan.rule,
                seed=plan.request.seed,
            )
    store.write_samples(plan.dataset.samples, plan.dataset.fingerprint)
