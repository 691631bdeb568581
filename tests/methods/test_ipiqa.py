from __future__ import annotations

import csv
import io
from dataclasses import replace
from math import sqrt
from statistics import mean, stdev

import numpy as np
import pytest
import torch

from agiqa_bench.cli.app import start
from agiqa_bench.errors import CheckpointError, ConfigError, WeightsUnavailableError
from agiqa_bench.evaluation.correlations import srcc
from agiqa_bench.evaluation.splits import make_splits
from agiqa_bench.execution.cell import fit_and_predict
from agiqa_bench.method import Context
from agiqa_bench.methods.ipiqa import IPIQA, IPIQANetwork
from agiqa_bench.training import views
from agiqa_bench.training.recipe import Recipe

QUICK = dict(IPIQA.presets["quick"])


def tensors(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


class Fitted:
    """A method after two epochs, with the shared CLIP before it."""

    def __init__(self, bench, **settings):
        self.method = bench.method(IPIQA, epochs=2, **settings)
        self.clip = self.method.clip()
        self.before = tensors(self.clip.model)
        self.method.fit(bench.samples())
        self.network = self.method._network


@pytest.fixture(scope="module")
def paper(few):
    return Fitted(few)


@pytest.fixture(scope="module")
def official(few):
    return Fitted(few, variant="official")


@pytest.fixture(scope="module")
def vit(few):
    return Fitted(few, backbone="demo-vit")


def test_a_kill_between_the_two_trainings_changes_nothing(few, tmp_path, monkeypatch):
    monkeypatch.setenv("AGIQA_CHECKPOINT_SECONDS", "0")
    settings = {"image2prompt": True, "image2prompt_epochs": 1, "image2prompt_threshold": -1.0, "epochs": 1}

    def fitted():
        method = few.method(IPIQA, **settings)
        method.context = replace(method.context, scratch=tmp_path)
        return tensors(method.fit(few.samples())._network)

    undisturbed = fitted()
    (tmp_path / "model.pt").unlink()  # of the pretraining all is kept, of the fine-tuning nothing
    assert (tmp_path / "image2prompt.pt").is_file()
    assert changed(undisturbed, fitted()) == set()


def test_bfloat16_leaves_scores_apart(few):
    method = few.method(IPIQA, epochs=1)
    method.context = replace(method.context, precision="bf16")
    scores = method.fit(few.samples()).predict(few.samples().hidden())
    assert len(set(scores[:, 0])) == len(scores)


def test_a_saved_model_does_not_need_the_pretrained_encoders_file(few):
    config = IPIQA.Config(**(QUICK | {"image2prompt": True, "image2prompt_weights": "no/such/file.safetensors"}))
    with pytest.raises(WeightsUnavailableError):
        IPIQA.weights(config, Context())
    assert [weights.name for weights in IPIQA.weights_to_predict(config, Context())] == ["demo-rn"]


@pytest.mark.slow
def test_true_prompts_beat_shuffled_prompts_on_alignment(demo):
    targets, gains = ("quality", "alignment"), []
    for repeat, split in enumerate(make_splits(demo.table, "demo", repeats=5)):
        shuffled = np.random.default_rng(repeat).permutation(demo.table["prompt"].to_numpy())
        found = []
        for samples in (demo.samples(), demo.samples(prompt=shuffled)):
            config, context = IPIQA.Config(**QUICK | {"epochs": 3}), demo.context(targets, seed=repeat)
            scores = fit_and_predict(IPIQA, config, context, samples, split).scores
            found.append(srcc(scores[:, 1], samples.subset(split.test).mos[:, 1]))
        gains.append(found[0] - found[1])
    assert mean(gains) > 2 * stdev(gains) / sqrt(len(gains)), gains
    assert mean(gains) > 0.1, gains


def test_the_ablations_are_the_rows_of_table_3(paper):
    assert list(IPIQA.ablations) == [
        "CLIP regressor",
        "Image2Prompt",
        "integral prompt",
        "Image2Prompt + integral prompt",
        "all with [QA]",
    ]
    rows = []
    for changes in IPIQA.ablations.values():
        config = IPIQA.Config(**QUICK | changes)
        network = IPIQANetwork(paper.clip, config, 2)
        parts = {name.partition(".")[0] for name, _ in network.named_parameters()}
        assert all(parameter.requires_grad for parameter in network.parameters())
        rows.append((config.image2prompt, parts - {"visual", "own_pool", "head"}, network.head.in_features))
    width = paper.clip.width
    assert rows == [
        (False, set(), width),
        (True, set(), width),
        (False, {"cross_pool"}, 2 * width),
        (True, {"cross_pool"}, 2 * width),
        (True, {"cross_pool", "qa"}, 2 * width),
    ]


def test_one_command_runs_the_ablations(demo, tmp_path, capsys):
    methods = "ipiqa[ablation,epochs=1,image2prompt_epochs=1]"
    code = start(["run", "--methods", methods, "--dataset", "demo", "--repeats", "1", "--output", str(tmp_path)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "5 cells computed, 0 reused" in shown.err
    table = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert len(table) == 2 * len(IPIQA.ablations)  # a line per target
    for row, changes in IPIQA.ablations.items():
        stand_in = "demo CLIP RN" + (", Image2Prompt on the training part" if changes["image2prompt"] else "")
        lines = [line for line in table if line["name"].startswith(f"IP-IQA[{row},epochs=1,")]
        assert [line["target"] for line in lines] == ["quality", "alignment"]
        assert all(line["name"].endswith(f"({stand_in})") for line in lines)
    # Every row is another network, though an epoch of [QA] leaves the ranks as they are.
    assert len({line["plcc_mean"] for line in table}) == len(table)


def test_without_integral_prompt_the_prompt_does_not_count(few):
    method = few.method(IPIQA, integral_prompt=False, qa_token=False, epochs=1).fit(few.samples())
    others = few.samples(prompt="a blue house")
    assert np.array_equal(method.predict(few.samples()), method.predict(others))
    assert method.attention(few.samples()) is None


def test_of_the_text_encoder_only_qa_is_trained(paper):
    assert paper.method.clip() is paper.clip
    assert changed(paper.before, tensors(paper.clip.model)) == set()
    assert not any(parameter.requires_grad for parameter in paper.clip.model.parameters())
    assert all(parameter.grad is None for parameter in paper.clip.model.parameters())
    names = {name for name, _ in paper.network.named_parameters()}
    parts = {"qa", "visual", "own_pool", "cross_pool", "head"}
    assert {name.partition(".")[0] for name in names} == parts
    fresh = IPIQANetwork(paper.clip, paper.method.config, 2)
    end = paper.clip.model.token_embedding.weight[paper.clip.tokenizer.eot_token_id]
    assert torch.equal(fresh.qa, end)
    assert not torch.equal(paper.network.qa, end)
    moved = changed(tensors(fresh.visual), tensors(paper.network.visual))
    assert {"conv1.weight", "bn1.running_mean", "layer4.0.conv3.weight"} <= moved


def test_the_official_variant_trains_token_table_positions_and_projection(official, few):
    network, model = official.network, official.clip.model
    assert changed(official.before, tensors(model)) == set()
    assert network.qa is None
    assert not torch.equal(network.projection, model.text_projection)
    rows = (network.tokens != model.token_embedding.weight).any(dim=1).nonzero()[:, 0]
    used = official.clip.tokenizer(sorted(set(few.table["prompt"]))).unique()
    assert rows.numel() > 20
    assert torch.isin(rows, used).all()
    # What lies behind the longest text's end is not computed.
    moved = (network.positions != model.positional_embedding).any(dim=1)
    assert moved[0]
    assert not moved[-1]
    assert isinstance(network.head, torch.nn.Sequential)


def test_a_fresh_network_encodes_prompts_as_clip_does(official, few):
    prompts = sorted(set(few.table["prompt"]))
    tokens = official.clip.tokenizer(prompts)
    for changes in ({"variant": "official"}, {"qa_token": False}, {}):
        network = IPIQANetwork(official.clip, IPIQA.Config(**QUICK | changes), 2)
        with torch.no_grad():
            found = network.encode(tokens).numpy()
        np.testing.assert_allclose(found, official.clip.encode_text(prompts, normalize=False), atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "recipe", "head"),
    [
        ("paper", Recipe(100, 40, 1e-5, "adam"), 1.0),
        ("official", Recipe(100, 32, 1e-5, "adamw", drop_last=True), 10.0),
    ],
)
def test_the_recipe_of_each_variant(variant, recipe, head, few, recipe_of):
    config = IPIQA.Config(variant=variant, backbone="demo-rn", resolution=64)
    found, learner = recipe_of(IPIQA(config, few.context()), few.samples())
    assert found == recipe
    network = learner.model
    factors = {id(parameter): factor for factor, group in learner.groups() for parameter in group}
    assert len(factors) == len(list(network.parameters()))
    assert {factors[id(parameter)] for parameter in network.head.parameters()} == {head}
    others = [factors[id(p)] for name, p in network.named_parameters() if not name.startswith("head.")]
    assert set(others) == {1.0}


def test_half_of_the_training_images_are_mirrored_anew_each_epoch(few, recipe_of):
    method = few.method(IPIQA)
    samples = few.samples().subset(np.arange(5, 40))
    _, learner = recipe_of(method, samples)
    preprocess = method.clip().resolved.preprocess
    side = method.config.resolution
    plain = np.stack([image.astype(np.float32) / 255 for image in samples.images.at(side, resize="exact", crop="none")])
    plain = torch.from_numpy((plain - np.float32(preprocess.mean)) / np.float32(preprocess.std)).permute(0, 3, 1, 2)
    shown, network = [], learner.model
    learner.model = lambda images, texts: shown.append(images) or network(images, texts)
    positions, turned = np.arange(len(samples))[::-1].copy(), []
    for epoch in (0, 1):
        learner.loss(positions, epoch, {})
        turned.append(views.draws(method.context.seed, epoch, samples.rows[positions], 1)[:, 0] < 0.5)
        for view, position, mirror in zip(shown[-1], positions, turned[-1], strict=True):
            expected = plain[int(position)].flip(-1) if mirror else plain[int(position)]
            torch.testing.assert_close(view, expected, rtol=1e-4, atol=1e-4)
    assert 0 < turned[0].sum() < len(positions)
    assert (turned[0] != turned[1]).any()


def test_pool_and_head_have_rates_of_their_own(few, recipe_of):
    method = few.method(IPIQA, pool_factor=7.0, head_factor=30.0)
    _, learner = recipe_of(method, few.samples())
    network = learner.model
    groups = {factor: {id(parameter) for parameter in group} for factor, group in learner.groups()}
    assert groups[7.0] == {id(parameter) for parameter in network.cross_pool.parameters()}
    assert groups[30.0] == {id(parameter) for parameter in network.head.parameters()}
    assert id(network.qa) in groups[1.0]


@pytest.mark.parametrize(
    ("backbone", "resolution", "patch"), [("demo-rn", 80, 32), ("demo-rn", 100, 32), ("demo-vit", 60, 8)]
)
def test_a_resolution_that_is_no_multiple_of_the_patch_is_refused(backbone, resolution, patch, few):
    method = few.method(IPIQA, backbone=backbone, resolution=resolution)
    message = rf"^ipiqa: resolution={resolution} is not a multiple of {patch}, as this CLIP needs$"
    with pytest.raises(ConfigError, match=message):
        method.fit(few.samples())


@pytest.mark.parametrize(("name", "side"), [("paper", 2), ("vit", 8)])
def test_attention_is_that_of_the_cells(name, side, few, request):
    fitted = request.getfixturevalue(name)
    attention = fitted.method.attention(few.samples().subset(range(6)))
    assert attention.shape == (6, fitted.network.cross_pool.heads, side, side)
    assert attention.dtype == np.float32
    sums = attention.sum(axis=(2, 3))
    assert (attention > 0).all()
    # The rest is the mean token's.
    assert ((sums > 0) & (sums < 1)).all()
    scores = fitted.method.predict(few.samples())
    assert scores.shape == (40, 2)
    assert np.ptp(scores, axis=0).min() > 0


def test_other_resolutions_change_the_grid(few):
    method = few.method(IPIQA, resolution=96, epochs=1).fit(few.samples().subset(range(8)))
    assert method.attention(few.samples().subset(range(2))).shape[2:] == (3, 3)


def test_one_target_gives_one_output(few):
    method = few.method(IPIQA, ["alignment"], epochs=1).fit(few.samples(["alignment"]))
    assert method.predict(few.samples(["alignment"])).shape == (40, 1)
    assert method.state()["head.weight"].shape[0] == 1
    both = few.method(IPIQA)
    with pytest.raises(CheckpointError, match=r"^ipiqa: the saved tensors do not fit these settings and this CLIP$"):
        both.restore(method.state())


def test_the_score_depends_on_the_prompt(paper, few):
    rows = few.samples(prompt=few.table["prompt"].where(few.table.index != 3, "a purple cat")).subset([2, 3])
    found, wanted = paper.method.predict(rows), paper.method.predict(few.samples().subset([2, 3]))
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)
    assert (np.abs(found[1] - wanted[1]) > 1e-3).any()


def test_each_distinct_prompt_is_encoded_once(few, monkeypatch):
    encoded, encode = [], IPIQANetwork.encode

    def counting(self, tokens):
        encoded.append([tuple(row) for row in tokens.tolist()])
        return encode(self, tokens)

    monkeypatch.setattr(IPIQANetwork, "encode", counting)
    prompts = ["a cat", "two dogs", "a cat", "a blue house"] * 10
    method = few.method(IPIQA, epochs=1).fit(few.samples(prompt=prompts))
    # Three steps, of 16, 16 and 8 samples.
    assert [len(set(batch)) for batch in encoded] == [len(batch) for batch in encoded] == [3, 3, 3]
    encoded.clear()
    method.predict(few.samples(prompt=prompts))
    assert [len(batch) for batch in encoded] == [3]


def test_frozen_texts_are_encoded_once_for_all_epochs(few, monkeypatch):
    encoded, encode = [], IPIQANetwork.encode
    monkeypatch.setattr(
        IPIQANetwork, "encode", lambda self, tokens: encoded.append(len(tokens)) or encode(self, tokens)
    )
    few.method(IPIQA, qa_token=False, epochs=2).fit(few.samples())
    assert encoded == [few.table["prompt"].nunique()]


def test_what_a_row_lacks_or_stands_in_is_said():
    config, context = IPIQA.Config(**QUICK), Context(offline=True)
    assert IPIQA.note(config, context) == "without Image2Prompt, whose weights were not published"
    own = IPIQA.Config(**QUICK | {"image2prompt": True})
    assert IPIQA.note(own, context) == ""
    backbone, encoder = IPIQA.weights(own, context)
    assert backbone.stand_in.startswith("demo CLIP")
    assert encoder.stand_in == "Image2Prompt on the training part"
    assert len(IPIQA.weights(config, context)) == 1


def test_missing_image2prompt_weights_are_named(tmp_path):
    file = tmp_path / "missing.safetensors"
    config = IPIQA.Config(**QUICK | {"image2prompt": True, "image2prompt_weights": str(file)})
    with pytest.raises(WeightsUnavailableError) as caught:
        IPIQA.weights(config, Context(offline=True))
    assert str(caught.value) == f"image2prompt_weights: {file} does not exist; name a file"


@pytest.mark.parametrize("backbone", ["demo-rn", "demo-vit"])
def test_short_memory_recomputes_blocks_and_batch_norm_still_sees_the_whole_batch(few, monkeypatch, backbone):
    def fitted():
        method = few.method(IPIQA, epochs=2, backbone=backbone, variant="official", batch_size=5)
        method.fit(few.samples())
        return method.history, tensors(method._network)

    history, undisturbed = fitted()
    forward, passes = IPIQANetwork.forward, []

    def short(network, images, texts):
        passes.append(len(images))
        scores = forward(network, images, texts)
        if len(passes) == 2:
            raise torch.OutOfMemoryError("the first attempt at the second step")
        return scores

    monkeypatch.setattr(IPIQANetwork, "forward", short)
    found, recomputed = fitted()
    assert passes[1:3] == [5, 5]
    assert [entry["micro_batch"] for entry in found] == [5, 5]
    assert [entry["loss"] for entry in found] == pytest.approx([entry["loss"] for entry in history], rel=1e-5)
    for name, tensor in undisturbed.items():
        torch.testing.assert_close(recomputed[name], tensor, rtol=1e-4, atol=1e-5)
