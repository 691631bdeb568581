"""The rules of splits, by name: nothing here computes anything, so that lists and helps can name them at once."""

from __future__ import annotations

from typing import Literal

SplitRule = Literal["grouped", "image", "generator"]

RULES: dict[SplitRule, str] = {
    "grouped": "no group (the prompt, where the data set names no other) is on two sides",
    "image": "images at random, groups ignored: optimistic, for comparison with papers that split so",
    "generator": "one generator family is left out at a time",
}
