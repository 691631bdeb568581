"""The contract that every method keeps, as checks that run on any of them: built-in, installed, or a file.

The checks fit and score a method on a slice of the `demo` data set with its `quick` preset. It is taken for a table of
one's own whose range of MOS nobody states, because there the harness must find one without the test part.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import AgiqaError, HiddenMOSError
from agiqa_bench.evaluation.splits import Split, make_splits
from agiqa_bench.execution.cell import Fitted, fit_and_predict, fit_together_and_predict, predict, seed_everything
from agiqa_bench.execution.request import explain_validation
from agiqa_bench.method import Context, Method, MethodConfig
from agiqa_bench.registry import problem_with_class_data

if TYPE_CHECKING:
    import pandas as pd

    from agiqa_bench.data.image_cache import ImageCache

GROUPS = 8
"""Prompts of the demo data set that the checks use."""

KINDS = {"quality", "alignment", "authenticity", "*"}

TOLERANCE = 1e-5
"""How far scores may differ where only the order of floating-point sums may (batches composed otherwise)."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: What the contract asks for, in a few words.
        passed: True, False, or None if the check does not apply.
        detail: What was found, in one line.
    """

    name: str
    passed: bool | None
    detail: str = ""


class Broken(Exception):  # noqa: N818 - it never leaves this module
    """A check found that the contract is not kept."""


@dataclass
class Bench:
    """A small data set with a split, and ways to run the method under test on it."""

    cls: type[Method]
    config: MethodConfig
    table: pd.DataFrame
    images: ImageCache | None
    context: Context
    split: Split

    def samples(self, table: pd.DataFrame | None = None) -> Samples:
        """All rows, of `table` if given."""
        return Samples(self.table if table is None else table, self.context.targets, self.images)

    def method(self, **changes: Any) -> Method:
        """A fresh instance, with some of its context changed."""
        return self.cls(self.config, replace(self.context, **changes))

    def scores(self, table: pd.DataFrame | None = None) -> npt.NDArray[np.float64]:
        """Scores of the test rows after fitting a fresh instance."""
        # Whatever ran before in this process must not count.
        random.seed(99)
        np.random.seed(99)
        context = self.context if table is None else replace(self.context, mos_ranges=_ranges(table))
        return fit_and_predict(self.cls, self.config, context, self.samples(table), self.split).scores

    @cached_property
    def fitted(self) -> tuple[Method, npt.NDArray[np.float64]]:
        """An instance after fitting, and its scores of the test rows."""
        found = fit_and_predict(self.cls, self.config, self.context, self.samples(), self.split)
        return found.method, found.scores

    @cached_property
    def refitted(self) -> Fitted:
        """The outcome under the default selection: where an epoch is chosen, that of a second fit."""
        context = replace(self.context, selection="refit")
        return fit_and_predict(self.cls, self.config, context, self.samples(), self.split)

    @property
    def reference(self) -> npt.NDArray[np.float64]:
        """The scores that the others are held against."""
        return self.fitted[1]

    @cached_property
    def with_other_mos(self) -> npt.NDArray[np.float64]:
        """The scores where the test samples have other MOS: a second run that must give the same.

        Each has another's, so that ranks differ, and far off to both sides, so that the ends and means of all MOS do.
        """
        table = self.table.copy()
        for target in self.context.mos_ranges:
            column = f"mos_{target}"
            others = table.loc[self.split.test, column].to_numpy()[::-1]
            table.loc[self.split.test, column] = others + np.resize([30.0, -20.0], len(others))
        return self.scores(table)


def check_method(cls: type[Method]) -> Iterator[Check]:
    """Run every check on a method class, in order; stops where later checks cannot mean anything."""
    yield _run("class data are complete", lambda: _class_data(cls))
    yield _run("settings refuse unknown keys and are frozen", lambda: _settings(cls))
    try:
        bench = _bench(cls)
        reason = cls.skip(bench.config, bench.context)
        if reason is None:
            cls.weights(bench.config, bench.context)
    except AgiqaError as error:
        yield Check("a skip is said in one line", None, str(error))
        return
    except Exception as error:  # noqa: BLE001 - a method under test may fail in any way
        yield Check("a skip is said in one line", False, f"{type(error).__name__}: {error}")
        return
    yield _run("a skip is said in one line", lambda: _skip(reason))
    if reason is not None:
        yield Check("scores", None, f"skipped here: {reason}")
        return
    yield _run("a note is one line", lambda: _note(cls, bench))
    yield from _score_checks(cls, bench)


def _score_checks(cls: type[Method], bench: Bench) -> Iterator[Check]:
    first = _run("scores are finite and of the right shape", lambda: _shape(bench))
    yield first
    if not first.passed:
        return
    yield _run("the same seed gives the same scores", lambda: _deterministic(bench))
    yield _run("test MOS cannot be read and do not count", lambda: _blind(bench))
    yield _run("the order of samples does not matter", lambda: _order(bench))
    yield _refit_check(bench)
    if cls.trains_together > 1:
        yield _run("a repeat learns in company what it learns alone", lambda: _company(bench))
    if cls.state is Method.state:
        yield Check("a saved model predicts the same", None, "cannot be saved")
    else:
        yield _run("a saved model predicts the same", lambda: _saved(bench))
    if cls.trainable:
        yield Check("a zero-shot score depends on its own sample alone", None, "trained method")
    else:
        yield _run("a zero-shot score depends on its own sample alone", lambda: _alone(bench))


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Broken as broken:
        return Check(name, False, str(broken))
    except Exception as error:  # noqa: BLE001 - a method under test may fail in any way
        return Check(name, False, f"{type(error).__name__}: {error}")


def _bench(cls: type[Method]) -> Bench:
    dataset = open_dataset("demo", annotations_only=not cls.uses_images)
    table = dataset.samples
    kept = sorted(set(table["group"]))[:GROUPS]
    table = table[table["group"].isin(kept)].reset_index(drop=True)
    images = None
    if cls.uses_images:
        from agiqa_bench.data.image_cache import ImageCache

        images = ImageCache([Path(path) for path in table["path"]])
    targets = tuple(target.name for target in dataset.targets if target.judges(cls.targets))
    context = Context(
        dataset="demo",
        targets=targets or ("quality",),
        mos_ranges=_ranges(table),
        seed=1,
        shared_seed=2,
        selection="validation",
        offline=True,
    )
    config = cls.Config.model_validate(dict(cls.presets.get("quick", {})))
    split = make_splits(table, "demo", repeats=1)[0]
    return Bench(cls, config, table, images, context, split)


def _ranges(table: pd.DataFrame) -> dict[str, tuple[float, float] | None]:
    """What a data set with these rows states of its ranges of MOS, if it is a table whose user states none."""
    with tempfile.TemporaryDirectory(prefix="agiqa-contract-") as folder:
        path = Path(folder) / "contract.csv"
        table.to_csv(path, index=False)
        return {target.name: target.mos_range for target in open_dataset(str(path), annotations_only=True).learnt}


def _class_data(cls: type[Method]) -> str:
    problem = problem_with_class_data(cls)
    if problem:
        raise Broken(problem)
    return f"{cls.name}: {', '.join(cls.targets)}" + ("" if set(cls.targets) <= KINDS else " (a kind of its own)")


def _settings(cls: type[Method]) -> str:
    try:
        cls.Config.model_validate({"no_such_setting_of_any_method": 1})
    except ValidationError:
        pass
    else:
        raise Broken('Config takes unknown keys: derive it from MethodConfig, or set extra="forbid"')
    if not cls.Config.model_config.get("frozen"):
        raise Broken("Config is not frozen: derive it from MethodConfig")
    for kind, named in (("preset", cls.presets), ("ablation", cls.ablations)):
        for name, values in named.items():
            try:
                cls.Config.model_validate(dict(values))
            except ValidationError as error:
                raise Broken(f"{kind} '{name}': {explain_validation(error, cls.Config)}") from error
    return ", ".join(cls.Config.model_fields) or "no settings"


def _skip(reason: Any) -> str:
    if reason is not None and (not isinstance(reason, str) or not reason.strip() or "\n" in reason):
        raise Broken(f"skip must return None or one line, it returned {reason!r}")
    return reason or "runs here"


def _note(cls: type[Method], bench: Bench) -> str:
    note: Any = cls.note(bench.config, bench.context)
    if not isinstance(note, str) or "\n" in note:
        raise Broken(f"note must return one line, or an empty text; it returned {note!r}")
    return note or "nothing to say"


def _shape(bench: Bench) -> str:
    scores = bench.reference
    return f"{scores.shape[0]} x {scores.shape[1]}, {scores.min():.3g} to {scores.max():.3g}"


def _deterministic(bench: Bench) -> str:
    # One more fit serves two checks; only where it differs a third shows which of them fails.
    if not np.array_equal(bench.reference, bench.with_other_mos) and not np.array_equal(
        bench.reference, bench.scores()
    ):
        raise Broken("two runs with the same seed differ: draw from context.seed, or from what the harness has seeded")
    return "two runs agree to the last digit"


def _blind(bench: Bench) -> str:
    if not np.array_equal(bench.reference, bench.with_other_mos):
        raise Broken("scores change with the MOS of the test samples")
    hidden = bench.samples().subset(bench.split.test).hidden()
    try:
        _ = hidden.mos
    except HiddenMOSError:
        return "scores are the same for other test MOS"
    raise Broken("the MOS of samples to predict can be read")


def _order(bench: Bench) -> str:
    order = np.random.RandomState(7).permutation(len(bench.split.test))
    shuffled, _ = predict(bench.fitted[0], bench.samples().subset(bench.split.test[order]))
    return _agree(bench.reference[order], shuffled, "samples in another order")


def _refit_check(bench: Bench) -> Check:
    name = "a refit learns for the chosen epochs from everything"
    if not bench.cls.chooses_epoch(bench.config):
        return Check(name, None, "chooses no epoch")
    check = _run(name, lambda: _refit(bench))
    if check.passed and not bench.refitted.chosen:
        return Check(name, None, "does not tell which epoch it chose (Context.kept): it is fitted once, without refit")
    return check


def _refit(bench: Bench) -> str:
    again = bench.refitted
    if not again.chosen:
        return ""
    # By hand, and without a first fit before it: nothing of that one may be left in the second but its epochs.
    context = replace(bench.context, selection="last", chosen=again.chosen)
    fixed = fit_and_predict(bench.cls, bench.config, context, bench.samples(), bench.split)
    if not np.array_equal(again.scores, fixed.scores):
        worst = float(np.max(np.abs(again.scores - fixed.scores)))
        raise Broken(f"scores differ by up to {worst:.2g} from those of as many epochs on both parts")
    return ", ".join(f"{name}: epoch {epoch} of {of}" for name, (epoch, of) in again.chosen.items())


def _company(bench: Bench) -> str:
    # Another place, another seed, and half the samples: so one goes on after the other has ended.
    own = replace(bench.context, selection="refit")
    other = replace(own, seed=own.seed + 1, repeat=1)
    splits = [bench.split, replace(bench.split, repeat=1, train=bench.split.train[::2])]
    alone = fit_and_predict(bench.cls, bench.config, other, bench.samples(), splits[1]).scores
    together = fit_together_and_predict(bench.cls, bench.config, [own, other], bench.samples(), splits)
    for expected, found in zip((bench.refitted.scores, alone), together, strict=True):
        if isinstance(found, Exception):
            raise found
        if not np.array_equal(expected, found.scores):
            worst = float(np.max(np.abs(expected - found.scores)))
            raise Broken(
                f"scores differ by up to {worst:.2g}: a cell that is computed again, in other company, would be another"
            )
    return "two repeats together give the scores of each alone to the last digit"


def _saved(bench: Bench) -> str:
    state = bench.fitted[0].state()
    if state is None:
        return "cannot be saved with these settings"
    import torch

    odd = [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise Broken(f"state holds something that is not a tensor: {', '.join(odd)}")
    restored = bench.method(mos_ranges=bench.fitted[0].context.mos_ranges)
    # A tensor that was not saved would be drawn anew, and not as it was.
    seed_everything(bench.context.seed + 1, bench.cls)
    restored.prepare()
    restored.restore(state)
    scores, _ = predict(restored, bench.samples().subset(bench.split.test))
    if not np.array_equal(bench.reference, scores):
        worst = float(np.max(np.abs(bench.reference - scores)))
        raise Broken(
            f"a restored model's scores differ by up to {worst:.2g}: state lacks something, or prepare draws it"
        )
    return f"{len(state)} tensors give the same scores to the last digit"


def _alone(bench: Bench) -> str:
    few = [5, 2]
    scores, _ = predict(bench.method(), bench.samples().subset(bench.split.test[few]))
    return _agree(bench.reference[few], scores, "fewer samples at a time")


def _agree(expected: npt.NDArray[np.float64], found: npt.NDArray[np.float64], what: str) -> str:
    worst = float(np.max(np.abs(expected - found) / np.maximum(1.0, np.abs(expected))))
    if worst > TOLERANCE:
        raise Broken(f"{what} change a score by {worst:.2g}")
    return f"largest difference {worst:.1g}"
