from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, PluginError
from agiqa_bench.features import cache, colour
from agiqa_bench.features.cache import ExtractingMethod, UndefinedFeaturesError
from agiqa_bench.method import Context

Array = np.ndarray


def flat(level: int, side: int = 8) -> Array:
    return np.full((side, side, 3), level, dtype=np.uint8)


class Mean(ExtractingMethod):
    """Mean and height; undefined for black images."""

    name = "mean"
    title = "Mean"

    def __init__(self, smallest: int = 1, **context: object) -> None:
        super().__init__(None, Context(**context))  # type: ignore[arg-type]
        self.smallest = smallest
        self.extracted: list[int] = []
        self._lock = threading.Lock()

    def minimum_size(self) -> int:
        return self.smallest

    def extract(self, image: Array) -> Array:
        with self._lock:
            self.extracted.append(int(image[0, 0, 0]))
        if not image.any():
            raise UndefinedFeaturesError("it is black")
        return np.array([image.mean(), len(image)])

    def predict(self, samples: Samples) -> Array:
        return self.features(samples)[:, 0]


def files(samples: Samples) -> list[Path]:
    return sorted((samples.images.folder / "features").glob("*.array"))


def test_each_image_is_looked_at_once_for_all_instances_and_subsets(make_samples) -> None:
    samples = make_samples([flat(level) for level in (3, 7, 5)])
    calls: list[tuple[int, int, str]] = []
    first, second = Mean(progress=lambda *call: calls.append(call)), Mean()
    np.testing.assert_array_equal(first.features(samples.subset([2, 0])), [[5, 8], [3, 8]])
    np.testing.assert_array_equal(first.features(samples), [[3, 8], [7, 8], [5, 8]])
    np.testing.assert_array_equal(second.features(samples.subset([1, 1]).hidden()), [[7, 8], [7, 8]])
    assert sorted(first.extracted) == [3, 5, 7]
    assert second.extracted == []
    assert calls == [(done, 3, "mean: features") for done in (1, 2, 3)]
    assert len(files(samples)) == 1


def test_features_are_float64_and_lie_beside_the_images(make_samples, tmp_path: Path) -> None:
    samples = make_samples([flat(3)])
    assert Mean().features(samples).dtype == np.float64
    assert files(samples)[0].parent == tmp_path / "cache" / "features"


def test_settings_code_and_images_have_a_say_in_the_place(make_samples) -> None:
    class WithSetting(Mean):
        def feature_settings(self) -> dict[str, object]:
            return {"smallest": self.smallest}

    class WithCode(Mean):
        feature_code = (colour,)

    samples = make_samples([flat(3), flat(4)])
    for method in (Mean(), WithSetting(1), WithSetting(2), WithSetting(2), WithCode()):
        method.features(samples)
    assert len(files(samples)) == 4
    Mean().features(make_samples([flat(3), flat(5)]))
    assert len(files(samples)) == 5


@pytest.mark.parametrize("library", ["numpy", "scipy", "scikit-image", "Pillow"])
def test_another_version_of_a_library_computes_anew(make_samples, library: str, monkeypatch) -> None:
    samples = make_samples([flat(3)])
    Mean().features(samples)
    monkeypatch.setattr(cache, "version", lambda name: "0.1" if name == library else version(name))
    other = Mean()
    other.features(samples)
    assert other.extracted == [3]
    assert len(files(samples)) == 2


def test_an_undefined_image_stands_in_the_way_only_of_itself(make_samples) -> None:
    samples = make_samples([flat(3), flat(0), flat(4), flat(0)])
    np.testing.assert_array_equal(Mean().features(samples.subset([2, 0]))[:, 0], [4, 3])
    for _ in range(2):  # computed, and read back
        with pytest.raises(BadImageError, match=r"^mean is undefined for image .*1\.png: it is black$"):
            Mean().features(samples)
    with pytest.raises(BadImageError, match=r"3\.png: it is black$"):
        Mean().features(samples.subset([0, 3]))


