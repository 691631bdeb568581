from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from openpyxl import load_workbook

from agiqa_bench.datasets.aigciqa2023 import AIGCIQA2023, GENERATORS
from agiqa_bench.errors import DataError, DataNotFoundError

PROMPTS = "AIGCIQA2023_Prompts.xlsx"
RATINGS = "mos_quality_authenticity.csv"


@pytest.fixture(scope="module")
def root(annotations: Path, standins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("aigciqa2023")
    standins.write_matlab_ratings(annotations / "aigciqa2023" / RATINGS, root / "AIGCIQA2023" / "DATA" / "MOS")
    shutil.copyfile(annotations / "aigciqa2023" / PROMPTS, root / "AIGCIQA2023" / PROMPTS)
    return root


@pytest.fixture(scope="module")
def dataset(root: Path) -> AIGCIQA2023:
    return AIGCIQA2023(root, annotations_only=True)


def test_rows_groups_and_generators(dataset: AIGCIQA2023) -> None:
    table = dataset.samples
    assert len(table) == 2400
    assert Counter(Counter(table["group"]).values()) == {24: 100}
    assert dict(Counter(table["generator"])) == dict.fromkeys(GENERATORS, 400)
    assert table["prompt"].nunique() == 100
    assert table["prompt"].iloc[0] == "a corgi"
    assert table["prompt"].iloc[2399] == "An aerial view of Ha Long Bay without any boats"


def test_ratings_are_those_of_the_published_table(annotations: Path, dataset: AIGCIQA2023) -> None:
    with (annotations / "aigciqa2023" / RATINGS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = dataset.samples
    assert table["image"].tolist() == [row["image"] for row in rows]
    assert table["mos_quality"].tolist() == [float(row["mos_quality"]) for row in rows]
    assert table["mos_authenticity"].tolist() == [float(row["mos_authenticity"]) for row in rows]
    assert table["mos_quality"].min() == pytest.approx(26.627285, abs=1e-6)
    assert table["mos_authenticity"].max() == pytest.approx(73.719142, abs=1e-6)


def test_targets_are_those_that_are_there(annotations: Path, standins, root: Path, tmp_path: Path) -> None:
    copy = AIGCIQA2023(root, annotations_only=True)
    assert [target.name for target in copy.targets] == ["quality", "authenticity"]
    (fault,) = copy.faults
    assert (fault.code, fault.known) == ("missing-target", True)
    assert "mosz3.mat" in fault.message
    standins.write_matlab_ratings(annotations / "aigciqa2023" / RATINGS, tmp_path, alignment=True)
    shutil.copyfile(annotations / "aigciqa2023" / PROMPTS, tmp_path / PROMPTS)
    whole = AIGCIQA2023(tmp_path, annotations_only=True)
    assert [target.name for target in whole.targets] == ["quality", "authenticity", "alignment"]
    assert whole.faults == ()
    assert AIGCIQA2023.targets == AIGCIQA2023(tmp_path / "nowhere").targets


def test_table_of_all_ratings_fills_what_the_mat_files_lack(root: Path, dataset: AIGCIQA2023, tmp_path: Path) -> None:
    samples = dataset.samples
    with (tmp_path / "AIGCIQA2023.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "name", "prompt", "quality_mos", "authenticity_mos", "correspondence_mos"])
        for n, row in samples.iterrows():
            writer.writerow([n, row["image"], row["prompt"], row["mos_quality"], row["mos_authenticity"], n / 100])
    lone = AIGCIQA2023(tmp_path, annotations_only=True)
    assert [target.name for target in lone.targets] == ["quality", "authenticity", "alignment"]
    assert lone.samples["prompt"].tolist() == samples["prompt"].tolist()
    assert lone.samples["mos_quality"].tolist() == samples["mos_quality"].tolist()
    assert lone.samples["mos_alignment"].iloc[2399] == 23.99
    assert [(fault.code, fault.known) for fault in lone.faults] == [("unofficial-table", True)] * 3


@pytest.mark.parametrize("place", ["AIGCIQA2023/Image/allimg", "AIGCIQA2023/allimg", "AIGCIQA2023/DATA", "AIGCIQA2023"])
def test_numbered_images(root: Path, dataset: AIGCIQA2023, tmp_path: Path, place: str) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for n in range(39, 2400, 40):
        (tmp_path / place / f"{n}.png").touch()
    found = AIGCIQA2023(tmp_path)
    assert len(found.missing_images) == 2400 - 60
    assert found.samples["path"].iloc[1999] == str(tmp_path / place / "1999.png")


def test_a_folder_per_generator_as_in_the_official_index(annotations: Path, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    sheet = load_workbook(annotations / "aigciqa2023" / "pic-index.xlsx", read_only=True).worksheets[0]
    index = [(str(generator), str(name)) for generator, name in sheet.iter_rows(max_col=2, values_only=True)]
    for generator, name in index[::8]:
        path = tmp_path / "AIGCIQA2023" / "Image" / generator / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = AIGCIQA2023(tmp_path)
    assert len(found.missing_images) == 2400 - 300
    assert [tuple(path.split("/")[-2:]) for path in found.samples["path"][::8]] == index[::8]
    assert found.samples["image"].iloc[400] == "400.png"
    assert found.fingerprint == AIGCIQA2023(root, annotations_only=True).fingerprint


def test_a_downloaded_repository_with_unpacked_archives(root: Path, tmp_path: Path) -> None:
    repository = tmp_path / "aigciqa2023" / "AIGCIQA2023"
    shutil.copytree(root / "AIGCIQA2023" / "DATA", repository / "DATA" / "DATA")
    shutil.copyfile(root / "AIGCIQA2023" / PROMPTS, tmp_path / "aigciqa2023" / PROMPTS)
    (repository / "allimg" / "allimg").mkdir(parents=True)
    (repository / "allimg" / "allimg" / "0.png").touch()
    found = AIGCIQA2023(tmp_path)
    assert found.samples["path"].iloc[0] == str(repository / "allimg" / "allimg" / "0.png")
    assert [target.name for target in found.targets] == ["quality", "authenticity"]


def test_no_rating_at_all_is_not_found(annotations: Path, tmp_path: Path) -> None:
    shutil.copyfile(annotations / "aigciqa2023" / PROMPTS, tmp_path / PROMPTS)
    with pytest.raises(DataNotFoundError, match=r"mosz1\.mat is missing .*IntMeGroup/AIGCIQA2023"):
        AIGCIQA2023(tmp_path).samples  # noqa: B018


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"MOSz": np.zeros((2399, 1))}, r"shape \(2399, 1\)"),
        ({"other": np.zeros((2400, 1))}, "holds no MOSz"),
        (b"text", "not a readable MATLAB file"),
    ],
)
def test_bad_rating_file_is_one_line(annotations: Path, tmp_path: Path, content: object, message: str) -> None:
    shutil.copyfile(annotations / "aigciqa2023" / PROMPTS, tmp_path / PROMPTS)
    if isinstance(content, bytes):
        (tmp_path / "mosz1.mat").write_bytes(content)
    else:
        scipy.io.savemat(tmp_path / "mosz1.mat", content)
    with pytest.raises(DataError, match=message) as caught:
        AIGCIQA2023(tmp_path, annotations_only=True).samples  # noqa: B018
    assert "\n" not in str(caught.value)


def test_nan_rating_is_refused(annotations: Path, tmp_path: Path) -> None:
    shutil.copyfile(annotations / "aigciqa2023" / PROMPTS, tmp_path / PROMPTS)
    values = np.full((2400, 1), 50.0)
    values[7] = np.nan
    scipy.io.savemat(tmp_path / "mosz1.mat", {"MOSz": values})
    with pytest.raises(DataError, match=r"1 MOS of 'quality' are not finite numbers \(first: row 7, 7\.png\)"):
        AIGCIQA2023(tmp_path, annotations_only=True).samples  # noqa: B018
