"""Planning: from a request to the cells that are to be computed, and those that are already there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import (
    AgiqaError,
    BadImageError,
    ConfigError,
    DataNotFoundError,
    PluginError,
    UnknownNameError,
    WeightsUnavailableError,
)
from agiqa_bench.evaluation.splits import Split, SplitRule, make_splits, splits_digest
from agiqa_bench.execution.code_digest import CodeDigest, code_digest
from agiqa_bench.execution.device import resolve_device
from agiqa_bench.execution.keys import FORMAT, changed_components, key_of
from agiqa_bench.execution.request import MethodSpec, RunRequest, explain_validation, parse_method
from agiqa_bench.execution.store import CellResult, Store
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.registry import method_registry
from agiqa_bench.seeds import derive_seed

_LIGHT = {"numpy", "pandas", "scipy", "sklearn"}
"""Libraries that do not bring torch with them."""

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset
    from agiqa_bench.data.image_cache import ImageCache


@dataclass
class PlannedCell:
    """One method under one split."""

    repeat: int
    key: str
    components: dict[str, Any]
    result: CellResult | None = None


@dataclass
class PlannedMethod:
    """One row of the comparison.

    Attributes:
        label: Name in the store: `name`, with `[settings]` that the user gave and ` (stand-in)`.
        display: The same for people, with the method's title.
        preset: The preset whose settings it runs with; empty if that changes nothing.
        note: What a reader must know about this row, e.g. why a stand-in is used.
        skip: Why it does not run here; None if it does.
        score_key: Key of the zero-shot scores; None for a trained method.
        changed: In what the missing cells differ from stored ones of the same row, e.g. `code`.
    """

    label: str
    display: str
    cls: type[Method]
    config: MethodConfig
    context: Context
    weights: tuple[Weights, ...] = ()
    code: CodeDigest | None = None
    preset: str = ""
    note: str = ""
    skip: str | None = None
    score_key: str | None = None
    score_components: dict[str, Any] = field(default_factory=dict)
    cells: list[PlannedCell] = field(default_factory=list)
    changed: tuple[str, ...] = ()

    @property
    def missing(self) -> list[PlannedCell]:
        """The cells that are not in the store."""
        return [cell for cell in self.cells if cell.result is None]


@dataclass
class Plan:
    """All that a run does, decided before it begins.

    Attributes:
        rule: The split rule; of imported splits the one in the file.
        say: Gets one line before anything is downloaded.
        unusable: Why a registered method cannot even be loaded, by name.
        images_fingerprint: Digest of all image files; None if no method looks at them.
        step: Told (done, total, what) while images are decoded; whoever watches the run sets it.
    """

    request: RunRequest
    dataset: Dataset
    rule: SplitRule
    splits: tuple[Split, ...]
    methods: list[PlannedMethod]
    device: str
    say: Callable[[str], None]
    unusable: dict[str, str] = field(default_factory=dict)
    step: Callable[[int, int, str], None] = lambda done, total, what: None  # noqa: ARG005
    images_fingerprint: str | None = None
    _bad_images: AgiqaError | None = None

    @cached_property
    def images(self) -> ImageCache:
        """The images of all rows, decoded on first use."""
        if not self.dataset.has_images:
            raise DataNotFoundError(
                f"data set '{self.dataset.name}': images are missing; {self.dataset.describe_sources()}"
            )
        from agiqa_bench.data.image_cache import ImageCache

        paths = [Path(path) for path in self.dataset.samples["path"]]
        return ImageCache(paths, progress=lambda *progress: self.step(*progress))

    def decode_images(self) -> None:
        """Decode the images before the first method that looks at them, so that no method is billed for it.

        Bad images are found here once; each method that looks at images then fails with that line.
        """
        try:
            _ = self.images.store
        except AgiqaError as error:
            self._bad_images = error

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What must agree for two runs to be comparable, JSON-ready."""
        request = self.request
        return {
            "dataset": self.dataset.name,
            "annotations": self.dataset.fingerprint,
            "synthetic": self.dataset.synthetic,
            "split": self.rule,
            "splits_digest": splits_digest(self.splits),
            "repeats": len(self.splits),
            "seed": request.seed,
            "select": request.select,
            "leaked_prompts": _mean([split.leakage.group for split in self.splits]),
            "leaked_generators": _mean([split.leakage.generator for split in self.splits]),
        }

    def samples(self, method: PlannedMethod) -> Samples:
        """All rows of the data set as `method` may see them.

        Raises:
            AgiqaError: It looks at images, and they cannot be decoded or stored.
        """
        if method.cls.uses_images and self._bad_images is not None:
            raise self._bad_images
        images = self.images if method.cls.uses_images else None
        return Samples(self.dataset.samples, method.context.targets, images)

    def find_results(self, store: Store) -> None:
        """Look up which cells are finished, and why others are not the ones that are stored."""
        for method in self.methods:
            for cell in method.cells:
                if cell.result is None:
                    cell.result = store.find_cell(method.label, cell.repeat, cell.key)
            for cell in method.missing[:1]:
                other = store.find_other_cell(method.label, cell.repeat, cell.key)
                if other is not None:
                    method.changed = tuple(changed_components(other["components"], cell.components))


