"""PickScore and the loading of models of the library transformers, on a tiny random CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from agiqa_bench.backbones.hub import find_model, hub_file, load_model, load_tokenizer
from agiqa_bench.errors import WeightsUnavailableError
from agiqa_bench.method import Context
from agiqa_bench.methods.pickscore import PickScore

LENGTH = 16
END = 40
"""The end token has the highest number, as in CLIP's vocabulary."""


def tiny_tokenizer(words: list[str], file: Path, first: str, last: str, end: int) -> None:
    """A tokenizer of whole words between two special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {"!": 0, "[UNK]": 1, first: 2, last: end} | {word: 3 + n for n, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, 2), (last, end)]
    )
    tokenizer.save(str(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    tower: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    tower["num_attention_heads"] = 2
    text = tower | {"vocab_size": END + 1, "max_position_embeddings": LENGTH, "bos_token_id": 2}
    text["eos_token_id"] = END
    config = CLIPConfig(text_config=text, vision_config=tower | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny-clip"
    model = CLIPModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(4.0)
    model.save_pretrained(path)
    words = ["a", "red", "blue", "cat", "apple", "on", "the", "table"]
    tiny_tokenizer(words, path / "tokenizer.json", "<s>", "</s>", END)
    return path


def scored(demo: Any, folder: Path, prompts: list[str], batch: int = 3, precision: str = "float32") -> Any:
    samples = demo.samples(("alignment",)).subset(np.arange(len(prompts)))
    samples = type(samples)(
        demo.table.iloc[: len(prompts)].assign(prompt=prompts), ("alignment",), demo.images, mos_hidden=True
    )
    method = PickScore(
        PickScore.Config(weights=str(folder)), demo.context(("alignment",), batch_size=batch, precision=precision)
    )
    method.prepare()
    return samples, method, np.asarray(method.predict(samples))


PROMPTS = ["a red cat", "the blue apple on the table", "a red cat", "a " * 30, "zebra"]


def test_scores_are_those_of_transformers_own_forward(demo: Any, folder: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel

    samples, _, scores = scored(demo, folder, PROMPTS)
    model = CLIPModel.from_pretrained(folder).eval()
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    ids = {"a": 3, "red": 4, "blue": 5, "cat": 6, "apple": 7, "on": 8, "the": 9, "table": 10}
    expected = []
    for image, prompt in zip(samples.images, PROMPTS, strict=True):
        # Resized by Pillow here; the processor would resize tensors, a little differently.
        small = Image.fromarray(np.array(image)).resize((32, 32), Image.Resampling.BICUBIC)
        pixels = processor(images=small, do_resize=False, return_tensors="pt")["pixel_values"]
        tokens = [2, *[ids.get(word, 1) for word in prompt.split()][: LENGTH - 2], END]
        with torch.no_grad():
            output = model(input_ids=torch.tensor([tokens]), pixel_values=pixels)
        expected.append(float(output.logits_per_image))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    assert np.ptp(expected) > 0.1
    assert scores.dtype == np.float64


def test_the_batch_does_not_matter_and_low_precision_is_near(demo: Any, folder: Path) -> None:
    _, _, scores = scored(demo, folder, PROMPTS)
    np.testing.assert_allclose(scored(demo, folder, PROMPTS, batch=1)[2], scores, atol=1e-4)
    low = scored(demo, folder, PROMPTS, precision="bf16")[2]
    assert 0 < np.max(np.abs(low - scores)) < 2.0


def test_weights_are_named_after_their_folder_and_digested(folder: Path, tmp_path: Path) -> None:
    (weights,) = PickScore.weights(PickScore.Config(weights=str(folder)), Context(offline=True))
    assert (weights.name, weights.stand_in) == ("tiny-clip", "")
    changed = tmp_path / "tiny-clip"
    changed.mkdir()
    for file in folder.iterdir():
        content = file.read_bytes()
        (changed / file.name).write_bytes(content + b"\n" if file.name == "tokenizer.json" else content)
    (other,) = PickScore.weights(PickScore.Config(weights=str(changed)), Context(offline=True))
    assert other.digest != weights.digest


def test_offline_without_the_model_there_is_no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agiqa_bench.backbones.hub.find_weights", lambda source: None)
    with pytest.raises(WeightsUnavailableError, match=r"yuvalkirstain/PickScore_v1.*network is off") as caught:
        PickScore.weights(PickScore.Config(), Context(offline=True))
    assert caught.value.stand_in == {}


def test_a_published_model_is_its_weights_and_the_first_clips_tokenizer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(source: dict[str, str]) -> Path | None:
        asked.append(source["hf_hub"])
        name = source["hf_hub"].rpartition("/")[2]
        return folder / name if (folder / name).is_file() else None

    monkeypatch.setattr("agiqa_bench.backbones.hub.find_weights", find)
    (weights,) = PickScore.weights(PickScore.Config(), Context(offline=True))
    assert weights.name == "yuvalkirstain/PickScore_v1"
    assert asked == [
        "yuvalkirstain/PickScore_v1/config.json",
        "yuvalkirstain/PickScore_v1/model.safetensors",
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K/tokenizer.json",
    ]


def test_every_source_is_tried_and_each_reason_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from agiqa_bench.errors import DownloadError

    def download(name: str, source: dict[str, str]) -> Path:
        raise DownloadError(f"no {source['hf_hub']}")

    monkeypatch.delenv("AGIQA_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("agiqa_bench.backbones.hub.find_weights", lambda source: None)
    monkeypatch.setattr("agiqa_bench.backbones.hub.download_weights", download)
    with pytest.raises(WeightsUnavailableError, match=r"\(no o/r/a; no o/r/b\): ask me"):
        hub_file("o/r", ("a", "b"), offline=False, advice="ask me")


def test_unfit_files_end_in_one_line(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import BlipForImageTextRetrieval, CLIPModel

    def refused(reason: str, **changes: torch.Tensor | None) -> None:
        tensors = load_file(folder / "model.safetensors") | changes
        save_file({name: value for name, value in tensors.items() if value is not None}, tmp_path / "model.safetensors")
        files = find_model(str(tmp_path), offline=True, setting="x.weights")
        with pytest.raises(WeightsUnavailableError, match=reason) as caught:
            load_model(CLIPModel, files, "cpu")
        assert "\n" not in str(caught.value)

    with pytest.raises(WeightsUnavailableError, match=r"lacks config\.json, model\.safetensors, tokenizer\.json"):
        find_model(str(tmp_path), offline=True, setting="x.weights")
    with pytest.raises(WeightsUnavailableError, match=r"x\.weights = 'no/such/place'"):
        find_model("no/such/place", offline=True, setting="x.weights")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    refused(r"is no CLIPModel: text_projection\.weight is missing", **{"text_projection.weight": None})
    refused(r"other is surplus", other=torch.zeros(1))
    refused(r"size mismatch", **{"text_projection.weight": torch.zeros(3, 3)})
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 20)
    files = find_model(str(tmp_path), offline=True, setting="x.weights")
    with pytest.raises(WeightsUnavailableError, match="safetensors"):
        load_model(CLIPModel, files, "cpu")
    with pytest.raises(WeightsUnavailableError, match="is no BlipForImageTextRetrieval"):
        load_model(BlipForImageTextRetrieval, find_model(str(folder), offline=True, setting="x"), "cpu")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsUnavailableError, match="is no tokenizer"):
        load_tokenizer(files, 5, "!")


def test_pickled_weights_are_loaded_as_tensors_only(demo: Any, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    np.testing.assert_array_equal(scored(demo, tmp_path, PROMPTS)[2], scored(demo, folder, PROMPTS)[2])
    torch.save({"weights": pytest.raises}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailableError, match="never loaded"):
        scored(demo, tmp_path, PROMPTS)
