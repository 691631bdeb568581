from __future__ import annotations

import csv
import hashlib
import socket
import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
import skimage
import torch
from PIL import Image

from agiqa_bench.contract import check_method
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.images import decode
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, PluginError, TrainingError
from agiqa_bench.execution.code_digest import code_digest
from agiqa_bench.method import Context
from agiqa_bench.methods import pyiqa_loading
from agiqa_bench.methods.niqe_pristine import REFIT_FILE, read_pristine
from agiqa_bench.methods.pyiqa_files import FILES
from agiqa_bench.methods.pyiqa_loading import unit_tensor
from agiqa_bench.methods.pyiqa_metrics import PyiqaFamily
from agiqa_bench.registry import method_registry, problem_with_class_data

OFFLINE = Context(offline=True)
LICENCE = "computed with pyiqa, whose licence (PolyForm Noncommercial 1.0.0) allows noncommercial use only"
PHOTOGRAPHS = ("astronaut.png", "camera.png", "coffee.png")


def shipped(name: str) -> np.ndarray:
    """A photograph out of scikit-image's wheel, cut so that the three have different sizes."""
    image = decode(Path(skimage.__file__).parent / "data" / name)
    return image[: 200 + len(name), 20:220]


def samples_of(images: list[np.ndarray], folder: Path, **columns: Any) -> Samples:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    table = pd.DataFrame({"image": [path.name for path in paths], "mos_quality": 1.0, **columns})
    return Samples(table, ["quality"], ImageCache(paths, folder / "cache"), mos_hidden=True)


def method(metric: str, context: Context = OFFLINE, **settings: Any) -> Any:
    cls = method_registry().load(f"pyiqa:{metric}")
    return cls(cls.Config(**settings), context)


def seeded_cnniqa(file: Path) -> dict[str, torch.Tensor]:
    """Write a file such as pyiqa's own, with weights of this test."""
    from pyiqa.archs.cnniqa_arch import CNNIQA

    torch.manual_seed(3)
    state: dict[str, torch.Tensor] = CNNIQA(pretrained=None).state_dict()
    torch.save({"params": state}, file)
    return state


@pytest.mark.parametrize(("metric", "sign"), [("piqe", -1), ("entropy", 1)])
def test_scores_are_pyiqas_with_higher_better(metric: str, sign: int, tmp_path: Path) -> None:
    import pyiqa

    images = [shipped(name) for name in PHOTOGRAPHS]
    reference = pyiqa.create_metric(metric, device="cpu")
    assert reference.lower_better == (sign < 0)
    expected = [sign * float(reference(unit_tensor(image))) for image in images]
    found = method(metric).predict(samples_of(images, tmp_path))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_scores_with_weight_files_in_pyiqas_folder(pyiqa_folder: Path, tmp_path: Path) -> None:
    import pyiqa

    model = read_pristine(REFIT_FILE)
    parameters = pyiqa_folder / "niqe_modelparameters.mat"
    scipy.io.savemat(parameters, {"mu_prisparam": model.mean, "cov_prisparam": model.covariance})
    state = seeded_cnniqa(pyiqa_folder / "CNNIQA_koniq10k-e6f14c91.pth")
    niqe = pyiqa.create_metric("niqe", device="cpu", pretrained_model_path=str(parameters))
    cnniqa = pyiqa.create_metric("cnniqa", device="cpu", pretrained=None)
    cnniqa.net.load_state_dict(state)
    images = [shipped(name) for name in PHOTOGRAPHS]
    samples = samples_of(images, tmp_path / "set")
    for metric, reference, sign in (("niqe", niqe, -1), ("cnniqa", cnniqa, 1)):
        expected = [sign * float(reference(unit_tensor(image))) for image in images]
        np.testing.assert_allclose(method(metric).predict(samples), expected, rtol=0, atol=1e-5)
    made = method("cnniqa")
    (used,) = made.weights(made.config, made.context)
    assert used.name == "CNNIQA_koniq10k-e6f14c91.pth (pyiqa)"
    assert used.digest == hashlib.sha256((pyiqa_folder / "CNNIQA_koniq10k-e6f14c91.pth").read_bytes()).hexdigest()
    assert not used.stand_in


@pytest.mark.parametrize("metric", ["piqe", "entropy"])
def test_the_contract_is_kept(metric: str, demo: Any) -> None:
    broken = [check for check in check_method(method_registry().load(f"pyiqa:{metric}")) if check.passed is False]
    assert not broken


