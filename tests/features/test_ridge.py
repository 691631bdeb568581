"""Ridge with a penalty chosen on left-out groups, against scikit-learn fitting once for each of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from agiqa_bench.features.ridge import Ridge

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def problem(n: int, d: int, seed: int = 0):
    """Centred features and labels, and groups that share a part of both, as the images of a prompt do."""
    draws = np.random.default_rng(seed)
    groups = draws.permutation(np.arange(n) % 7)
    features = draws.normal(size=(n, d)) + draws.normal(size=(7, d))[groups]
    labels = features @ draws.normal(size=(d, 2)) * [1.0, 0.05] + draws.normal(size=(n, 2))
    return features - features.mean(axis=0), labels - labels.mean(axis=0), groups


@pytest.mark.parametrize(("n", "d"), [(60, 8), (40, 90), (30, 30)])
def test_left_out_errors_and_weights_are_scikit_learns(n, d):
    features, labels, groups = problem(n, d)
    found = Ridge.fit(features, labels, groups, PENALTIES)
    for row, penalty in enumerate(PENALTIES):
        left_out = cross_val_predict(SklearnRidge(penalty), features, labels, groups=groups, cv=LeaveOneGroupOut())
        np.testing.assert_allclose(found.errors[row], np.mean((left_out - labels) ** 2, axis=0), rtol=1e-8)
    for column, penalty in enumerate(found.penalties):
        assert penalty == PENALTIES[found.errors[:, column].argmin()]
        wanted = SklearnRidge(penalty).fit(features, labels[:, column])
        np.testing.assert_allclose(found.weights[:, column], wanted.coef_, atol=1e-9)
    np.testing.assert_allclose(found(features[:3]), features[:3] @ found.weights)


def test_each_label_has_a_penalty_of_its_own():
    features, labels, groups = problem(80, 20)
    found = Ridge.fit(features, labels, groups, PENALTIES)
    assert found.penalties[0] < found.penalties[1]


def test_one_group_is_left_out_image_by_image():
    features, labels, _ = problem(40, 6)
    alone = Ridge.fit(features, labels, np.zeros(40, dtype=np.int64), PENALTIES)
    assert np.array_equal(alone.errors, Ridge.fit(features, labels, np.arange(40), PENALTIES).errors)


def test_features_that_tell_nothing_predict_the_mean():
    _, labels, groups = problem(40, 6)
    found = Ridge.fit(np.zeros((40, 3)), labels, groups, PENALTIES)
    assert np.array_equal(found.weights, np.zeros((3, 2)))
    assert found.penalties.tolist() == [1000.0, 1000.0]
