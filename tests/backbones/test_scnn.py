"""The S-CNN of DB-CNN: its architecture, where its weights come from, and the demo's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from agiqa_bench.backbones import scnn
from agiqa_bench.backbones.demo import train_scnn
from agiqa_bench.backbones.demo.captions import is_held_out, may_train
from agiqa_bench.backbones.scnn import SCNN, build_scnn, resolve_scnn, untrained_scnn
from agiqa_bench.errors import DownloadError, WeightsUnavailableError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def no_caches(tmp_path, monkeypatch) -> Path:
    """An empty torch.hub folder, and a Hub cache that holds nothing."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(scnn, "find_weights", lambda source: None)
    return tmp_path / "hub"


@pytest.fixture
def seeded() -> SCNN:
    torch.manual_seed(3)
    network = SCNN().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
    return network


def test_network_is_that_of_pyiqa(seeded) -> None:
    arch = pytest.importorskip("pyiqa.archs.dbcnn_arch")
    theirs = arch.SCNN(use_bn=True).eval()
    theirs.load_state_dict(seeded.state_dict())
    images = torch.rand(2, 3, 100, 75)
    with torch.inference_mode():
        torch.testing.assert_close(seeded(images), theirs(images), atol=1e-5, rtol=0)
        maps = seeded.features(images)
    assert maps.shape == (2, 128, 7, 5)
    assert maps.min() >= 0


@pytest.mark.parametrize("name", ["scnn.pkl", "scnn.safetensors"])
def test_a_local_file_is_what_is_built(seeded, tmp_path, name) -> None:
    path = tmp_path / name
    if name.endswith("pkl"):
        # As data-parallel training saves it, in the format of torch before 1.6.
        named = {f"module.{key}": value for key, value in seeded.state_dict().items()}
        torch.save(named, path, _use_new_zipfile_serialization=False)
    else:
        from safetensors.torch import save_file

        save_file(seeded.state_dict(), path)
    resolved = resolve_scnn(str(path))
    assert (resolved.name, resolved.stand_in) == (f"S-CNN:{name}", "")
    assert [each.digest for each in resolved.weights] == [resolved.digest]
    built = build_scnn(resolved).state_dict()
    assert all(torch.equal(value, built[key]) for key, value in seeded.features.state_dict().items())


def test_weights_that_are_not_there_name_the_demos(no_caches, tmp_path) -> None:
    with pytest.raises(WeightsUnavailableError, match="the network is off; give a file") as caught:
        resolve_scnn("official", offline=True)
    assert caught.value.stand_in == {"scnn": "demo"}
    with pytest.raises(WeightsUnavailableError, match=r"weight file .*scnn\.pkl does not exist") as caught:
        resolve_scnn(str(tmp_path / "scnn.pkl"))
    assert caught.value.stand_in == {}


def test_official_weights_are_found_where_pyiqa_keeps_them_and_checked(no_caches, seeded, monkeypatch) -> None:
    path = no_caches / "pyiqa" / "DBCNN_scnn-7ea73d75.pth"
    path.parent.mkdir(parents=True)
    torch.save(seeded.state_dict(), path)
    with pytest.raises(WeightsUnavailableError, match="is another file"):
        resolve_scnn("official", offline=True)
    digest = resolve_scnn(str(path)).digest
    monkeypatch.setattr(scnn, "_DIGEST", digest[:8])
    resolved = resolve_scnn("official", offline=True)
    assert (resolved.name, resolved.digest, resolved.stand_in) == ("S-CNN:official", digest, "")


def test_official_weights_are_asked_of_the_hub(no_caches, monkeypatch) -> None:
    asked = []

    def download(name, source):
        asked.append((name, source))
        raise DownloadError("nobody answers")

    monkeypatch.setattr(scnn, "download_weights", download)
    monkeypatch.delenv("AGIQA_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(WeightsUnavailableError, match="nobody answers"):
        resolve_scnn("official")
    assert asked == [("S-CNN:official", {"hf_hub": "chaofengc/IQA-PyTorch-Weights/DBCNN_scnn-7ea73d75.pth"})]


def test_a_file_of_another_network_is_refused(tmp_path) -> None:
    path = tmp_path / "other.pth"
    torch.save(SCNN(scnn.DEMO_WIDTHS).state_dict(), path)
    with pytest.raises(WeightsUnavailableError, match=r"features\.0\.weight is \(16, 3, 3, 3\) and should be \(48, 3"):
        build_scnn(resolve_scnn(str(path)))
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsUnavailableError, match=r"features\.0\.weight is missing"):
        build_scnn(resolve_scnn(str(path)))


