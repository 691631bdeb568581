"""The text tower from the inside, against open_clip's own `encode_text`."""

from __future__ import annotations

import pytest
import torch

from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.backbones.text import ContextTexts, can_cut, encode_embeddings, encode_tokens, require_plain_text
from agiqa_bench.errors import ConfigError

DEMOS = ("demo-vit", "demo-rn")
TEXTS = ["a red cat", "", "two blue dogs on a beach, oil painting", "a photo"]


def near(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5) -> bool:
    assert found.shape == wanted.shape
    return bool((found - wanted).abs().max() <= tolerance * wanted.abs().max())


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def demo():
    return load(resolve("demo-vit"))


def is_cut_as_open_clip(model, tokenizer):
    tokens = tokenizer(TEXTS)
    used = int(tokens.argmax(dim=1).max()) + 1
    assert used < tokens.shape[1]
    return near(encode_tokens(model, tokens[:, :used]), model.encode_text(tokens))


@pytest.mark.parametrize("name", DEMOS)
def test_cut_texts_have_the_features_of_whole_ones(name):
    backbone = load(resolve(name))
    assert is_cut_as_open_clip(backbone.model, backbone.tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["ViT-B-32-quickgelu", "RN50-quickgelu"])
def test_cut_texts_in_full_size_models(architecture, make_model):
    import open_clip

    assert is_cut_as_open_clip(make_model(architecture), open_clip.get_tokenizer(architecture))


def test_what_follows_the_end_does_not_count(demo):
    tokens = demo.tokenizer(TEXTS)
    ends = tokens.argmax(dim=1)
    embeddings = demo.model.token_embedding(tokens)
    behind = torch.arange(tokens.shape[1]) > ends[:, None]
    other = torch.where(behind[..., None], draw(*embeddings.shape), embeddings)
    found = encode_embeddings(demo.model, other, ends)
    assert near(found, encode_embeddings(demo.model, embeddings, ends))
    before = torch.where(behind.roll(-1, dims=1)[..., None], draw(*embeddings.shape), embeddings)
    assert not near(encode_embeddings(demo.model, before, ends), found, 1e-2)


def test_positions_and_projection_of_ones_own(demo):
    model, tokens = demo.model, demo.tokenizer(TEXTS)
    ends, embeddings = tokens.argmax(dim=1), model.token_embedding(tokens)
    shift = draw(*model.positional_embedding.shape)
    moved = encode_embeddings(model, embeddings, ends, positions=model.positional_embedding + shift)
    assert near(moved, encode_embeddings(model, embeddings + shift, ends))
    doubled = encode_embeddings(model, embeddings, ends, projection=2 * model.text_projection)
    assert near(doubled, 2 * model.encode_text(tokens))


def slow_reference(model, embeddings, ends, deep):
    """The whole context length, one text at a time, tokens replaced one by one, and a mask written out."""
    rows = []
    for row, end in zip(embeddings, ends.tolist(), strict=True):
        hidden = (row + model.positional_embedding[: len(row)]).clone()
        mask = torch.full((len(row), len(row)), -torch.inf).triu(1)
        for layer, block in enumerate(model.transformer.resblocks):
            if layer > 0 and layer - 1 < len(deep):
                for place, vector in enumerate(deep[layer - 1]):
                    hidden[1 + place] = vector
            hidden = block(hidden[None], attn_mask=mask)[0]
        rows.append(model.ln_final(hidden[end]) @ model.text_projection)
    return torch.stack(rows)


def test_deep_tokens_replace_those_of_the_layer_before(demo):
    model, tokens = demo.model, demo.tokenizer(["a red cat on a beach", "two blue dogs in the sea"])
    ends, embeddings = tokens.argmax(dim=1), model.token_embedding(tokens)
    width, layers = embeddings.shape[-1], len(model.transformer.resblocks)
    plain = encode_embeddings(model, embeddings, ends)
    for depth in range(layers):
        deep = [draw(3, width, seed=layer) for layer in range(depth)]
        found = encode_embeddings(model, embeddings, ends, deep)
        assert near(found, slow_reference(model, embeddings, ends, deep))
        assert near(found, plain, 1e-3) == (depth == 0)


def test_context_texts_without_context_are_plain_texts(demo):
    texts = ContextTexts(demo.model, demo.tokenizer, TEXTS, 0)
    tokens = demo.tokenizer(TEXTS)
    assert (texts.count, texts.length) == (4, int(tokens.argmax(dim=1).max()) + 1)
    assert near(texts.encode(None), demo.model.encode_text(tokens))


@pytest.mark.parametrize("words", ["a", "a photo of two"])
def test_context_of_real_words_makes_their_sentence(words, demo):
    phrases = ["red cats.", "blue dogs on a beach."]
    encoded = demo.tokenizer.encode(words)
    texts = ContextTexts(demo.model, demo.tokenizer, phrases, len(encoded))
    found = texts.encode(demo.model.token_embedding(torch.tensor(encoded)))
    whole = demo.tokenizer([f"{words} {phrase}" for phrase in phrases])
    assert texts.length == int(whole.argmax(dim=1).max()) + 1
    assert near(found, demo.model.encode_text(whole))
    assert not near(texts.encode(draw(len(encoded), 1) + demo.model.token_embedding.weight[:1]), found, 1e-2)