def test_the_family_holds_pyiqas_no_reference_metrics_of_single_images() -> None:
    import pyiqa

    members = PyiqaFamily().members()
    of_sets = {"fid", "sfid", "fid_dinov2", "inception_score"}
    assert set(members) == set(pyiqa.list_models(metric_mode="NR")) - of_sets
    assert set(members) == set(FILES)
    for name in method_registry().members("pyiqa"):
        cls = method_registry().load(name)
        assert not problem_with_class_data(cls)
        assert (cls.name, cls.trainable, cls.groups) == (name, False, ("pyiqa",))
        alignment = name == "pyiqa:clipscore"
        assert (cls.targets, cls.uses_prompt) == ((("alignment",), True) if alignment else (("quality",), False))
    assert "Noncommercial" in str(method_registry().load("pyiqa:musiq").__doc__)
    assert PyiqaFamily().describe("niqe")["Better"] == "lower"
    assert PyiqaFamily().describe("musiq") | {"Weights": ""} == {
        "Better": "higher", "Range": "~0, ~100", "Smallest image": "", "Weights": "",
    }  # fmt: skip


def test_building_never_touches_the_network_and_leaves_nothing_changed(pyiqa_folder: Path) -> None:
    before = (torch.load, socket.getaddrinfo)
    with pytest.raises(
        PluginError, match=r"^pyiqa cannot build wadiqam_nr: .*was asked for a file that should be here"
    ):
        pyiqa_loading.build("wadiqam_nr", "cpu")
    assert (torch.load, socket.getaddrinfo) == before


def test_the_package_clip_can_be_imported_and_nothing_is_left_behind() -> None:
    code = (
        "import sys\nfrom agiqa_bench.methods import pyiqa_loading as loading\n"
        "with loading._clip_can_be_imported():\n    import clip\n"
        "print(callable(clip.tokenize), 'pkg_resources' in sys.modules and loading.module_missing('pkg_resources'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_too_small_and_undefined_images_are_one_line(pyiqa_folder: Path, tmp_path: Path) -> None:
    scipy.io.savemat(
        pyiqa_folder / "niqe_modelparameters.mat", {"mu_prisparam": np.zeros(36), "cov_prisparam": np.eye(36)}
    )
    small = samples_of([shipped("coffee.png"), shipped("coffee.png")[:95]], tmp_path / "small")
    with pytest.raises(BadImageError, match=r"^pyiqa:niqe needs at least 96 x 96 pixels; image 1\.png is 200 x 95$"):
        method("niqe").predict(small)
    black = samples_of([shipped("coffee.png"), np.zeros((64, 80, 3), np.uint8)], tmp_path / "black")
    with pytest.raises(BadImageError, match=r"^pyiqa:piqe cannot score image 1\.png \(80 x 64\): it gives nan$"):
        method("piqe").predict(black)


class Fake:
    """A metric in place of pyiqa's, which draws, and remembers what it was given."""

    lower_better = True

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[tuple[int, ...], Any]] = []
        self.fits = 100

    def __call__(self, pixels: torch.Tensor, caption_list: Any = None) -> torch.Tensor:
        self.calls.append((tuple(pixels.shape), caption_list))
        if self.error is not None:
            raise self.error
        if len(pixels) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pixels.mean(dim=(1, 2, 3))[:, None] + torch.rand(1) + np.random.rand()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    metric = Fake()
    monkeypatch.setattr(pyiqa_loading, "build", lambda name, device, *, trust: metric)
    return metric


def test_a_metric_that_draws_gives_an_image_one_score(fake: Fake, tmp_path: Path) -> None:
    samples = samples_of([shipped(name) for name in PHOTOGRAPHS], tmp_path)
    scores = method("musiq").predict(samples)
    np.testing.assert_array_equal(method("musiq").predict(samples.subset([2, 0])), scores[[2, 0]])
    assert len(set(scores)) == 3


def test_batches_hold_one_size_and_keep_the_order(fake: Fake, tmp_path: Path) -> None:
    base = shipped("coffee.png")
    images = [base[:64, :64], base[64:128, :64], base[:64, 64:128], base[:80, :64], base[80:160, :64], base[:64, :64]]
    samples = samples_of(images, tmp_path)
    calls: list[tuple[int, int, str]] = []
    context = Context(offline=True, batch_size=2, progress=lambda *call: calls.append(call))
    scores = method("musiq", context).predict(samples)
    assert [shape[0] for shape, _ in fake.calls] == [2, 1, 2, 1]
    assert [done for done, _, _ in calls] == [2, 3, 5, 6]
    # lower_better turns it round.
    means = [np.mean(image) / 255 for image in images]
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(np.negative(means)))
    fake.calls.clear()
    method("afine_nr", context).predict(samples)  # takes one at a time
    assert {shape[0] for shape, _ in fake.calls} == {1}


