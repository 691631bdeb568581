from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, CheckpointError, ConfigError
from agiqa_bench.methods import clip_agiqa_fu
from agiqa_bench.methods.clip_agiqa_fu import CLIPAGIQAFu, PromptedCLIP, Prompts
from agiqa_bench.training import views
from agiqa_bench.training.recipe import Recipe

QUICK = dict(CLIPAGIQAFu.presets["quick"])
SIZE = 64
"""Of demo-vit's images; those of the demo data set have 128 pixels along a side."""


def build(clip, seed=0, *, use_aux=True, **changes):
    torch.manual_seed(seed)
    return PromptedCLIP(clip, CLIPAGIQAFu.Config(**QUICK | changes), use_aux=use_aux)


@pytest.fixture(scope="module")
def fitted(few):
    method = few.method(CLIPAGIQAFu, ["quality"], epochs=2)
    before = {name: tensor.clone() for name, tensor in method.clip().model.state_dict().items()}
    return method.fit(few.samples(["quality"])), before


@pytest.fixture(scope="module")
def clip(fitted):
    return fitted[0].clip()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("full", {"context": 2, "text": 2, "vision": 6, "guidance": 6}),
        ("without auxiliary task", {"context": 1, "text": 1, "vision": 3}),
        ("without text prompts", {"context": 2, "vision": 6, "guidance": 6}),
        ("without vision prompts", {"context": 2, "text": 2}),
    ],
)
def test_what_each_ablation_trains(row, expected, few):
    # Three layers in the image tower and two in the text tower, of which the first has the context.
    method = few.method(CLIPAGIQAFu, ["quality"], **CLIPAGIQAFu.ablations[row])
    prompts = method._build().prompts
    found = {}
    for name, parameter in prompts.named_parameters():
        assert parameter.requires_grad
        kind = next(part for part in name.split(".") if part in ("context", "text", "vision", "guidance"))
        found[kind] = found.get(kind, 0) + 1
    assert found == expected
    assert (prompts.aux is None) == (row == "without auxiliary task")
    assert next(iter(CLIPAGIQAFu.ablations)) == "full"


def test_the_deeper_guidance_layers_begin_as_copies_of_one_and_are_layers_of_their_own():
    prompts = Prompts(4, (2, 8), (5, 6), CLIPAGIQAFu.Config(), use_aux=True)
    first, second, *deeper = prompts.guidance
    assert len(deeper) == 3
    assert not torch.equal(first.weight, second.weight)
    for layer in deeper:
        assert torch.equal(layer.weight, second.weight)
        assert torch.equal(layer.bias, second.bias)
        assert layer.weight is not second.weight


def test_every_prompt_learns_and_clip_does_not(fitted, few):
    method, before = fitted
    torch.manual_seed(0)
    fresh = few.method(CLIPAGIQAFu, ["quality"])
    clip_agiqa_fu.seed_weights(fresh.context)
    start = fresh._build().prompts.state_dict()
    after = method.state()
    assert {name for name, tensor in after.items() if torch.equal(tensor, start[name])} == set()
    model = method.clip().model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_the_papers_recipe(few, recipe_of):
    method = CLIPAGIQAFu(CLIPAGIQAFu.Config(backbone="demo-vit"), few.context(["quality"]))
    recipe, learner = recipe_of(method, few.samples(["quality"]))
    assert recipe == Recipe(50, 64, 1e-4, "adam", patience=15)
    assert learner.model is method.network.prompts


def test_the_loss_adds_a_tenth_of_the_alignment_loss(few, recipe_of, monkeypatch):
    def loss(**settings):
        method = few.method(CLIPAGIQAFu, ["quality"], **settings)
        _, learner = recipe_of(method, few.samples(["quality"]))
        calls.clear()
        with torch.no_grad():
            value = float(learner.loss(np.arange(8), 0, learner.shared()))
        return value, len(calls)

    calls, encode = [], clip_agiqa_fu.encode_image
    monkeypatch.setattr(clip_agiqa_fu, "encode_image", lambda *parts: calls.append(len(parts[1])) or encode(*parts))
    (none, _), (tenth, passes), (whole, _) = (loss(aux_weight=weight) for weight in (0.0, 0.1, 1.0))
    assert passes == 2
    assert tenth - none == pytest.approx(0.1 * (whole - none), rel=1e-4)
    assert whole > none
    assert loss(use_aux=False)[1] == 1


