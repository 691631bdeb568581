"""Planning: from a request to a plan, which decides all that a run does before it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agiqa_bench.backbones.method import ClipConfig
from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import (
    AgiqaError,
    BadImageError,
    ConfigError,
    PluginError,
    UnknownNameError,
    WeightsUnavailableError,
)
from agiqa_bench.evaluation.rules import SplitRule
from agiqa_bench.evaluation.splits import Split, make_splits
from agiqa_bench.execution.cell import known_ranges
from agiqa_bench.execution.code_digest import code_digest, may_use_torch
from agiqa_bench.execution.device import resolve_device
from agiqa_bench.execution.keys import FORMAT, key_of
from agiqa_bench.execution.plan import Plan, PlannedCell, PlannedMethod, cell_seed, shared_seed
from agiqa_bench.execution.request import (
    EVERY_ABLATION,
    MethodSpec,
    RunRequest,
    explain_validation,
)
from agiqa_bench.execution.selection import requested_methods
from agiqa_bench.method import Context, Method, MethodConfig
from agiqa_bench.named_file import expanded
from agiqa_bench.registry import method_registry

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset


def make_plan(request: RunRequest, say: Callable[[str], None] = lambda line: None) -> Plan:  # noqa: ARG005
    """Decide what runs: read the annotations, split, resolve methods and weights, and compute every cell's key.

    Args:
        request: What was asked for.
        say: Gets one line before anything is downloaded.

    Raises:
        AgiqaError: The request cannot be met: unknown names, settings that are not valid, data that are not there.
    """
    specs, forgiving = _requested_methods(request)
    dataset = requested_dataset(request)
    rule, splits, of_parts = _splits(request, dataset)
    _check_targets(request, dataset)
    classes, unusable = _load_methods(specs, forgiving=forgiving)
    _check_interpreters(request, classes)
    rows = [row for spec in specs if spec.name in classes for row in _rows(spec, classes[spec.name])]
    # Importing torch takes seconds, which a comparison that never uses it does not pay.
    light = not any(map(may_use_torch, classes.values()))
    device = "cpu" if light and request.device == "auto" else resolve_device(request.device)
    plan = Plan(request, dataset, rule, splits, [], device, say, unusable, splits_of_parts=of_parts)
    _plan_methods(plan, rows, classes, forgiving=forgiving)
    if request.shard is not None:
        _check_shard(request, plan.unusable)
    looking = [method for method in plan.methods if method.cls.uses_images and method.skip is None]
    if looking:
        try:
            plan.images_fingerprint = plan.images.fingerprint
        except BadImageError as error:
            for method in looking:
                method.skip = str(error)
    for method in plan.methods:
        if method.skip is None:
            _plan_cells(plan, method)
    return plan


def _plan_methods(plan: Plan, rows: list[MethodSpec], classes: dict[str, type[Method]], *, forgiving: bool) -> None:
    """Put the rows that were asked for into the plan, each once, without their cells."""
    for row in rows:
        try:
            method = _plan_method(plan, row, classes[row.name])
        except PluginError as error:
            if not forgiving:
                raise
            plan.unusable[row.name] = str(error)
            continue
        twin = next((other for other in plan.methods if other.label == method.label), None)
        if twin is None:
            if any(other.display == method.display for other in plan.methods):
                method.display = method.label  # two files of one name: their folders tell the rows apart
            plan.methods.append(method)
        elif twin.config != method.config:
            raise ConfigError(f"two different rows would be called '{method.label}': give them different labels")


def requested_dataset(request: RunRequest) -> Dataset:
    """The data set that is asked for, two as one with `train_on` and `test_on`; nothing is read yet.

    Raises:
        AgiqaError: There is no such data set, or the two cannot be joined.
    """
    if not request.crosses:
        return open_dataset(
            request.dataset,
            request.data_root,
            annotations_only=request.annotations_only,
            mos_ranges=request.mos_range,
        )
    from agiqa_bench.data.joined import open_joined

    return open_joined(
        request.train_on,
        request.test_on,
        request.data_root,
        annotations_only=request.annotations_only,
        mos_ranges=request.mos_range,
    )


def _check_targets(request: RunRequest, dataset: Dataset) -> None:
    known = [target.name for target in dataset.targets]
    for name in request.targets:
        if name not in known:
            raise UnknownNameError(f"target of {dataset.name}", name, known)


def _check_interpreters(request: RunRequest, classes: dict[str, type[Method]]) -> None:
    for name in request.python_for:
        if name in classes and not classes[name].takes_python:
            raise ConfigError(f"--python-for {name}: this method runs in this interpreter alone; leave the option out")


def _check_shard(request: RunRequest, unusable: dict[str, str]) -> None:
    """Shards are parts of one numbered list of tasks, and those of a method that is not there have no number."""
    for name, why in unusable.items():
        raise ConfigError(
            f"--shard: {why}; its tasks cannot be counted here, and the shards of other machines would be others: mend "
            f"it, or leave it out on all of them (--methods {','.join(request.methods)},-{name})"
        )


def _requested_methods(request: RunRequest) -> tuple[list[MethodSpec], bool]:
    specs, forgiving = requested_methods(request.methods, method_registry())
    names = {spec.name for spec in specs}
    for name in request.settings:
        if name not in names:
            raise UnknownNameError("method in --set", name, names, "(it must be among --methods)")
    for name in request.python_for:
        if name not in names:
            raise UnknownNameError("method in --python-for", name, names, "(it must be among --methods)")
    return specs, forgiving


def _splits(
    request: RunRequest, dataset: Dataset
) -> tuple[SplitRule, tuple[Split, ...], tuple[tuple[Split, ...], ...]]:
    """The rule, the splits of the data set, and those of each of its parts."""
    if request.splits_file is not None:
        from agiqa_bench.evaluation.split_file import import_splits

        imported = import_splits(
            request.splits_file, dataset.samples, dataset=dataset.name, fingerprint=dataset.fingerprint
        )
        return imported.rule, imported.splits, (imported.splits,)
    of_parts = tuple(
        make_splits(part.samples, part.name, request.split, request.repeats, request.seed) for part in dataset.parts
    )
    if len(of_parts) == 1:
        return request.split, of_parts[0], of_parts
    from agiqa_bench.evaluation.cross_splits import cross_splits

    return request.split, cross_splits(dataset.samples, len(dataset.parts[0].samples), *of_parts), of_parts


def _load_methods(specs: list[MethodSpec], *, forgiving: bool) -> tuple[dict[str, type[Method]], dict[str, str]]:
    """The methods' classes, and why some cannot be loaded; only a group of methods forgives that."""
    classes, unusable = {}, {}
    for spec in specs:
        try:
            classes[spec.name] = method_registry().load(spec.name)
        except PluginError as error:
            if not forgiving:
                raise
            unusable[spec.name] = str(error)
    return classes, unusable


