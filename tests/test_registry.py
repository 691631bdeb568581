from importlib.metadata import EntryPoint

import pytest

from agiqa_bench import registry as module
from agiqa_bench.errors import PluginError, RegistrationError, UnknownNameError
from agiqa_bench.methods.generator_mean import GeneratorMean
from agiqa_bench.registry import Registry, literal_class_data

GROUP = "agiqa_bench.methods"


def registry_of(monkeypatch, **locations):
    points = [EntryPoint(name, value, GROUP) for name, value in locations.items()]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    return Registry("method", GROUP, "agiqa_bench.method:Method")


def test_an_unknown_name_is_answered_with_near_ones(monkeypatch):
    registry = registry_of(monkeypatch, niqe="x:Y", clipscore="x:Y")
    with pytest.raises(UnknownNameError, match=r"unknown method 'nique': did you mean niqe\?"):
        registry.load("nique")
    with pytest.raises(UnknownNameError, match="known: clipscore, niqe"):
        registry.load("zzzzzz")


def test_loading_is_lazy_and_checks_the_class(monkeypatch):
    registry = registry_of(
        monkeypatch,
        generator_mean="agiqa_bench.methods.generator_mean:GeneratorMean",
        missing="no_such_module_anywhere:X",
        nothing="agiqa_bench.methods.generator_mean:Nothing",
        other="agiqa_bench.seeds:derive_seed",
        misnamed="agiqa_bench.methods.generator_mean:GeneratorMean",
    )
    assert registry.load("generator_mean") is GeneratorMean
    with pytest.raises(PluginError, match=r"'missing' of .* cannot be imported: ModuleNotFoundError: No module named"):
        registry.load("missing")
    with pytest.raises(PluginError, match="AttributeError"):
        registry.load("nothing")
    with pytest.raises(PluginError, match="is not a subclass of Method"):
        registry.load("other")
    with pytest.raises(PluginError, match="calls itself 'generator_mean'"):
        registry.load("misnamed")


def test_broken_entries_are_listed_with_their_reason_and_stop_nothing(monkeypatch):
    registry = registry_of(
        monkeypatch,
        broken="no_such_module_anywhere:X",
        generator_mean="agiqa_bench.methods.generator_mean:GeneratorMean",
    )
    entries = {entry.name: entry for entry in registry.entries()}
    assert "No module named 'no_such_module_anywhere'" in entries["broken"].error
    assert entries["generator_mean"].error is None
    assert entries["generator_mean"].facts["title"] == "Generator mean"


def test_two_distributions_with_one_name_the_first_stays_and_the_second_is_listed(monkeypatch):
    points = [EntryPoint("twice", "a:A", GROUP), EntryPoint("twice", "b:B", GROUP), EntryPoint("twice", "a:A", GROUP)]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    registry = Registry("method", GROUP, "agiqa_bench.method:Method")
    assert registry.names() == ["twice"]
    errors = [entry.error for entry in registry.entries()]
    assert any("the name is taken by" in error for error in errors)
    assert len(errors) == 2


def test_a_name_that_two_third_parties_claim_is_refused(monkeypatch):
    points = [EntryPoint("twice", "a:A", GROUP), EntryPoint("twice", "b:B", GROUP)]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    with pytest.raises(RegistrationError, match="'twice' is claimed by both"):
        Registry("method", GROUP, "agiqa_bench.method:Method").load("twice")


def test_registering_a_taken_name_raises(monkeypatch):
    registry = registry_of(monkeypatch, generator_mean="somewhere:Else")
    with pytest.raises(RegistrationError, match="collides with the one of"):
        registry.register("generator_mean", GeneratorMean, "a file")
    registry.register("fresh", GeneratorMean, "a file")
    registry.register("fresh", GeneratorMean, "a file")
    assert registry.load("fresh") is GeneratorMean


def test_class_data_is_read_without_import_and_bases_are_followed(tmp_path, monkeypatch):
    (tmp_path / "static_facts.py").write_text(
        "raise RuntimeError('imported')\n"
        "class Base:\n    targets = ('quality',)\n    title: str = 'Base'\n"
        "class Child(Base):\n    title = 'Child'\n    computed = len('x')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert literal_class_data("static_facts:Child") == {"targets": ("quality",), "title": "Child"}
    assert literal_class_data("static_facts:Absent") is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"trains_together": 0}, "needs a whole number from 1 on as its 'trains_together', and has 0"),
        ({"trains_together": "4"}, "needs a whole number from 1 on as its 'trains_together', and has '4'"),
        ({"trains_together": True}, "needs a whole number from 1 on as its 'trains_together', and has True"),
        ({"trains_together": 4}, "sets trains_together to 4 and needs a 'fit_together' of its own"),
        ({"trains_together": 4, "fit_together": classmethod(lambda cls, methods, parts: [])}, ""),
        ({"trains_together": 1}, ""),
        ({"num_cpus": -1}, "needs a number from 0 on as its 'num_cpus', and has -1"),
        ({"num_gpus": "1"}, "needs a number from 0 on as its 'num_gpus', and has '1'"),
        ({"num_gpus": float("nan")}, "needs a number from 0 on as its 'num_gpus', and has nan"),
        ({"num_gpus": True}, "needs a number from 0 on as its 'num_gpus', and has True"),
        ({"num_gpus": 1.5}, "asks for 1.5 GPUs as its 'num_gpus': above 1 it must be a whole number"),
        ({"num_cpus": 2.5, "num_gpus": 0.25}, ""),
        ({"num_cpus": 0, "num_gpus": 2}, ""),
    ],
)
def test_what_trains_together_and_shares_of_a_machine_may_be(data, problem):
    cls = type("Odd", (GeneratorMean,), data)
    assert module.problem_with_class_data(cls) == (f"class Odd {problem}" if problem else "")