def make_plan(request: RunRequest, say: Callable[[str], None] = lambda line: None) -> Plan:  # noqa: ARG005
    """Decide what runs: read the annotations, split, resolve methods and weights, and compute every cell's key.

    Args:
        request: What was asked for.
        say: Gets one line before anything is downloaded.

    Raises:
        AgiqaError: The request cannot be met: unknown names, settings that are not valid, data that are not there.
    """
    specs = _requested_methods(request)
    dataset = open_dataset(request.dataset, request.data_root, annotations_only=request.annotations_only)
    rule, splits = _splits(request, dataset)
    _check_targets(request, dataset)
    forgiving = "all" in request.methods
    classes, unusable = _load_methods(specs, forgiving=forgiving)
    # Importing torch takes seconds, which a comparison that never uses it does not pay.
    light = not any(cls.uses_images or set(code_digest(cls).libraries) - _LIGHT for cls in classes.values())
    device = "cpu" if light and request.device == "auto" else resolve_device(request.device)
    plan = Plan(request, dataset, rule, splits, [], device, say, unusable)
    for spec in specs:
        if spec.name not in classes:
            continue
        try:
            method = _plan_method(plan, spec, classes[spec.name])
        except PluginError as error:
            if not forgiving:
                raise
            unusable[spec.name] = str(error)
            continue
        if all(method.label != other.label for other in plan.methods):
            plan.methods.append(method)
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


def _check_targets(request: RunRequest, dataset: Dataset) -> None:
    known = [target.name for target in dataset.targets]
    for name in request.targets:
        if name not in known:
            raise UnknownNameError(f"target of {dataset.name}", name, known)


def _requested_methods(request: RunRequest) -> list[MethodSpec]:
    registry = method_registry()
    specs: list[MethodSpec] = []
    for text in request.methods:
        if text == "all":
            specs.extend(MethodSpec(name) for name in registry.names())
            continue
        spec = parse_method(text)
        if spec.name not in registry:
            registry.load(spec.name)  # raises, with suggestions
        specs.append(spec)
    if not specs:
        raise ConfigError("no method was asked for: give --methods NAME,NAME or --methods all")
    names = {spec.name for spec in specs}
    for name in request.settings:
        if name not in names:
            raise UnknownNameError("method in --set", name, names, "(it must be among --methods)")
    return specs


def _splits(request: RunRequest, dataset: Dataset) -> tuple[SplitRule, tuple[Split, ...]]:
    if request.splits_file is not None:
        from agiqa_bench.evaluation.split_file import import_splits

        imported = import_splits(
            request.splits_file, dataset.samples, dataset=dataset.name, fingerprint=dataset.fingerprint
        )
        return imported.rule, imported.splits
    splits = make_splits(dataset.samples, dataset.name, request.split, request.repeats, request.seed)
    return request.split, splits


