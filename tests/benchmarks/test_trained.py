from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from agiqa_bench.backbones.clip import ClipBackbone
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.benchmarks import against_published
from agiqa_bench.benchmarks.against_published import AgainstPublished, Round
from agiqa_bench.benchmarks.clock import Took
from agiqa_bench.benchmarks.flops import count_flops, matrix_product_rate
from agiqa_bench.benchmarks.model import Settings
from agiqa_bench.benchmarks.painted import rated_pictures
from agiqa_bench.benchmarks.parts.trained import measure
from agiqa_bench.benchmarks.procedures import published_procedures
from agiqa_bench.benchmarks.seeded_weights import write_seeded_weights
from agiqa_bench.data import image_cache
from agiqa_bench.methods.plain import clip_agiqa_tang as plain_tang

TANG = Settings("tiny", rounds=1, methods=("clip_agiqa_tang",))
LOW = replace(TANG, precision="bf16")


pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_published_procedure_is_measured_at_tiny_scale(monkeypatch):
    monkeypatch.setenv("AGIQA_CACHE", "/nowhere")
    said: list[str] = []
    result = measure(Settings("tiny", rounds=1), said.append)
    assert result.name == "trained"
    assert os.environ["AGIQA_CACHE"] == "/nowhere"
    found = {entry.name: entry for entry in result.entries}
    assert len(found) == len(result.entries)
    for name, complete in {
        "clip_agiqa_fu": "1 repeat of 2 epochs on 10 pictures",
        "clip_agiqa_tang": "10 repeats of 2 epochs on 10 pictures",
        "ipiqa": "1 repeat of 2 epochs on 10 pictures",
    }.items():
        assert any(line.startswith(f"{name}: round 1 of 1: {complete}") for line in said)
        plain, fast, ratio = (found[f"{name}: {complete}, {which}"] for which in ("plain", "fast", "plain / fast"))
        assert ratio.values == pytest.approx([plain.values[0] / fast.values[0]])
        assert found[f"{name}: {complete}, --select validation, plain / fast"].unit == "x"
        assert found[f"{name}: largest difference of losses"].values[0] < 1e-4
        assert found[f"{name}: largest difference of scores"].values[0] < 1e-4
        assert 0 < found[f"{name}: arithmetic of the fast path, share of a large matrix product"].values[0] < 150
        assert not any(entry.startswith(f"{name}: peak memory") for entry in found)


def made_up_round(losses: float, scores: float) -> Round:
    pair = Took(6.0, 3.0), Took(2.0, 1.5)
    return Round({"a step": pair, "another": None}, pair, Took(4.0, 1.0), losses, scores, 8.0, (80.0, 20.0))


def shown(settings: Settings, folder: Path, *rounds: Round):
    against = AgainstPublished("clip_agiqa_tang", settings, folder)
    return {entry.name.partition(": ")[2]: entry for entry in against.entries(rounds, 5_000_000_000, 1e10)}


def test_ratios_are_taken_round_by_round(tmp_path):
    entries = shown(TANG, tmp_path, made_up_round(0, 0), made_up_round(9e-4, 9e-5))
    complete = "10 repeats of 2 epochs on 10 pictures"
    assert entries[f"{complete}, plain / fast"].values == (3.0, 3.0)
    assert entries[f"{complete}, plain / fast"].note == "2 x by processor time"
    default = entries[f"{complete}, --select validation, plain / fast"]
    assert default.values == (1.5, 1.5)
    assert "trains on 6 of the 8 pictures" in default.note
    assert entries["a step, fast"].values == (2.0, 2.0)
    assert entries["another, plain / fast"].values == ()
    assert entries["another, plain / fast"].note.startswith("many training steps took no longer than one")
    assert entries["arithmetic of the fast path"].values == (2.5, 2.5)
    assert entries["arithmetic of the fast path, share of a large matrix product"].values == (25.0, 25.0)
    assert entries["peak memory of the device, fast"].values == (20.0, 20.0)


@pytest.mark.parametrize(
    ("settings", "losses", "scores", "shows"),
    [
        (TANG, 9e-4, 9e-5, True),
        (TANG, 2e-3, 0.0, False),
        (TANG, 0.0, 2e-4, False),
        # Of losses up to 8, and of a MOS in [0, 5].
        (LOW, 0.39, 0.24, True),
        (LOW, 0.41, 0.0, False),
        (LOW, 0.0, 0.26, False),
    ],
)
def test_no_ratio_where_the_paths_disagree(settings, losses, scores, shows, tmp_path):
    entries = shown(settings, tmp_path, made_up_round(0, 0), made_up_round(losses, scores))
    ratios = {name: entry for name, entry in entries.items() if entry.unit == "x" and name != "another, plain / fast"}
    assert len(ratios) == 3
    for name, entry in ratios.items():
        assert bool(entry.values) is shows, name
        assert entry.note.startswith("not shown: the paths do not agree (losses differ by ") is not shows


