"""The demo CLIPs: files, vocabulary, captions, training, and the accuracy that the model card states."""

from __future__ import annotations

import json
import logging
import math
import re
from functools import cache

import numpy as np
import open_clip
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F
from typer.testing import CliRunner

from agiqa_bench.backbones.demo import bpe, card, models, train
from agiqa_bench.backbones.demo.bank import held_out_pictures, render_all, render_bank, rendered, training_family
from agiqa_bench.backbones.demo.captions import (
    FAMILY,
    Caption,
    Picture,
    descriptions,
    is_held_out,
    may_train,
    quality_phrases,
    random_caption,
    truth,
)
from agiqa_bench.backbones.demo.evaluation import HELD_OUT, held_out_accuracy, retrieval
from agiqa_bench.backbones.demo.objective import contrastive_loss
from agiqa_bench.backbones.demo.vocabulary import training_captions
from agiqa_bench.datasets.demo import PROMPTS, SCENES
from agiqa_bench.errors import UnknownNameError
from agiqa_bench.synthetic.damage import Damage
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.scenes import Item, Scene, describe

PARAMETERS = {"demo-vit": 528_097, "demo-rn": 976_015}

both = pytest.mark.parametrize("architecture", models.ARCHITECTURES)


@both
def test_weights_load_through_open_clip(architecture: str) -> None:
    path = models.weights_file(architecture)
    model = models.build(architecture, path)
    stored = load_file(path)
    assert set(stored) == set(model.state_dict())
    assert {value.dtype for name, value in stored.items() if "num_batches" not in name} == {torch.float16}
    assert torch.equal(model.token_embedding.weight, stored["token_embedding.weight"].float())
    assert not model.training
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[architecture]


def test_files_are_small() -> None:
    assert sum(models.weights_file(name).stat().st_size for name in models.ARCHITECTURES) <= 6 * 2**20


def test_unknown_architecture() -> None:
    with pytest.raises(UnknownNameError, match="did you mean demo-vit"):
        models.build("demo-vot")


