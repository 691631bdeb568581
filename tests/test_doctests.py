"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import agiqa_bench
import agiqa_bench.datasets
import agiqa_bench.methods


def modules():
    for package in (agiqa_bench, agiqa_bench.methods, agiqa_bench.datasets):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield found.name


@pytest.mark.parametrize("name", sorted(set(modules())))
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
