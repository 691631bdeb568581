from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage
import sklearn
from pydantic import ValidationError
from scipy.signal import correlate2d
from scipy.stats import spearmanr

from agiqa_bench.data.images import decode
from agiqa_bench.features.colour import gray
from agiqa_bench.features.statistics import halve
from agiqa_bench.methods.brisque import BRISQUE, brisque_features

Array = npt.NDArray[np.float64]


def shipped(name: str) -> npt.NDArray[np.uint8]:
    """A photograph out of scikit-image's or scikit-learn's wheel."""
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    return decode(next(folder / name for folder in folders if (folder / name).is_file()))


def features_by_loops(luma: Array) -> list[float]:
    """BRISQUE's features by the text of the paper, neighbour by neighbour."""
    offsets = np.arange(-3, 4)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    shapes = [0.2 + 0.001 * i for i in range(9801)]
    ratios = [math.exp(2 * math.lgamma(2 / s) - math.lgamma(1 / s) - math.lgamma(3 / s)) for s in shapes]

    def of_one_scale(image: Array) -> list[float]:
        mean = correlate2d(image, window, mode="same")
        deviation = np.sqrt(np.abs(correlate2d(image**2, window, mode="same") - mean**2))
        field = (image - mean) / (deviation + 1)
        variance, magnitude = (field**2).sum() / field.size, np.abs(field).sum() / field.size
        best = min(range(9801), key=lambda i: abs(1 / ratios[i] - variance / magnitude**2))
        found = [shapes[best], variance]
        height, width = field.shape
        for down, right in ((0, 1), (1, 0), (1, 1), (-1, 1)):
            products = [
                field[i, j] * field[(i - down) % height, (j - right) % width]
                for i in range(height)
                for j in range(width)
            ]
            below, above = [p for p in products if p < 0], [p for p in products if p > 0]
            left = math.sqrt(sum(p * p for p in below) / len(below))
            right_side = math.sqrt(sum(p * p for p in above) / len(above))
            skew = left / right_side
            ratio = (sum(map(abs, products)) / len(products)) ** 2 / (sum(p * p for p in products) / len(products))
            ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
            shape = shapes[min(range(9801), key=lambda i: abs(ratios[i] - ratio))]
            factor = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
            mean_product = (right_side - left) * math.gamma(2 / shape) / math.gamma(1 / shape) * factor
            found += [shape, mean_product, left**2, right_side**2]
        return found

    return of_one_scale(luma) + of_one_scale(halve(luma))


def test_features_equal_a_second_implementation() -> None:
    luma = gray(shipped("china.jpg"))[100:124, 200:220].astype(np.float64)
    features = brisque_features(luma)
    assert features.shape == (36,)
    np.testing.assert_allclose(features, features_by_loops(luma), rtol=1e-8)


def test_a_plain_patch_does_not_hang_on_rounding() -> None:
    luma = gray(shipped("coffee.png")).astype(np.float64)[:96, :80]
    luma[10:50, 20:70] = 157
    features, turned = brisque_features(luma).reshape(2, 18), brisque_features(luma.T).reshape(2, 18)
    # Rows become columns: the right neighbour is the lower one, and the window is summed in the other order.
    order = [0, 1, *range(6, 10), *range(2, 6), *range(10, 18)]
    np.testing.assert_allclose(features, turned[:, order], rtol=1e-9)


@pytest.mark.parametrize(("name", "tolerance"), [("coffee.png", 1e-3), ("chelsea.png", 1e-3), ("china.jpg", 5e-3)])
def test_features_equal_pyiqas_on_photographs(name: str, tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    theirs: Any = pytest.importorskip("pyiqa.archs.brisque_arch")
    luma = gray(shipped(name)).astype(np.float64)
    image = torch.from_numpy(luma)[None, None]
    half = theirs.imresize(image, scale=0.5, antialiasing=True)
    # Theirs halves in float32 whatever it is given.
    np.testing.assert_allclose(halve(luma), half[0, 0].numpy(), atol=2e-4)
    expected = torch.cat([theirs.natural_scene_statistics(image), theirs.natural_scene_statistics(half)], dim=-1)
    # Theirs has a window in float32, whose sum is not 1: in plain patches, of which the photograph of China has some,
    # all coefficients then have one sign. The means of products are small differences of large numbers.
    np.testing.assert_allclose(brisque_features(luma), expected[0].numpy(), rtol=tolerance, atol=tolerance / 10)


def test_an_image_in_one_colour_has_features() -> None:
    assert np.isfinite(brisque_features(np.full((40, 40), 90.0))).all()
    black = brisque_features(np.zeros((40, 40)))
    np.testing.assert_array_equal(black[:6], [0.2, 0, 0.2, 0, 0, 0])


def test_it_learns_what_it_is_shown(few: Any) -> None:
    samples = few.samples(targets=("quality",))
    method = few.method(BRISQUE, targets=("quality",))
    scores = method.fit(samples).predict(samples.hidden())
    assert scores.shape == (len(samples), 1)
    assert spearmanr(scores[:, 0], samples.mos[:, 0]).statistic > 0.9


def test_settings_are_the_released_models() -> None:
    config = BRISQUE.Config()
    assert (config.kernel, config.c, config.gamma, config.epsilon, config.scale) == ("rbf", 1024, 0.05, 0.1, "minmax")
    assert all(field.description for field in BRISQUE.Config.model_fields.values())
    with pytest.raises(ValidationError):
        BRISQUE.Config(gamma=0)
