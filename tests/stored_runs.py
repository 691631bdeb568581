"""Stores as `agiqa-bench run` writes them, made in seconds and without training, for tests of what reads a store.

Tests take the fixture `stored_runs`, which is this module:

    def test_report(stored_runs, tmp_path):
        store = stored_runs.make_store(tmp_path / "run", methods=4, repeats=3, images=120)
        results = read_results(store)

The splits, the plan, the predictions, the metrics and the layout on the disk are those of the harness itself; only the
scores are made up: MOS, blurred by noise and by a liking for some generators, the first method the best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from agiqa_bench.data.dataset import Dataset, Target
from agiqa_bench.data.samples import Samples
from agiqa_bench.evaluation.splits import make_splits
from agiqa_bench.execution import tasks
from agiqa_bench.execution.cell import Costs, measure
from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.keys import key_of
from agiqa_bench.execution.plan import Plan, PlannedCell, PlannedMethod
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import describe_plan
from agiqa_bench.execution.store import Store
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.seeds import derive_seed

EPOCHS = 5
SCALE = (0.0, 5.0)
HOSTILE_PROMPT = "50% of a <b>cat</b> & a_dog, \"$x^2$\" | 'étude' \\ #1 {~}"
"""The prompt of the first group: it needs escaping in LaTeX, Markdown, HTML and CSV."""


def make_store(
    root: Path,
    dataset: str = "toy",
    methods: int = 20,
    repeats: int = 10,
    images: int = 3000,
    targets: Sequence[str] = ("quality",),
    seed: int = 0,
    split: str = "grouped",
    select: str = "refit",
    names: Sequence[str] | None = None,
    history: bool = True,
    *,
    generators: int = 10,
    skills: Sequence[float] | None = None,
    skipped: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
    finished: Mapping[str, int] | None = None,
    stand_ins: Collection[str] = (),
    constant: Collection[str] = (),
    pictures: bool = False,
    synthetic: bool = False,
    approximate: bool = False,
    pixels: str = "",
) -> Store:
    """Write what one command leaves behind, and return its store; a second call on one folder is a second command.

    The methods take turns: trained with epochs and weights, handcrafted with kept features, zero-shot; the last of two
    or more is a diagnostic baseline that knows the generator only. A method's registry name is `m00`, `m01` ...

    Args:
        root: The folder.
        dataset: The data set's name; its title is `Toy` for `toy`.
        methods: Number of rows.
        repeats: Number of splits; under the split `generator` there are as many as generators.
        images: Number of images: `images // generators` prompts, each with every generator.
        targets: What is rated, on a scale from 0 to 5.
        seed: Of the splits, the ratings and the scores.
        split: `grouped`, `image` or `generator`.
        select: How epochs are chosen; recorded, and with `refit` there is a history of a second training.
        names: Display names, one per method, which are the labels too; by default `Method 00` ...
        history: Whether trained methods have one.
        generators: Number of generators, two of each family.
        skills: Correlation that each method aims at, in [-1, 1]; by default from 0.95 down to 0.2.
        skipped: Further rows that were skipped, by name, and why.
        failed: Rows whose cells have all failed, by name, and why.
        finished: Number of finished repeats of rows that are not complete, by name.
        stand_ins: Names of the rows that ran with a stand-in; it is added to their names.
        constant: Names of the rows whose scores never vary, so that nothing is defined.
        pictures: Whether image files are written, 24 x 24 pixels, and named in `path`.
        synthetic: Whether the data set says that no person rated it.
        approximate: Compute the metrics of the first two repeats only and vary those by a trifle for the others: for
            stores that must be large and whose numbers do not matter.
        pixels: Stands for what the image files hold: with another text they are other files.
    """
    skipped, failed, finished = skipped or {}, failed or {}, finished or {}
    names = list(names) if names is not None else [f"Method {number:02d}" for number in range(methods)]
    data = _dataset(dataset, images, tuple(targets), seed, generators, synthetic, root if pictures else None)
    splits = make_splits(data.samples, dataset, split, repeats, seed)  # type: ignore[arg-type]
    request = RunRequest(
        dataset=dataset,
        split=split,
        repeats=repeats,
        seed=seed,
        select=select,
        output=root,  # type: ignore[arg-type]
    )
    plan = Plan(request, data, split, splits, [], "cpu", print)  # type: ignore[arg-type]
    plan.images_fingerprint = _digest(seed, dataset, "images", pixels)
    store = Store(root)
    store.prepare()
    store_inputs(plan, store)
    skills = np.linspace(0.95, 0.2, len(names)).tolist() if skills is None else list(skills)
    for number, (name, skill) in enumerate(zip(names, skills, strict=True)):
        blind = number == len(names) - 1 > 0
        method = _planned(plan, number, name, blind=blind, stand_in=name in stand_ins)
        plan.methods.append(method)
        if name in failed:
            _write_failures(store, method, failed[name])
            continue
        wanted = method.cells[: finished.get(name, len(method.cells))]
        scores = _scores(plan, number, skill, blind=blind, constant=name in constant)
        _write_cells(plan, store, method, wanted, scores, history, approximate)
    for number, (name, why) in enumerate(skipped.items(), start=len(names)):
        method = _planned(plan, number, name, blind=False, stand_in=False)
        method.skip, method.cells = why, []
        plan.methods.append(method)
    _write_plan(plan, store, failed)
    return store


def _digest(*parts: object) -> str:
    """64 hexadecimal digits that depend on the parts."""
    return key_of({"parts": [str(part) for part in parts]})


# The data set


def _dataset(
    name: str, images: int, targets: tuple[str, ...], seed: int, generators: int, synthetic: bool, root: Path | None
) -> Dataset:
    table = _table(name, images, targets, seed, generators)
    if root is not None:
        table["path"] = _draw(table, targets[0], root / "images")
    facts = {
        "name": name,
        "title": name.capitalize(),
        "targets": tuple(Target(target, SCALE) for target in targets),
        "citation": f"@misc{{{name},\n  title = {{{name.capitalize()}}}\n}}",
        "licence": "public domain",
        "synthetic": synthetic,
        "read": lambda self: (table, ()),
    }
    made: type[Dataset] = type(f"Toy_{name}", (Dataset,), facts)
    return made()


def _table(name: str, images: int, targets: tuple[str, ...], seed: int, generators: int) -> pd.DataFrame:
    draw = np.random.default_rng(derive_seed(seed, name, "ratings"))
    generator = np.arange(images) % generators
    prompt = np.arange(images) // generators
    table = pd.DataFrame(
        {
            "image": [f"{name}_{p:04d}_{g:02d}.png" for p, g in zip(prompt, generator, strict=True)],
            "path": "",
            "prompt": [f"a picture of thing number {p}" if p else HOSTILE_PROMPT for p in prompt],
            "group": [f"p{p:04d}" for p in prompt],
            "generator": [f"gen-{g:02d}" for g in generator],
            "family": [f"family-{g // 2}" for g in generator],
        }
    )
    for target in targets:
        liking = draw.normal(0, 0.7, generators)[generator] + draw.normal(0, 0.4, prompt.max() + 1)[prompt]
        mos = 2.5 + liking + draw.normal(0, 0.5, images)
        table[f"mos_{target}"] = np.clip(mos, *SCALE).round(4)
    return table


def _draw(table: pd.DataFrame, target: str, folder: Path) -> list[str]:
    """One small picture per row, the greener the better rated."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for image, mos in zip(table["image"], table[f"mos_{target}"], strict=True):
        green = round(50 * mos)
        Image.new("RGB", (24, 24), (250 - green, green, 90)).save(folder / image)
        paths.append(str((folder / image).absolute()))
    return paths


