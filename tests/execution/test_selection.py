"""Names, groups and exceptions of `--methods`."""

import pytest

from agiqa_bench import Method
from agiqa_bench.errors import ConfigError, UnknownNameError
from agiqa_bench.execution.request import MethodSpec
from agiqa_bench.execution.selection import groups_of, method_groups, requested_methods
from agiqa_bench.registry import Registry


def example(name, **facts):
    body = {"name": name, "title": name.title(), "predict": lambda self, samples: [0.0] * len(samples)}
    return type(name, (Method,), body | facts)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr("agiqa_bench.registry.entry_points", lambda group: [])
    registry = Registry("method", "nothing.registers.here", "agiqa_bench.method:Method")
    for cls in (
        example("deep_one", groups=("deep",)),
        example("deep_two", groups=("deep", "new")),
        example("score", trainable=False, targets=("alignment",)),
        example("blind", uses_images=False, targets=("*",)),
    ):
        registry.register(cls.name, cls, "a test")
    return registry


def names(specs):
    return [spec.name for spec in specs]


def test_groups_are_those_that_a_method_names_and_those_that_follow(registry):
    assert method_groups(registry) == {
        "all": ["blind", "deep_one", "deep_two", "score"],
        "deep": ["deep_one", "deep_two"],
        "new": ["deep_two"],
        "zero-shot": ["score"],
        "alignment": ["score"],
        "no-pixel": ["blind"],
    }
    assert groups_of({"trainable": False, "uses_images": False}) == ("zero-shot", "no-pixel")


def test_groups_and_names_keep_their_order_and_come_once(registry):
    specs, forgiving = requested_methods(["score", "deep", "deep_one", "all"], registry)
    assert names(specs) == ["score", "deep_one", "deep_two", "blind"]
    assert forgiving
    specs, forgiving = requested_methods(["deep_two", "deep_two[epochs=[1, 2]]", "deep_two[epochs=[1, 2]]"], registry)
    assert specs == [MethodSpec("deep_two"), MethodSpec("deep_two", (("epochs", [1, 2]),))]
    assert not forgiving


def test_a_minus_leaves_out_methods_and_groups_wherever_it_stands(registry):
    assert names(requested_methods(["-deep", "all", "-score"], registry)[0]) == ["blind"]
    with pytest.raises(ConfigError, match="--methods deep,-deep: what stands behind a minus leaves nothing"):
        requested_methods(["deep", "-deep"], registry)
    with pytest.raises(ConfigError, match="no method was asked for"):
        requested_methods(["-deep"], registry)


def test_a_group_takes_no_settings(registry):
    with pytest.raises(ConfigError, match=r"'deep\[epochs=1\]': a group takes no settings"):
        requested_methods(["deep[epochs=1]"], registry)


def test_the_name_of_a_method_goes_before_that_of_a_group(registry):
    registry.register("deep", example("deep"), "a test")
    specs, forgiving = requested_methods(["deep"], registry)
    assert names(specs) == ["deep"]
    assert not forgiving


@pytest.mark.parametrize("text", ["dep", "-dep", "dep[epochs=1]"])
def test_an_unknown_name_is_answered_with_near_methods_and_groups(registry, text):
    with pytest.raises(UnknownNameError, match=r"unknown method 'dep': did you mean deep"):
        requested_methods([text], registry)