def _rows(spec: MethodSpec, cls: type[Method]) -> list[MethodSpec]:
    """The rows that were asked for: one, or with `name[ablation]` each of the ablation table."""
    if spec.ablation is None:
        return [spec]
    if not cls.ablations:
        raise ConfigError(f"method '{spec.name}' has no ablations: leave out [ablation]")
    if spec.ablation == EVERY_ABLATION:
        return [replace(spec, ablation=row) for row in cls.ablations]
    if spec.ablation not in cls.ablations:
        hint = f"(see 'agiqa-bench methods info {spec.name}')"
        raise UnknownNameError(f"ablation of {spec.name}", spec.ablation, cls.ablations, hint)
    return [spec]


@dataclass(frozen=True)
class _Settings:
    """The settings of one row.

    Attributes:
        preset: The preset that they begin with; empty if the method has none of that name.
        given: Those that the request gives for this row.
        values: All that are not the method's defaults.
        asked: Names of those that the user asked for: given, of the ablation, or by `--backbone`.
    """

    preset: str
    given: dict[str, Any]
    values: dict[str, Any]
    asked: set[str]


def _settings(plan: Plan, spec: MethodSpec, cls: type[Method]) -> _Settings:
    request = plan.request
    preset = plan.dataset.preset if request.preset == "auto" else request.preset
    base = cls.presets.get(preset, {})
    takes_backbone = request.backbone is not None and issubclass(cls.Config, ClipConfig)
    backbone = {"backbone": request.backbone} if takes_backbone else {}
    ablation = cls.ablations[spec.ablation] if spec.ablation is not None else {}
    given = request.settings.get(spec.name, {}) | dict(spec.settings)
    return _Settings(
        preset=preset if base else "",
        given=given,
        values={**base, **backbone, **ablation, **given},
        asked={*backbone, *ablation, *given},
    )