def _load_methods(specs: list[MethodSpec], *, forgiving: bool) -> tuple[dict[str, type[Method]], dict[str, str]]:
    """The methods' classes, and why some cannot be loaded; only "all" forgives that."""
    classes, unusable = {}, {}
    for spec in specs:
        try:
            classes[spec.name] = method_registry().load(spec.name)
        except PluginError as error:
            if not forgiving:
                raise
            unusable[spec.name] = str(error)
    return classes, unusable


def _plan_method(plan: Plan, spec: MethodSpec, cls: type[Method]) -> PlannedMethod:
    """Resolve settings, targets and weights of one method."""
    request, dataset = plan.request, plan.dataset
    given = request.settings.get(spec.name, {}) | dict(spec.settings)
    preset = dataset.preset if request.preset == "auto" else request.preset
    base = dict(cls.presets.get(preset, {}))
    if request.backbone is not None and "backbone" in cls.Config.model_fields:
        base["backbone"] = request.backbone
    config = _config(cls, spec.name, base | given)
    targets = tuple(
        target.name
        for target in dataset.targets
        if target.judges(cls.targets) and (not request.targets or target.name in request.targets)
    )
    context = Context(
        dataset=dataset.name,
        targets=targets,
        mos_ranges={target.name: target.mos_range for target in dataset.targets},
        device=plan.device,
        precision=request.precision,
        batch_size=request.batch_size,
        selection=request.select,
        offline=request.offline,
    )
    inline = ",".join(f"{key}={value}" for key, value in given.items())
    suffix = f"[{inline}]" if inline else ""
    method = PlannedMethod(spec.name + suffix, cls.title + suffix, cls, config, context)
    method.preset = preset if cls.presets.get(preset) else ""
    asked = set(given) | ({"backbone"} if request.backbone is not None else set())
    method.skip = _skip_reason(plan, method)
    try:
        method.skip = method.skip or cls.skip(config, context)
        if method.skip is None:
            _resolve_weights(method, base | given, asked, stand_ins=request.stand_ins)
    except AgiqaError:
        raise
    except Exception as error:  # a method's own code may fail in any way
        text = f"{type(error).__name__}: {error}"
        raise PluginError(f"method '{spec.name}' cannot be planned: {' '.join(text.split())}") from error
    return method


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
        return f"predicts {predicted}; {dataset.name} rates {rated}{wanted}"
    if method.cls.uses_images:
        if dataset.annotations_only:
            return "needs images; --annotations-only was given"
        if not dataset.has_images:
            missing = dataset.missing_images
            remedy = f"get them with 'agiqa-bench datasets download {dataset.name}' or give --data-root"
            if not dataset.sources:
                remedy = "mend the paths, or give the images' folder with --data-root"
            found = f"{len(missing)} of {len(dataset.samples)} are missing (first: {missing[0]})"
            return f"needs images, and {found}; {remedy}"
    return None


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
        "mos_ranges": {name: list(method.context.mos_ranges[name]) for name in method.context.targets},
        "precision": method.context.precision,
    }
    if not cls.trainable:
        method.score_components = common
        method.score_key = key_of(common)
    for split in plan.splits:
        components = common | {"split": split.digest}
        if cls.trainable:
            components |= {
                "selection": request.select if cls.selects_epoch else None,
                "seed": cell_seed(plan, method, split.repeat),
                "batch_size": request.batch_size,
            }
        method.cells.append(PlannedCell(split.repeat, key_of(components), components))


def cell_seed(plan: Plan, method: PlannedMethod, repeat: int) -> int:
    """Seed of a cell: a hash of what it is."""
    return derive_seed(plan.request.seed, plan.dataset.name, method.cls.name, repeat, "fit")


def cell_context(plan: Plan, method: PlannedMethod, cell: PlannedCell, scratch: Path | None) -> Context:
    """The method's context with what belongs to one cell."""
    return replace(method.context, seed=cell_seed(plan, method, cell.repeat), scratch=scratch)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
