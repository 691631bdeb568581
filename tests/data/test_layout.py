from __future__ import annotations

from pathlib import Path

import pytest

from agiqa_bench.data.layout import candidate_folders, find_file, find_images, walk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_candidates_match_without_case_and_end_with_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "agiqa-3k/x", "other/x")
    assert candidate_folders(tmp_path, ["agiqa3k", "AGIQA-3K"]) == [tmp_path / "agiqa-3k", tmp_path]
    assert candidate_folders(tmp_path / "nowhere", ["agiqa3k"]) == []


def test_nearest_file_is_found_two_levels_down_at_most(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c/data.csv")
    assert find_file(tmp_path, ["data.csv"]) is None
    touch(tmp_path, "a/b/Data.CSV")
    assert find_file(tmp_path, ["data.csv"]) == tmp_path / "a/b/Data.CSV"
    touch(tmp_path, "z/data.csv")
    assert find_file(tmp_path, ["data.csv"]) == tmp_path / "z/data.csv"


def test_images_come_from_the_one_folder_that_has_most(tmp_path: Path) -> None:
    touch(tmp_path, "thumbnails/0.png", "allimg/0.png", "allimg/1.png", "1.png")
    assert find_images(tmp_path, ["0.png", "1.png", "2.png"]) == {
        "0.png": tmp_path / "allimg/0.png",
        "1.png": tmp_path / "allimg/1.png",
    }


def test_exact_names_win_over_near_ones(tmp_path: Path) -> None:
    touch(tmp_path, "a.PNG", "a.jpg", "B.JPEG")
    assert find_images(tmp_path, ["a.jpg", "b.jpg"]) == {"a.jpg": tmp_path / "a.jpg", "b.jpg": tmp_path / "B.JPEG"}


def test_nested_names_are_matched_with_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "Image/DALLE/000-1.png", "Image/Glide/000-1.png", "000-1.png")
    assert find_images(tmp_path, ["DALLE/000-1.png", "Glide/000-1.png"]) == {
        "DALLE/000-1.png": tmp_path / "Image/DALLE/000-1.png",
        "Glide/000-1.png": tmp_path / "Image/Glide/000-1.png",
    }


def test_walk_survives_a_loop_of_links_and_skips_hidden_folders(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", ".hidden/b.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert list(walk(tmp_path, 9)) == [(tmp_path, ["dangling"]), (tmp_path / "real", ["a.png"])]


@pytest.mark.parametrize("wanted", [[], ["x.png"]])
def test_nothing_found_is_empty(tmp_path: Path, wanted: list[str]) -> None:
    assert find_images(tmp_path, wanted) == {}
