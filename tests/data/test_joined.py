"""Two data sets as one."""

import numpy as np
import pandas as pd
import pytest

from agiqa_bench.data.dataset import Dataset, Fault, Target
from agiqa_bench.data.joined import JoinedDataset, open_joined
from agiqa_bench.errors import ConfigError, UnknownNameError

QUALITY = (Target("quality", (0, 5)),)


def dataset(name, rows=3, targets=QUALITY, faults=(), **facts):
    """A data set of `rows` images under one prompt; row i has the MOS i of the first target, i + 0.5 of the second."""

    class Small(Dataset):
        def read(self):
            table = pd.DataFrame(
                {
                    "image": [f"{row}.png" for row in range(rows)],
                    "path": [f"/{name}/{row}.png" for row in range(rows)],
                    "prompt": "a cat",
                    "group": "prompt 0",
                    "generator": "gan",
                    "family": "gan",
                    "more": 1,
                }
                | {f"mos_{t.name}": np.arange(rows) + n / 2 for n, t in enumerate(targets)}
            )
            return table, tuple(Fault("odd", text) for text in faults)

    Small.name, Small.title, Small.targets = name, name.title(), targets
    for key, value in facts.items():
        setattr(Small, key, value)
    return Small()


def test_rows_stand_one_set_after_the_other_and_groups_are_told_apart():
    joined = JoinedDataset(dataset("one", 2), dataset("two", 3, faults=("row 1 is odd",)))
    assert (joined.name, joined.title) == ("one-to-two", "One → Two")
    assert [part.name for part in joined.parts] == ["one", "two"]
    table = joined.samples
    assert list(table["path"]) == ["/one/0.png", "/one/1.png", "/two/0.png", "/two/1.png", "/two/2.png"]
    assert list(table["mos_quality"]) == [0, 1, 0, 1, 2]
    assert list(table["group"]) == ["one: prompt 0"] * 2 + ["two: prompt 0"] * 3
    assert set(table["prompt"]) == {"a cat"}
    assert set(table["generator"]) == {"gan"}
    assert [fault.message for fault in joined.faults] == ["Two: row 1 is odd"]


def test_targets_are_those_of_both_on_the_test_sets_scale_and_methods_learn_on_the_training_sets():
    one = dataset("one", targets=(Target("alignment", (0, 5)), Target("quality", (0, 5))))
    two = dataset("two", targets=(Target("quality", (0, 100)), Target("authenticity", (0, 100))))
    joined = JoinedDataset(one, two)
    assert joined.targets == (Target("quality", (0, 100)),)
    assert joined.learnt == one.targets
    assert list(joined.samples["mos_alignment"][:3]) == [0, 1, 2]
    assert joined.samples["mos_alignment"][3:].isna().all()
    assert "mos_authenticity" not in joined.samples
    back = JoinedDataset(two, one)
    assert [target.name for target in back.learnt] == ["quality", "authenticity"]


def test_a_coupled_rating_measures_only_what_it_measures_in_both():
    coupled = dataset("one", targets=(Target("quality", (0, 5), ("quality", "alignment")),))
    plain = dataset("two")
    for joined in (JoinedDataset(coupled, plain), JoinedDataset(plain, coupled)):
        assert joined.targets[0].judges(("quality",))
        assert not joined.targets[0].judges(("alignment",))
    other = dataset("two", targets=coupled.targets)
    assert JoinedDataset(coupled, other).targets[0].judges(("alignment",))


def test_it_is_synthetic_if_either_is_and_quick_only_if_both_are():
    real, demo, toy = dataset("real"), dataset("demo", synthetic=True, preset="quick"), dataset("toy", preset="quick")
    assert JoinedDataset(real, demo).synthetic
    assert JoinedDataset(demo, real).synthetic
    assert not JoinedDataset(real, toy).synthetic
    assert [JoinedDataset(*pair).preset for pair in ((real, demo), (demo, real), (demo, toy))] == [
        "paper",
        "paper",
        "quick",
    ]


def test_both_are_cited_each_once():
    one, two, three = dataset("one", citation="@a{1}"), dataset("two", citation="@b{2}"), dataset("three")
    assert JoinedDataset(one, two).citation == "@a{1}\n\n@b{2}"
    assert JoinedDataset(one, three).citation == "@a{1}"
    assert JoinedDataset(one, dataset("four", citation="@a{1}")).citation == "@a{1}"
    assert JoinedDataset(one, two).licence == "One: not stated; Two: not stated"


def test_the_fingerprint_follows_either_part_and_their_order():
    one, two = dataset("one"), dataset("two")
    first = JoinedDataset(one, two).fingerprint
    assert JoinedDataset(dataset("one"), dataset("two")).fingerprint == first
    others = [JoinedDataset(two, one), JoinedDataset(dataset("one", 4), two), JoinedDataset(one, dataset("two", 4))]
    assert len({first, *(joined.fingerprint for joined in others)}) == 4


def test_what_cannot_be_joined_says_so():
    with pytest.raises(ConfigError, match=r"both called 'one'.*--dataset"):
        JoinedDataset(dataset("one"), dataset("one", 4))
    with pytest.raises(ConfigError, match="'one' rates quality and 'two' rates alignment"):
        JoinedDataset(dataset("one"), dataset("two", targets=(Target("alignment", (0, 5)),)))


def test_names_and_tables_open_on_either_side(rated_table):
    joined = open_joined("demo", str(rated_table), annotations_only=True)
    assert joined.name == "demo-to-rated"
    assert [target.name for target in joined.targets] == ["quality"]
    assert [target.name for target in joined.learnt] == ["quality", "alignment"]
    assert len(joined.samples) == 360 + 60
    assert joined.annotations_only
    back = open_joined(str(rated_table), "demo", annotations_only=True)
    assert (back.name, back.learnt[0].mos_range) == ("rated-to-demo", None)
    stated = open_joined(str(rated_table), "demo", annotations_only=True, mos_ranges={"*": (0, 10)})
    assert stated.learnt[0].mos_range == (0, 10)
    with pytest.raises(ConfigError, match="'demo' states it itself"):
        open_joined("demo", str(rated_table), annotations_only=True, mos_ranges={"*": (0, 10)})
    with pytest.raises(UnknownNameError, match="did you mean demo"):
        open_joined("demo", "deno")
