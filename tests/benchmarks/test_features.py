from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import typer
from typer.testing import CliRunner

from agiqa_bench.benchmarks.features import main, measure, paint_rounds
from agiqa_bench.benchmarks.report import Measurement, Timing, write
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.method import Context, Method, MethodConfig, Weights


class Bright(Method):
    name = "bright"
    title = "Brightness"
    seen: ClassVar[list[int]] = []

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        self.seen.append(int(sum(image.astype(int).sum() for image in samples.images)))
        return np.zeros(len(samples))


class Weighty(Bright):
    name = "weighty"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        raise WeightsUnavailableError("no weights: get them")


class Unable(Bright):
    name = "unable"

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:
        return "has no code"


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> list[Samples]:
    return list(paint_rounds(tmp_path_factory.mktemp("painted"), 3, 2, 64))


def test_each_round_has_pictures_of_its_own(painted: list[Samples]) -> None:
    assert [samples.images.uniform_size for samples in painted] == [(64, 64)] * 3
    assert len({samples.images.fingerprint for samples in painted}) == 3


def test_the_first_round_is_not_timed(painted: list[Samples]) -> None:
    Bright.seen.clear()
    found = measure(Bright, painted)
    assert len(found.timings) == 2
    assert min(found.rates) > 0
    assert all(0 < timing.processor < 60 for timing in found.timings)
    assert len(set(Bright.seen)) == len(Bright.seen) == 3


def test_what_cannot_run_says_why(painted: list[Samples]) -> None:
    assert measure(Unable, painted) == Measurement("unable", note="has no code")
    assert measure(Weighty, painted) == Measurement("weighty", note="no weights: get them")


def test_the_median_and_its_provenance_are_written(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    timings = tuple(Timing(rate, 0.1 * rate) for rate in (1.0, 9.0, 2.0))
    write(file, "features", {"size": 64}, [Measurement("a", timings), Measurement("b", note="why")])
    written = json.loads(file.read_text())
    assert [(row["name"], row["median"], row["note"]) for row in written["results"]] == [
        ("a", {"rate": 2.0, "processor": 0.2}, ""),
        ("b", None, "why"),
    ]
    assert written["settings"] == {"size": 64}
    assert written["provenance"]["libraries"]["numpy"] == np.__version__
    assert written["provenance"]["cores"] >= 1


def test_the_command_prints_a_table_and_refuses_unknown_names(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    small = ["--size", "64", "--images", "2", "--rounds", "1"]
    output = tmp_path / "speed.json"
    done = CliRunner().invoke(app, [*small, "--methods", "brisque", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert "brisque" in done.output
    assert "images/s" in done.output
    assert json.loads(output.read_text())["results"][0]["median"]["rate"] > 0
    refused = CliRunner().invoke(app, [*small, "--methods", "brisk"])
    assert refused.exit_code == 2
    assert "unknown method 'brisk'" in refused.output
