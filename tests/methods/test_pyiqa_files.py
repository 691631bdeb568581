"""Weight files of pyiqa's metrics: which they are, where they lie, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from agiqa_bench.errors import DownloadError, PluginError, WeightsUnavailableError
from agiqa_bench.method import Context
from agiqa_bench.methods import pyiqa_files, pyiqa_loading
from agiqa_bench.methods.pyiqa_files import FILES, WeightFile
from agiqa_bench.registry import method_registry


def method(metric: str, **settings: Any) -> Any:
    cls = method_registry().load(f"pyiqa:{metric}")
    return cls(cls.Config(**settings), Context(offline=True))


def weights(metric: str, **settings: Any) -> Any:
    made = method(metric, **settings)
    return made.weights(made.config, made.context)


def test_every_file_of_pyiqas_repository_in_the_table_is_named_in_its_code() -> None:
    import pyiqa.archs

    code = "".join(path.read_text("utf-8") for path in Path(pyiqa.archs.__file__).parent.glob("*_arch.py"))
    own = {file.name for files in FILES.values() for file in files if file.hub == pyiqa_files._PYIQA}
    assert len(own) > 50
    assert not [name for name in own if f"'{name}'" not in code]


@pytest.mark.parametrize(
    "metric",
    ["cnniqa", "clipiqa+", "dbcnn", "laion_aes", "musiq", "paq2piq", "metaiqa", "nrqm", "unique", "wadiqam_nr"],
)
def test_the_first_file_of_the_table_is_what_pyiqa_asks_for(
    metric: str, pyiqa_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyiqa.archs.clip_model
    import pyiqa.utils.download_util as downloads

    asked: list[tuple[str, Path]] = []

    def download(url: str, place: str, *arguments: Any, **options: Any) -> None:
        asked.append((url, Path(place)))
        raise RuntimeError("stop here")

    def download_clip(url: str, root: str) -> None:
        download(url, str(Path(root) / url.rpartition("/")[2]))

    with pyiqa_loading._clip_can_be_imported():
        import clip.clip
    monkeypatch.setattr(downloads, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(pyiqa.archs.clip_model, "_download", download_clip)
    monkeypatch.setattr(clip.clip, "_download", download_clip)
    with pytest.raises(PluginError, match="stop here"):
        pyiqa_loading.build(metric, "cpu")
    file = FILES[metric][0]
    ((url, place),) = asked
    assert place == file.target
    assert url == file.url or url.endswith(f"/{file.hub}/resolve/main/{place.name}")


class Trap:
    """Pickles to something that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


def test_files_with_pickled_code_are_refused_and_not_run(pyiqa_folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"params": {}, "more": Trap(trap)}, pyiqa_folder / "CNNIQA_koniq10k-e6f14c91.pth")
    with pytest.raises(WeightsUnavailableError, match="cannot be read as plain weights") as caught:
        weights("cnniqa")
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsUnavailableError, match=r"--set pyiqa:cnniqa\.trust=true") as caught:
        method("cnniqa").prepare()
    assert "\n" not in str(caught.value)
    assert not trap.exists()
    assert weights("cnniqa", trust=True)
    with pytest.raises(PluginError, match=r"^pyiqa cannot build cnniqa: RuntimeError: Error"):
        method("cnniqa", trust=True).prepare()  # it unpickles, and the state dict is empty
    assert trap.exists()


def test_a_damaged_file_is_one_line(pyiqa_folder: Path) -> None:
    (pyiqa_folder / "CNNIQA_koniq10k-e6f14c91.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(WeightsUnavailableError, match=r"CNNIQA_koniq10k-e6f14c91\.pth cannot be read"):
        weights("cnniqa")


def test_missing_weights_are_one_line_that_names_file_and_folder(
    pyiqa_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsUnavailableError) as caught:
        weights("clipiqa+")
    assert str(caught.value) == (
        "pyiqa's clipiqa+ needs RN50.pt, which is not on this machine, and the run is offline: put it at "
        f"{pyiqa_folder.parent / 'clip' / 'RN50.pt'}"
    )
    with pytest.raises(WeightsUnavailableError, match=r"q-future/one-align.*: fetch the repository.*hf download"):
        weights("qalign")

    def unreachable(name: str, source: Any) -> Path:
        assert source == {"hf_hub": "chaofengc/IQA-PyTorch-Weights/musiq_ava_ckpt-e8d3f067.pth"}
        raise DownloadError("no network")

    monkeypatch.setattr("agiqa_bench.backbones.fetch.download_weights", unreachable)
    monkeypatch.delenv("AGIQA_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    cls = method_registry().load("pyiqa:musiq-ava")
    with pytest.raises(WeightsUnavailableError, match=r"cannot be fetched \(no network\): put it at .*musiq_ava"):
        cls.weights(cls.Config(), Context())


def test_a_file_found_elsewhere_is_put_where_pyiqa_looks(
    pyiqa_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, clip = tmp_path / "hub-cache", tmp_path / ".cache" / "clip" / "RN50.pt"
    hub.write_bytes(b"prompts")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"clip")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name, **options: str(hub))
    first, second = (pyiqa_files.fetch("clipiqa+", file, offline=True) for file in FILES["clipiqa+"])
    assert (first, first.read_bytes()) == (pyiqa_folder.parent / "clip" / "RN50.pt", b"clip")
    # pyiqa takes the name from an address.
    assert (second, second.read_bytes()) == (pyiqa_folder / "CLIP-IQA%2B_learned_prompts-603f3273.pth", b"prompts")


def test_a_repository_is_all_files_of_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repository, name, **options: str(tmp_path / name)
    )
    found = pyiqa_files.fetch("qalign", WeightFile("", hub="owner/name"), offline=True)
    assert [path.name for path in pyiqa_files.contents(found)] == ["config.json", "model.safetensors"]


def test_a_repository_with_code_that_would_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "custom_generate").mkdir()
    (tmp_path / "custom_generate" / "generate.py").write_text("raise SystemExit")
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repository, name, **options: str(tmp_path / name)
    )
    for metric in ("qalign", "compare2score"):
        with pytest.raises(WeightsUnavailableError, match=r"custom_generate holds code .* set 'trust'$"):
            weights(metric)
        assert weights(metric, trust=True)