def test_the_clock_sees_all_the_work(tmp_path, monkeypatch):
    # Ten pictures: eight to train on, all in one step, and two to test on; four are scored.
    encoded, decoded = [], []
    of_clip, of_scripts, read, opened = (
        ClipBackbone.features,
        VisionTransformer.forward,
        image_cache._decode,
        plain_tang.opened,
    )

    def note(found, call, count):
        def noted(*given):
            found.append(count(given))
            return call(*given)

        return noted

    monkeypatch.setattr(ClipBackbone, "features", note(encoded, of_clip, lambda given: len(given[1])))
    monkeypatch.setattr(VisionTransformer, "forward", note(encoded, of_scripts, lambda given: len(given[1])))
    monkeypatch.setattr(image_cache, "_decode", note(decoded, read, lambda _: 1))
    monkeypatch.setattr(plain_tang, "opened", note(decoded, opened, lambda _: 1))
    sections = []

    def timed(run):
        encoded.clear()
        decoded.clear()
        run()
        sections.append((sum(encoded), sum(decoded)))
        return Took(1.0 + len(sections), 1.0 + len(sections))

    monkeypatch.setattr(against_published, "timed", timed)
    against = AgainstPublished("clip_agiqa_tang", TANG, tmp_path)
    steps = against.work.steps
    against.round()
    assert against.complete == "10 repeats of 2 epochs on 10 pictures"
    assert sections == [
        (8, 8),
        (8, 0),
        (8 * steps, 8 * steps),
        (8 * steps, 0),
        (4, 4),
        (4, 4),
        (10 * 2 * 10, 10 * 2 * 10),
        (2 * 10 + 10, 10),
        (2 * 10 + 10, 10),
    ]


def test_a_method_without_a_published_procedure_is_not_measured():
    assert published_procedures().names() == ["clip_agiqa_fu", "clip_agiqa_tang", "ipiqa"]
    assert measure(Settings("tiny", rounds=1, methods=("brisque",)), lambda line: None).entries == []


def test_operations_are_counted_forwards_and_backwards():
    layer, images = nn.Linear(30, 20), torch.randn(7, 30)
    assert count_flops(lambda: layer(images)) == 2 * 7 * 30 * 20
    assert count_flops(lambda: layer(images).sum().backward()) == 2 * (2 * 7 * 30 * 20)
    attention = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    tokens = torch.randn(2, 5, 32)
    with torch.inference_mode():
        counted = count_flops(lambda: attention(tokens, tokens, tokens, need_weights=False))
    forwards = 2 * (2 * 5 * 32 * 4 * 32) + 2 * 2 * (2 * 5 * 5 * 32)
    assert counted == forwards == 88_320
    tokens.requires_grad_()
    # Each product has two gradients; a fused kernel would compute one product of the attention again.
    trained = count_flops(lambda: attention(tokens, tokens, tokens, need_weights=False)[0].sum().backward())
    assert trained == 3 * forwards
    convolution = nn.Conv2d(3, 8, 5)
    assert count_flops(lambda: convolution(torch.randn(2, 3, 12, 9))) == 2 * (2 * 8 * 8 * 5) * (3 * 5 * 5)
    assert matrix_product_rate("cpu", "float32") > 1e8


def test_pictures_are_all_different(tmp_path):
    table = rated_pictures(tmp_path, 25, 32)
    assert len({Path(path).read_bytes() for path in table["path"]}) == 25
    assert list(table["prompt"]).count(table["prompt"][0]) == 9
    assert table["prompt"].nunique() == 3
    ratings = table[["mos_quality", "mos_alignment"]].to_numpy()
    assert 0 <= ratings.min() < 1 < 4 < ratings.max() <= 5
    again = rated_pictures(tmp_path, 25, 32)
    np.testing.assert_array_equal(again["mos_quality"], table["mos_quality"])


@pytest.mark.slow
def test_seeded_weights_are_read_as_any_others(tmp_path):
    spec = write_seeded_weights("RN50-quickgelu", tmp_path)
    resolved = resolve(spec, offline=True)
    assert (resolved.architecture, resolved.image_size, resolved.residual) == ("RN50-quickgelu", 224, True)
    first = resolved.path.stat().st_mtime_ns
    assert write_seeded_weights("RN50-quickgelu", tmp_path) == spec
    assert resolved.path.stat().st_mtime_ns == first
