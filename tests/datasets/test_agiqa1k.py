from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from agiqa_bench.data.describe import describe
from agiqa_bench.data.verify import verify
from agiqa_bench.datasets.agiqa1k import AGIQA1K
from agiqa_bench.errors import DataError, DataNotFoundError


@pytest.fixture(scope="module")
def dataset(annotations: Path) -> AGIQA1K:
    return AGIQA1K(annotations, annotations_only=True)


def test_all_rows_and_labels_are_there(dataset: AGIQA1K) -> None:
    table = dataset.samples
    assert len(table) == 1080
    assert table["image"].nunique() == 1079
    sizes = Counter(table["group"])
    assert len(sizes) == 180
    assert Counter(sizes.values()) == {4: 90, 8: 88, 9: 1, 7: 1}
    assert sizes["alien, wearing shirt"] == 9
    assert sizes["alien, using laptop"] == 7


def test_generators_and_ratings(dataset: AGIQA1K) -> None:
    table = dataset.samples
    assert dict(Counter(table["generator"])) == {"deepai": 720, "dreamStudio": 360}
    assert table["mos_quality"].min() == 0.0
    assert table["mos_quality"].max() == 5.0
    assert table["mos_quality"].mean() == pytest.approx(2.500893, abs=1e-6)
    first = table.iloc[0]
    assert first["image"] == "deepai_0_0_0_0.jpg"
    assert first["prompt"] == "bird, driving aircraft, city, anime style"
    assert first["group"] == "bird, driving aircraft"
    assert first["mos_quality"] == pytest.approx(2.793411, abs=1e-6)
    assert (table["path"] == "").all()


def test_one_coupled_mos_judges_both_kinds(dataset: AGIQA1K) -> None:
    (target,) = dataset.targets
    assert target.judges(("quality",))
    assert target.judges(("alignment",))
    assert not target.judges(("authenticity",))


def test_known_faults_are_met(dataset: AGIQA1K) -> None:
    faults = {fault.code: fault for fault in dataset.faults}
    assert set(faults) == {"duplicate-row", "unlisted-image", "cut-name"}
    assert all(fault.known for fault in faults.values())
    assert "dreamStudio_8_9_1_1.jpg" in faults["duplicate-row"].message
    assert "0.441415" in faults["duplicate-row"].message
    assert "2.084115" in faults["duplicate-row"].message
    assert "dreamStudio_8_5_0_0.jpg" in faults["unlisted-image"].message
    assert "dreamStudio_8_9_1_.jpg" in faults["cut-name"].message
    twice = dataset.samples.query("image == 'dreamStudio_8_9_1_1.jpg'")["mos_quality"]
    assert twice.tolist() == pytest.approx([0.441416, 2.084116], abs=1e-6)


def test_raw_score_file_is_looked_at_only_if_it_is_there(annotations: Path, tmp_path: Path) -> None:
    shutil.copyfile(annotations / "agiqa1k" / "AIGC_MOS_Zscore.xlsx", tmp_path / "AIGC_MOS_Zscore.xlsx")
    lone = AGIQA1K(tmp_path, annotations_only=True)
    assert {fault.code for fault in lone.faults} == {"duplicate-row", "unlisted-image"}
    assert lone.fingerprint == AGIQA1K(annotations, annotations_only=True).fingerprint


@pytest.mark.parametrize("place", ["agiqa1k/file", "AGIQA-1K/images", "AGIQA-1K/file/file", "img", "AGIQA-1K"])
def test_image_folders_in_use(annotations: Path, dataset: AGIQA1K, tmp_path: Path, place: str) -> None:
    home = tmp_path / place.split("/")[0] if "/" in place else tmp_path
    (tmp_path / place).mkdir(parents=True)
    shutil.copyfile(annotations / "agiqa1k" / "AIGC_MOS_Zscore.xlsx", home / "AIGC_MOS_Zscore.xlsx")
    some = sorted(set(dataset.samples["image"]))[::40]
    for image in some:
        (tmp_path / place / image).touch()
    found = AGIQA1K(tmp_path)
    assert len(found.missing_images) == 1079 - len(some)
    assert found.samples["path"].iloc[0] == str(tmp_path / place / "deepai_0_0_0_0.jpg")
    assert found.fingerprint == dataset.fingerprint


def test_missing_images_are_counted_and_named(annotations: Path, standins, tmp_path: Path) -> None:
    standins.make_standins("agiqa1k", annotations, tmp_path, count=30)
    dataset = AGIQA1K(tmp_path)
    about = describe(dataset)
    assert about.missing == 1079 - 29  # the thirtieth stand-in is the image that no row names
    (fault,) = [fault for fault in dataset.faults if fault.code == "missing-images"]
    assert str(tmp_path / "agiqa1k" / "file" / "deepai_0_0_0_1.jpg") in fault.message
    assert "datasets download agiqa1k" in fault.message
    assert not fault.known


def test_verify_knows_the_unlisted_image(annotations: Path, standins, tmp_path: Path) -> None:
    standins.make_standins("agiqa1k", annotations, tmp_path, count=30)
    report = verify(AGIQA1K(tmp_path))
    found = {(finding.code, finding.severity): finding for finding in report.findings}
    assert found["image-without-row", "known"].examples == ("dreamStudio_8_5_0_0.jpg",)
    assert found["row-without-image", "error"].count == 1050
    assert report.decoded == 29
    assert dict(report.sizes) == {(112, 112): 29}
    assert not report.ok


def test_absent_annotations_are_named_with_the_expected_path(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        AGIQA1K(tmp_path).samples  # noqa: B018
    message = str(caught.value)
    assert str(tmp_path / "agiqa1k" / "AIGC_MOS_Zscore.xlsx") in message
    assert "agiqa-bench datasets download agiqa1k" in message
    assert "158uTLMnxGlzYA11r5jOtXFAWAG_4sjia" in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"not a workbook", b"PK\x03\x04 cut short"])
def test_damaged_workbook_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "AIGC_MOS_Zscore.xlsx").write_bytes(content)
    with pytest.raises(DataError, match=r"AIGC_MOS_Zscore\.xlsx cannot be read.*fetch the official file") as caught:
        AGIQA1K(tmp_path, annotations_only=True).samples  # noqa: B018
    assert "\n" not in str(caught.value)