@both
def test_input_is_that_of_the_ordinary_preprocessing(architecture: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    models.config_file(architecture)
    models.build(architecture)
    preprocess = open_clip.create_model_and_transforms(architecture)[2]
    assert torch.allclose(models.to_input(picture[None])[0], preprocess(Image.fromarray(picture)), atol=1e-6)


@both
def test_retrieval_accuracy_is_the_stated_one(architecture: str) -> None:
    stated = card.metadata(models.weights_file(architecture))
    assert stated["held_out_pictures"] == str(HELD_OUT)
    measured = held_out_accuracy(models.build(architecture, models.weights_file(architecture)))
    for name, value in measured.items():
        assert value == pytest.approx(float(stated[name]), abs=1.0), name
    # Chance is 0.4 %.
    assert measured["image_to_text_top1"] > 20.0
    assert measured["text_to_image_top1"] > 20.0


def test_card_tells_what_the_weights_tell() -> None:
    text = (models.FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    facts = [card.metadata(models.weights_file(name)) for name in models.ARCHITECTURES]
    for key in (*card.ACCURACIES, "steps", "seed", "parameters", "phrase_share"):
        assert f"| {key.replace('_', ' ')} | {facts[0][key]} | {facts[1][key]} |" in text


def test_vocabulary_fits_the_models() -> None:
    tokenizer = models.tokenizer()
    merges = bpe.read_merges(models.TOKENIZER_FILE)
    for name in models.ARCHITECTURES:
        config = json.loads(models.config_file(name).read_text())
        assert config["text_cfg"]["vocab_size"] == tokenizer.vocab_size == 514 + len(merges)
        assert config["text_cfg"]["context_length"] == models.CONTEXT_LENGTH


def test_every_word_of_the_captions_is_one_token() -> None:
    captions = training_captions(families=500)
    words = sorted({word for caption in captions for word in re.findall("[a-z]+", caption.lower())})
    assert len(words) == 98
    tokenizer = models.tokenizer()
    assert [word for word in words if len(tokenizer.encode(word)) != 1] == []
    assert max(len(tokenizer.encode(caption)) for caption in captions) <= models.CONTEXT_LENGTH - 2


def test_merges_learned_from_captions_make_words(tmp_path) -> None:
    path = tmp_path / "bpe.txt.gz"
    merges = bpe.learn_merges(["A photo depicts a red cat", "a photo of a red apple"])
    bpe.write_merges(path, merges)
    assert bpe.read_merges(path) == merges
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(path), context_length=8)
    assert tokenizer.vocab_size == 514 + len(merges)
    assert len(tokenizer.encode("a red photo of a cat")) == 6


def test_tokenizer_round_trip() -> None:
    tokenizer = models.tokenizer()
    for prompt in PROMPTS:
        tokens = tokenizer.encode(prompt)
        # Every word and every comma is one token.
        assert len(tokens) == len(prompt.replace(",", " ,").split())
        assert tokenizer.decode(tokens).strip() == prompt.replace(",", " ,")
        row = tokenizer("A photo depicts " + prompt)[0].tolist()
        assert row.index(tokenizer.eot_token_id) == max(range(len(row)), key=row.__getitem__)


tokenizer_once = cache(models.tokenizer)


@given(st.text(max_size=40))
def test_tokenizer_takes_any_text(text: str) -> None:
    tokenizer = tokenizer_once()
    cleaned = tokenizer.clean_fn(text)
    assert tokenizer.decode(tokenizer.encode(text)).split() == " ".join(tokenizer.pat.findall(cleaned)).split()


def test_learned_merges_by_hand() -> None:
    # "ab" occurs five times, then "ab" + "c" three times; "b" alone in "ab" ends the word.
    assert bpe.learn_merges(["abc abc abc", "ab ab"]) == [("a", "b"), ("ab", "c</w>"), ("a", "b</w>")]
    assert bpe.learn_merges(["abc abc abc", "ab ab"], count=1) == [("a", "b")]


def test_no_caption_of_the_training_asks_for_what_demo_asks() -> None:
    draws = Draws("test captions")
    opening = re.compile(r"^(a photo depicts |an? [a-z ]*(photo|picture|image) of )")
    prompts = {prompt.lower() for prompt in PROMPTS}
    assert all(opening.sub("", f"A photo depicts {prompt}".lower()) in prompts for prompt in PROMPTS)
    for index in range(400):
        pictures = training_family(7, index)
        assert len(pictures) == FAMILY
        for picture in pictures:
            assert opening.sub("", random_caption(picture, draws).text.lower()) not in prompts
            assert may_train(picture.scene)
            assert not is_held_out(picture.scene)


@pytest.mark.parametrize("scene", [scene for _, scene in SCENES], ids=list(PROMPTS))
def test_scenes_of_demo_are_not_trained_on(scene: Scene) -> None:
    assert not may_train(scene)
    assert not may_train(Scene(scene.items, scene.setting, "neon"))


def test_a_shortened_caption_never_becomes_a_prompt_of_demo() -> None:
    # Without its place this is "a red apple", a prompt of `demo`.
    scene = Scene((Item("apple", "red"),), "beach", "pixel")
    assert descriptions(scene) == ["a red apple on a sunny beach, pixel art", "a red apple on a sunny beach"]


def test_captions_speak_of_quality() -> None:
    scene = Scene((Item("cat", "red"),), "snow")
    clean, ruined = Picture(scene), Picture(scene, (Damage("blur", 0.9), Damage("noise", 0.2)))
    good, bad = quality_phrases(clean), quality_phrases(ruined)
    assert {"a clean crisp picture", "an excellent photo", "a high quality image"} <= set(good)
    assert bad[-2:] == ["a very blurry picture", "a slightly noisy picture"]
    assert {"a bad photo", "a low quality picture"} <= set(bad)
    assert not set(good) & set(bad)
    assert clean.severity == 0.0
    assert ruined.severity == pytest.approx(0.92)


def test_truth_of_captions() -> None:
    snow, beach = (Picture(Scene((Item("cat", "red"),), place)) for place in ("snow", "beach"))
    blurred = Picture(snow.scene, (Damage("blur", 0.9),))
    captions = [
        Caption("A photo depicts a red cat", description="a red cat"),
        Caption("a red cat in the snow", description="a red cat in the snow"),
        Caption("a bad photo of a red cat", "a bad photo", "a red cat"),
        Caption("a clean crisp picture", "a clean crisp picture"),
    ]
    assert truth(captions, [snow, beach, blurred]).tolist() == [
        [True, True, False, True],
        [True, False, False, True],
        [True, True, True, False],
    ]


def test_held_out_pictures_are_all_different_and_pinned() -> None:
    pictures = held_out_pictures(64)
    assert len({describe(picture.scene) for picture in pictures}) == 64
    assert all(is_held_out(picture.scene) for picture in pictures)
    assert pictures == held_out_pictures(80)[:64]


def test_bank_does_not_depend_on_the_number_of_workers() -> None:
    expected = render_all([picture for index in range(2) for picture in training_family(3, index)])
    assert np.array_equal(render_bank(3, 2, workers=2), expected)
    assert rendered(training_family(3, 1)[2]).shape == (64, 64, 3)


def test_loss_without_shared_captions_is_info_nce() -> None:
    generator = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(6, 5, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(6, 5, generator=generator), dim=-1)
    order = torch.arange(6)
    logits = 7.0 * images @ texts.T
    expected = 0.5 * (F.cross_entropy(logits, order) + F.cross_entropy(logits.T, order))
    assert torch.allclose(contrastive_loss(images, texts, torch.eye(6, dtype=torch.bool), torch.tensor(7.0)), expected)


def test_loss_with_one_caption_for_all_is_that_of_a_uniform_choice() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    loss = contrastive_loss(images, torch.tensor([[0.0, 1.0]]), torch.ones(3, 1, dtype=torch.bool), torch.tensor(9.0))
    assert float(loss) == pytest.approx(0.5 * math.log(3.0))


def test_loss_with_two_right_answers_by_hand() -> None:
    # One picture, three texts with logits 2, 2 and 0, the first two of them true.
    images = torch.tensor([[1.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    true = torch.tensor([[True, True, False], [False, False, True]])
    loss = contrastive_loss(images[[0, 0]], texts, true, torch.tensor(2.0))
    total = math.log(2 * math.exp(2) + 1)
    assert float(loss) == pytest.approx(0.5 * (0.5 * (total - 2 + total) + math.log(2)))


def test_retrieval_by_hand() -> None:
    texts = torch.eye(4)
    images = texts[[0, 1, 3, 3]]
    result = retrieval(images, texts)
    assert result["image_to_text_top1"] == 75.0
    # Text 3 ties between two pictures and text 2 finds none, and ties count against the model.
    assert result["text_to_image_top1"] == 50.0
    assert result["image_to_text_top5"] == 100.0


def test_schedule() -> None:
    assert train.rate(0, 100) == pytest.approx(0.2)
    assert train.rate(4, 100) == 1.0
    assert train.rate(5, 100) == 1.0
    assert train.rate(99, 100) < 0.001


@both
def test_two_steps_of_training_write_a_loadable_file(architecture: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(train, "held_out_accuracy", lambda model, count: dict.fromkeys(card.ACCURACIES, 12.34))
    recipe = train.Recipe(steps=2, families=4, batch=8)
    bank = render_all([picture for index in range(4) for picture in training_family(recipe.seed, index)])
    train.train_and_save(architecture, bank, recipe, tmp_path)
    path = models.weights_file(architecture, tmp_path)
    model = models.build(architecture, path)
    before = load_file(path)
    assert all(torch.isfinite(value).all() for value in before.values())
    assert model.logit_scale.exp().item() <= 100.0
    facts = card.metadata(path)
    assert (facts["steps"], facts["seed"], facts["image_to_text_top1"]) == ("2", "0", "12.3")


def test_command_writes_weights_and_card(tmp_path, monkeypatch) -> None:

    monkeypatch.setattr(train, "held_out_accuracy", lambda model, count: dict.fromkeys(card.ACCURACIES, 12.34))
    monkeypatch.setattr(train, "render_bank", lambda seed, families, workers: np.zeros((8, 64, 64, 3), dtype=np.uint8))
    output = tmp_path / "demo"
    app = typer.Typer()
    app.command()(train.main)
    command = ["--output", str(output), "--steps", "1", "--families", "2", "--batch", "8", "--threads", "1"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "| image to text top1 | 12.3 | 12.3 |" in (output / "MODEL_CARD.md").read_text()
    assert {path.name for path in output.iterdir()} == {
        "demo-vit.safetensors",
        "demo-rn.safetensors",
        "MODEL_CARD.md",
    }


def test_training_is_quiet_about_what_it_means_to_do(caplog) -> None:
    with caplog.at_level(logging.INFO):
        models.build("demo-vit", models.weights_file("demo-vit"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
