"""The baselines that see no pixel: hand-computed cases, and true results on the published annotations."""

import csv
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.data.samples import Samples
from agiqa_bench.datasets.agiqa1k import AGIQA1K
from agiqa_bench.evaluation.metrics import within
from agiqa_bench.evaluation.splits import make_splits
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
from agiqa_bench.reporting.files import results_csv
from agiqa_bench.reporting.results import read_results

NO_PIXEL = Path(__file__).parents[2] / "results" / "reference" / "no-pixel"


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


# The values below are the means over ten repeats, to all digits that are printed. On AGIQA-3K those of `generator_mean`
# are also computed here in another way: only the names of the generators and the test images are this project's.


def test_generator_mean_on_agiqa3k(annotations, tmp_path):
    results, cell = comparison(annotations, tmp_path, "agiqa3k", methods=("generator_mean",))
    assert cell("quality", "generator_mean").value == pytest.approx(0.716273, abs=5e-7)
    assert cell("alignment", "generator_mean").value == pytest.approx(0.608210, abs=5e-7)
    table = pd.read_csv(annotations / "agiqa3k" / "data.csv")
    generators = open_dataset("agiqa3k", annotations, annotations_only=True).samples["generator"].to_numpy()
    assert all(name.startswith(generator) for name, generator in zip(table["name"], generators, strict=True))
    wanted = []
    for scored in results.methods[0].cells.values():
        test = scored.predictions()["row"].to_numpy()
        train = table.drop(index=test).groupby(np.delete(generators, test))["mos_quality"].mean()
        wanted.append(spearmanr(train[generators[test]], table["mos_quality"].iloc[test]).statistic)
    assert cell("quality", "generator_mean").value == pytest.approx(np.mean(wanted), abs=1e-9)
    within = cell("quality", "generator_mean", "srcc_within_generator")
    assert within.value is None
    assert "do not vary inside any" in within.reason
    assert results.protocol["leaked_prompts"] == 0.0


def test_generator_mean_on_agiqa1k(annotations, tmp_path):
    results, cell = comparison(annotations, tmp_path, "agiqa1k", methods=("generator_mean",))
    assert cell("quality", "generator_mean").value == pytest.approx(0.715643, abs=5e-7)
    # SRCC in prompt is among the images of one of the 36 groups of each test part; no two texts of it are compared.
    table = AGIQA1K(annotations, annotations_only=True).samples
    split = make_splits(table, "agiqa1k")[0]
    test = table.iloc[split.test]
    means = table.iloc[[*split.train, *split.validation]].groupby("generator")["mos_quality"].mean()
    expected = within(means[test["generator"]], test["mos_quality"], list(test["group"]))[0]
    found = results.methods[0].cells[0].metrics["quality"]
    assert found["within"]["prompt"]["labels"] == 36
    assert found["srcc_within_prompt"] == pytest.approx(expected, abs=1e-12)
    assert results.protocol["candidates"] == "group"
    (note,) = (note for note in notes(results) if note.startswith("SRCC in prompt"))
    assert "among the images of one group" in note
    assert "6.1 images per group on average" in note


def test_generator_mean_on_aigciqa2023(annotations, tmp_path, standins):
    shutil.copytree(annotations / "aigciqa2023", tmp_path / "data")
    ratings = tmp_path / "data" / "mos_quality_authenticity.csv"
    standins.write_matlab_ratings(ratings, tmp_path / "data")
    ratings.unlink()
    _, cell = comparison(tmp_path / "data", tmp_path / "out", "aigciqa2023", methods=("generator_mean",))
    assert cell("quality", "generator_mean").value == pytest.approx(0.693553, abs=5e-7)
    assert cell("authenticity", "generator_mean").value == pytest.approx(0.571876, abs=5e-7)


def test_identities_leak_under_an_image_level_split_of_agiqa3k(annotations, tmp_path):
    results, cell = comparison(annotations, tmp_path, "agiqa3k", methods=("generator_prompt",), split="image")
    # A regression, whose last digits may change with the versions of numpy and scikit-learn.
    assert cell("quality", "generator_prompt").value == pytest.approx(0.749258, abs=1e-4)
    assert cell("alignment", "generator_prompt").value == pytest.approx(0.731810, abs=1e-4)
    assert results.protocol["leaked_prompts"] == 1.0
    assert {
        "100% of the test images have their prompt in the training part",
        "100% of the test images have their group in the training part",
        "100% of the test images have their generator in the training part",
    } <= set(notes(results))
    # Of the ten images of a prompt two are in a test part.
    (few,) = (note for note in notes(results) if note.startswith("SRCC in prompt: "))
    assert few.startswith("SRCC in prompt: 2.")


@pytest.mark.parametrize("name", ["agiqa1k-grouped", "agiqa3k-grouped", "agiqa3k-image", "aigciqa2023-grouped"])
def test_the_stored_tables_are_what_a_run_writes_today(name, annotations, tmp_path, standins):
    dataset, _, split = name.partition("-")
    shutil.copytree(annotations / dataset, tmp_path / "data")
    if dataset == "aigciqa2023":
        standins.write_matlab_ratings(tmp_path / "data" / "mos_quality_authenticity.csv", tmp_path / "data")
    results, _ = comparison(tmp_path / "data", tmp_path / "run", dataset, methods=("generator_mean",), split=split)
    now = list(csv.DictReader(io.StringIO(results_csv([results]))))
    with (NO_PIXEL / f"{name}.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    assert [*stored[0]] == [*now[0]]
    assert {row["method"] for row in stored} == {"generator_mean", "prompt_text", "generator_prompt"}
    # What marks a row as the best depends on the rows beside it.
    same = [key for key in now[0] if not key.endswith("_marks")]
    before = [row for row in stored if row["method"] == "generator_mean"]
    assert len(before) == len(now)
    for old, new in zip(before, now, strict=True):
        for key in same:
            # Another version of a library sums in another order.
            found, wanted = (_number(row[key]) for row in (new, old))
            assert found == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float) else wanted), key


def _number(text):
    """The number that a field holds, or its text."""
    return float(text) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text
