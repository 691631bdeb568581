"""Settings with which a method can run on this machine, whether or not its own weights are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agiqa_bench.backbones.method import ClipConfig
from agiqa_bench.benchmarks.seeded_weights import write_seeded_weights
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.method import Context, Method, MethodConfig


def runnable(cls: type[Method], context: Context, folder: Path | None) -> tuple[MethodConfig, str]:
    """Settings that a method can run with here, with the shortest training that they allow.

    Args:
        cls: The method.
        context: What it is told.
        folder: Where a CLIP of full size with random weights may be written, if its own weights cannot be had; None
            means that the method has its preset `quick`, and then its stand-in.

    Returns:
        The settings, and which weights it computes with, for a reader.

    Raises:
        AgiqaError: It cannot run here; the message says why.
    """
    epochs = {key: 1 for key, field in cls.Config.model_fields.items() if key.endswith("epochs") and field.default}
    values = {**(cls.presets.get("quick", {}) if folder is None else {}), **epochs}
    config = _settings(cls, values)
    reason = cls.skip(config, context)
    if reason is not None:
        raise WeightsUnavailableError(reason)
    try:
        weights = cls.weights(config, context)
    except WeightsUnavailableError as unavailable:
        if folder is not None and isinstance(config, ClipConfig):
            architecture, _, tag = config.backbone.partition(":")
            architecture += "-quickgelu" if tag == "openai" else ""
            backbone = write_seeded_weights(architecture, folder)
            return _settings(cls, values | {"backbone": backbone}), f"weights: random, {architecture}"
        if not unavailable.stand_in:
            raise
        config = _settings(cls, values | unavailable.stand_in)
        weights = cls.weights(config, context)
    marked = [f"{each.name} ({each.stand_in})" if each.stand_in else each.name for each in weights]
    return config, f"weights: {', '.join(marked)}" if marked else ""


def _settings(cls: type[Method], values: Mapping[str, Any]) -> MethodConfig:
    """A method's settings.

    Raises:
        ConfigError: They are not complete or not valid.
    """
    from pydantic import ValidationError

    from agiqa_bench.errors import ConfigError
    from agiqa_bench.execution.request import explain_validation

    try:
        return cls.Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain_validation(error, cls.Config)) from error
