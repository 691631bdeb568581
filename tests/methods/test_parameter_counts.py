"""Parameters of the methods' networks, counted by hand on the demo CLIPs and after the papers' at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors import safe_open

import agiqa_bench.backbones.demo
from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.backbones.spec import Preprocess, ResolvedBackbone
from agiqa_bench.method import Context, Method
from agiqa_bench.methods.brisque import BRISQUE
from agiqa_bench.methods.clip_agiqa_fu import CLIPAGIQAFu
from agiqa_bench.methods.clip_agiqa_tang import CLIPAGIQATang
from agiqa_bench.methods.clip_probe import CLIPProbe
from agiqa_bench.methods.clipiqa import CLIPIQA
from agiqa_bench.methods.clipiqa_plus import CLIPIQAPlus
from agiqa_bench.methods.clipscore import CLIPScore
from agiqa_bench.methods.cnniqa import CNNIQA
from agiqa_bench.methods.generator_mean import GeneratorMean
from agiqa_bench.methods.imagereward import ImageReward
from agiqa_bench.methods.ipiqa import IPIQA, IPIQANetwork
from agiqa_bench.methods.niqe import NIQE
from agiqa_bench.parameters import ParameterCounts, count_parameters, held_networks

BOTH = ("quality", "alignment")


def transformer(width: int, layers: int) -> int:
    """Two layer norms, the four projections of the attention and the MLP of each layer."""
    return layers * (4 * width + 4 * (width * width + width) + 8 * width * width + 5 * width)


DEMO_TEXT = 784 * 64 + 28 * 64 + transformer(64, 2) + 2 * 64 + 64 * 96
DEMO_VIT = DEMO_TEXT + 1 + 96 + 65 * 96 + 3 * 8 * 8 * 96 + 4 * 96 + transformer(96, 3) + 96 * 96


def demo_file(name: str) -> dict[str, int]:
    """Number of values of each tensor in a file, without the statistics of batch norms."""
    path = Path(agiqa_bench.backbones.demo.__path__[0]) / f"{name}.safetensors"
    with safe_open(path, "np") as file:
        sizes = {key: file.get_tensor(key).size for key in file.keys()}  # noqa: SIM118 - it is no mapping
    return {key: size for key, size in sizes.items() if "running_" not in key and "num_batches" not in key}


def test_zero_shot_methods_train_nothing_of_their_clip(few):
    score, choice = few.method(CLIPScore, ("alignment",)), few.method(CLIPIQA, ("quality",))
    assert score.parameter_counts() == ParameterCounts(DEMO_VIT, 0)
    assert sum(demo_file("demo-vit").values()) == DEMO_VIT
    assert choice.parameter_counts() == ParameterCounts(sum(demo_file("demo-rn").values()), 0)


def test_learnt_context_and_regressors_beside_a_frozen_clip(few):
    tang = few.method(CLIPAGIQATang, ("quality",))
    tang.networks["quality"] = tang.build()
    learnt = 8 * 64 + (7 * 96 * 128 + 128) + (128 + 1)
    assert tang.parameter_counts() == ParameterCounts(DEMO_VIT + learnt, learnt)
    tang.networks["alignment"] = tang.build()
    assert tang.parameter_counts() == ParameterCounts(DEMO_VIT + 2 * learnt, 2 * learnt), "one per target"

    fu = few.method(CLIPAGIQAFu, ("quality",))
    fu.network = fu._build()
    tasks, guidance = 2 * (4 * 64 * 2 + 4 * 96 * 3), 3 * (2 * 96 * 96 + 96)
    assert fu.parameter_counts() == ParameterCounts(DEMO_VIT + tasks + guidance, tasks + guidance)

    plus = few.method(CLIPIQAPlus, ("quality",))
    plus.networks["quality"] = plus.build()
    assert plus.parameter_counts() == ParameterCounts(sum(demo_file("demo-rn").values()) + 16 * 64, 16 * 64)


def test_the_probe_learns_its_ridge_and_support_vectors_are_no_parameters(few):
    samples = few.samples()
    ridge = few.method(CLIPProbe).fit(samples)
    learnt = 2 * (3 * 96 + 1)
    assert ridge.parameter_counts() == ParameterCounts(DEMO_VIT + learnt, learnt)
    svr = few.method(CLIPProbe, head="svr", bounds=(1.0,)).fit(samples)
    assert svr.parameter_counts() == ParameterCounts(DEMO_VIT, None)


def test_ipiqa_counts_its_copy_of_the_image_encoder_once(few):
    method = few.method(IPIQA)
    method._network = IPIQANetwork(method.clip(), method.config, 2)
    file = demo_file("demo-rn")
    seen = sum(size for name, size in file.items() if name.startswith("visual."))
    read = sum(size for name, size in file.items() if not name.startswith(("visual.", "logit_")))
    width, channels = 96, file["visual.layer4.0.bn3.weight"]
    pool = 5 * channels + (width * channels + channels) + 2 * (channels**2 + channels) + channels * width + width
    learnt = seen + pool + 64 + (2 * width * 2 + 2)
    counts = method.parameter_counts()
    assert counts == ParameterCounts(learnt + read, learnt)
    without = few.method(IPIQA, integral_prompt=False)
    without._network = IPIQANetwork(method.clip(), without.config, 2)
    assert without.parameter_counts() == ParameterCounts(seen + 2 * width + 2, seen + 2 * width + 2)


def test_networks_without_a_clip(few):
    method = few.method(CNNIQA, ("quality",))
    assert method.parameter_counts() is None, "before fit"
    method.networks["quality"] = method.build()
    learnt = 16 * 49 + 16 + 32 * 128 + 128 + 128 * 128 + 128 + 128 + 1
    assert method.parameter_counts() == ParameterCounts(learnt, learnt)


@pytest.mark.parametrize("cls", [BRISQUE, GeneratorMean, ImageReward, NIQE])
def test_no_network_or_one_elsewhere_has_no_count(cls):
    assert cls().parameter_counts() is None


# The papers' sizes, without their weights


def full_size(name: str, monkeypatch: pytest.MonkeyPatch, cls: type[Method]) -> ClipBackbone:
    """A CLIP without content, for a method to find."""
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        model = open_clip.CLIP(**config).eval().requires_grad_(False)
    side = config["vision_cfg"]["image_size"]
    resolved = ResolvedBackbone(name, name, name, Path(), "", Preprocess(side, (0.5,) * 3, (0.5,) * 3))
    clip = ClipBackbone(model, open_clip.get_tokenizer(name), resolved, "meta", "float32")
    monkeypatch.setattr(cls, "clip", lambda self: clip)
    return clip


def test_fu_et_al_on_vit_b_32(monkeypatch):
    full_size("ViT-B-32-quickgelu", monkeypatch, CLIPAGIQAFu)
    context = Context(mos_ranges={"quality": (0, 5), "alignment": (0, 5)})
    method = CLIPAGIQAFu(context=context)
    method.network = method._build()
    assert method.parameter_counts() == ParameterCounts(151_277_313 + 14_410_752, 14_410_752)


def test_tang_et_al_on_vit_b_16(monkeypatch):
    full_size("ViT-B-16-quickgelu", monkeypatch, CLIPAGIQATang)
    method = CLIPAGIQATang()
    method.networks["quality"] = method.build()
    assert method.parameter_counts() == ParameterCounts(149_620_737 + 1_844_225, 1_844_225)


def test_ipiqa_on_rn50(monkeypatch):
    clip = full_size("RN50-quickgelu", monkeypatch, IPIQA)
    method = IPIQA(IPIQA.Config(variant="official"))
    with torch.device("meta"):
        method._network = IPIQANetwork(clip, method.config, 2)
    # Tokens, positions and projection are learnt copies; the layers between them are CLIP's own.
    frozen = transformer(512, 12) + 2 * 512
    assert method.parameter_counts() == ParameterCounts(81_918_306 + frozen, 81_918_306)


# Counting


def test_shared_parameters_count_once_and_frozen_ones_are_not_trained():
    shared = torch.nn.Linear(3, 2)
    first, second = torch.nn.Sequential(shared, torch.nn.Linear(2, 1)), torch.nn.Sequential(shared)
    first[1].requires_grad_(False)
    assert count_parameters([first, second, first], trained=True) == ParameterCounts(8 + 3, 8)
    assert count_parameters([first], trained=False) == ParameterCounts(11, 0)
    assert count_parameters([torch.nn.Identity()], trained=True) is None
    assert count_parameters([], trained=True) is None


class Plugin(Method):
    """Keeps its networks where a plugin might."""

    name = title = "plugin"

    def predict(self, samples: Any) -> Any:
        raise NotImplementedError


def test_networks_are_found_wherever_a_method_keeps_them():
    method = Plugin()
    assert method.parameter_counts() is None
    method.alone = torch.nn.Linear(1, 1)
    method.by_target = {"quality": torch.nn.Linear(2, 1), "others": [torch.nn.Linear(3, 1)]}
    hides = torch.nn.Linear(4, 1)
    hides.kept_out_of_its_state = [torch.nn.Linear(5, 1).requires_grad_(False), hides]
    method.pair = (hides, "text")
    assert len({id(network) for network in held_networks(method)}) == 5
    assert method.parameter_counts() == ParameterCounts(2 + 3 + 4 + 5 + 6, 2 + 3 + 4 + 5)
