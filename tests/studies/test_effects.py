"""What a choice of protocol is worth, against the formulas written out and against other libraries."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from agiqa_bench.studies.effects import CHANGES, effects

ONE = [
    [0.50, 0.52, 0.49, 0.55],  # grouped: validation, last, test
    [0.48, 0.53, 0.47, 0.52],
    [0.53, 0.56, 0.50, 0.58],
    [0.60, 0.65, 0.61, 0.59],  # image: validation, last, test
    [0.59, 0.66, 0.60, 0.58],
    [0.64, 0.68, 0.62, 0.63],
]
OTHER = [[value - 0.1 * place * value for value in values] for place, values in enumerate(ONE)]


def by_change(found, label):
    return {effect.change.key: effect for effect in found if effect.label == label}


def corrected(values, n_test, n_train):
    return np.var(values, ddof=1) * (1 / len(values) + n_test / n_train)


def test_a_selection_is_paired_by_repeats_on_the_same_test_images(make_study):
    found = by_change(effects(make_study({"one": ONE}), "quality"), "one")["test-refit-grouped"].difference
    differences = np.subtract(ONE[2], ONE[0])  # .03 .04 .01 .03
    assert found.mean == pytest.approx(0.0275)
    error = math.sqrt(corrected(differences, 20, 80))
    assert error == pytest.approx(math.sqrt(0.000475 / 3 * 0.5))
    assert found.t == pytest.approx(0.0275 / error)
    assert found.p == pytest.approx(2 * stats.t.sf(0.0275 / error, 3))
    half = stats.t.ppf(0.975, 3) * error
    assert (found.low, found.high) == pytest.approx((0.0275 - half, 0.0275 + half))


def test_two_splits_are_not_paired_and_each_mean_has_its_own_corrected_variance(make_study):
    found = by_change(effects(make_study({"one": ONE}), "quality"), "one")["split-refit"].difference
    after, before = corrected(ONE[3], 22, 78), corrected(ONE[0], 20, 80)
    df = (after + before) ** 2 / (after**2 / 3 + before**2 / 3)
    half = stats.t.ppf(0.975, df) * math.sqrt(after + before)
    assert found.mean == pytest.approx(np.mean(ONE[3]) - np.mean(ONE[0]))
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))
    assert found.df == pytest.approx(df)


@pytest.mark.parametrize(
    ("key", "after", "before"),
    [
        ("split-last", 4, 1),
        ("split-test", 5, 2),
        ("test-refit-image", 5, 3),
        ("last-refit-grouped", 1, 0),
        ("last-refit-image", 4, 3),
        ("test-last-grouped", 2, 1),
        ("test-last-image", 5, 4),
        ("both", 5, 0),
    ],
)
def test_every_change_goes_from_the_one_protocol_to_the_other(make_study, key, after, before):
    found = by_change(effects(make_study({"one": ONE}), "quality"), "one")
    assert len(found) == len(CHANGES) == 10
    assert found[key].difference.mean == pytest.approx(np.mean(ONE[after]) - np.mean(ONE[before]))


def test_what_chooses_no_epoch_is_listed_once(make_study):
    same = [ONE[0]] * 3 + [ONE[3]] * 3
    found = effects(make_study({"one": ONE, "plain": same}, {"plain": "plain"}), "quality")
    assert list(by_change(found, "plain")) == ["split-refit"]


def test_the_mean_is_that_of_each_repeat_over_complete_methods_that_see_pixels(make_study):
    incomplete = [[0.9, None, 0.9, 0.9]] * 6
    study = make_study({"one": ONE, "other": OTHER, "part": incomplete, "blind": ONE}, {"blind": "blind"})
    found = by_change(effects(study, "quality"), "")
    assert {effect.methods for effect in found.values()} == {("one", "other")}
    mean = np.mean([ONE, OTHER], axis=0)
    difference = found["test-refit-image"].difference
    assert difference.mean == pytest.approx(np.mean(mean[5] - mean[3]))
    assert difference.high - difference.mean == pytest.approx(
        stats.t.ppf(0.975, 3) * math.sqrt(corrected(mean[5] - mean[3], 22, 78))
    )
    assert by_change(effects(make_study({"one": ONE, "blind": ONE}, {"blind": "blind"}), "quality"), "") == {}


def test_p_values_are_corrected_over_the_methods_of_a_target_and_apart_over_the_means(make_study):
    found = effects(make_study({"one": ONE, "other": OTHER}), "quality")
    for own in ([e for e in found if e.label], [e for e in found if not e.label]):
        tested = [effect for effect in own if not effect.change.never_negative]
        expected = multipletests([effect.difference.p for effect in tested], method="holm")[1]
        assert [effect.p_adjusted for effect in tested] == pytest.approx(expected.tolist())
    assert len([e for e in found if e.label]) == 20


def test_what_cannot_be_negative_has_its_size_and_no_test(make_study):
    study = make_study({"one": ONE, "other": OTHER})
    found = [effect for effect in effects(study, "quality") if effect.change.key.startswith("test-last")]
    assert [effect.label for effect in found] == ["one", "other", ""] * 2
    for effect in found:
        assert effect.difference.mean is not None
        assert effect.difference.n_a == effect.difference.n_b == 4
        assert effect.difference.low is effect.difference.p is effect.p_adjusted is None
    assert sum(change.never_negative for change in CHANGES) == 2


def test_without_two_values_there_is_no_test(make_study):
    found = by_change(effects(make_study({"one": [[0.5]] * 3 + [[None]] * 3}), "quality"), "one")
    assert found["test-refit-grouped"].difference.mean == 0
    assert found["split-refit"].difference.mean is None
    assert all(effect.p_adjusted is None for effect in found.values())


def test_a_protocol_that_was_not_begun_has_no_changes(make_study):
    study = make_study({"one": ONE})
    for protocol in [protocol for protocol in study.by_protocol if protocol.split == "image"]:
        del study.by_protocol[protocol]
    assert {effect.change.key for effect in effects(study, "quality")} == {
        "test-refit-grouped",
        "last-refit-grouped",
        "test-last-grouped",
    }
