"""Methods by a package that lives in an environment of its own, run by a worker script of ours over the protocol."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from agiqa_bench.backbones.checkpoint import file_digest
from agiqa_bench.data.samples import Samples
from agiqa_bench.data.source_digest import source_digest
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.external.command import Command, environment_of
from agiqa_bench.external.interpreter import (
    OURS_ALONE,
    WORKERS,
    Package,
    Probe,
    how_to_install,
    interpreter_of,
    probe,
)
from agiqa_bench.external.protocol import score
from agiqa_bench.method import Context, Method, MethodConfig, Scores, Weights


class PackageConfig(MethodConfig):
    """Settings of a method by a package in another environment."""

    timeout_s: float = Field(default=86400, gt=0, description="seconds after which the other interpreter is ended")


class PackageMethod(Method):
    """A zero-shot method whose package is imported by another interpreter.

    Class data:
        package: What must be installed there.
        worker: File name of the script in `workers`.
    """

    package: ClassVar[Package]
    worker: ClassVar[str]

    @classmethod
    @abstractmethod
    def files(cls, config: MethodConfig, context: Context) -> tuple[Path, ...]:
        """The weight files, fetched if they may be: the worker's arguments behind the two tables."""

    @classmethod
    @abstractmethod
    def weights_name(cls, config: MethodConfig) -> str:
        """Name of the weights in tables."""

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """Why there is no interpreter for it; one that was named is asked to import the package."""
        python = interpreter_of(cls.package, context.python)
        if python is None:
            return how_to_install(cls.package, cls.name)
        return probe(cls.package, python).problem or None

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The published weights and, in the digest, the versions that compute with them.

        Raises:
            WeightsUnavailableError: There is no interpreter, or the weights cannot be had; there is no stand-in.
        """
        found = cls._probed(context)[1]
        files = cls.files(config, context)
        parts = [json.dumps(dict(found.versions), sort_keys=True), file_digest(*files)]
        parts.append(source_digest([WORKERS / cls.worker, WORKERS / "table.py"]))
        installed = next(
            (f"{name} {found.versions[name]}" for name in cls.package.distributions if name in found.versions),
            cls.package.module,
        )
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return (Weights(f"{cls.weights_name(config)} ({installed})", digest),)

    def predict(self, samples: Samples) -> Scores:
        """Scores by the worker, float64 (n,).

        Raises:
            CommandError: It fails, hangs, or does not give one finite score for each sample.
        """
        python = self._probed(self.context)[0]
        files = self.files(self.config, self.context)
        words = (str(python), str(WORKERS / self.worker), "{input}", "{output}", *map(str, files))
        environment = environment_of(self.context)
        text = f"{python} {self.worker}"
        command = Command(self.name, text, words, self.config.timeout_s, environment, without=OURS_ALONE)
        return score(command, samples, self.context)

    @classmethod
    def _probed(cls, context: Context) -> tuple[Path, Probe]:
        python = interpreter_of(cls.package, context.python)
        if python is None:
            raise WeightsUnavailableError(f"{cls.name} {how_to_install(cls.package, cls.name)}")
        found = probe(cls.package, python)
        if found.problem:
            raise WeightsUnavailableError(f"{cls.name}: {found.problem}")
        return python, found
