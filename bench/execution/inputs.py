"""What a run keeps of its inputs, so that a report needs nothing but the store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from agiqa_bench import atomic
from agiqa_bench.evaluation.split_file import splits_text
from agiqa_bench.evaluation.splits import splits_digest
from agiqa_bench.execution.claims import claim
from agiqa_bench.execution.store import Store
from agiqa_bench.reading import patiently

if TYPE_CHECKING:
    from agiqa_bench.execution.plan import Plan


def store_inputs(plan: Plan, store: Store) -> None:
    """Write a plan's splits and the table of its data set's samples; what is there already is left.

    What is damaged of these, of the stored plans and of zero-shot scores is set aside first; damaged cells are left to
    whoever computes them.

    Raises:
        StoreError: The file system refuses.
    """
    store.set_aside_plans()
    _set_aside_scores(plan, store)
    for part, splits in zip(plan.dataset.parts, plan.splits_of_parts, strict=True):
        text = splits_text(
            splits,
            part.samples,
            dataset=part.name,
            fingerprint=part.fingerprint,
            rule=plan.rule,
            seed=plan.request.seed,
        )
        _store_splits(text.encode(), splits_digest(splits), store)
    store.write_samples(plan.dataset.samples, plan.dataset.fingerprint)


def _store_splits(content: bytes, digest: str, store: Store) -> None:
    """Write a file whose name tells what it must hold."""
    file = store.root / "splits" / f"{digest[:16]}-{hashlib.sha256(content).hexdigest()[:16]}.json"
    try:
        if patiently(Path.read_bytes, file) == content:
            return
        store.set_aside(file, f"splits/{file.name} is not as it was written")
    except FileNotFoundError:
        pass
    atomic.write_bytes(file, content)


def _set_aside_scores(plan: Plan, store: Store) -> None:
    """Set aside damaged scores, unless somebody is at them; who needs them next computes them again."""
    for method in plan.methods:
        if method.score_key is None or not store.scores_damage(method.label, method.score_key):
            continue
        held = claim([store.lock_file(method.label, "scores", method.score_key)])
        if held is not None:
            try:
                store.make_room_for_scores(method.label, method.score_key)
            finally:
                held.release(done=False)
