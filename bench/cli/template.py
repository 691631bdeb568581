"""What `agiqa-bench methods new` writes: a complete method, and its test."""

METHOD = '''"""{{name}}: ridge regression on the brightness, contrast, colour and sharpness of an image.

A complete method to start from. Check it with `agiqa-bench methods check {{name}}.py`, run it with
`agiqa-bench run --plugin {{name}}.py --methods {{name}} --dataset demo`.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agiqa_bench import Method, MethodConfig, Samples


class {{class}}Config(MethodConfig):
    """Settings; change one with `--set {{name}}.alpha=10`."""

    alpha: float = Field(default=1.0, gt=0, description="strength of the ridge penalty")


class {{class}}(Method):
    """Ridge regression on ten simple statistics of the image."""

    name = "{{name}}"
    title = "{{class}}"
    summary = "ridge regression on simple image statistics"
    targets = ("quality", "alignment", "authenticity")
    Config = {{class}}Config

    def fit(self, train: Samples, validation: Samples | None = None) -> {{class}}:
        """Fit on the training part: images, prompts and MOS may be read."""
        self.model = make_pipeline(StandardScaler(), Ridge(alpha=self.config.alpha))
        self.model.fit(features(train), train.mos)
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        """One column per target, higher is better."""
        return self.model.predict(features(samples)).reshape(len(samples), -1)


def features(samples: Samples) -> np.ndarray:
    """Mean and standard deviation of each channel, colourfulness and edge strength; (n, 10)."""
    rows = []
    for image in samples.images:
        pixels = image.astype(np.float64) / 255
        grey = pixels.mean(axis=2)
        edges = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)]
        colour = [(pixels[..., 0] - pixels[..., 1]).std(), (pixels[..., 1] - pixels[..., 2]).std()]
        rows.append([*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1)), *colour, *edges])
    return np.array(rows)
'''

TEST = '''"""Test of {{name}}: the contract of every method, and what it is for."""

from pathlib import Path

import pytest
from agiqa_bench.contract import check_method
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry


@pytest.fixture(scope="module")
def method():
    load_plugin(Path(__file__).with_name("{{name}}.py"))
    return method_registry().load("{{name}}")


def test_the_contract_is_kept(method):
    broken = [check for check in check_method(method) if check.passed is False]
    assert not broken
'''
