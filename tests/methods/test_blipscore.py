"""BLIPScore on a tiny random BLIP, against transformers' own forward."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.method import Context
from agiqa_bench.methods.blipscore import BLIPScore

WORDS = ["a", "red", "blue", "cat", "apple", "on", "the", "table"]
PROMPTS = ["a red cat", "the blue apple on the table", "a red cat", "the table"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BlipConfig, BlipForImageTextRetrieval

    tower: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    tower["num_attention_heads"] = 2
    config = BlipConfig(
        text_config=tower | {"vocab_size": 20, "max_position_embeddings": 40, "encoder_hidden_size": 16},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
        projection_dim=8,
        image_text_hidden_size=8,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny-blip"
    model = BlipForImageTextRetrieval(config)
    for parameter in model.parameters():
        # Drawn anew and wide: near-zero weights would give every image the same score.
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {word: 4 + n for n, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def scored(
    demo: Any, folder: Path, head: str, batch: int = 3, precision: str = "float32", repeats: int = 1
) -> tuple[Samples, Any]:
    prompts = PROMPTS * repeats
    table = demo.table.iloc[: len(prompts)].assign(prompt=prompts)
    samples = Samples(table, ("alignment",), demo.images, mos_hidden=True)
    config = BLIPScore.Config(weights=str(folder), head=head)
    method = BLIPScore(config, demo.context(("alignment",), batch_size=batch, precision=precision))
    method.prepare()
    return samples, np.asarray(method.predict(samples))


@pytest.mark.parametrize("head", ["cosine", "matching"])
def test_scores_are_those_of_transformers_own_forward(demo: Any, folder: Path, head: str) -> None:
    from transformers import BlipForImageTextRetrieval, BlipImageProcessor

    samples, scores = scored(demo, folder, head)
    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    processor = BlipImageProcessor()
    expected = []
    for image, prompt in zip(samples.images, PROMPTS, strict=True):
        small = Image.fromarray(np.array(image)).resize((32, 32), Image.Resampling.BICUBIC)
        pixels = processor(images=small, do_resize=False, return_tensors="pt")["pixel_values"]
        # One text at a time and not padded.
        tokens = torch.tensor([[2, *(4 + WORDS.index(word) for word in prompt.split()), 3]])
        with torch.no_grad():
            output = model(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                pixel_values=pixels,
                use_itm_head=head == "matching",
            ).itm_score
        expected.append(float(output) if head == "cosine" else float(torch.logit(output.double().softmax(1)[0, 1])))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(scored(demo, folder, head, batch=1)[1], scores, atol=1e-4)


@pytest.mark.parametrize("head", ["cosine", "matching"])
def test_low_precision_does_not_round_scores(demo: Any, folder: Path, head: str) -> None:
    # 80 different images: in steps of bfloat16 some of their scores would be the same.
    scores, low = (
        scored(demo, folder, head, batch=32, precision=precision, repeats=20)[1] for precision in ("float32", "bf16")
    )
    assert len(np.unique(scores)) == len(np.unique(low)) == 80
    assert 0 < np.max(np.abs(low - scores)) < 0.5
    assert np.any(torch.from_numpy(low).bfloat16().double().numpy() != low)


def test_without_the_model_or_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agiqa_bench.backbones.hub.find_weights", lambda source: None)
    with pytest.raises(
        WeightsUnavailableError, match=r"Salesforce/blip-itm-base-coco.*blipscore\.weights=FOLDER"
    ) as caught:
        BLIPScore.weights(BLIPScore.Config(), Context(offline=True))
    assert caught.value.stand_in == {}
    assert BLIPScore.skip(BLIPScore.Config(), Context()) is None
    assert importlib.util.find_spec("transformers")
    monkeypatch.setattr("agiqa_bench.backbones.hub.find_spec", lambda name: None)
    assert "pip install transformers" in str(BLIPScore.skip(BLIPScore.Config(), Context()))
