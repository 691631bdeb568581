from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agiqa_bench.errors import SplitError, UnknownNameError
from agiqa_bench.evaluation.splits import (
    Leakage,
    Split,
    build_split,
    check_split,
    make_splits,
    normalised,
    splits_digest,
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    n_groups = draw(st.integers(2, 12))
    extra = draw(st.lists(st.integers(0, n_groups - 1), max_size=40))
    groups = draw(st.permutations([*range(n_groups), *extra]))
    families = draw(st.lists(st.sampled_from("xyz"), min_size=len(groups), max_size=len(groups)))
    names = draw(st.lists(st.sampled_from(["i", "j", "k"]), min_size=len(groups), max_size=len(groups)))
    table = pd.DataFrame({"group": [f"g{g}" for g in groups], "generator": families, "family": families})
    table = table.assign(prompt=table["group"])
    return table.assign(image=table["group"] + pd.Series(names))


def groups_of(table: pd.DataFrame, rows: np.ndarray) -> set[str]:
    return set(table["group"].to_numpy()[rows])


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 5))
def test_grouped_splits_use_every_row_once_and_never_share_a_group(table: pd.DataFrame, seed: int) -> None:
    for split in make_splits(table, "any", "grouped", repeats=3, seed=seed):
        train, validation, test = (groups_of(table, rows) for rows in (split.train, split.validation, split.test))
        assert not train & validation
        assert not train & test
        assert not validation & test
        together = np.concatenate([split.train, split.validation, split.test])
        assert sorted(together) == list(range(len(table)))
        n = table["group"].nunique()
        assert len(test) == max(1, round(0.2 * n))
        assert len(validation) == (max(1, round((n - len(test)) / 8)) if n - len(test) >= 2 else 0)
        assert train
        assert split.leakage.group == 0.0


@settings(max_examples=40, deadline=None)
@given(tables())
def test_image_splits_use_every_row_once_and_never_share_an_image(table: pd.DataFrame) -> None:
    for split in make_splits(table, "any", "image", repeats=2):
        parts = (split.train, split.validation, split.test)
        assert sorted(np.concatenate(parts)) == list(range(len(table)))
        train, validation, test = (set(table["image"].to_numpy()[part]) for part in parts)
        assert not train & test
        assert not train & validation
        assert not validation & test
        assert len(test) == max(1, round(0.2 * table["image"].nunique()))