# Methods


class _ToyConfig(MethodConfig):
    strength: int = 1


def _planned(plan: Plan, number: int, name: str, *, blind: bool, stand_in: bool) -> PlannedMethod:
    kind = "blind" if blind else ("deep", "handcrafted", "zero-shot")[number % 3]
    facts: dict[str, Any] = {
        "name": f"m{number:02d}",
        "title": name,
        "targets": ("*",),
        "uses_images": not blind,
        "trainable": kind != "zero-shot",
        "selects_epoch": kind == "deep",
        "diagnostic": blind,
        "keeps_features": kind == "handcrafted",
        "citation": f"@misc{{m{number:02d},\n  title = {{Method {number:02d}}},\n  year = {{{2000 + number}}}\n}}",
        "predict": lambda self, samples: np.zeros(len(samples)),
    }
    cls: type[Method] = type(f"Toy{number:02d}", (Method,), facts)
    names = tuple(target.name for target in plan.dataset.targets)
    method = PlannedMethod(name, name, cls, _ToyConfig(), Context(dataset=plan.dataset.name, targets=names))
    if kind == "deep" or stand_in:
        mark = "toy stand-in" if stand_in else ""
        method.weights = (Weights(f"weights-{number:02d}", _digest(number, mark), mark),)
    if stand_in:
        method.label = method.display = f"{name} (toy stand-in)"
    common = {"method": cls.name, "annotations": plan.dataset.fingerprint, "config": {"strength": 1}}
    if kind == "zero-shot":
        method.score_components, method.score_key = common, key_of(common)
    for split in plan.splits:
        components = common | {"split": split.digest, "selection": plan.request.select if kind == "deep" else None}
        method.cells.append(PlannedCell(split.repeat, key_of(components), components))
    return method


