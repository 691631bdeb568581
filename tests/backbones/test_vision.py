"""The image towers from the inside, against open_clip's own `visual`, and weights read from files."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F

from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.backbones.vision import (
    AttentionPool,
    encode_any_size,
    encode_image,
    feature_map,
    is_plain_vit,
    is_residual,
    require_vit,
    resize_positions,
)
from agiqa_bench.errors import ConfigError


def near(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-5) -> bool:
    assert found.shape == wanted.shape
    return bool((found - wanted).abs().max() <= tolerance * wanted.abs().max())


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def vit():
    return load(resolve("demo-vit")).model.visual


@pytest.fixture(scope="module")
def rn50(make_model):
    return make_model("RN50-quickgelu")


@pytest.fixture(scope="module")
def resnet():
    return load(resolve("demo-rn")).model.visual


def batch(visual, n=2):
    size = visual.image_size
    return draw(n, 3, *(size if isinstance(size, tuple) else (size, size)))


def own_pool(visual):
    """CLIP's own attention pool in ours."""
    theirs = visual.attnpool
    cells, width = theirs.positional_embedding.shape
    pool = AttentionPool(cells - 1, width, theirs.num_heads, theirs.c_proj.out_features)
    pool.load_state_dict(theirs.state_dict())
    return pool


def test_a_vision_transformer_without_prompts_is_open_clips(vit):
    assert near(encode_image(vit, batch(vit)), vit(batch(vit)))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu"])
