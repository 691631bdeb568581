"""Ablation tables: which rows a request gives, under which names and settings."""

import pytest

from agiqa_bench.errors import ConfigError, UnknownNameError


def rows(plan):
    return {method.label: (method.config.sign, method.config.words) for method in plan.methods}


def test_each_row_has_its_settings_in_the_order_of_the_table(plan_of):
    plan = plan_of("ablated[ablation]")
    assert list(rows(plan).items()) == [
        ("ablated[none]", (1.0, False)),
        ("ablated[sign turned]", (-1.0, False)),
        ("ablated[sign + words, both]", (-1.0, True)),
    ]
    assert [method.display for method in plan.methods] == [
        "Ablated[none]",
        "Ablated[sign turned]",
        "Ablated[sign + words, both]",
    ]
    assert [method.note for method in plan.methods] == ["", "", "counts words"]
    assert len({method.score_key for method in plan.methods}) == 3


def test_one_row_and_the_method_itself_with_further_settings(plan_of):
    assert rows(plan_of("ablated[ablation=sign turned,words=true]", "ablated")) == {
        "ablated[sign turned,words=True]": (-1.0, True),
        "ablated": (1.0, False),
    }
    assert rows(plan_of("ablated[ablation,sign=3]")) == {
        "ablated[none,sign=3]": (3.0, False),
        "ablated[sign turned,sign=3]": (3.0, False),
        "ablated[sign + words, both,sign=3]": (3.0, True),
    }


def test_a_preset_gives_way_to_the_row_and_the_row_to_what_the_user_sets(plan_of):
    plan = plan_of("ablated[ablation]", preset="quick")
    assert [sign for sign, _ in rows(plan).values()] == [5.0, -1.0, -1.0]
    plan = plan_of("ablated[ablation=sign turned]", preset="quick", settings={"ablated": {"sign": 2.0}})
    assert rows(plan) == {"ablated[sign turned,sign=2.0]": (2.0, False)}


def test_a_row_that_is_asked_for_twice_runs_once(plan_of):
    assert list(rows(plan_of("ablated[ablation=none]", "ablated[ablation]"))) == [
        "ablated[none]",
        "ablated[sign turned]",
        "ablated[sign + words, both]",
    ]


def test_unknown_rows_are_named_with_those_there_are(plan_of):
    with pytest.raises(UnknownNameError, match="unknown ablation of ablated 'sign turnd': did you mean sign turned"):
        plan_of("ablated[ablation=sign turnd]")
    with pytest.raises(UnknownNameError, match=r"known: none, sign \+ words, both, sign turned \(see 'agiqa"):
        plan_of("ablated[ablation=xyzxyz]")
    with pytest.raises(ConfigError, match=r"method 'epochs' has no ablations: leave out \[ablation\]"):
        plan_of("epochs[ablation]")