def test_short_memory_halves_the_batch_and_ends_in_one_line(fake: Fake, tmp_path: Path) -> None:
    base = shipped("coffee.png")
    samples = samples_of([base[:64, 10 * start : 10 * start + 64] for start in range(5)], tmp_path)
    context = Context(offline=True, batch_size=4)
    expected = method("musiq", context).predict(samples).argsort()
    fake.fits = 2
    fake.calls.clear()
    np.testing.assert_array_equal(method("musiq", context).predict(samples).argsort(), expected)
    assert [shape[0] for shape, _ in fake.calls] == [4, 2, 2, 1]
    fake.error = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(TrainingError, match=r"^pyiqa:musiq: no memory for a single sample"):
        method("musiq", context).predict(samples)


def test_an_instance_builds_its_metric_once_and_nothing_else_keeps_it(tmp_path: Path) -> None:
    first, second = method("entropy"), method("entropy")
    first.prepare()
    built = first._built
    first.predict(samples_of([shipped("coffee.png")], tmp_path))
    assert first._built is built
    assert second._built is not built


def test_another_precision_is_said_not_to_be_followed() -> None:
    cls = method_registry().load("pyiqa:musiq")
    assert cls.note(cls.Config(), Context(precision="bf16")) == f"{LICENCE}; computed in float32"


def test_plan_and_report_tell_the_licence_beside_the_rows_that_use_pyiqa(command, rated_table) -> None:
    for row in csv.DictReader(rated_table.read_text("utf-8").splitlines()):
        Image.fromarray(np.random.default_rng(len(row["image"])).integers(0, 256, (96, 96, 3), np.uint8)).save(
            rated_table.with_name(row["image"])
        )
    run = ["run", "--methods", "niqe,pyiqa:piqe,generator_mean", "--dataset", rated_table, "--repeats", "2"]
    run += ["--set", "niqe.pristine=refit", "--output", "out", "--offline"]
    planned = " ".join(command(*run, "--dry-run", COLUMNS="400").stdout.split())
    assert planned.count(LICENCE) == 2
    assert command(*run).returncode == 0
    lines = [line for line in command("report", "out", "--format", "markdown").stdout.splitlines() if LICENCE in line]
    assert [line.removesuffix(LICENCE).strip("- *") for line in lines] == [
        r"NIQE\[pristine=refit\] (refit), pyiqa piqe:"
    ]


def test_the_licence_is_the_one_that_the_installed_pyiqa_states() -> None:
    assert metadata("pyiqa")["License-Expression"] == "PolyForm-Noncommercial-1.0.0"


def test_the_key_covers_the_versions_of_what_pyiqa_computes_with() -> None:
    found = code_digest(method_registry().load("pyiqa:musiq")).libraries
    assert found["timm"] == version("timm")
    assert found["transformers"] == version("transformers")
    assert found["clip"] == version("openai-clip")
    assert found["pyiqa"] == version("pyiqa")


def test_clipscore_gets_the_prompts(fake: Fake, tmp_path: Path) -> None:
    samples = samples_of([shipped(name) for name in PHOTOGRAPHS], tmp_path, prompt=["a", "b", "c"])
    method("clipscore").predict(samples)
    assert [prompts for _, prompts in fake.calls] == [["a"], ["b"], ["c"]]


def test_a_metrics_own_error_names_the_image(fake: Fake, tmp_path: Path) -> None:
    fake.error = AssertionError("no face\ndetected")
    samples = samples_of([shipped("coffee.png")], tmp_path)
    with pytest.raises(BadImageError, match=r"^pyiqa:musiq cannot score image 0\.png \(200 x 210\): no face detected$"):
        method("musiq").predict(samples)


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(metric: str, device: str = "cpu") -> str | None:
        cls = method_registry().load(f"pyiqa:{metric}")
        return cls.skip(cls.Config(), Context(device=device))

    assert reason("musiq") is None
    assert reason("maclip") == "pyiqa's maclip runs on a CUDA device only"
    assert reason("maclip", "cuda:0") is None
    monkeypatch.setattr(pyiqa_loading, "module_missing", lambda name: True)
    assert (
        reason("qalign_4bit")
        == "pyiqa's qalign_4bit needs bitsandbytes and icecream: pip install bitsandbytes icecream"
    )
    monkeypatch.setattr(pyiqa_loading, "_folder", lambda: None)
    assert reason("musiq") == "needs pyiqa: pip install pyiqa; its licence is PolyForm Noncommercial"


def test_the_list_of_metrics_needs_neither_torch_nor_pyiqa() -> None:
    code = """
import sys
from agiqa_bench.cli import app
try:
    app(args=["methods", "list", "--pyiqa"], prog_name="agiqa-bench")
except SystemExit as ended:
    assert not ended.code
print("LOADED", *{"torch", "pyiqa", "scipy", "pandas", "open_clip", "transformers"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "LOADED"
    assert [line.split()[1:] for line in lines if line.startswith("pyiqa:piqe ")] == [
        ["lower", "0,", "100", "none", "needed"]
    ]