def test_untrained_is_drawn_and_has_no_weights() -> None:
    resolved = resolve_scnn("none")
    assert resolved == untrained_scnn("none")
    assert resolved.weights == ()
    torch.manual_seed(0)
    first = build_scnn(resolved)
    torch.manual_seed(0)
    assert torch.equal(build_scnn(resolved)[0].weight, first[0].weight)


def demo_facts() -> dict[str, str]:
    with safe_open(scnn.DEMO_FILE, framework="pt") as file:
        return dict(file.metadata())


def test_demo_is_small_and_marked() -> None:
    resolved = resolve_scnn("demo", offline=True)
    assert resolved.stand_in == untrained_scnn("demo").stand_in == "demo S-CNN"
    assert scnn.DEMO_FILE.stat().st_size < 2**20
    assert build_scnn(resolved)[24].out_channels == 48
    assert sum(value.numel() for value in SCNN(scnn.DEMO_WIDTHS, 31).parameters()) == int(demo_facts()["parameters"])


def test_stated_accuracy_is_measured_again() -> None:
    facts = demo_facts()
    measured = train_scnn.held_out_accuracy(scnn.DEMO_FILE)
    assert measured["class"] == pytest.approx(float(facts["held_out_class"]), abs=1.0)
    assert measured["kind"] == pytest.approx(float(facts["held_out_kind"]), abs=1.0)
    # Chance is 3 % and 16 %.
    assert measured["class"] > 40
    assert measured["kind"] > 70


def test_card_tells_what_the_weights_tell() -> None:
    text = (scnn.DEMO_FILE.parent / "SCNN_CARD.md").read_text(encoding="utf-8")
    assert text == train_scnn.card(demo_facts())


def test_pictures_are_of_other_scenes_than_the_tests_and_the_demos() -> None:
    assert all(may_train(train_scnn.training_scene(0, index)) for index in range(100))
    assert all(is_held_out(scene) for scene in train_scnn.held_out_scenes(20))
    assert train_scnn.training_scene(0, 5) == train_scnn.training_scene(0, 5)
    assert train_scnn.training_scene(1, 5) != train_scnn.training_scene(0, 5)


def test_classes_of_a_scene_are_different_damages_of_it() -> None:
    scenes = [train_scnn.training_scene(0, index) for index in range(2)]
    bank = train_scnn.render_bank(scenes, train_scnn.CLASSES, "test")
    assert np.array_equal(bank.images, train_scnn.render_bank(scenes, train_scnn.CLASSES, "test").images)
    for images, classes in zip(np.split(bank.images, 2), np.split(bank.classes, 2), strict=True):
        assert sorted(classes) == list(range(31))
        images = images[np.argsort(classes)].astype(float)
        change = np.abs(images[1:] - images[0]).mean(axis=(1, 2, 3)).reshape(6, 5)
        # Each damage leaves more to see from its first level to its last.
        assert np.all(change[:, 4] > change[:, 0])


@pytest.mark.parametrize(("level", "low", "high"), [(0, 0.05, 0.24), (4, 0.81, 1.0)])
def test_levels_are_equal_parts_of_the_severities(level, low, high) -> None:
    drawn = [train_scnn.severity_of(level, train_scnn.Draws("test", index)) for index in range(200)]
    assert low <= min(drawn) < low + 0.01
    assert high - 0.01 < max(drawn) <= high


def test_accuracy_by_hand() -> None:
    class Fixed(SCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.tensor([0, 1, 5, 6]), 31).float()

    bank = train_scnn.Bank(np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 2, 5, 5]))
    # Right; wrong level; right; the first level of the second damage for the last of the first.
    assert train_scnn.accuracy(Fixed(), bank) == {"class": 50.0, "kind": 75.0}


def test_two_steps_of_training_write_a_loadable_file_and_a_card(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(train_scnn, "held_out_accuracy", lambda path: {"class": 12.34, "kind": 50.0})
    recipe = train_scnn.Recipe(scenes=4, pictures=2, epochs=2, batch=8, crop=32, precision="float32")
    facts = train_scnn.train_and_save(recipe, tmp_path)
    stored = load_file(tmp_path / "demo-scnn.safetensors")
    assert all(torch.isfinite(value).all() for value in stored.values())
    assert {value.dtype for name, value in stored.items() if "num_batches" not in name} == {torch.float16}
    assert {name: facts[name] for name in map(str, dataclasses.asdict(recipe))} == {
        name: str(value) for name, value in dataclasses.asdict(recipe).items()
    }
    assert "named\nrightly for 12.3 %" in (tmp_path / "SCNN_CARD.md").read_text(encoding="utf-8")
