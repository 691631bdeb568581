"""Attention maps in a report: of saved models alone, of the images that people rated best and worst."""

import numpy as np
import pytest

from agiqa_bench import saved
from agiqa_bench.errors import CheckpointError
from agiqa_bench.figures.files import inline_svg
from agiqa_bench.method import Context, Method
from agiqa_bench.reporting.build import attention
from agiqa_bench.reporting.results import read_results


class Looking(Method):
    name, title = "m00", "Looking"

    def predict(self, samples):
        return np.zeros(len(samples))

    def attention(self, samples):
        self.prompts = list(samples.prompts)
        return np.ones((1, 2, 3, 3), dtype=np.float32)


@pytest.fixture
def results(stored_runs, tmp_path, monkeypatch):
    """One method's results, whose second repeat kept a model."""
    store = stored_runs.make_store(
        tmp_path / "run", methods=1, repeats=2, images=40, generators=4, pictures=True, synthetic=True
    )
    found = read_results(store)
    found.methods[0].cells[1].record["model"] = "model.safetensors"

    class Registry:
        def load(self, name):
            return Looking

    monkeypatch.setattr(attention, "method_registry", Registry)
    return found


def test_the_best_and_the_worst_rated_test_image_of_the_repeat_with_a_model(results, monkeypatch):
    model = Looking(context=Context(targets=("quality",)))
    monkeypatch.setattr(saved, "load_model", lambda file: model)
    samples = results.samples()
    figures = attention.attention_figures(results, samples, "")
    rated = results.methods[0].cells[1].predictions().sort_values("mos_quality")["image"].tolist()
    assert [figure.title.rpartition(": ")[2] for figure in figures] == [rated[-1], rated[0]]
    assert all(figure.free and "repeat 1" in figure.caption for figure in figures)
    text = inline_svg(figures[0])
    assert "head 1" in text
    assert model.prompts == [samples.set_index("image").loc[rated[-1], "prompt"]]


def test_a_model_that_cannot_be_loaded_says_so_in_its_place(results, monkeypatch):
    def refuse(file):
        raise CheckpointError("model.safetensors: is damaged; fit it again")

    monkeypatch.setattr(saved, "load_model", refuse)
    (figure, _) = attention.attention_figures(results, results.samples(), "")
    assert "not drawn: model.safetensors: is damaged; fit it again" in inline_svg(figure)


def test_licensed_images_are_not_free_and_without_models_or_samples_there_is_nothing(results):
    results.protocol["synthetic"] = False
    assert not any(figure.free for figure in attention.attention_figures(results, results.samples(), ""))
    assert attention.attention_figures(results, None, "") == []
    del results.methods[0].cells[1].record["model"]
    assert attention.attention_figures(results, results.samples(), "") == []
