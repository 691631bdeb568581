"""The digest of the code that a result depends on."""

import sys

import pytest

from agiqa_bench.execution import code_digest as module
from agiqa_bench.execution.code_digest import code_digest
from agiqa_bench.methods.clipscore import CLIPScore
from agiqa_bench.methods.generator_mean import GeneratorMean
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry


def digest_of(cls):
    code_digest.cache_clear()
    return code_digest(cls)


@pytest.mark.parametrize(
    "name",
    [
        "agiqa_bench.methods.generator_mean",
        "agiqa_bench.method",
        "agiqa_bench.data.samples",
        "agiqa_bench.evaluation.correlations",
        "agiqa_bench.evaluation.metrics",
        "agiqa_bench.evaluation.splits",
        "agiqa_bench.execution.cell",
        "agiqa_bench.execution.tasks",
    ],
)
def test_every_module_in_reach_changes_the_digest(name, monkeypatch, tmp_path):
    before = digest_of(GeneratorMean)
    assert name in before.modules
    find = module._source_file
    changed = tmp_path / find(name).name
    changed.write_text(find(name).read_text("utf-8") + "\nCHANGED = True\n", "utf-8")
    monkeypatch.setattr(module, "_source_file", lambda other: changed if other == name else find(other))
    assert digest_of(GeneratorMean).sources != before.sources


def test_what_draws_and_talks_is_out_of_reach_and_what_looks_reaches_the_image_cache():
    reach = digest_of(GeneratorMean)
    assert not [name for name in reach.modules if ".cli" in name or ".reporting" in name]
    assert set(reach.libraries) == {"numpy", "scipy"}
    looking = digest_of(CLIPScore)
    assert {"agiqa_bench.data.images", "agiqa_bench.data.resizing", "agiqa_bench.backbones.clip"} <= set(
        looking.modules
    )
    assert {"torch", "open_clip", "PIL"} <= set(looking.libraries)


def test_a_file_beside_a_plugin_is_followed(tmp_path, monkeypatch, fresh_registries):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sibling_of_a_plugin.py").write_text("SIGN = 1\n")
    (tmp_path / "plugin.py").write_text(
        "from agiqa_bench import Method\n\n\nclass P(Method):\n    name = title = 'p'\n"
        "    def predict(self, samples):\n        from sibling_of_a_plugin import SIGN\n        return SIGN\n"
    )
    load_plugin(tmp_path / "plugin.py")
    cls = method_registry().load("p")
    before = digest_of(cls)
    assert "sibling_of_a_plugin" in before.modules
    (tmp_path / "sibling_of_a_plugin.py").write_text("SIGN = -1\n")
    assert digest_of(cls).sources != before.sources
    assert "sibling_of_a_plugin" not in sys.modules


def test_a_module_that_many_methods_reach_is_parsed_once():
    code_digest.cache_clear()
    module._imports.cache_clear()
    together = [code_digest(method_registry().load(name)) for name in ("gmlf", "higrade", "brisque")]
    reached = [set(digest.modules) for digest in together]
    assert {"agiqa_bench.features.svr", "agiqa_bench.features.cache"} <= set.intersection(*reached)
    assert 0 < module._imports.cache_info().misses <= len(set.union(*reached))
