"""Fitted methods as files: tensors in safetensors, all else in sealed JSON beside them. Nothing is unpickled.

    model = agiqa_bench.load_model("model.safetensors")
    scores = agiqa_bench.saved.score(model, ["a.png", "b.png"], ["a red apple", "two cats"])

The frozen weights that a method computes with are not in the files: they are found again by the method's settings, and
must have the digests that they had when the method was fitted.
"""

from __future__ import annotations

import hashlib
import json
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

import agiqa_bench
from agiqa_bench import atomic
from agiqa_bench.backbones.checkpoint import one_line
from agiqa_bench.backbones.weight_headers import safetensors_fault
from agiqa_bench.errors import AgiqaError, CheckpointError, ConfigError, DataError, WeightsUnavailableError
from agiqa_bench.method import Context, Method, MethodConfig, Precision, Weights
from agiqa_bench.registry import method_registry
from agiqa_bench.sealed import unseal, write_sealed

if TYPE_CHECKING:
    import torch

FORMAT = 2
"""Raised when the stored form of a model changes."""

CHUNK = 64
"""Images that are decoded and scored at a time, so that a large folder needs little room in the temporary folder."""

MAX_FACTS = 16 << 20
"""Bytes that the JSON file of a model may have; one has a few hundred."""

_TENSORS, _FACTS = ".safetensors", ".json"
_SHOWN = 160


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavedContext(_Part):
    """What a method was told about the run that it was fitted in; see `agiqa_bench.method.Context`."""

    dataset: str
    targets: tuple[str, ...]
    mos_ranges: dict[str, tuple[float, float] | None]
    precision: Precision


class SavedWeights(_Part):
    """Frozen weights that the method computed with; see `agiqa_bench.method.Weights`."""

    name: str
    digest: str
    stand_in: str


class SavedModel(_Part):
    """The JSON file of a saved model, sealed (see `agiqa_bench.sealed`).

    Attributes:
        format: `FORMAT`.
        agiqa_bench: Version of the package that wrote it.
        method: Registry name.
        title: Name in tables.
        plugin: Name of the file that defines the method; empty if an installed package registers it.
        config: All settings.
        context: What the method was told about its run.
        weights: Frozen weights that it computes with.
        tensors_sha256: SHA-256 (hex) of the file with the tensors.
    """

    format: int
    agiqa_bench: str
    method: str
    title: str
    plugin: str
    config: dict[str, Any]
    context: SavedContext
    weights: tuple[SavedWeights, ...]
    tensors_sha256: str


def save_model(method: Method, path: Path, *, weights: Sequence[Weights] = ()) -> tuple[Path, Path]:
    """Write a fitted method to PATH.safetensors and PATH.json, each whole or not at all.

    Args:
        method: A fitted instance.
        path: Where, without a suffix.
        weights: The frozen weights that it computes with; by default those that its settings name.

    Returns:
        The two files, tensors first.

    Raises:
        CheckpointError: The method cannot be saved.
        StoreError: The file system refuses.
    """
    from safetensors.torch import save

    state = method.state()
    if state is None:
        raise CheckpointError(f"method '{method.name}' cannot be saved: it implements no state() and restore()")
    context = method.context
    used = weights or type(method).weights(method.config, context)
    needed = {each.name for each in type(method).weights_to_predict(method.config, context)}
    # Views that share memory would be refused; a copy of what was trained is cheap.
    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})
    facts = SavedModel(
        format=FORMAT,
        agiqa_bench=agiqa_bench.__version__,
        method=method.name,
        title=method.title,
        plugin=_plugin_file(type(method)),
        config=method.config.model_dump(mode="json"),
        context=SavedContext(
            dataset=context.dataset,
            targets=context.targets,
            mos_ranges=dict(context.mos_ranges),
            precision=context.precision,
        ),
        weights=tuple(
            SavedWeights(name=w.name, digest=w.digest, stand_in=w.stand_in) for w in used if w.name in needed
        ),
        tensors_sha256=hashlib.sha256(content).hexdigest(),
    )
    files = _beside(path, _TENSORS), _beside(path, _FACTS)
    atomic.write_bytes(files[0], content)
    write_sealed(files[1], facts.model_dump(mode="json"))
    return files