def test_undefined_everywhere(make_samples) -> None:
    samples = make_samples([flat(0), flat(0)])
    with pytest.raises(BadImageError, match=r"0\.png: it is black$"):
        Mean().features(samples)
    assert len(Mean().features(samples.subset([]))) == 0


def test_small_images_are_named_with_their_size(make_samples) -> None:
    samples = make_samples([flat(3), np.full((6, 20, 3), 9, dtype=np.uint8)])
    with pytest.raises(BadImageError, match=r"1\.png: it is 20 x 6, and at least 7 x 7 pixels are needed$"):
        Mean(7).features(samples)
    np.testing.assert_array_equal(Mean(7).features(samples.subset([0])), [[3, 8]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(make_samples, value: float) -> None:
    class Odd(Mean):
        def extract(self, image: Array) -> Array:
            return np.array([1.0, value if image[0, 0, 0] == 7 else 2.0])

    samples = make_samples([flat(3), flat(7)])
    np.testing.assert_array_equal(Odd().features(samples.subset([0])), [[1, 2]])
    with pytest.raises(BadImageError, match=rf"^mean is undefined for image .*1\.png: feature 2 of 2 is {value}$"):
        Odd().features(samples)


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_other_errors_are_not_taken_for_undefined_features(make_samples, error: type[Exception]) -> None:
    class Broken(Mean):
        def extract(self, image: Array) -> Array:
            raise error("a mistake")

    samples = make_samples([flat(3)])
    with pytest.raises(error, match="a mistake"):
        Broken().features(samples)
    assert files(samples) == []


def test_all_images_must_have_the_same_number_of_features(make_samples) -> None:
    class Uneven(Mean):
        def extract(self, image: Array) -> Array:
            return np.ones(3 if image[0, 0, 0] == 7 else 2)

    samples = make_samples([flat(3), flat(5), flat(7)])
    with pytest.raises(PluginError, match=r"^mean gives 3 features for image .*2\.png and 2 for others before it: "):
        Uneven().features(samples)
    assert files(samples) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "altered number", "altered digest", "longer"])
def test_a_damaged_file_is_told_of_and_computed_again(
    make_samples, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    samples = make_samples([flat(3), flat(4)])
    Mean().features(samples)
    (file,) = files(samples)
    whole = file.read_bytes()
    damaged = {
        "cut": whole[:40],
        "empty": b"",
        "altered number": whole.replace(np.float64(4).tobytes(), np.float64(5).tobytes()),
        "altered digest": whole[:-1] + bytes([whole[-1] ^ 1]),
        "longer": whole + b"\0",
    }
    file.write_bytes(damaged[damage])
    for _ in range(2):
        np.testing.assert_array_equal(Mean().features(samples)[:, 0], [3, 4])
    assert caplog.messages == [f"{file} is not as it was written; what it held is computed again"]
    assert file.read_bytes() == whole
    file.write_bytes(damaged[damage])
    again = Mean()
    np.testing.assert_array_equal(again.features(samples)[:, 0], [3, 4])
    assert sorted(again.extracted) == [3, 4]


def test_blas_has_one_thread_while_features_are_computed(make_samples) -> None:
    seen: list[int] = []

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    class Watching(Mean):
        def extract(self, image: Array) -> Array:
            seen.extend(threads())
            return np.ones(1)

    before = threads()
    Watching().features(make_samples([flat(1), flat(2)]))
    assert set(seen) == {1}
    assert threads() == before


def test_files_and_folder_of_a_view(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    images = ImageCache(paths, tmp_path / "cache").view([2, 0, 2])
    assert images.files == [str(paths[2]), str(paths[0]), str(paths[2])]
    assert images[1:].files == [str(paths[0]), str(paths[2])]
    assert images.folder == tmp_path / "cache"