def _plan_method(plan: Plan, spec: MethodSpec, cls: type[Method]) -> PlannedMethod:
    """Resolve settings, targets and weights of one row, whose ablation is one of the method's."""
    settings = _settings(plan, spec, cls)
    config, context = _config(cls, spec.name, settings.values), _context(plan, spec, cls)
    row_name, shown = cls.row_name(config), {key: _without_folder(value) for key, value in settings.given.items()}
    label, display = spec.name + _suffix(spec, row_name, settings.given), cls.title + _suffix(spec, row_name, shown)
    method = PlannedMethod(label, display, cls, config, context, preset=settings.preset)
    method.skip = _skip_reason(plan, method)
    try:
        method.skip = method.skip or cls.skip(config, context)
        if method.skip is None:
            _resolve_weights(method, settings.values, settings.asked, stand_ins=plan.request.stand_ins)
        if method.skip is None:
            own = " ".join(cls.note(method.config, context).split())
            blank = _without_prompt(plan, cls)
            given = f"given empty prompts: {blank}" if blank else ""
            method.note = "; ".join(filter(None, (method.note, own, given)))
    except AgiqaError:
        raise
    except Exception as error:  # a method's own code may fail in any way
        text = f"{type(error).__name__}: {error}"
        raise PluginError(f"method '{spec.name}' cannot be planned: {' '.join(text.split())}") from error
    return method


def _context(plan: Plan, spec: MethodSpec, cls: type[Method]) -> Context:
    """What all cells of a row are told, with the targets that it predicts."""
    request, dataset = plan.request, plan.dataset
    targets = tuple(
        target.name
        for target in dataset.targets
        if target.judges(cls.targets) and (not request.targets or target.name in request.targets)
    )
    return Context(
        dataset=dataset.parts[0].name,
        targets=targets,
        mos_ranges={target.name: target.mos_range for target in dataset.learnt},
        device=plan.device,
        precision=request.precision,
        batch_size=request.batch_size,
        # The key of zero-shot scores holds no seed, so there is none to draw from.
        shared_seed=shared_seed(plan, cls) if cls.trainable else 0,
        selection=request.select,
        offline=request.offline,
        python=request.python_for.get(spec.name),
        deterministic=request.deterministic,
    )


def _suffix(spec: MethodSpec, row_name: str, given: dict[str, Any]) -> str:
    """What tells a row from others of its method: `[ablation,settings]`, or its own name in place of the settings."""
    inline = [spec.ablation] if spec.ablation is not None else []
    inline += [row_name] if row_name else [f"{key}={value}" for key, value in given.items()]
    return f"[{','.join(inline)}]" if inline else ""


def _without_folder(value: Any) -> Any:
    """A setting as tables show it, a file or folder by its name: `vgg16:/path/to/file.pth` as `vgg16:file.pth`."""
    if not isinstance(value, str):
        return value
    before, colon, file = value.rpartition(":")
    path = expanded(Path(file))
    try:
        return f"{before}{colon}{path.name}" if path.name and path.exists() else value
    except (OSError, ValueError):  # a text that no file can be called
        return value


def _config(cls: type[Method], name: str, values: dict[str, Any]) -> MethodConfig:
    try:
        return cls.Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"method '{name}': {explain_validation(error, cls.Config)}") from error


