from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVR

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, CheckpointError
from agiqa_bench.features.cache import UndefinedFeaturesError
from agiqa_bench.features.svr import FeatureMethod, Regressor, Scaling, SVRConfig
from agiqa_bench.method import Context

Array = np.ndarray
RNG = np.random.default_rng(5)
IMAGES = [RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8) for _ in range(24)]
MOS = np.stack([[i.mean() / 50 for i in IMAGES], [i.std() / 50 for i in IMAGES]], axis=1)


class Moments(FeatureMethod):
    """Mean and standard deviation of each channel, and a constant."""

    name = "moments"
    title = "Moments"

    def extract(self, image: Array) -> Array:
        if image.max() == 0:
            raise UndefinedFeaturesError("it is black")
        return np.concatenate([image.mean(axis=(0, 1)), image.std(axis=(0, 1)), [7.0]])


def method(targets: tuple[str, ...] = ("quality", "authenticity"), **settings: Any) -> Moments:
    return Moments(SVRConfig(**settings), Context(targets=targets))


def features() -> Array:
    return np.stack([Moments().extract(image) for image in IMAGES])


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("scale", ["none", "minmax", "standard"])
def test_predicts_what_scikit_learn_predicts(make_samples, kernel: str, scale: str) -> None:
    samples = make_samples(IMAGES, MOS)
    train, test = np.arange(16), np.array([20, 17, 23])
    settings = {"kernel": kernel, "scale": scale, "c": 3.0, "gamma": 0.02, "epsilon": 0.05}
    found = method(**settings).fit(samples.subset(train)).predict(samples.subset(test).hidden())
    scaler: Any = {"minmax": MinMaxScaler((-1, 1)), "standard": StandardScaler()}.get(scale)
    x = features()
    if scaler is not None:
        x = scaler.fit(x[train]).transform(x)
        x[:, -1] = 0  # a constant feature says nothing; svm-scale leaves it out
    for column in (0, 1):
        svr = SVR(kernel=kernel, C=3.0, gamma=0.02, epsilon=0.05).fit(x[train], MOS[train, column])
        np.testing.assert_allclose(found[:, column], svr.predict(x[test]), atol=1e-8)
        # With features in the hundreds, most of the RBF's kernel is 0, and all predictions are near one another.
        if (kernel, scale) != ("rbf", "none"):
            assert np.ptp(found[:, column]) > 0.01


def test_the_kernel_sums_by_hand() -> None:
    vectors, coefficients = np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([0.5, -2.0])
    x = np.array([[1.0, 1.0]])
    rbf = Regressor("rbf", vectors, coefficients, np.array(3.0), np.array(0.25))
    np.testing.assert_allclose(rbf(x), [3 + 0.5 * np.exp(-0.25) - 2 * np.exp(-0.5)], rtol=1e-15)
    linear = Regressor("linear", vectors, coefficients, np.array(3.0), np.array(0.25))
    np.testing.assert_allclose(linear(x), [3 + 0.5 * 1 - 2 * 2], rtol=1e-15)


def test_scaling_by_hand() -> None:
    train = np.array([[1.0, 4.0, 2.0], [3.0, 4.0, 10.0]])
    x = np.array([[5.0, 9.0, 6.0]])
    np.testing.assert_array_equal(Scaling.fit(train, "none")(x), x)
    np.testing.assert_array_equal(Scaling.fit(train, "minmax")(x), [[3.0, 0.0, 0.0]])
    np.testing.assert_array_equal(Scaling.fit(train, "standard")(x), [[3.0, 0.0, 0.0]])
    np.testing.assert_array_equal(Scaling.fit(train, "minmax")(train), [[-1, 0, -1], [1, 0, 1]])


@pytest.mark.parametrize("gamma", ["auto", "scale"])
def test_gamma_by_name_is_scikit_learns(gamma: str) -> None:
    x = features()
    fitted = Regressor.fit(x, MOS[:, 0], SVRConfig(gamma=gamma))
    assert float(fitted.gamma) == pytest.approx(SVR(gamma=gamma).fit(x, MOS[:, 0])._gamma, rel=1e-12)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_a_restored_model_scores_unseen_images_to_the_last_digit(make_samples, kernel: str) -> None:
    settings = {"kernel": kernel, "scale": "standard", "gamma": "scale"}
    fitted = method(**settings).fit(make_samples(IMAGES[:16], MOS[:16]))
    unseen = make_samples(IMAGES[16:], cache="elsewhere").hidden()
    restored = method(**settings).restore(fitted.state())
    np.testing.assert_array_equal(restored.predict(unseen), fitted.predict(unseen))
    np.testing.assert_array_equal(
        method(("authenticity",), **settings)
        .restore({name: value for name, value in fitted.state().items() if not name.startswith("quality")})
        .predict(unseen)[:, 0],
        fitted.predict(unseen)[:, 1],
    )


def test_labels_within_epsilon_leave_no_support_vectors(make_samples, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    samples = make_samples(IMAGES, np.full(len(IMAGES), 2.5))
    fitted = method(("quality",)).fit(samples)
    np.testing.assert_allclose(fitted.predict(samples.hidden()), 2.5, atol=0.1)
    assert fitted.state()["quality.vectors"].shape == (0, 7)
    save_file(dict(fitted.state()), tmp_path / "model.safetensors")
    restored = method(("quality",)).restore(load_file(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(restored.predict(samples.hidden()), fitted.predict(samples.hidden()))


def test_tensors_that_do_not_fit_end_in_one_line(make_samples) -> None:
    state = method().fit(make_samples(IMAGES, MOS)).state()

    def refused(**changes: Any) -> str:
        changed = {name: value for name, value in {**state, **changes}.items() if value is not None}
        with pytest.raises(CheckpointError) as caught:
            method().restore(changed)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "lack quality.gamma" in refused(**{"quality.gamma": None})
    assert "lack features.shift" in refused(**{"features.shift": None})
    assert "alignment.gamma" in refused(**{"alignment.gamma": state["quality.gamma"]})
    assert "of shapes" in refused(**{"quality.coefficients": state["quality.coefficients"][1:]})
    assert "of shape" in refused(**{"features.factor": state["features.factor"][1:]})
    assert "shift has 7 and vectors of quality have 6" in refused(
        **{"quality.vectors": state["quality.vectors"][:, 1:]}
    )


def test_an_undefined_training_image_is_named(make_samples) -> None:
    images = [*IMAGES[:4], np.zeros((6, 7, 3), dtype=np.uint8)]
    samples = make_samples(images, MOS[:5])
    fitted = method().fit(samples.subset([0, 1, 2, 3]))
    with pytest.raises(BadImageError, match=r"^moments is undefined for image .*4\.png: it is black$"):
        fitted.fit(samples)
    with pytest.raises(BadImageError, match=r"4\.png: it is black$"):
        fitted.predict(samples.hidden())


def test_settings_are_checked() -> None:
    assert all(field.description for field in SVRConfig.model_fields.values())
    for wrong in ({"kernel": "poly"}, {"c": 0}, {"gamma": 0}, {"gamma": "big"}, {"epsilon": -1}, {"scale": "max"}):
        with pytest.raises(ValidationError):
            SVRConfig(**wrong)


def test_nothing_but_the_rows_asked_for_counts(make_samples) -> None:
    samples: Samples = make_samples(IMAGES, MOS)
    fitted = method().fit(samples.subset(np.arange(12)))
    alone = np.concatenate([fitted.predict(samples.subset([n]).hidden()) for n in (13, 20)])
    np.testing.assert_allclose(alone, fitted.predict(samples.hidden())[[13, 20]], atol=1e-12)
