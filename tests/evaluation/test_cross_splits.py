"""Splits over two data sets."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agiqa_bench.errors import SplitError
from agiqa_bench.evaluation.cross_splits import cross_splits, shared_images
from agiqa_bench.evaluation.splits import Leakage, make_splits


def table(prompts, generators, families=None):
    return pd.DataFrame(
        {
            "image": [f"{row}.png" for row in range(len(prompts))],
            "group": prompts,
            "prompt": prompts,
            "generator": generators,
            "family": families or generators,
        }
    )


def joined(one, two):
    return pd.concat([one, two], ignore_index=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 4), st.sampled_from(["grouped", "image"]), st.integers())
def test_the_parts_are_those_of_plain_splits_of_either(first, second, repeats, rule, offset):
    one = table([f"p{row}" for row in range(first)] * 2, ["gan"] * 2 * first)
    two = table([f"p{row + offset % 5}" for row in range(second)] * 2, ["gan"] * 2 * second)
    home = make_splits(one, "one", rule, repeats)
    away = make_splits(two, "two", rule, repeats)
    found = cross_splits(joined(one, two), len(one), home, away)
    assert [split.repeat for split in found] == list(range(repeats))
    for split, train, test in zip(found, home, away, strict=True):
        assert list(split.train) == list(train.train)
        assert list(split.validation) == list(train.validation)
        assert list(split.test) == [row + len(one) for row in test.test]
        # By hand: the share of test rows whose prompt somebody may have learnt.
        learnt = {one["prompt"][row] for row in [*train.train, *train.validation]}
        asked = [two["prompt"][row] for row in test.test]
        assert split.leakage.prompt == pytest.approx(sum(prompt in learnt for prompt in asked) / len(asked))
        assert split.leakage.generator == 1.0


def leakage(one, two):
    (split,) = cross_splits(
        joined(one, two), len(one), make_splits(one, "one", repeats=1), make_splits(two, "two", repeats=1)
    )
    return split.leakage


def test_prompts_are_compared_as_texts_without_case_and_spaces():
    # Prompts alike but for case and spaces: every test prompt is known, whatever the split.
    one, two = table(["A cat", "a cat ", "a  CAT"], ["gan"] * 3), table(["a cat", "A CAT"], ["other"] * 2)
    assert leakage(one, two) == Leakage(prompt=1.0, group=0.0, generator=0.0)
    assert leakage(one, table(["un chat", "un chien"], ["other"] * 2)) == Leakage(0.0, 0.0, 0.0)


def test_generators_are_compared_by_their_names_and_families():
    prompts = [f"p{row}" for row in range(6)]
    one = table(prompts, ["SD 1.5"] * 6)
    assert leakage(one, table(prompts, ["sd 1.5 low"] * 6, ["sd 1.5"] * 6)).generator == 1.0
    assert leakage(one, table(prompts, ["sd 2"] * 6)).generator == 0.0
    assert leakage(table(prompts, ["sd 1.5 low"] * 6, ["sd 1.5"] * 6), one).generator == 1.0


def test_what_is_blank_or_unknown_is_shared_with_nobody():
    one = table(["", "x"] * 3, ["unknown"] * 6)
    two = table(["", "y"] * 3, ["unknown"] * 6)
    assert leakage(one, two).prompt == 0.0
    assert leakage(one, two).generator == 0.0


def test_other_repeats_and_rows_that_are_not_there_are_refused():
    one, two = table(list("abcd"), ["gan"] * 4), table(list("efgh"), ["gan"] * 4)
    with pytest.raises(SplitError, match="2 splits and the test set 3"):
        cross_splits(joined(one, two), 4, make_splits(one, "one", repeats=2), make_splits(two, "two", repeats=3))
    with pytest.raises(SplitError, match="rows that its data set does not have"):
        cross_splits(one, 4, make_splits(one, "one", repeats=2), make_splits(two, "two", repeats=2))


def test_images_that_are_learnt_from_and_tested_are_counted_by_their_content():
    one, two = table(list("abcdefghij"), ["gan"] * 10), table(list("abcdefghij"), ["gan"] * 10)
    splits = cross_splits(joined(one, two), 10, make_splits(one, "one", repeats=3), make_splits(two, "two", repeats=3))
    assert shared_images(np.arange(20), splits) == 0
    # Row r of both is one image: shared where the one's split learns from what the other's tests.
    expected = [
        len({row - 10 for row in split.test} & {*split.train, *split.validation}) / len(split.test) for split in splits
    ]
    assert shared_images(np.arange(20) % 10, splits) == pytest.approx(np.mean(expected))
    assert 0 < np.mean(expected) <= 1
