from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agiqa_bench.data.dataset import Dataset, Fault, Target
from agiqa_bench.data.verify import Finding, VerificationReport, verify


class Pictures(Dataset):
    """Six rows in two groups; `spoil` changes the table."""

    name = "pictures"
    title = "Pictures"
    targets = (Target("quality", (0.0, 5.0)),)

    def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
        assert self.root is not None
        names = [f"{n}.png" for n in range(6)]
        table = pd.DataFrame(
            {
                "image": names,
                "path": [str(self.root / name) if (self.root / name).exists() else "" for name in names],
                "prompt": self.prompts,
                "group": ["a", "a", "a", "b", "b", "b"],
                "generator": "g",
                "family": "g",
                "mos_quality": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            }
        )
        table.loc[self.bad_rows, "mos_quality"] = self.bad_value
        return table, self.met

    prompts: list[str] = ["p", "p", "p", "q", "q", "q"]  # noqa: RUF012
    bad_rows: list[int] = []  # noqa: RUF012
    bad_value = 0.0
    met: tuple[Fault, ...] = ()


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    random = np.random.default_rng(0)
    for n in range(6):
        Image.fromarray(random.integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
    return Pictures(tmp_path)


def found(report: VerificationReport) -> dict[tuple[str, str], Finding]:
    return {(finding.code, finding.severity): finding for finding in report.findings}


def test_sound_data_set_has_no_findings(pictures: Pictures) -> None:
    calls: list[tuple[int, int]] = []
    report = verify(pictures, lambda done, total: calls.append((done, total)))
    assert report.findings == ()
    assert report.ok
    assert (report.rows, report.decoded) == (6, 6)
    assert dict(report.sizes) == {(10, 8): 6}
    assert dict(report.modes) == {"RGB": 6}
    assert calls[-1] == (6, 6)


def test_undecodable_images_are_errors_and_the_rest_is_looked_at(pictures: Pictures, tmp_path: Path) -> None:
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_text("a text file")
    report = verify(pictures)
    finding = found(report)["undecodable-image", "error"]
    assert finding.count == 3
    assert "0.png" in finding.examples[0]
    assert report.decoded == 3
    assert not report.ok


def test_duplicates_are_found_by_content_not_by_bytes(pictures: Pictures, tmp_path: Path) -> None:
    Image.open(tmp_path / "0.png").save(tmp_path / "1.png", compress_level=0)
    report = verify(pictures)
    assert found(report)["duplicate-content", "warning"].examples == ("0.png = 1.png",)
    assert report.ok
    Image.open(tmp_path / "0.png").save(tmp_path / "5.png")
    report = verify(pictures)
    assert found(report)["duplicate-content", "error"].examples == ("0.png = 1.png = 5.png",)
    assert not report.ok


def test_rows_without_image_and_images_without_row(pictures: Pictures, tmp_path: Path) -> None:
    (tmp_path / "3.png").rename(tmp_path / "extra.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._0.png").touch()
    findings = found(verify(pictures))
    assert findings["row-without-image", "error"].examples == ("3.png",)
    assert findings["image-without-row", "warning"].examples == (str(tmp_path / "extra.png"),)


@pytest.mark.parametrize(
    ("value", "code"), [(float("nan"), "nan-mos"), (float("inf"), "nan-mos"), (5.1, "mos-out-of-range")]
)
def test_every_bad_mos_is_told(pictures: Pictures, value: float, code: str) -> None:
    pictures.bad_rows, pictures.bad_value = [1, 4], value
    report = verify(pictures)
    finding = found(report)[code, "error"]
    assert finding.count == 2
    assert finding.examples[1] == f"row 4 4.png: {value:g}"
    assert not report.ok


def test_known_faults_are_listed_last_and_do_not_fail(pictures: Pictures) -> None:
    pictures.met = (Fault("duplicate-row", "documented", known=True),)
    assert verify(pictures).ok
    pictures.met += (Fault("row-count", "only this copy"),)
    report = verify(pictures)
    assert [finding.severity for finding in report.findings] == ["error", "known"]
    assert not report.ok


def test_unusual_modes_are_counted(pictures: Pictures, tmp_path: Path) -> None:
    Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).save(tmp_path / "0.png")
    Image.new("RGBA", (1, 1)).save(tmp_path / "1.png")
    report = verify(pictures)
    assert dict(report.modes) == {"L": 1, "RGBA": 1, "RGB": 4}
    assert dict(report.sizes) == {(10, 8): 5, (1, 1): 1}


@pytest.mark.parametrize(
    ("prompts", "code", "words"),
    [
        (["p", "", " ", "q", "q", "q"], "blank-prompt", "2 of 6 rows have no prompt (first: data row 2, 1.png)"),
        (["p", "p", "q", "q", "q", "r"], "divided-prompt", "1 prompt(s) stand in several groups (first: 'q' in 2)"),
        (["A cat", "a  cat", "p", "q", "q", "q"], "prompt-spelling", "(first: 'A cat' and 'a  cat')"),
        (["caf\u00e9", "cafe\u0301", "p", "q", "q", "q"], "prompt-spelling", "1 prompt(s) are written in several ways"),
        (["a cat", "p", "p", "q", "A cat!", "q"], "prompt-punctuation", "(first: 'a cat' and 'A cat!')"),
    ],
)
def test_prompts_that_can_leak_are_warned_of(pictures: Pictures, prompts: list[str], code: str, words: str) -> None:
    pictures.prompts = prompts
    report = verify(pictures)
    assert [(finding.code, finding.severity) for finding in report.findings] == [(code, "warning")]
    assert words in report.findings[0].message
    assert report.ok
    (fault,) = pictures.faults
    assert (fault.code, fault.message, fault.warning) == (code, report.findings[0].message, True)


@pytest.mark.parametrize(
    "prompts",
    [
        # In one group punctuation can leak nothing; other signs tell prompts apart, and so does a single letter.
        ["a cat", "a cat.", "p", "q", "q", "q"],
        ["a cat", "p", "p", "a cat \U0001f600", "1 + 1", "1 - 1"],
        ["a cat", "p", "...", "a bat", "!", "?"],
    ],
)
def test_prompts_that_are_others_are_not_warned_of(pictures: Pictures, prompts: list[str]) -> None:
    pictures.prompts = prompts
    assert verify(pictures).findings == pictures.faults == ()