def test_without_alignment_ratings_the_second_task_is_off_and_the_note_says_so(few):
    table = few.table.drop(columns="mos_alignment")
    context = few.context(["quality"], mos_ranges={"quality": (0.0, 5.0)})
    config = CLIPAGIQAFu.Config(**QUICK | {"epochs": 1})
    assert CLIPAGIQAFu.note(config, context) == "without the auxiliary task: the data set rates no alignment"
    assert CLIPAGIQAFu.note(config, few.context(["quality"])) == ""
    off = config.model_copy(update={"use_aux": False})
    assert CLIPAGIQAFu.note(off, context) == ""
    samples = Samples(table, ["quality"], few.images)
    method = CLIPAGIQAFu(config, context).fit(samples)
    assert method.network.prompts.aux is None
    assert not any(name.startswith(("aux", "guidance")) for name in method.state())
    assert np.isfinite(method.predict(samples)).all()
    # The auxiliary weight has no effect then, nor has asking for what is off.
    assert np.array_equal(method.predict(samples), CLIPAGIQAFu(off, context).fit(samples).predict(samples))


def test_an_image_of_the_papers_size_has_25_crops():
    config = CLIPAGIQAFu.Config()
    assert config.resize is None
    assert len(views.crop_grid(512, 512, 224, config.stride)) == 25