@pytest.mark.parametrize(("front", "back"), [("a photo of", "on a beach"), ("", "on a beach"), ("a photo of two", "")])
def test_a_phrase_between_context_vectors(front, back, demo):
    phrases = ["cats", "blue dogs"]
    first, last = demo.tokenizer.encode(front), demo.tokenizer.encode(back)
    texts = ContextTexts(demo.model, demo.tokenizer, phrases, len(first + last), before=len(first))
    found = texts.encode(demo.model.token_embedding(torch.tensor(first + last)))
    whole = demo.tokenizer([f"{front} {phrase} {back}" for phrase in phrases])
    assert texts.length == int(whole.argmax(dim=1).max()) + 1
    assert near(found, demo.model.encode_text(whole))


def test_context_texts_with_deep_tokens(demo):
    width = demo.model.positional_embedding.shape[1]
    texts = ContextTexts(demo.model, demo.tokenizer, ["cat.", "blue dog."], 2)
    context, deep = draw(2, width), [draw(2, width, seed=1)]
    tokens = demo.tokenizer(["a a cat.", "a a blue dog."])
    embeddings = demo.model.token_embedding(tokens)
    embeddings[:, 1:3] = context
    assert near(texts.encode(context, deep), slow_reference(demo.model, embeddings, tokens.argmax(dim=1), deep))


def test_gradients_reach_what_is_learnt_and_nothing_else(demo):
    width = demo.model.positional_embedding.shape[1]
    texts = ContextTexts(demo.model, demo.tokenizer, ["cat."], 2)
    with torch.enable_grad():
        context, deep = draw(2, width).requires_grad_(), draw(2, width, seed=1).requires_grad_()
        texts.encode(context, [deep]).square().sum().backward()
    assert context.grad.norm() > 0
    assert deep.grad.norm() > 0
    assert all(parameter.grad is None for parameter in demo.model.parameters())


def one_by_one(model, tokenizer, phrases, context, before, deep=()):
    """Each text for itself, behind its own copy of the beginning."""
    rows = []
    for phrase in phrases:
        word = model.token_embedding(torch.tensor(tokenizer.encode(phrase)))
        ends = (tokenizer.sot_token_id, tokenizer.eot_token_id)
        start, end = (model.token_embedding(torch.tensor([token])) for token in ends)
        row = torch.cat([start, context[:before], word, context[before:], end])
        rows.append(slow_reference(model, row[None], torch.tensor([len(row) - 1]), deep)[0])
    return torch.stack(rows)


@pytest.mark.parametrize(("before", "depth"), [(3, 0), (3, 1), (1, 0), (0, 0)])
def test_texts_that_share_their_beginning_are_as_each_for_itself(before, depth, demo):
    phrases, width = ["bad.", "two blue dogs on a beach.", "good photo."], demo.model.positional_embedding.shape[1]
    texts = ContextTexts(demo.model, demo.tokenizer, phrases, 3, before=before)
    with torch.enable_grad():
        learnt = [draw(3, width, seed=layer).requires_grad_() for layer in range(1 + depth)]
        found = texts.encode(learnt[0], learnt[1:])
        wanted = one_by_one(demo.model, demo.tokenizer, phrases, learnt[0], before, learnt[1:])
        weights = draw(*wanted.shape, seed=9)
        pairs = [torch.autograd.grad((features * weights).sum(), learnt) for features in (found, wanted)]
    assert near(found, wanted)
    assert all(near(mine, other, 1e-4) for mine, other in zip(*pairs, strict=True))


@pytest.mark.parametrize("before", [None, 1])
def test_several_sets_of_vectors_in_one_pass(before, demo):
    width = demo.model.positional_embedding.shape[1]
    texts = ContextTexts(demo.model, demo.tokenizer, ["bad.", "a good photo."], 2, before=before)
    with torch.enable_grad():
        contexts = [draw(2, width, seed=seed).requires_grad_() for seed in range(3)]
        found = texts.encode_together(contexts)
        wanted = torch.stack([texts.encode(context) for context in contexts])
        pairs = [torch.autograd.grad(features.pow(3).sum(), contexts) for features in (found, wanted)]
    assert near(found, wanted)
    assert not near(found[0], found[1], 1e-2)
    assert all(near(mine, other) for mine, other in zip(*pairs, strict=True))


def test_a_context_that_is_too_long_is_refused(demo):
    limit = len(demo.model.positional_embedding)
    words = len(demo.tokenizer.encode("red cat."))
    longest = limit - 2 - words
    assert ContextTexts(demo.model, demo.tokenizer, ["red cat."], longest).length == limit
    with pytest.raises(ConfigError, match=f"n_ctx={longest + 1}: 'red cat.' .* need {limit + 1} of {limit} tokens"):
        ContextTexts(demo.model, demo.tokenizer, ["red cat."], longest + 1)


def test_other_text_towers_are_refused(demo, make_model):
    require_plain_text(demo.model, demo.tokenizer, "method")
    other = make_model("tiny-custom")
    assert not can_cut(other)
    with pytest.raises(ConfigError, match="method needs a CLIP with OpenAI's kind of text tower"):
        require_plain_text(other, demo.tokenizer, "method")
    with pytest.raises(ConfigError, match="method needs"):
        require_plain_text(demo.model, object(), "method")
