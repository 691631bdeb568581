from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.optimize import curve_fit
from sklearn.metrics import root_mean_squared_error

from agiqa_bench.errors import PredictionError
from agiqa_bench.evaluation import metrics
from agiqa_bench.evaluation.correlations import krcc, plcc, srcc, undefined_reason
from agiqa_bench.evaluation.metrics import (
    METRICS,
    LogisticFit,
    evaluate,
    fit_logistic,
    plcc_fitted,
    rmse_fitted,
    within,
)

Vector = np.ndarray


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def vectors(elements: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[Vector, Vector]]:
    return st.integers(2, 40).flatmap(
        lambda n: st.tuples(arrays(np.float64, n, elements=elements), arrays(np.float64, n, elements=elements))
    )


tied = vectors(st.integers(-3, 3).map(float))
real = vectors(st.floats(-1e3, 1e3).map(lambda value: round(value, 6)))


@settings(max_examples=150, deadline=None)
@given(st.one_of(tied, real))
def test_correlations_are_those_of_scipy(pair: tuple[Vector, Vector]) -> None:
    x, y = pair
    constant = bool(np.all(x == x[0]) or np.all(y == y[0]))
    assert bool(undefined_reason(x, y)) == constant
    if constant:
        assert srcc(x, y) is plcc(x, y) is krcc(x, y) is None
        return
    assert srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert krcc(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(tied)
def test_correlations_keep_their_sign(pair: tuple[Vector, Vector]) -> None:
    x, y = pair
    assume(not undefined_reason(x, y))
    for metric in (srcc, plcc, krcc):
        assert metric(-x, y) == pytest.approx(-metric(x, y), abs=1e-12)


def test_hand_computed() -> None:
    # Ranks of the scores 1 2 3 4, of the MOS 2 1 4 3: sum of squared differences 4, 1 - 6 * 4 / (4 * 15) = 0.6;
    # 4 of 6 pairs agree: (4 - 2) / 6. With x = 1..4, y = 2 1 4 3: covariance 3 / sqrt(5 * 5).
    x, y = [10.0, 20.0, 30.0, 40.0], [2.0, 1.0, 4.0, 3.0]
    assert srcc(x, y) == pytest.approx(0.6, abs=1e-12)
    assert krcc(x, y) == pytest.approx(1 / 3, abs=1e-12)
    assert plcc(x, y) == pytest.approx(0.6, abs=1e-12)
    # One tie in x among 3 rows: tau-b = (2 - 0) / sqrt(2 * 3).
    assert krcc([1.0, 1.0, 2.0], [1.0, 2.0, 3.0]) == pytest.approx(2 / math.sqrt(6), abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_logistic_recovers_known_parameters(scale: float) -> None:
    x = np.linspace(-3, 5, 60) * scale
    known = LogisticFit(b1=4.5, b2=0.7, b3=1.2 * scale, b4=0.8 * scale)
    fit = fit_logistic(x, known(x))
    assert fit is not None
    assert (fit.b1, fit.b2, fit.b3, abs(fit.b4)) == pytest.approx((4.5, 0.7, 1.2 * scale, 0.8 * scale), rel=1e-6)
    assert plcc_fitted(x, known(x)) == pytest.approx(1.0, abs=1e-12)
    assert rmse_fitted(x, known(x)) == pytest.approx(0.0, abs=1e-6)


def test_logistic_is_the_formula() -> None:
    fit = LogisticFit(b1=4.0, b2=1.0, b3=2.0, b4=-0.5)
    assert fit([3.0]).tolist() == pytest.approx([3.0 / (1 + math.exp(-2.0)) + 1.0])


def test_jacobian_is_the_derivative() -> None:
    x = np.linspace(-2, 3, 9)
    for b4 in (0.7, -0.7):
        b = np.array([4.0, 1.0, 0.3, b4])
        for i in range(4):
            step = np.zeros(4)
            step[i] = 1e-6
            slope = (metrics._logistic(b + step, x) - metrics._logistic(b - step, x)) / 2e-6
            assert metrics._logistic_jacobian(b, x)[:, i] == pytest.approx(slope, abs=1e-8)


def test_fit_agrees_with_curve_fit_on_noisy_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = 4 / (1 + np.exp(-2 * x)) + rng.normal(scale=0.5, size=300)

    def logistic(s: Vector, b1: float, b2: float, b3: float, b4: float) -> Vector:
        return (b1 - b2) / (1 + np.exp(-(s - b3) / abs(b4))) + b2

    b, _ = curve_fit(logistic, x, y, p0=[y.max(), y.min(), x.mean(), x.std() / 4], maxfev=10_000)
    mapped = logistic(x, *b)
    assert plcc_fitted(x, y) == pytest.approx(stats.pearsonr(mapped, y).statistic, abs=1e-6)
    assert rmse_fitted(x, y) == pytest.approx(np.sqrt(np.mean((mapped - y) ** 2)), abs=1e-6)
    assert plcc_fitted(x, y) > plcc(x, y)


def test_a_method_that_ranks_the_wrong_way_round_does_not_gain_by_the_fit() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = -x + rng.normal(scale=0.65, size=200)
    found = evaluate(x, y, ["g"] * 200, ["p"] * 200)
    assert found["srcc"] == pytest.approx(-0.82, abs=0.02)
    assert found["plcc_fitted"] is found["rmse_fitted"] is fit_logistic(x, y) is None
    falls = "the fitted logistic falls with the score"
    assert found["undefined"] == dict.fromkeys(("plcc_fitted", "rmse_fitted"), falls)
    turned = evaluate(-x, y, ["g"] * 200, ["p"] * 200)
    assert turned["rmse_fitted"] < 0.7 < np.std(y)
    assert turned["undefined"] == {}


@settings(max_examples=60, deadline=None)
@given(st.one_of(tied, real))
def test_no_falling_scores_have_a_smaller_error_than_a_constant(pair: tuple[Vector, Vector]) -> None:
    scores, mos = np.sort(pair[0]), -np.sort(-pair[1])
    error = rmse_fitted(scores, mos)
    # Least squares of a rising curve through falling points: the mean, whose error is the standard deviation.
    assert error is None or error >= np.std(mos) * (1 - 1e-9)


HARDLY_DETERMINED = """
import numpy as np
from agiqa_bench.evaluation.metrics import fit_logistic

rng = np.random.default_rng(0)
for _ in range(400):
    levels = rng.normal(size=rng.integers(2, 5))
    scores = rng.choice(levels, size=rng.integers(6, 40))
    print(fit_logistic(scores, rng.normal(scale=0.5, size=scores.size) + scores))
"""


def test_a_fit_with_fewer_levels_than_parameters_is_the_same_in_every_process() -> None:
    """Plain `leastsq` fails this: it reads past the end of the Jacobian, so memory decides the last digits."""
    runs = [
        subprocess.run([sys.executable, "-c", HARDLY_DETERMINED], capture_output=True, text=True, check=True).stdout
        for _ in range(6)
    ]
    assert runs[0].count("LogisticFit(") > 350
    assert len(set(runs)) == 1


def test_a_fit_that_does_not_converge_is_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=50), rng.normal(size=50)
    monkeypatch.setattr(metrics, "MAX_EVALUATIONS", 2)
    found = evaluate(x, y, ["g"] * 50, ["p"] * 50)
    assert found["plcc_fitted"] is found["rmse_fitted"] is None
    assert found["undefined"] == dict.fromkeys(("plcc_fitted", "rmse_fitted"), "the logistic fit did not converge")


@pytest.mark.parametrize(
    ("found", "status", "converged"),
    [
        ([2.0, 1.0, 0.5, 0.25, 0.0], 1, True),
        ([2.0, 1.0, 0.0, 0.25, 0.0], 1, True),
        ([2.0, 1.0, 0.5, 0.25, 0.0], 5, False),
        ([2.0, 1.0, 0.5, 0.0, 0.0], 1, False),
        ([math.inf, 1.0, 0.5, 0.25, 0.0], 1, False),
        ([2.0, math.nan, 0.5, 0.25, 0.0], 2, False),
    ],
)
def test_a_fit_is_what_the_optimizer_has_found_if_that_is_a_curve(
    found: list[float], status: int, converged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Vector] = []

    def leastsq(residual: object, start: Vector, **options: object) -> tuple[object, ...]:
        starts.append(start)
        return np.array(found), None, {}, "", status

    monkeypatch.setattr("scipy.optimize.leastsq", leastsq)
    scores, mos = [0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 5.0, 4.5]
    assert fit_logistic(scores, mos) == (LogisticFit(*found[:4]) if converged else None)
    # Highest and lowest MOS, mean and a quarter of the standard deviation of the scores, and the idle parameter.
    np.testing.assert_allclose(starts, [[5.0, 1.0, 2.0, math.sqrt(2) / 4, 0.0]])


@pytest.mark.parametrize(
    ("scores", "mos", "reason"),
    [
        ([1.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "the scores do not vary"),
        ([0.1 * 3, 0.3] * 3, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "the scores do not vary"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.5] * 6, "the MOS do not vary"),
        ([1.0], [2.0], "a correlation needs at least 2 images, there are 1"),
        ([], [], "a correlation needs at least 2 images, there are 0"),
    ],
)
def test_what_is_not_defined_is_none_with_a_reason(scores: list[float], mos: list[float], reason: str) -> None:
    n = len(scores)
    found = evaluate(scores, mos, ["g"] * n, ["p"] * n)
    assert found["n"] == n
    for info in METRICS:
        assert found[info.key] is None
        assert found["undefined"][info.key]
    assert found["undefined"]["srcc"] == found["undefined"]["krcc"] == reason
    json.dumps(found, allow_nan=False)


def test_too_few_images_for_a_fit() -> None:
    found = evaluate([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], ["g"] * 3, ["p"] * 3)
    assert found["srcc"] == pytest.approx(0.5)
    assert found["undefined"] == dict.fromkeys(
        ("plcc_fitted", "rmse_fitted"), "a 4-parameter fit needs at least 5 images, there are 3"
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    good = [1.0, 2.0, 3.0]
    for metric in (srcc, plcc, krcc, plcc_fitted, rmse_fitted):
        with pytest.raises(PredictionError, match="1 of 3 scores are not finite numbers, the first at 1"):
            metric([1.0, bad, 3.0], good)
        with pytest.raises(PredictionError, match="1 of 3 MOS are not finite numbers, the first at 2"):
            metric(good, [1.0, 2.0, bad])
    with pytest.raises(PredictionError, match="not finite"):
        evaluate([1.0, bad, 3.0], good, ["g"] * 3, ["p"] * 3)


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(PredictionError, match=r"scores \(2,\) and MOS \(3,\)"):
        srcc([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(PredictionError, match="must be two vectors"):
        plcc([[1.0, 2.0]], [[1.0, 2.0]])
    with pytest.raises(PredictionError, match="2 labels for 3 scores"):
        within([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], ["a", "b"])


def test_values_at_the_limits_of_float64_are_undefined_not_nan() -> None:
    x, y = [0.0, 5e-324, 0.0], [1.0, 2.0, 4.0]
    assert srcc(x, y) == pytest.approx(0.0, abs=1e-12)
    for scores in (x, [-1.7e308, 1.7e308, 1e308]):
        value = plcc(scores, y)
        assert value is None or -1 <= value <= 1


def test_within_is_the_average_by_rows() -> None:
    # a: perfect over 2 rows; b: reversed over 3; c: one row and d: constant MOS, left out.
    scores = [1.0, 2.0, 3.0, 2.0, 1.0, 9.0, 1.0, 2.0]
    mos = [1.0, 2.0, 1.0, 2.0, 3.0, 9.0, 4.0, 4.0]
    value, detail = within(scores, mos, list("aabbbcdd"))
    assert value == pytest.approx((2 * 1 + 3 * -1) / 5, abs=1e-12)
    assert detail == {"labels": 2, "rows": 5, "left_out": 2, "flat": 0, "reason": ""}


def test_within_takes_a_label_with_constant_scores_as_zero() -> None:
    value, detail = within([1.0, 2.0, 5.0, 5.0], [1.0, 2.0, 1.0, 2.0], list("aabb"))
    assert value == pytest.approx(0.5, abs=1e-12)
    assert detail["flat"] == 1


def test_within_is_undefined_where_no_label_has_varying_scores_or_mos() -> None:
    value, detail = within([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 1.0, 2.0], list("aabb"), kind="generator")
    assert (value, detail["reason"]) == (None, "the scores do not vary inside any generator")
    value, detail = within([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], list("aab"), kind="prompt")
    assert (value, detail["reason"]) == (None, "no prompt has two images with different MOS")


def test_within_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(3)
    scores, mos, labels = rng.normal(size=60), rng.normal(size=60), rng.integers(0, 7, size=60).astype(str)
    order = rng.permutation(60)
    value, detail = within(scores, mos, list(labels), krcc)
    other, _ = within(scores[order], mos[order], list(labels[order]), krcc)
    assert value == pytest.approx(other, abs=1e-12)
    by_hand = sum(
        (labels == name).sum() * stats.kendalltau(scores[labels == name], mos[labels == name]).statistic
        for name in set(labels)
    )
    assert value == pytest.approx(by_hand / detail["rows"], abs=1e-12)


def test_evaluate_gathers_everything() -> None:
    rng = np.random.default_rng(4)
    n = 120
    mos = rng.uniform(0, 5, size=n)
    scores = mos + rng.normal(size=n)
    generators, prompts = [f"g{i % 3}" for i in range(n)], [f"p{i // 6}" for i in range(n)]
    found = evaluate(scores, mos, generators, prompts)
    assert found["undefined"] == {}
    assert found["srcc"] == srcc(scores, mos)
    assert found["plcc_fitted"] == plcc_fitted(scores, mos)
    assert found["rmse_fitted"] == rmse_fitted(scores, mos)
    assert found["srcc_within_prompt"] == within(scores, mos, prompts)[0]
    assert list(found["per_generator"]) == ["g0", "g1", "g2"]
    assert found["per_generator"]["g1"]["n"] == 40
    assert found["per_generator"]["g1"]["krcc"] == krcc(scores[1::3], mos[1::3])
    weighted = sum(part["n"] * part["srcc"] for part in found["per_generator"].values()) / n
    assert found["srcc_within_generator"] == pytest.approx(weighted, abs=1e-12)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_metric_against_pandas_and_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    mos = rng.uniform(0, 5, size=150).round(1)
    scores = (mos + rng.normal(scale=1.5, size=150)).round(1)
    table = pd.DataFrame({"score": scores, "mos": mos, "generator": rng.choice(list("abc"), 150)})
    table["prompt"] = (np.arange(150) % 20).astype(str)
    found = evaluate(scores, mos, table["generator"].tolist(), table["prompt"].tolist())
    for key, method in (("srcc", "spearman"), ("plcc", "pearson"), ("krcc", "kendall")):
        assert found[key] == pytest.approx(table["score"].corr(table["mos"], method=method), abs=1e-12)
        for name, part in table.groupby("generator"):
            expected = part["score"].corr(part["mos"], method=method)
            assert found["per_generator"][name][key] == pytest.approx(expected, abs=1e-12)
    for kind in ("generator", "prompt"):
        parts = [part for _, part in table.groupby(kind)]
        values = [part["score"].corr(part["mos"], method="spearman") for part in parts]
        expected = np.average(values, weights=[len(part) for part in parts])
        assert found[f"srcc_within_{kind}"] == pytest.approx(expected, abs=1e-12)
    mapped = fit_logistic(scores, mos)(scores)
    assert found["plcc_fitted"] == pytest.approx(np.corrcoef(mapped, mos)[0, 1], abs=1e-12)
    assert found["rmse_fitted"] == pytest.approx(root_mean_squared_error(mos, mapped), abs=1e-12)


def test_a_generator_mean_ranks_nothing_within_generators() -> None:
    mos = np.array([1.0, 2.0, 1.5, 4.0, 5.0, 4.5])
    found = evaluate([1.5] * 3 + [4.5] * 3, mos, list("aaabbb"), list("xyzxyz"))
    assert found["srcc_within_generator"] is None
    assert found["undefined"]["srcc_within_generator"] == "the scores do not vary inside any generator"
    assert found["srcc_within_prompt"] == pytest.approx(1.0)
    assert found["per_generator"]["a"]["undefined"]["srcc"] == "the scores do not vary"


def test_descriptors_name_every_metric_once() -> None:
    keys = [info.key for info in METRICS]
    assert keys == [
        "srcc",
        "plcc",
        "plcc_fitted",
        "krcc",
        "rmse_fitted",
        "srcc_within_generator",
        "srcc_within_prompt",
    ]
    assert set(keys) <= set(evaluate([1.0, 2.0], [1.0, 2.0], ["g", "g"], ["p", "p"]))
    assert [info.key for info in METRICS if info.better == "lower"] == ["rmse_fitted"]
    assert {info.decimals for info in METRICS} == {4}


def test_rows_with_an_empty_label_are_nobodys() -> None:
    value, detail = within([1.0, 2.0, 3.0, 2.0, 1.0], [1.0, 2.0, 1.0, 2.0, 3.0], ["a", "a", "", "", ""], kind="prompt")
    assert value == pytest.approx(1.0, abs=1e-12)
    assert detail == {"labels": 1, "rows": 2, "left_out": 0, "flat": 0, "reason": ""}
    found = evaluate([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], ["g", "", ""], ["", "", ""])
    assert found["srcc_within_prompt"] is None
    assert found["undefined"]["srcc_within_prompt"] == "no image has a prompt"
    assert list(found["per_generator"]) == ["g"]


def test_what_a_fit_gives_does_not_depend_on_where_arrays_lie_in_memory():
    def placed(values, offset):
        memory = np.empty(values.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        copy = memory[start : start + values.nbytes].view(np.float64)
        copy[:] = values
        return copy

    draws = np.random.default_rng(0)
    for _ in range(60):
        # Few whole numbers, as the length of a name is: the fit is hardly determined, and rounding grows.
        scores = draws.integers(4, 9, 12).astype(float)
        mos = draws.normal(3, 1, 12)
        found = set()
        for offset in range(0, 64, 8):
            clutter = [np.empty(int(draws.integers(1, 200))) for _ in range(5)]
            found.add((plcc_fitted(placed(scores, offset), mos), rmse_fitted(scores, placed(mos, offset))))
            del clutter
        assert len(found) == 1
