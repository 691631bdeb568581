from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from agiqa_bench.datasets.agiqa3k import AGIQA3K
from agiqa_bench.errors import DataError, DataNotFoundError

HEADER = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n"


@pytest.fixture(scope="module")
def dataset(annotations: Path) -> AGIQA3K:
    return AGIQA3K(annotations, annotations_only=True)


def test_rows_groups_and_ratings(dataset: AGIQA3K) -> None:
    table = dataset.samples
    assert len(table) == 2982
    assert Counter(Counter(table["group"]).values()) == {10: 287, 9: 9, 8: 3, 7: 1}
    assert table["group"].nunique() == 300
    assert table["prompt"].nunique() == 300
    assert table["mos_quality"].min() == 0.0
    assert table["mos_quality"].max() == pytest.approx(4.488741, abs=1e-6)
    assert table["mos_alignment"].min() == pytest.approx(0.021462, abs=1e-6)
    assert table["mos_alignment"].max() == pytest.approx(4.286204, abs=1e-6)
    first = table.iloc[0]
    assert (first["image"], first["prompt"], first["group"]) == ("AttnGAN_normal_000.jpg", "statue of a man", "000")
    assert (first["mos_quality"], first["mos_alignment"]) == (0.965602553, 0.40889324)


def test_generators_are_the_ten_configurations(dataset: AGIQA3K) -> None:
    table = dataset.samples
    assert dict(Counter(table["generator"])) == {
        "AttnGAN_normal": 300,
        "DALLE2_normal": 290,
        "glide_normal": 300,
        "midjourney_lowstep": 296,
        "midjourney_normal": 296,
        "sd1.5_highcorr": 300,
        "sd1.5_lowcorr": 300,
        "sd1.5_lowstep": 300,
        "sd1.5_normal": 300,
        "xl2.2_normal": 300,
    }
    assert dict(Counter(table["family"])) == {
        "AttnGAN": 300,
        "DALLE2": 290,
        "glide": 300,
        "midjourney": 592,
        "sd1.5": 1200,
        "xl2.2": 300,
    }


def test_the_one_known_fault_is_met(dataset: AGIQA3K) -> None:
    (fault,) = dataset.faults
    assert fault.code == "uneven-generators"
    assert fault.known
    assert "DALLE2_normal 290, midjourney_lowstep 296, midjourney_normal 296" in fault.message


@pytest.mark.parametrize(
    "place", ["agiqa3k/AGIQA-3K", "AGIQA-3K/img", "AGIQA-3k-Database", "agiqa3k/AGIQA-3K/AGIQA-3K"]
)
def test_image_folders_in_use(annotations: Path, dataset: AGIQA3K, tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    shutil.copyfile(annotations / "agiqa3k" / "data.csv", tmp_path / place.split("/")[0] / "data.csv")
    some = dataset.samples["image"].iloc[::60]
    for image in some:
        (tmp_path / place / image).touch()
    found = AGIQA3K(tmp_path)
    assert found.samples["path"].iloc[::60].tolist() == [str(tmp_path / place / image) for image in some]
    assert len(found.missing_images) == 2982 - 50
    assert [fault.code for fault in found.faults] == ["uneven-generators", "missing-images"]
    assert found.fingerprint == dataset.fingerprint


def test_annotations_and_images_in_two_folders(annotations: Path, dataset: AGIQA3K, tmp_path: Path) -> None:
    (tmp_path / "agiqa3k").mkdir()
    (tmp_path / "AGIQA-3K").mkdir()
    shutil.copyfile(annotations / "agiqa3k" / "data.csv", tmp_path / "agiqa3k" / "data.csv")
    some = dataset.samples["image"].iloc[::60]
    for image in some:
        (tmp_path / "AGIQA-3K" / image).touch()
    found = AGIQA3K(tmp_path)
    assert found.samples["path"].iloc[::60].tolist() == [str(tmp_path / "AGIQA-3K" / image) for image in some]


def test_data_csv_of_another_set_is_not_mistaken(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "data.csv").write_text("file,score\nx,1\n")
    with pytest.raises(DataNotFoundError, match=r"agiqa3k/data\.csv"):
        AGIQA3K(tmp_path).samples  # noqa: B018
    (tmp_path / "my copy").mkdir()
    shutil.copyfile(annotations / "agiqa3k" / "data.csv", tmp_path / "my copy" / "data.csv")
    assert len(AGIQA3K(tmp_path).samples) == 2982


def test_prompt_that_reads_like_a_missing_value_stays_text(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(HEADER + "a_normal_000.jpg,None,,,,1,1,2,1\nb_normal_000.jpg,null,,,,1,1,2,1\n")
    dataset = AGIQA3K(tmp_path, annotations_only=True)
    assert dataset.samples["prompt"].tolist() == ["None", "null"]
    assert [(fault.code, fault.known) for fault in dataset.faults] == [("row-count", False), ("prompt-mismatch", False)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; .* fetch the official file again"),
        ("name,prompt\nx,y\n", "no column 'mos_quality'"),
        (HEADER, "no rows"),
        (HEADER + "odd.jpg,p,,,,1,1,1,1\n", r"'odd\.jpg' is not of the form"),
        (HEADER + "a_normal_000.jpg,p,,,,good,1,1,1\n", "'good' in column 'mos_quality', data row 1, is not a number"),
        (HEADER + "a_normal_000.jpg,p,,,,,1,1,1\n", "1 MOS of 'quality' are not finite"),
    ],
)
def test_bad_annotation_file_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        AGIQA3K(tmp_path, annotations_only=True).samples  # noqa: B018
    assert "\n" not in str(caught.value)