@settings(max_examples=40, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_grouped_splits_do_not_depend_on_the_order_of_rows(table: pd.DataFrame, random: object) -> None:
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.iloc[order].reset_index(drop=True)
    for one, other in zip(make_splits(table, "any"), make_splits(shuffled, "any"), strict=True):
        assert groups_of(table, one.test) == groups_of(shuffled, other.test)
        assert groups_of(table, one.validation) == groups_of(shuffled, other.validation)


def test_sizes_and_leakage_of_each_rule(table: pd.DataFrame) -> None:
    grouped = make_splits(table, "t")
    assert [(len(s.train), len(s.validation), len(s.test)) for s in grouped] == [(84, 12, 24)] * 10
    assert all(s.leakage == Leakage(prompt=0.0, group=0.0, generator=1.0) for s in grouped)
    image = make_splits(table, "t", "image")
    for split in image:
        # 119 file names, one of them with two rows.
        names = [table["image"].iloc[part].nunique() for part in (split.train, split.validation, split.test)]
        assert names == [83, 12, 24]
        assert len(split.train) + len(split.validation) + len(split.test) == 120
    assert all(s.leakage.group == 1.0 for s in image)
    generator = make_splits(table, "t", "generator", repeats=1)
    assert [s.held_out for s in generator] == ["a", "b", "c"]
    assert [(len(s.train), len(s.validation), len(s.test)) for s in generator] == [(72, 8, 40)] * 3
    assert all(s.leakage == Leakage(prompt=1.0, group=1.0, generator=0.0) for s in generator)
    for split in generator:
        assert set(table["family"].to_numpy()[split.test]) == {split.held_out}
        assert not groups_of(table, split.train) & groups_of(table, split.validation)


def test_leakage_counts_rows() -> None:
    table = pd.DataFrame({"image": list("1234"), "group": list("aabc"), "generator": list("xyzy"), "family": "x"})
    split = build_split(table.assign(prompt=list("pqpp")), "image", 0, train=[0], validation=[3], test=[1, 2])
    assert split.leakage == Leakage(prompt=0.5, group=0.5, generator=0.5)
    # Groups and prompts are counted apart: here batches, each with an image of either prompt.
    split = build_split(table.assign(prompt=list("pqrs")), "image", 0, train=[0], validation=[3], test=[1, 2])
    assert split.leakage == Leakage(prompt=0.0, group=0.5, generator=0.5)


def test_prompts_that_differ_in_case_spaces_or_unicode_form_leak() -> None:
    table = pd.DataFrame({"image": list("1234"), "group": list("abcd"), "generator": "x", "family": "x"})
    prompts = ["caf\u00e9  Noir", "CAFE\u0301 noir ", "cafe noir", "\uff43af\u00e9 noir"]
    assert [normalised(prompt) for prompt in prompts] == ["caf\u00e9 noir"] * 2 + ["cafe noir", "caf\u00e9 noir"]
    split = build_split(table.assign(prompt=prompts), "grouped", 0, train=[0], validation=[], test=[1, 2, 3])
    assert split.leakage == Leakage(prompt=2 / 3, group=0.0, generator=1.0)


def test_a_blank_prompt_is_shared_with_nobody() -> None:
    table = pd.DataFrame({"image": list("123"), "group": list("abc"), "generator": "x", "family": "x"})
    split = build_split(table.assign(prompt=["", " ", "p"]), "grouped", 0, train=[0], validation=[], test=[1, 2])
    assert split.leakage.prompt == 0.0


@pytest.mark.parametrize(
    ("rule", "digest"),
    [
        ("grouped", "6a362b080c04530d260d70b6da5f10a948b840fb554b97d432b4e84988485156"),
        ("image", "f6d94ee24cfa88b6712e28a5102426bd4ef6dd33d888bc2d505c2fb30af17cf0"),
        ("generator", "eb5786c3d55162478439f1a278baf49839193f62ac60c5fbf62d47e7535684cd"),
    ],
)
def test_the_same_seed_gives_the_same_splits_on_every_machine(table: pd.DataFrame, rule: str, digest: str) -> None:
    assert splits_digest(make_splits(table, "pinned", rule)) == digest


def test_repeats_seeds_and_data_sets_differ_and_the_first_repeats_stay(table: pd.DataFrame) -> None:
    splits = make_splits(table, "t")
    assert len({split.digest for split in splits}) == 10
    assert [s.digest for s in make_splits(table, "t", repeats=3)] == [s.digest for s in splits[:3]]
    others = (make_splits(table, "t", seed=1), make_splits(table, "u"))
    assert len({splits_digest(s) for s in (splits, *others)}) == 3


def test_training_rows_per_selection(table: pd.DataFrame) -> None:
    split = make_splits(table, "t")[0]
    merged = sorted([*split.train, *split.validation])
    for selection in ("refit", "validation"):
        fit, choose = split.training(selection)
        assert list(fit) == list(split.train)
        assert list(choose) == list(split.validation)
    fit, choose = split.training("last")
    assert list(fit) == merged
    assert choose is None
    fit, choose = split.training("test")
    assert list(fit) == merged
    assert list(choose) == list(split.test)
    for selection in ("refit", "last", "validation", "test"):
        fit, choose = split.training(selection, selects_epoch=False)
        assert list(fit) == merged
        assert choose is None


def test_two_groups_leave_no_validation_part() -> None:
    table = pd.DataFrame({"image": list("123"), "group": ["a", "a", "b"], "generator": "x", "family": "x"})
    table["prompt"] = table["group"]
    split = make_splits(table, "t", repeats=1)[0]
    assert split.validation.size == 0
    for selection in ("refit", "validation"):
        with pytest.raises(SplitError, match="use --select last"):
            split.training(selection)
    assert split.training("last")[0].tolist() == split.train.tolist()


def test_a_split_is_read_only_and_survives_pickling(table: pd.DataFrame) -> None:
    split = make_splits(table, "t", repeats=1)[0]
    with pytest.raises(ValueError, match="read-only"):
        split.test[0] = 1
    copy = pickle.loads(pickle.dumps(split))
    assert copy.digest == split.digest
    assert copy.leakage == split.leakage


def test_bad_requests(table: pd.DataFrame) -> None:
    with pytest.raises(UnknownNameError, match="did you mean grouped"):
        make_splits(table, "t", "groupd")
    with pytest.raises(SplitError, match="cannot make 0 splits"):
        make_splits(table, "t", repeats=0)
    with pytest.raises(SplitError, match=r"test share .* is 1"):
        make_splits(table, "t", test_share=1.0)
    with pytest.raises(SplitError, match=r"validation share .* is 0"):
        make_splits(table, "t", validation_share=0.0)
    with pytest.raises(SplitError, match=r"has 1 group\(s\).*at least 2; give the table a column 'group'"):
        make_splits(table.assign(group="one"), "t")
    with pytest.raises(SplitError, match=r"has 1 image\(s\).*at least 2$"):
        make_splits(table.iloc[:1], "t", "image")
    with pytest.raises(SplitError, match="has 1 generator family"):
        make_splits(table.assign(family="one"), "t", "generator")


@pytest.mark.parametrize(
    ("rule", "groups", "parts", "held_out", "message"),
    [
        ("grouped", "baac", ([0, 1], [2], [3]), "", "group 'a' is in both train and validation"),
        ("grouped", "aabb", ([0, 1, 2], [], [3]), "", "group 'b' is in both train and test"),
        ("grouped", "abcc", ([0], [1, 2], [3]), "", "group 'c' is in both validation and test"),
        ("grouped", "aaab", ([0, 1, 2], [], [4]), "", "there is no row 4"),
        ("grouped", "aaab", ([0, 1], [], [2]), "", r"1 row\(s\) in no part, first row 3"),
        ("image", "aaab", ([0, 1, 1, 2], [], [3]), "", r"1 row\(s\) more than once, first row 1"),
        ("image", "aaab", ([0, 1, 2], [3], []), "", "the test part is empty"),
        ("image", "aaab", ([], [0], [1, 2, 3]), "", "the train part is empty"),
        (
            "image",
            "aaaa",
            ([0, 1, 2], [], [3]),
            "",
            "image '3' is in both train and test; an image belongs to one side",
        ),
        ("grouped", "abcd", ([0, 1], [2], [3]), "", "image '3' is in both validation and test"),
        ("generator", "aaab", ([0], [2], [1, 3]), "y", "group 'a' is in both train and validation"),
        ("generator", "abab", ([0], [1], [2, 3]), "x", "family 'x' is in both train and test"),
        ("generator", "aaab", ([0, 2], [], [1, 3]), "x", "held_out is 'x', but the test part has y"),
    ],
)
def test_a_split_that_breaks_its_rule_is_refused(
    rule: str, groups: str, parts: tuple[list[int], ...], held_out: str, message: str
) -> None:
    table = pd.DataFrame(
        {"image": list("1233"), "group": list(groups), "generator": list("xyxy"), "family": list("xyxy"), "prompt": "p"}
    )
    with pytest.raises(SplitError, match=message):
        build_split(table, rule, 0, *parts, held_out=held_out)
    split = Split(0, *(np.array(part, dtype=np.int64) for part in parts), Leakage(0.0, 0.0, 0.0), held_out)
    with pytest.raises(SplitError, match=message):
        check_split(split, table, rule)


def test_an_image_under_two_groups_is_refused_whatever_the_seed(table: pd.DataFrame) -> None:
    table.loc[100, "image"] = table.loc[3, "image"]
    for seed in range(5):
        with pytest.raises(
            SplitError, match=r"'t' lists image 'b-2_00.png' under two groups, 'p00' and 'p16'.*--split"
        ):
            make_splits(table, "t", repeats=1, seed=seed)
    assert len(make_splits(table, "t", "image")) == 10