def test_full_size_vision_transformers(architecture, make_model):
    visual = make_model(architecture).visual
    images = batch(visual)
    wanted = visual(images)
    assert near(encode_image(visual, images), wanted)
    cells, features = feature_map(visual, images)
    assert near(features, wanted)
    assert cells.shape == (2, (224 // visual.patch_size[0]) ** 2, 768)


def test_a_residual_network_and_its_pool_are_open_clips(resnet):
    cells, features = feature_map(resnet, batch(resnet))
    assert features is None
    assert near(own_pool(resnet)(cells), resnet(batch(resnet)))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["RN50-quickgelu", "RN101-quickgelu"])
def test_full_size_residual_networks(architecture, rn50, make_model):
    visual = (rn50 if architecture == "RN50-quickgelu" else make_model(architecture)).visual
    images = batch(visual)
    cells, _ = feature_map(visual, images)
    assert cells.shape == (2, 49, 2048)
    assert near(own_pool(visual)(cells), visual(images))


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (96, 160), (75, 133)])
def test_images_of_any_size_without_positions(size, resnet):
    images = draw(2, 3, *size)
    cells = (size[0] // 32) * (size[1] // 32)
    pool = own_pool(resnet)
    pool.positional_embedding = torch.nn.Parameter(torch.zeros(1 + cells, pool.k_proj.in_features))
    tokens, _ = feature_map(resnet, images)
    assert tokens.shape[1] == cells
    found = encode_any_size(resnet, images)
    assert near(found, pool(tokens))
    # The pool of CLIP-IQA's own CLIP, which pyiqa carries.
    clip_model = pytest.importorskip("pyiqa.archs.clip_model")
    theirs = clip_model.AttentionPool2d(2, pool.k_proj.in_features, pool.heads, pool.c_proj.out_features)
    theirs.load_state_dict(resnet.attnpool.state_dict())
    grid = tokens.mT.unflatten(-1, (size[0] // 32, size[1] // 32))
    assert near(found, theirs(grid, pos_embedding=False))


def test_positions_count_where_they_are_told(resnet):
    images = batch(resnet)
    assert not near(encode_any_size(resnet, images), resnet(images), 1e-2)


def test_residual_networks_are_told_by_model_and_configuration(resnet, vit):
    assert (is_residual(resnet), is_residual(vit)) == (True, False)
    assert [resolve(name).residual for name in ("demo-rn", "demo-vit")] == [True, False]


def test_the_feature_map_of_a_vision_transformer_is_its_patch_tokens(vit):
    images = batch(vit)
    cells, features = feature_map(vit, images)
    assert near(features, vit(images))
    hidden = vit.transformer(vit._embeds(images))
    assert near(cells, vit.ln_post(hidden)[:, 1:])


def test_cells_are_told_row_by_row(resnet, vit):
    for visual in (resnet, vit):
        images = torch.zeros_like(batch(visual, 1))
        plain, _ = feature_map(visual, images)
        side = round(plain.shape[1] ** 0.5)
        # Noise in the top right corner, where only the cells at the end of the first rows look.
        edge = images.shape[-1] // side
        images[..., :edge, -edge:] = draw(edge, edge)
        changed = (feature_map(visual, images)[0] - plain).norm(dim=-1).reshape(side, side)
        assert changed[: side // 2, side // 2 :].sum() > changed[side // 2 :, : side // 2].sum()
        assert changed.argmax().item() == side - 1


def slow_reference(visual, images, prompts):
    """All tokens through all layers, and the last tokens replaced one by one."""
    patches = visual.conv1(images).flatten(2).mT
    first = visual.class_embedding.expand(len(images), 1, -1)
    hidden = torch.cat([first, patches], dim=1) + visual.positional_embedding
    appended = [prompt.expand(len(images), -1, -1) for prompt in prompts[:1]]
    hidden = visual.ln_pre(torch.cat([hidden, *appended], dim=1))
    for layer, block in enumerate(visual.transformer.resblocks):
        if 0 < layer < len(prompts):
            for place, vector in enumerate(prompts[layer].flip(0)):
                hidden[:, -1 - place] = vector
        hidden = block(hidden)
    return visual.ln_post(hidden[:, 0]) @ visual.proj


def test_prompts_stand_behind_the_patches_of_their_layers(vit):
    images, width, layers = batch(vit), vit.transformer.width, len(vit.transformer.resblocks)
    plain = encode_image(vit, images)
    for depth in range(layers + 1):
        prompts = [draw(3, width, seed=layer) for layer in range(depth)]
        found = encode_image(vit, images, prompts)
        assert near(found, slow_reference(vit, images, prompts))
        assert near(found, plain, 1e-3) == (depth == 0)


def test_gradients_reach_prompts_and_nothing_else(vit):
    prompts = [draw(2, vit.transformer.width, seed=layer).requires_grad_() for layer in range(2)]
    with torch.enable_grad():
        encode_image(vit, batch(vit), prompts).square().sum().backward()
    assert all(prompt.grad.norm() > 0 for prompt in prompts)
    assert all(parameter.grad is None for parameter in vit.parameters())


def test_resized_positions():
    positions = draw(1 + 49, 6)
    assert torch.equal(resize_positions(positions, 7), positions)
    for grid in (4, 16):
        found = resize_positions(positions, grid)
        assert found.shape == (1 + grid * grid, 6)
        assert torch.equal(found[0], positions[0])
        cells = positions[1:].reshape(7, 7, 6).permute(2, 0, 1)
        wanted = F.interpolate(cells[None], size=(grid, grid), mode="bicubic", align_corners=False)[0]
        assert torch.allclose(found[1:].reshape(grid, grid, 6), wanted.permute(1, 2, 0), atol=1e-6)
    level = torch.full((1 + 9, 2), 0.25)
    assert torch.allclose(resize_positions(level, 5), torch.full((26, 2), 0.25))


@pytest.mark.parametrize("query", [None, 5])
def test_attention_weights_explain_the_pool(query):
    torch.manual_seed(0)
    pool = AttentionPool(cells=9, width=12, heads=3, output=4, query=query)
    tokens, asked = draw(2, 9, 12), None if query is None else draw(2, query, seed=1)
    weights = pool.weights(tokens, asked)
    assert weights.shape == (2, 3, 10)
    assert (weights > 0).all()
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 3))
    read = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + pool.positional_embedding
    values = pool.v_proj(read).reshape(2, 10, 3, 4)
    pooled = torch.einsum("nhp,nphw->nhw", weights, values).flatten(1)
    assert near(pool.c_proj(pooled), pool(tokens, asked))


def test_a_foreign_query_asks_in_place_of_the_mean():
    torch.manual_seed(0)
    pool = AttentionPool(cells=4, width=8, heads=2, output=3, query=8)
    tokens = draw(2, 4, 8)
    mean = tokens.mean(dim=1) + pool.positional_embedding[0]
    assert near(pool(tokens, mean), pool(tokens))
    assert not near(pool(tokens, -3 * mean), pool(tokens), 1e-2)


def test_other_image_towers_are_refused(vit, resnet):
    require_vit(vit, "method")
    assert not is_plain_vit(resnet)
    with pytest.raises(ConfigError, match=r"method needs a CLIP with a Vision Transformer, e\.g\. --backbone ViT-B-32"):
        require_vit(resnet, "method")


def features_of_open_clip(model, pictures, texts, tokenizer, preprocess):
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocess.mean, preprocess.std))
    images = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
    return model.encode_image(images).numpy(), model.encode_text(tokenizer(texts)).numpy()


def check_loaded(backbone, model, tokenizer):
    draws = np.random.default_rng(0)
    size = backbone.resolved.image_size
    pictures = draws.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    texts = ["a red cat", "", "two blue dogs on a beach, oil painting"]
    wanted = features_of_open_clip(model, pictures, texts, tokenizer, backbone.resolved.preprocess)
    found = backbone.encode_image(pictures, normalize=False), backbone.encode_text(texts, normalize=False)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["demo-vit", "demo-rn"])
def test_the_demo_clips_load_as_open_clip_loads_them(name):
    resolved = resolve(name)
    backbone = load(resolved)
    model = open_clip.create_model(name, pretrained=str(resolved.path)).eval()
    tokenizer = open_clip.get_tokenizer(name, bpe_path=str(resolved.files[1]))
    check_loaded(backbone, model, tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["openai", "state dict"])
def test_a_full_size_residual_network_comes_back(form, rn50, save_openai, tmp_path):
    path = tmp_path / "rn50.pt"
    if form == "openai":
        save_openai(rn50, path)
    else:
        torch.save(rn50.state_dict(), path)
    try:
        backbone = load(resolve(f"{'RN50' if form == 'openai' else 'RN50-quickgelu'}:{path}"))
    finally:
        path.unlink()
    assert (backbone.width, backbone.resolved.image_size) == (1024, 224)
    check_loaded(backbone, rn50, open_clip.get_tokenizer("RN50"))
