"""The baselines that see no pixel: hand-computed cases, and true results on the published annotations."""

import shutil

import numpy as np
import pandas as pd
import pytest

from agiqa_bench.data.samples import Samples
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import run
from agiqa_bench.execution.store import Store
from agiqa_bench.methods.generator_mean import GeneratorMean
from agiqa_bench.methods.generator_prompt import GeneratorPrompt
from agiqa_bench.methods.prompt_text import PromptText
from agiqa_bench.reporting.build.notes import notes
from agiqa_bench.reporting.build.summaries import number_of
from agiqa_bench.reporting.results import read_results


def samples(prompts, generators, mos):
    table = pd.DataFrame({"prompt": prompts, "group": prompts, "generator": generators, "mos_quality": mos})
    return Samples(table, ["quality"])


def test_generator_mean_is_the_training_mean_and_the_overall_mean_for_strangers():
    method = GeneratorMean().fit(samples(["p"] * 4, ["a", "a", "b", "b"], [1.0, 2.0, 4.0, 5.0]))
    scores = method.predict(samples(["q"] * 3, ["b", "a", "new"], [0.0, 0.0, 0.0]).hidden())
    assert scores.tolist() == [[4.5], [1.5], [3.0]]


def test_prompt_text_learns_words_and_their_order():
    prompts = [f"a {thing} in the {place}" for thing in ("red cat", "blue dog") for place in ("sun", "rain", "snow")]
    mos = [4.0, 4.0, 4.0, 1.0, 1.0, 1.0]
    method = PromptText().fit(samples(prompts, ["g"] * 6, mos))
    scores = method.predict(samples(["a red cat at home", "a blue dog at home"], ["g"] * 2, [0, 0]).hidden())
    assert scores[0, 0] > 3.0 > 2.0 > scores[1, 0]


def test_generator_prompt_adds_both_effects_and_knows_nothing_of_strangers():
    prompts, generators = ["p", "p", "q", "q"], ["a", "b", "a", "b"]
    config = GeneratorPrompt.Config(alpha=1e-9)
    method = GeneratorPrompt(config).fit(samples(prompts, generators, [1.0, 2.0, 3.0, 4.0]))
    scores = method.predict(samples(["p", "q", "new"], ["a", "b", "b"], [0, 0, 0]).hidden())
    np.testing.assert_allclose(scores[:, 0], [1.0, 4.0, 3.0], atol=1e-6)


def comparison(root, tmp_path, dataset, **request):
    plan = make_plan(RunRequest(dataset=dataset, data_root=root, annotations_only=True, **request))
    store = Store(tmp_path)
    outcome = run(plan, store, Silent())
    assert outcome.failures == []
    results = read_results(store)
    methods = {method.label: method for method in results.methods}
    return results, lambda target, method, metric="srcc": number_of(results, methods[method], target, metric)


def test_generator_mean_on_agiqa3k(annotations, tmp_path):
    results, cell = comparison(annotations, tmp_path, "agiqa3k", methods=("generator_mean",))
    assert cell("quality", "generator_mean").value == pytest.approx(0.725, abs=0.02)
    assert cell("alignment", "generator_mean").value == pytest.approx(0.605, abs=0.03)
    within = cell("quality", "generator_mean", "srcc_within_generator")
    assert within.value is None
    assert "do not vary inside any" in within.reason
    assert results.protocol["leaked_prompts"] == 0.0


def test_generator_mean_on_agiqa1k(annotations, tmp_path):
    _, cell = comparison(annotations, tmp_path, "agiqa1k", methods=("generator_mean",))
    assert cell("quality", "generator_mean").value == pytest.approx(0.72, abs=0.03)


def test_generator_mean_on_aigciqa2023(annotations, tmp_path, standins):
    shutil.copytree(annotations / "aigciqa2023", tmp_path / "data")
    ratings = tmp_path / "data" / "mos_quality_authenticity.csv"
    standins.write_matlab_ratings(ratings, tmp_path / "data")
    ratings.unlink()
    _, cell = comparison(tmp_path / "data", tmp_path / "out", "aigciqa2023", methods=("generator_mean",))
    assert cell("quality", "generator_mean").value == pytest.approx(0.69, abs=0.03)


def test_identities_leak_under_an_image_level_split_of_agiqa3k(annotations, tmp_path):
    results, cell = comparison(annotations, tmp_path, "agiqa3k", methods=("generator_prompt",), split="image")
    assert cell("alignment", "generator_prompt").value == pytest.approx(0.74, abs=0.02)
    assert results.protocol["leaked_prompts"] == 1.0
    leakage = "100% of the test images have their prompt group in the training part, 100% their generator"
    assert leakage in notes(results)
