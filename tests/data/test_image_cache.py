from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agiqa_bench.data import image_cache, pixel_store
from agiqa_bench.data.image_cache import ImageCache, require_minimum_size
from agiqa_bench.data.images import decode, kept_memory
from agiqa_bench.errors import BadImageError, StoreError

Render = Callable[..., list[Path]]


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded from now on."""
    seen: list[str] = []

    def counted(content: bytes, name: str) -> np.ndarray:
        seen.append(Path(name).name)
        return decode(content, name)

    monkeypatch.setattr(image_cache.decoding, "decode", counted)
    return seen


def store_file(folder: Path, name: str) -> Path:
    (found,) = [path for path in folder.glob(f"images/*/{name}") if "-" not in path.parent.name]
    return found


def test_images_of_different_sizes_come_back_in_the_order_asked_for(paths: list[Path], folder: Path) -> None:
    view = ImageCache(paths, folder).view([4, 0, 4])
    assert len(view) == 3
    for image, number in zip(view, [4, 0, 4], strict=True):
        np.testing.assert_array_equal(image, decode(paths[number]))
        assert not image.flags.writeable
    np.testing.assert_array_equal(view.sizes, [(50, 41), (40, 30), (50, 41)])
    np.testing.assert_array_equal(view[-2], decode(paths[0]))
    np.testing.assert_array_equal(view[1:][0], decode(paths[0]))
    assert view.uniform_size is None
    assert view[::2].uniform_size == (50, 41)
    with pytest.raises(IndexError):
        view[3]


def test_nothing_is_read_before_it_is_needed(folder: Path) -> None:
    assert len(ImageCache([Path("nowhere.png")], folder).view([0])) == 1
    assert not folder.exists()


def test_each_content_is_decoded_once_in_the_life_of_the_cache(
    paths: list[Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = decodings(monkeypatch)
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    rows = [paths[0], paths[1], paths[0], copy]
    for _ in range(2):
        view = ImageCache(rows, folder).view(range(4))
        np.testing.assert_array_equal(view[2], view[3])
        view.resized(8)
    assert sorted(seen) == ["0.png", "1.png"]  # threads may start in any order


def test_fingerprint_depends_on_contents_and_order_and_not_on_places(
    render: Render, paths: list[Path], tmp_path: Path
) -> None:
    def fingerprint(rows: list[Path]) -> str:
        return ImageCache(rows, tmp_path / "cache").fingerprint

    original = fingerprint(paths)
    assert len(original) == 64
    assert fingerprint(render(tmp_path / "elsewhere")) == original
    assert fingerprint(paths[::-1]) != original
    assert fingerprint([*paths, paths[0]]) != original
    Image.new("RGB", (3, 3)).save(paths[2])
    assert fingerprint(paths) != original


def test_a_changed_file_never_meets_old_pixels(paths: list[Path], folder: Path) -> None:
    assert ImageCache(paths, folder).view([2])[0].shape == (32, 32, 3)
    Image.new("RGB", (7, 5)).save(paths[2])
    assert ImageCache(paths, folder).view([2])[0].shape == (5, 7, 3)


@pytest.mark.parametrize("remembered", [False, True], ids=["digest just computed", "digest of an earlier run"])
def test_a_file_that_changes_while_the_cache_is_built_is_named(
    paths: list[Path], folder: Path, remembered: bool
) -> None:
    if remembered:
        len(ImageCache(paths, folder).view([0])[0])
    cache = ImageCache(paths, folder)
    fingerprint = cache.fingerprint
    shutil.rmtree(folder / "images", ignore_errors=True)
    status, content = paths[2].stat(), paths[2].read_bytes()
    paths[2].write_bytes(content[:-1] + b"\x00")
    # Of an earlier run's digest nobody can say when the file changed: there only the content counts.
    os.utime(paths[2], ns=(status.st_atime_ns, status.st_mtime_ns + (0 if remembered else 1000)))
    with pytest.raises(BadImageError, match=rf"1 of {len(paths)} .*{paths[2].name} changed while it was read"):
        len(cache.view([0])[0])
    paths[2].write_bytes(content)
    os.utime(paths[2], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ImageCache(paths, folder).fingerprint == fingerprint
    np.testing.assert_array_equal(ImageCache(paths, folder).view([2])[0], decode(paths[2]))


def test_a_warm_run_reads_no_image_file(paths: list[Path], folder: Path) -> None:
    first = ImageCache(paths, folder)
    pixels = [np.array(image) for image in first.view(range(len(paths)))]
    for path in paths:
        status = path.stat()
        path.write_bytes(b"\x00" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    warm = ImageCache(paths, folder)
    assert warm.fingerprint == first.fingerprint
    for image, expected in zip(warm.view(range(len(paths))), pixels, strict=True):
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("name", ["pixels.bin", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_store_is_built_again(paths: list[Path], folder: Path, name: str, damage: str) -> None:
    len(ImageCache(paths, folder).view([0])[0])
    file = store_file(folder, name)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "altered":
        file.write_bytes(content.replace(b"40", b"41") if name == "index.json" else content + b"\x00")
    else:
        file.unlink()
    np.testing.assert_array_equal(ImageCache(paths, folder).view([4])[0], decode(paths[4]))
    assert file.read_bytes() == content


@pytest.mark.parametrize("size", [None, 16], ids=["decoded", "resized"])
def test_altered_pixels_are_told_of_and_made_again(
    paths: list[Path], folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    ImageCache(paths, folder).view([0]).resized(16)
    (file,) = folder.glob("images/*-16-*/pixels.bin") if size else [store_file(folder, "pixels.bin")]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    seen = decodings(monkeypatch)
    cache = ImageCache(paths, folder)
    cache.prove()
    if size:
        cache.view([0]).resized(size)
    else:
        np.testing.assert_array_equal(cache.view([4])[0], decode(paths[4]))
    assert file.read_bytes() == content
    assert caplog.messages == [f"{file.parent} is not as it was written; its images are made again"]
    assert len(seen) == (0 if size else len(paths))


def test_a_whole_store_is_proven_without_decoding(
    paths: list[Path], folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int, str]] = []
    ImageCache(paths, folder).prove()
    seen = decodings(monkeypatch)
    ImageCache(paths, folder, progress=lambda *call: calls.append(call)).prove()
    assert calls == [(done, 5, "checking decoded images") for done in range(1, 6)]
    assert (seen, caplog.messages) == ([], [])


def test_damaged_notes_of_digests_only_cost_reading(
    paths: list[Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = ImageCache(paths, folder).fingerprint
    (note,) = folder.glob("digests/*.json")
    digit = note.read_bytes().replace(b'  "', b'  "0', 1)
    shorter = note.read_bytes().replace(b",\n  [", b",\n  null,\n  [", 1)
    for content in (b"", b"{", b"[1]", b'{"x": 3}', b"\xff\xfe", digit, shorter):
        note.write_bytes(content)
        caplog.clear()
        assert ImageCache(paths, folder).fingerprint == fingerprint
        (line,) = caplog.messages
        assert re.fullmatch(rf"{note} (is not as it was written|has no seal: .*); the files .* are read again", line)


def test_one_changed_digit_in_a_note_of_digests_does_not_make_every_run_fail(paths: list[Path], folder: Path) -> None:
    fingerprint = ImageCache(paths, folder).fingerprint
    (note,) = folder.glob("digests/*.json")
    digest = hashlib.sha256(paths[2].read_bytes()).hexdigest()
    note.write_text(note.read_text().replace(digest, f"{int(digest[0], 16) ^ 1:x}{digest[1:]}"))
    cache = ImageCache(paths, folder)
    np.testing.assert_array_equal(cache.view([2])[0], decode(paths[2]))
    assert cache.fingerprint == fingerprint


def test_a_file_that_changed_behind_its_size_and_time_is_read_anew_where_there_are_no_pixels(
    paths: list[Path], folder: Path
) -> None:
    before = ImageCache(paths, folder).fingerprint
    status = paths[2].stat()
    paths[2].write_bytes(paths[2].read_bytes() + b"\x00")
    longer = ImageCache(paths, folder).fingerprint
    changed = paths[2].stat()
    paths[2].write_bytes(paths[2].read_bytes()[: status.st_size] + b"\x01")
    os.utime(paths[2], ns=(changed.st_atime_ns, changed.st_mtime_ns))
    cache = ImageCache(paths, folder)
    np.testing.assert_array_equal(cache.view([2])[0], decode(paths[2]))
    assert cache.fingerprint not in (before, longer)


def test_files_may_be_called_by_any_bytes(paths: list[Path], folder: Path) -> None:
    odd = paths[0].rename(paths[0].with_name(os.fsdecode(b"\xff.png")))
    fingerprint = ImageCache([odd, *paths[1:]], folder).fingerprint
    assert ImageCache([odd, *paths[1:]], folder).fingerprint == fingerprint


def test_leftovers_of_a_killed_process_are_removed(paths: list[Path], folder: Path) -> None:
    len(ImageCache(paths, folder).view([0])[0])
    key = store_file(folder, "pixels.bin").parent
    leftover = key.with_name(f".{key.name}.abc.tmp")
    key.rename(leftover)
    len(ImageCache(paths, folder).view([0])[0])
    assert key.is_dir()
    assert not leftover.exists()


def test_all_bad_images_are_counted_and_the_first_named(
    render: Render, paths: list[Path], folder: Path, tmp_path: Path
) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:-60])
    paths[1].write_text("not an image")
    paths[2].write_bytes(b"")
    rows = [*paths, tmp_path / "missing.png"]
    cache = ImageCache(rows, folder)
    with pytest.raises(BadImageError) as caught:
        cache.view([4])[0]
    message = str(caught.value)
    assert message.startswith("4 of 6 images cannot be used: ")
    assert "missing.png: No such file" in message
    assert "0.png" in message
    assert "1.png: not an image of a known format" in message
    assert "and 1 more" in message
    assert "datasets verify" in message
    assert "\n" not in message
    with pytest.raises(BadImageError, match=r"1 of 6 images .*missing\.png"):
        _ = cache.fingerprint
    # Nothing half-made stays, and mending the files is enough.
    assert [path.suffix for path in (folder / "images").iterdir()] == [".lock"]
    assert len(list(ImageCache(render(tmp_path / "set"), folder).view(range(5)))) == 5


def test_a_row_without_a_path_is_said_to_have_none(folder: Path) -> None:
    with pytest.raises(BadImageError, match="an image without a path"):
        _ = ImageCache([""], folder).fingerprint


def test_a_file_where_the_cache_should_be_is_a_store_error(paths: list[Path], folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        ImageCache(paths, folder).view([0])[0]


def test_the_default_folder_is_the_cache_root(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "by variable"))
    len(ImageCache(paths).view([0])[0])
    assert store_file(tmp_path / "by variable", "pixels.bin").is_file()


def test_progress_counts_to_the_end(paths: list[Path], folder: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    ImageCache(paths, folder, progress=lambda *call: calls.append(call)).view([0]).resized(8)
    for what in ("reading image files", "decoding images", "resizing images to 8"):
        assert [(done, total) for done, total, said in calls if said == what] == [(i, 5) for i in range(1, 6)]


def test_an_empty_view_and_an_empty_cache(paths: list[Path], folder: Path) -> None:
    for view in (ImageCache(paths, folder).view([]), ImageCache([], folder).view([])):
        assert list(view) == []
        assert view.sizes.shape == (0, 2)
        assert view.uniform_size is None
        assert view.resized(8).shape == (0, 8, 8, 3)


def test_a_pickled_cache_carries_no_pixels(paths: list[Path], folder: Path) -> None:
    cache = ImageCache(paths, folder)
    expected = np.array(cache.view([4])[0])
    content = pickle.dumps(cache)
    assert len(content) < 2000
    np.testing.assert_array_equal(pickle.loads(content).view([4])[0], expected)


def _build(paths: list[Path], folder: Path, start: object, results: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    view = ImageCache(paths, folder).view(range(len(paths)))
    results.put(sum(int(image.astype(np.int64).sum()) for image in view) + int(view.resized(16).sum()))  # type: ignore[attr-defined]


def test_two_processes_at_once_both_end_well(render: Render, folder: Path, tmp_path: Path) -> None:
    paths = render(tmp_path / "many", [(64, 48)] * 60)
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_build, args=(paths, folder, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    alone = ImageCache(paths, tmp_path / "own").view(range(60))
    expected = sum(int(image.astype(np.int64).sum()) for image in alone) + int(alone.resized(16).sum())
    assert sums == [expected, expected]


def test_stacked_images_are_one_array_without_a_copy(render: Render, tmp_path: Path, folder: Path) -> None:
    paths = render(tmp_path / "set", [(12, 9)] * 3)
    view = ImageCache([paths[0], *paths], folder).view([3, 0, 1])
    array, places = view.stacked
    assert array.shape == (3, 12, 9, 3)  # the file that two rows share is there once
    assert places.tolist() == [2, 0, 0]
    assert not array.flags.writeable
    for place, image in zip(places, view, strict=True):
        np.testing.assert_array_equal(array[place], image)
        assert np.shares_memory(array[place], image)


def test_everything_and_fingerprint_are_those_of_the_data_set(
    sizes: list[tuple[int, int]], paths: list[Path], folder: Path
) -> None:
    cache = ImageCache(paths, folder)
    part = cache.view([3, 1])
    assert [image.shape[:2] for image in part.everything] == sizes
    assert part.fingerprint == part.everything.fingerprint == cache.fingerprint


def test_too_small_images_are_refused_in_one_line(paths: list[Path], folder: Path) -> None:
    view = ImageCache(paths, folder).view([0, 3, 4])
    require_minimum_size(view, ["a", "b", "c"], 1, "niqe")
    with pytest.raises(BadImageError) as caught:
        require_minimum_size(view, ["a.png", "b.png", "c.png"], 32, "niqe")
    assert str(caught.value) == ("niqe needs at least 32 x 32 pixels; image a.png is 30 x 40 (1 more are too small)")


@pytest.mark.parametrize("module", ["decoding", "resizing", "pixel_store"])
def test_mended_code_never_meets_old_pixels(
    paths: list[Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    seen = decodings(monkeypatch)
    len(ImageCache(paths[:1], folder).view([0])[0])
    code = importlib.import_module(f"agiqa_bench.data.{'images' if module == 'decoding' else module}")
    mended = tmp_path / "mended.py"
    mended.write_bytes(Path(str(code.__file__)).read_bytes() + b"# mended\n")
    monkeypatch.setattr(code, "__file__", str(mended))
    len(ImageCache(paths[:1], folder).view([0])[0])
    assert seen == ["0.png", "0.png"]
    mended.write_bytes(mended.read_bytes().replace(b"\n", b"\r\n"))
    len(ImageCache(paths[:1], folder).view([0])[0])
    assert len(seen) == 2


def test_what_is_flushed_on_the_way_is_what_was_decoded(
    paths: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_store, "_FLUSHED", 1)
    for image, path in zip(ImageCache(paths, folder).view(range(len(paths))), paths, strict=True):
        np.testing.assert_array_equal(image, decode(path))


def test_a_disk_that_fails_on_the_way_leaves_no_store(
    paths: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_store, "_FLUSHED", 1)
    monkeypatch.setattr(pixel_store, "_flush", fails)
    with pytest.raises(StoreError, match="no space left on the device"):
        _ = ImageCache(paths, folder).store
    assert [path.name for path in (folder / "images").iterdir() if path.is_dir()] == []


def test_pillow_gives_its_memory_back(paths: list[Path], folder: Path) -> None:
    before = Image.core.get_blocks_max()
    first, second = kept_memory(before + 3), kept_memory(before + 5)
    with first:
        assert Image.core.get_blocks_max() == before + 3
        with second:
            assert Image.core.get_blocks_max() == before + 5
            _ = ImageCache(paths, folder).store
            assert Image.core.get_blocks_max() >= before + 5
        assert Image.core.get_blocks_max() == before + 3
    assert Image.core.get_blocks_max() == before