def _skip_reason(plan: Plan, method: PlannedMethod) -> str | None:
    dataset, request = plan.dataset, plan.request
    if not method.context.targets:
        rated = ", ".join(target.name for target in dataset.targets)
        wanted = f"; --targets asks for {', '.join(request.targets)}" if request.targets else ""
        predicted = ", ".join(method.cls.targets).replace("*", "anything")
        whose = f"{dataset.name} rates" if len(dataset.parts) == 1 else "both data sets rate"
        return f"predicts {predicted}; {whose} {rated}{wanted}"
    if method.cls.uses_images:
        if dataset.annotations_only:
            return "needs images; --annotations-only was given"
        for part in dataset.parts:
            if part.has_images:
                continue
            missing = part.missing_images
            remedy = f"get them with 'agiqa-bench datasets download {part.name}' or give --data-root"
            if not part.sources:
                remedy = "mend the paths, or give the images' folder with --data-root"
            whose = f" of {part.title}" if len(dataset.parts) > 1 else ""
            found = f"{len(missing)} of {len(part.samples)}{whose} are missing (first: {missing[0]})"
            return f"needs images, and {found}; {remedy}"
    blank = _without_prompt(plan, method.cls)
    return f"needs prompts, and {blank}; fill them in" if blank and not method.cls.prompt_optional else None


def _without_prompt(plan: Plan, cls: type[Method]) -> str:
    """Which rows that a method sees have no prompt, if it uses prompts; empty if none."""
    table = plan.dataset.samples
    if not cls.uses_prompt:
        return ""
    rows = range(len(table)) if cls.trainable else plan.scored_rows.tolist()
    prompts, images = (table[name].to_numpy() for name in ("prompt", "image"))
    blank = [row for row in rows if not str(prompts[row]).strip()]
    return f"{len(blank)} of {len(rows)} rows have none (first: {images[blank[0]]})" if blank else ""


def _resolve_weights(method: PlannedMethod, values: dict[str, Any], asked: set[str], *, stand_ins: bool) -> None:
    """Find the weights; where the real ones cannot be had, take the stand-in under its own name, or skip.

    Weights that the user asked for by name have no stand-in: the row would carry the one's name and the other's
    numbers.
    """
    cls = method.cls
    try:
        method.weights = cls.weights(method.config, method.context)
    except WeightsUnavailableError as unavailable:
        method.skip = str(unavailable)
        if not stand_ins or not unavailable.stand_in or asked & unavailable.stand_in.keys():
            return
        config = _config(cls, method.label, values | unavailable.stand_in)
        try:
            method.weights = cls.weights(config, method.context)
        except WeightsUnavailableError as also:
            method.skip = f"{unavailable}; its stand-in neither: {also}"
            return
        method.config, method.note, method.skip = config, str(unavailable), None
    marks = [weights.stand_in for weights in method.weights if weights.stand_in]
    if marks:
        mark = f" ({', '.join(dict.fromkeys(marks))})"
        method.label += mark
        method.display += mark


def _plan_cells(plan: Plan, method: PlannedMethod) -> None:
    method.code = code_digest(method.cls)
    request, cls = plan.request, method.cls
    common: dict[str, Any] = {
        "format": FORMAT,
        "method": cls.name,
        "code": method.code.sources,
        "libraries": method.code.libraries,
        "config": method.config.model_dump(mode="json"),
        "weights": [weights.digest for weights in method.weights],
        "annotations": plan.dataset.fingerprint,
        "images": plan.images_fingerprint if cls.uses_images else None,
        "targets": list(method.context.targets),
        # All of them: a method with an auxiliary task learns from more than its own targets.
        "mos_ranges": {name: limits and list(limits) for name, limits in method.context.mos_ranges.items()},
        "precision": method.context.precision,
    }
    if plan.dataset.candidates != "prompt":
        common["candidates"] = plan.dataset.candidates
    if request.deterministic and method.context.device.startswith("cuda"):
        common["deterministic"] = True
    if not cls.trainable:
        method.score_components = common
        method.score_key = key_of(common)
    samples = Samples(plan.dataset.samples, method.context.targets)
    for split in plan.splits:
        components = common | {"split": split.digest}
        if cls.trainable:
            components |= {
                "selection": request.select if cls.chooses_epoch(method.config) else None,
                "seed": cell_seed(plan, method, split.repeat),
                "batch_size": request.batch_size,
                "mos_ranges": {
                    name: list(limits)
                    for name, limits in known_ranges(method.context.mos_ranges, samples, split).items()
                },
            }
        method.cells.append(PlannedCell(split.repeat, key_of(components), components))