def test_the_score_is_the_mean_of_all_crops(fitted, few):
    trained, _ = fitted
    method = few.method(CLIPAGIQAFu, ["quality"], resize=None, stride=32).restore(trained.state())
    rows = few.samples(["quality"]).subset([0, 7, 21])
    scores = method.predict(rows)
    network = method.network
    mean, std = (np.array(values, dtype=np.float32) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for score, image in zip(scores, rows.images, strict=True):
        assert image.shape == (128, 128, 3)
        found = []
        for top in (0, 32, 64):
            for left in (0, 32, 64):
                crop = (image[top : top + SIZE, left : left + SIZE].astype(np.float32) / 255 - mean) / std
                with torch.no_grad():
                    texts = network.texts()["quality"]
                    images = torch.from_numpy(crop).permute(2, 0, 1)[None]
                    found.append(float(network.probability(images, network.prompts.visual(), texts)))
        assert np.ptp(found) > 1e-4
        assert score == pytest.approx(5 * np.mean(found), rel=1e-5)


def test_scores_lie_on_the_scale_of_the_mos(fitted, few):
    scores = fitted[0].predict(few.samples(["quality"]))
    assert scores.shape == (40,)
    assert scores.dtype == np.float64
    assert 0 <= scores.min() < scores.max() <= 5


@pytest.mark.parametrize(("quality", "alignment"), [((0.0, 5.0), (0.0, 100.0)), ((-2.0, 6.0), (1.0, 5.0))])
def test_the_range_of_the_mos_is_brought_to_zero_and_one_and_scores_back(quality, alignment, few, recipe_of):
    context = few.context(["quality"], mos_ranges={"quality": quality, "alignment": alignment})
    method = CLIPAGIQAFu(CLIPAGIQAFu.Config(**QUICK), context)
    ratings = {"quality": np.linspace(*quality, 40), "alignment": np.linspace(*alignment, 40)[::-1]}
    samples = few.samples(["quality"], **{f"mos_{target}": mos for target, mos in ratings.items()})
    _, learner = recipe_of(method, samples)
    np.testing.assert_allclose(learner._mos["quality"], np.linspace(0, 1, 40), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(learner._mos["alignment"], np.linspace(1, 0, 40), rtol=1e-6, atol=1e-7)
    shares = method.crop_scores(samples)
    assert 0 < shares.min() < shares.max() < 1
    np.testing.assert_allclose(method.predict(samples.hidden()), quality[0] + (quality[1] - quality[0]) * shares)


def test_a_range_that_says_nothing_is_refused(few):
    method = few.method(CLIPAGIQAFu)
    method.context = replace(method.context, mos_ranges={})
    with pytest.raises(ConfigError, match="the range of the quality MOS is not known"):
        method.mos_range("quality")
    method.context = replace(method.context, mos_ranges={"quality": (3.0, 3.0)})
    with pytest.raises(ConfigError, match=r"each quality MOS to learn from is 3, .*\(--mos-range\)$"):
        method.fit(few.samples())


def test_the_note_says_whose_range_is_not_stated(few):
    def note(config=None, **ranges):
        return CLIPAGIQAFu.note(config or CLIPAGIQAFu.Config(), few.context(["quality"], mos_ranges=ranges))

    what = "scaled by the range of {} MOS in each repeat's training part: none is stated (--mos-range)"
    assert note(quality=(0, 5), alignment=(0, 5)) == ""
    assert note(quality=None, alignment=None) == what.format("quality and alignment")
    assert note(quality=(0, 5), alignment=None) == what.format("alignment")
    assert note(CLIPAGIQAFu.Config(use_aux=False), quality=(0, 5), alignment=None) == ""
    assert (
        note(quality=None) == f"without the auxiliary task: the data set rates no alignment; {what.format('quality')}"
    )


def test_half_of_the_crops_are_mirrored_anew_each_epoch(few, recipe_of):
    # With images of the size of a crop there is one crop, as it is or mirrored.
    method = few.method(CLIPAGIQAFu, ["quality"])
    samples = few.samples(["quality"]).subset(np.arange(5, 40))
    _, learner = recipe_of(method, samples)
    plain = np.stack([image.astype(np.float32) / 255 for image in samples.images.at(SIZE)])
    plain = torch.from_numpy((plain - np.float32(method.config.mean)) / np.float32(method.config.std)).permute(
        0, 3, 1, 2
    )
    positions = np.arange(len(samples))[::-1].copy()
    turned = []
    for epoch in (0, 1):
        drawn = views.draws(method.context.seed, epoch, samples.rows[positions], 3)[:, 2] < 0.5
        for view, position, mirror in zip(learner._views(positions, epoch), positions, drawn, strict=True):
            expected = plain[int(position)].flip(-1) if mirror else plain[int(position)]
            torch.testing.assert_close(view, expected, rtol=1e-4, atol=1e-4)
        turned.append(drawn)
    assert 0 < turned[0].sum() < len(positions)
    assert (turned[0] != turned[1]).any()


def test_bfloat16_leaves_scores_apart(few):
    method = few.method(CLIPAGIQAFu, epochs=1)
    method.context = replace(method.context, precision="bf16")
    scores = method.fit(few.samples()).predict(few.samples().hidden())
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("asked", ["fit", "predict"])
def test_an_image_smaller_than_a_crop_is_refused(asked, fitted, few, tmp_path):
    from PIL import Image

    paths = list(few.table["path"][:4])
    Image.new("RGB", (80, 40)).save(tmp_path / "small.png")
    paths[2] = str(tmp_path / "small.png")
    samples = Samples(few.table[:4].assign(image=["a", "b", "small.png", "d"]), ["quality"], ImageCache(paths))
    method = few.method(CLIPAGIQAFu, ["quality"], resize=None)
    if asked == "predict":
        method.restore(fitted[0].state())
    with pytest.raises(BadImageError) as caught:
        getattr(method, asked)(samples)
    assert str(caught.value) == "clip_agiqa_fu needs at least 64 x 64 pixels; image small.png is 80 x 40"


def test_predicting_leaves_the_second_tasks_image_pass_out(fitted, few, monkeypatch):
    calls, encode = [], clip_agiqa_fu.encode_image
    monkeypatch.setattr(clip_agiqa_fu, "encode_image", lambda *parts: calls.append(len(parts[1])) or encode(*parts))
    fitted[0].predict(few.samples(["quality"]))
    # Crops of all images go through together: 40 of one crop each, fewer than four batches of 16.
    assert calls == [40]


def test_the_second_task_reaches_the_score_through_its_visual_prompts_alone(fitted, few):
    state = {name: tensor.clone() for name, tensor in fitted[0].state().items()}
    before = fitted[0].predict(few.samples(["quality"]))

    def scores(prefix):
        altered = {name: tensor + 0.1 * name.startswith(prefix) for name, tensor in state.items()}
        return few.method(CLIPAGIQAFu, ["quality"]).restore(altered).predict(few.samples(["quality"]))

    assert np.array_equal(scores("aux.context"), before)
    assert np.array_equal(scores("aux.text"), before)
    assert not np.array_equal(scores("aux.vision"), before)


def test_the_official_variant_rounds_inserted_prompts_to_float16(clip, few):
    images = torch.from_numpy(np.stack([image[:SIZE, :SIZE] for image in few.samples().images[:8]])).permute(0, 3, 1, 2)
    images = views.normalized(images, views.IMAGENET_MEAN, views.IMAGENET_STD)

    def probability(network):
        with torch.no_grad():
            return network.probability(images, network.prompts.visual(), network.texts()["quality"])

    paper, official = build(clip), build(clip, variant="official")
    state = paper.prompts.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in official.prompts.state_dict().items())
    difference = (probability(paper) - probability(official)).abs()
    assert 0 < difference.max() < 1e-2
    # What float16 holds exactly is not changed: neither task's text, nor, without guidance, the image tokens.
    for network in (paper := build(clip, use_aux=False), official := build(clip, use_aux=False, variant="official")):
        for parameter in network.prompts.parameters():
            parameter.data = parameter.data.half().float()
    assert torch.equal(probability(paper), probability(official))


def test_a_resnet_is_refused(few):
    with pytest.raises(ConfigError, match=r"^clip_agiqa_fu needs a CLIP with a Vision Transformer, e\.g\. "):
        few.method(CLIPAGIQAFu, ["quality"], backbone="demo-rn").fit(few.samples(["quality"]))


def test_prompts_of_other_settings_are_refused(fitted, few):
    with pytest.raises(CheckpointError, match=r"^clip_agiqa_fu: the saved prompts do not fit these settings"):
        few.method(CLIPAGIQAFu, ["quality"], n_ctx=2).restore(fitted[0].state())
