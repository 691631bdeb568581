"""A plan of example methods on a small table."""

import pytest

from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.plugins import load_plugin


@pytest.fixture
def plan_of(rated_table, example_methods, fresh_registries):
    """`plan_of("epochs", repeats=3)`: the plan of a request, on a table without images."""
    load_plugin(example_methods)

    def build(*methods, **changes):
        facts = {"dataset": str(rated_table), "methods": methods, "annotations_only": True}
        return make_plan(RunRequest(**facts | changes))

    return build