def read_saved(path: Path) -> SavedModel:
    """Read the JSON file of a saved model; the tensors are not looked at.

    Args:
        path: Either of its two files, or their common path without a suffix.

    Raises:
        CheckpointError: The file is missing, damaged, of another format, or describes no model.
    """
    file = _beside(_stem(path), _FACTS)
    facts, fault = unseal(_content(file, MAX_FACTS))
    if facts is None:
        raise CheckpointError(f"model {file} {fault}: copy both files again, or save the model again")
    found = facts.get("format")
    if isinstance(found, int) and found != FORMAT:
        writer = _shown(facts.get("agiqa_bench", "unknown"))
        raise CheckpointError(
            f"model {file} has format {_shown(found)}, and agiqa-bench {agiqa_bench.__version__} reads format "
            f"{FORMAT}: install the version that wrote it ({writer}) or save the model again"
        )
    try:
        # From JSON, so that lists are taken for tuples and nothing else is guessed.
        return SavedModel.model_validate_json(json.dumps(facts), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = _shown(".".join(str(part) for part in first["loc"])) or "the whole"
        raise CheckpointError(
            f"model {file} does not describe a saved model ({where}: {first['msg']}): give a file that "
            "'agiqa-bench run --save-models' or save_model wrote"
        ) from error


def load_model(
    path: Path | str, *, device: str = "cpu", offline: bool = False, settings: Mapping[str, Any] | None = None
) -> Method:
    """Load a fitted method, ready to predict.

    Args:
        path: Either of its two files, or their common path without a suffix.
        device: torch device, or `auto`.
        offline: Never touch the network to find the frozen weights.
        settings: Settings that differ from the saved ones, e.g. another place of the same frozen weights,
            `{"backbone": "ViT-B-32:/path/to/file.pt"}`.

    Raises:
        CheckpointError: A file is missing or damaged, or does not fit the method.
        ConfigError: `settings` or `device` are not valid.
        WeightsUnavailableError: The frozen weights are not here and cannot be fetched.
        UnknownNameError: No such method is registered.
    """
    from agiqa_bench.execution.device import resolve_device
    from agiqa_bench.offline import is_offline

    stem = _stem(Path(path))
    saved = read_saved(stem)
    state = _tensors(_beside(stem, _TENSORS), saved.tensors_sha256)
    cls = _method_class(saved, stem)
    config = _config(cls, saved, dict(settings or {}), stem)
    context = Context(
        **saved.context.model_dump(),
        device=resolve_device(device),
        offline=is_offline(offline),
    )
    _check_weights(cls, config, context, saved, stem)
    method = cls(config, context)
    method.prepare()
    try:
        method.restore(state)
    except Exception as error:  # a method's own code may fail in any way on tensors that are not its own
        why = str(error) if isinstance(error, AgiqaError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"model {stem}: its tensors do not fit method '{saved.method}' with these settings ({why})"
        ) from error
    return method


def score(
    model: Method,
    images: Sequence[Path | str],
    prompts: Sequence[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Score image files that belong to no data set.

    Args:
        model: From `load_model`, or fitted.
        images: Image files, length n.
        prompts: Prompt of each image, length n; may be None for a method that does not look at it.
        progress: Called with (images done, all images).

    Returns:
        float64 (n, n_targets), one column per `model.context.targets`, higher is better; on the method's own scale,
        which for most is that of the MOS that it learnt from.

    Raises:
        DataError: A prompt is missing, or their number is not that of the images.
        BadImageError: An image cannot be decoded.
        PredictionError: The method's scores are not finite numbers.
    """
    from agiqa_bench.data.loose_files import check_images, open_samples
    from agiqa_bench.execution.cell import predict

    targets = model.context.targets
    given = check_prompts(model, images, prompts)
    check_images(images)
    parts = [np.empty((0, len(targets)))]
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        with open_samples(images[part], given[part], targets) as samples:
            parts.append(predict(model, samples)[0])
        if progress is not None:
            progress(min(start + CHUNK, len(images)), len(images))
    return np.concatenate(parts)


def check_prompts(model: Method, images: Sequence[Path | str], prompts: Sequence[str] | None) -> Sequence[str]:
    """The prompt of each image, empty where `model` does not need one.

    Raises:
        DataError: A prompt that the method needs is missing or blank, or their number is not that of the images.
    """
    if isinstance(images, (str, Path)) or isinstance(prompts, str):
        raise DataError("images and prompts are lists, also for a single image")
    if prompts is None:
        if model.uses_prompt:
            raise DataError(f"{model.title} scores an image together with its prompt: give one prompt per image")
        return [""] * len(images)
    if len(prompts) != len(images):
        raise DataError(f"{len(images)} images and {len(prompts)} prompts: give one prompt per image")
    blank = [number for number, prompt in enumerate(prompts) if not prompt.strip()]
    if blank and model.uses_prompt:
        others = f" ({len(blank)} images have none)" if len(blank) > 1 else ""
        raise DataError(
            f"image {images[blank[0]]} has no prompt{others}, and {model.title} scores an image together with its "
            "prompt"
        )
    return prompts


def _beside(stem: Path, suffix: str) -> Path:
    return stem.parent / (stem.name + suffix)


def _stem(path: Path) -> Path:
    path = path.expanduser()
    return path.with_suffix("") if path.suffix in (_TENSORS, _FACTS) else path


def _plugin_file(cls: type[Method]) -> str:
    """Name of the file that defines a class; empty if an installed package registers it."""
    location = f"{cls.__module__}:{cls.__qualname__}"
    if any(point.value == location for point in entry_points(group=method_registry().group)):
        return ""
    return Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or "").name


def _shown(value: object) -> str:
    """What a file holds, as a message may show it."""
    text = str(value)[:_SHOWN]
    return text if text.isprintable() else ascii(text)[1:-1]


def _content(file: Path, most: int | None = None) -> bytes:
    """The bytes of a file, which may have at most `most`."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"model {file} cannot be read: it is a folder, a device or a pipe and not a file")
        if most is not None and status.st_size > most:
            raise CheckpointError(f"model {file} has {status.st_size:,} bytes, and more than {most:,} are refused")
        return file.read_bytes()
    except FileNotFoundError as error:
        both = f"{file.stem}{_TENSORS} and {file.stem}{_FACTS}"
        raise CheckpointError(f"model {file}: no such file; a model is two files, {both}") from error
    except OSError as error:
        raise CheckpointError(f"model {file} cannot be read: {error.strerror or error}") from error


def _tensors(file: Path, sha256: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _content(file)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError(
            f"model {file} is damaged, or belongs to another JSON file ({len(content)} bytes with another SHA-256 than "
            f"the {sha256[:12]}... noted in {file.stem}{_FACTS}): copy both files again"
        )
    fault = safetensors_fault(content[:8], len(content))
    if fault:
        raise CheckpointError(f"model {file} {fault}: save the model again")
    try:
        return load(content)
    except (SafetensorError, LookupError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"model {file} is not a safetensors file ({one_line(error)}): save the model again"
        ) from error


def _method_class(saved: SavedModel, stem: Path) -> type[Method]:
    if saved.plugin and saved.method not in method_registry():
        raise CheckpointError(
            f"model {stem} is of method '{_shown(saved.method)}' from the file {_shown(saved.plugin)}, which is not "
            "loaded: give it with --plugin FILE (in Python: agiqa_bench.plugins.load_plugin)"
        )
    return method_registry().load(_shown(saved.method))


def _config(cls: type[Method], saved: SavedModel, changed: dict[str, Any], stem: Path) -> MethodConfig:
    from agiqa_bench.execution.request import explain_validation

    try:
        return cls.Config.model_validate(saved.config | changed)
    except ValidationError as error:
        line = f"model {stem}: method '{saved.method}': {explain_validation(error, cls.Config)}"
        if any(item["loc"] and item["loc"][0] in changed for item in error.errors()):
            raise ConfigError(line) from error
        raise CheckpointError(f"{line}; it was written by agiqa-bench {saved.agiqa_bench}") from error


def _check_weights(cls: type[Method], config: MethodConfig, context: Context, saved: SavedModel, stem: Path) -> None:
    """Refuse frozen weights other than those that the method was fitted on."""
    remedy = ""
    if "backbone" in cls.Config.model_fields:
        remedy = ' (--backbone architecture:FILE names another place; in Python settings={"backbone": ...})'
    needed = ", ".join(f"{weights.name} (sha256 {weights.digest[:12]}...)" for weights in saved.weights) or "no weights"
    try:
        found = cls.weights_to_predict(config, context)
    except WeightsUnavailableError as error:
        raise WeightsUnavailableError(f"model {stem} was fitted on {needed}: {error}{remedy}") from error
    if [weights.digest for weights in found] != [weights.digest for weights in saved.weights]:
        here = ", ".join(f"{weights.name} (sha256 {weights.digest[:12]}...)" for weights in found) or "no weights"
        raise CheckpointError(
            f"model {stem} was fitted on {needed}, and its settings lead to {here}: give the former{remedy}"
        )