def _scores(plan: Plan, number: int, skill: float, *, blind: bool, constant: bool) -> np.ndarray:
    """Scores (repeats, rows, targets) of all rows."""
    table, targets = plan.dataset.samples, [target.name for target in plan.dataset.targets]
    draw = np.random.default_rng(derive_seed(plan.request.seed, plan.dataset.name, number, "scores"))
    shape = (len(plan.splits), len(table), len(targets))
    if constant:
        return np.ones(shape)
    mos = table[[f"mos_{target}" for target in targets]]
    if blind:
        liked = mos.groupby(table["generator"]).transform("mean").to_numpy()
        return np.broadcast_to(liked, shape)
    known = ((mos - mos.mean()) / mos.std()).to_numpy()
    # The larger part of a method's errors is its own, the smaller part that of a training.
    own, training = draw.normal(size=shape[1:]), draw.normal(size=shape)
    noise = own if number % 3 == 2 else 0.9 * own + np.sqrt(1 - 0.81) * training
    return np.broadcast_to(skill * known + np.sqrt(1 - skill**2) * noise, shape)


# What lies in the store


def _write_cells(
    plan: Plan,
    store: Store,
    method: PlannedMethod,
    wanted: list[PlannedCell],
    scores: np.ndarray,
    history: bool,
    approximate: bool,
) -> None:
    samples = Samples(plan.dataset.samples, method.context.targets)
    draw = np.random.default_rng(derive_seed(plan.request.seed, method.label, "costs"))
    if method.score_key is not None:
        record = tasks._record(plan, method, tasks.now(), _costs(method, 0.0, len(samples)))
        components = {"components": method.score_components}
        store.write_scores(method.label, method.score_key, record | components, scores[0], method.context.targets)
    measured: list[dict[str, Any]] = []
    for number, cell in enumerate(wanted):
        rows = plan.splits[number].test
        predicted = scores[number][rows]
        if method.score_key is None:
            costs = _costs(method, 30 + float(draw.normal()), len(rows))
            record = tasks._record(plan, method, tasks.now(), costs)
        if approximate and number > 1:
            metrics = _varied(measured[number % 2], draw)
        else:
            metrics = measure(samples, rows, predicted)
            measured.append(metrics)
        epochs = _history(draw, refit=plan.request.select == "refit") if method.cls.selects_epoch else []
        best = [int(entry["epoch"] or 0) for entry in epochs if entry.get("chosen")]
        chosen = {"model": [*best, EPOCHS]} if best else {}
        cell.result = store.write_cell(
            method.label,
            cell.repeat,
            cell.key,
            record | {"repeat": cell.repeat, "components": cell.components, "metrics": metrics, "chosen": chosen},
            tasks._predictions(samples, rows, predicted),
            epochs if history else [],
        )


def _costs(method: PlannedMethod, fit_seconds: float, images: int) -> Costs:
    """2 ms per image and 1 GiB of memory; methods with weights have 2 million parameters and learn half of them."""
    counts = (2_000_000, 1_000_000) if method.weights else (None, None)
    return Costs(fit_seconds, 0.002 * images, images, None, 2**30, *counts)


def _write_failures(store: Store, method: PlannedMethod, why: str) -> None:
    for cell in method.cells:
        record = {"error": "RuntimeError", "line": why, "traceback": "", "time": tasks.now(), "method": method.label}
        store.write_failure(method.label, f"{cell.repeat:02d}", cell.key, record)


def _varied(metrics: dict[str, Any], draw: np.random.Generator) -> dict[str, Any]:
    """The metrics of another cell, each number changed by a trifle."""
    copy = deepcopy(metrics)
    for values in copy.values():
        for part in (values, *values["per_generator"].values()):
            for key, value in part.items():
                if isinstance(value, float):
                    part[key] = value - abs(0.01 * float(draw.normal()))
    return copy


def _history(draw: np.random.Generator, *, refit: bool) -> list[dict[str, float | None]]:
    best = int(draw.integers(1, EPOCHS + 1))
    first = [
        {
            "epoch": float(epoch),
            "loss": 2.0 / epoch + 0.1 * float(draw.random()),
            "learning_rate": 1e-4,
            "validation": 0.8 - 0.05 * abs(best - epoch),
            "chosen": float(epoch == best),
        }
        for epoch in range(1, EPOCHS + 1)
    ]
    again = [
        {"epoch": float(epoch), "loss": 1.9 / epoch, "learning_rate": 1e-4, "refit": 1.0}
        for epoch in range(1, best + 1)
    ]
    return [*first, *again] if refit else first


def _write_plan(plan: Plan, store: Store, failed: Mapping[str, str]) -> None:
    record = describe_plan(plan)
    failures = [
        (method.label, f"repeat {cell.repeat}", failed[method.cls.title])
        for method in plan.methods
        if method.cls.title in failed
        for cell in method.cells
    ]
    computed = sum(cell.result is not None for method in plan.methods for cell in method.cells)
    ending = {"computed": computed, "failures": failures, "interrupted": False}
    store.write_plan(store.new_plan_id(), record | {"ended": tasks.now(), "outcome": ending})
