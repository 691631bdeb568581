from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agiqa_bench.cli.datasets import app, histogram_bar
from agiqa_bench.data import download as downloading

runner = CliRunner(env={"COLUMNS": "200"})


def test_list_names_all_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom agiqa_bench.cli.datasets import app\n"
        "try:\n    app(['list'])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'pandas', 'scipy', 'pyiqa', 'gdown', 'huggingface_hub', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    wide = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent, env=wide
    )
    assert done.returncode == 0, done.stderr
    for name in ("agiqa1k", "agiqa3k", "aigciqa2023", "demo"):
        assert name in done.stdout
    assert "1,080 images, 180 (object, action) labels, 2 generators; one coupled MOS" in done.stdout


def test_info_on_annotations_alone(annotations: Path) -> None:
    result = runner.invoke(app, ["info", "agiqa1k", "--data-root", str(annotations)])
    assert result.exit_code == 0, result.output
    assert "1,080 rows, 1,079 images, 1079 of them missing here, 180 groups" in result.output
    assert "90 of 4 rows, 1 of 7 rows, 88 of 8 rows, 1 of 9 rows" in result.output
    assert "720  deepai  Stable Diffusion v2 (DeepAI)" in result.output
    assert "known duplicate-row" in result.output
    assert "licence: MIT" in result.output
    assert "@inproceedings{zhang2023perceptual," in result.output


def test_verify_exits_with_1_if_something_matters(annotations: Path, standins, tmp_path: Path) -> None:
    folder = standins.make_standins("agiqa1k", annotations, tmp_path, size=24)
    good = runner.invoke(app, ["verify", "agiqa1k", "--data-root", str(tmp_path)])
    assert good.exit_code == 0, good.output
    assert "1,080 rows, 1,079 images decode" in good.output
    assert "known image-without-row" in good.output
    (folder / "file" / "deepai_0_0_0_0.jpg").write_bytes(b"\xff\xd8\xff")
    bad = runner.invoke(app, ["verify", "agiqa1k", "--data-root", str(tmp_path)])
    assert bad.exit_code == 1
    assert "error undecodable-image: 1 images cannot be decoded" in bad.output
    assert "not fit for use as it is" in bad.output


def test_info_tells_the_range_of_a_tables_ratings_or_that_nobody_states_it(rated_table: Path) -> None:
    def shown(*options: str) -> str:
        return runner.invoke(app, ["info", str(rated_table), *options]).output

    assert "(scale not stated; --mos-range states it)" in shown()
    assert "(scale -1 to 5)" in shown("--mos-range", "-1,5")
    verified = runner.invoke(app, ["verify", str(rated_table), "--mos-range", "quality=1.5,5"])
    assert "error mos-out-of-range" in verified.output
    assert "MOS of 'quality' lie outside 1.5-5" in verified.output


def test_verify_of_a_table(tmp_path: Path, standins) -> None:
    (tmp_path / "t.csv").write_text("image,prompt,mos\na.png,p [red],1\nb.png,q,2\n", encoding="utf-8")
    for name in ("a.png", "b.png"):
        standins.save_standin(tmp_path / name, 16)
    result = runner.invoke(app, ["verify", str(tmp_path / "t.csv")])
    assert result.exit_code == 0, result.output
    assert "2 rows, 2 images decode" in result.output


def test_download_takes_files_put_there_by_hand(
    annotations: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(downloading, "fetch", lambda *arguments: pytest.fail("the network was asked"))
    monkeypatch.setenv("AGIQA_DATA", str(tmp_path))
    (tmp_path / "agiqa3k").mkdir()
    shutil.copyfile(annotations / "agiqa3k" / "data.csv", tmp_path / "agiqa3k" / "data.csv")
    with zipfile.ZipFile(tmp_path / "agiqa3k" / "AGIQA-3K.zip", "w") as archive:
        archive.writestr("AGIQA-3K/AttnGAN_normal_000.jpg", b"x")
    result = runner.invoke(app, ["download", "agiqa3k"])
    assert result.exit_code == 0, result.output
    assert "unpacked 1 files" in result.output
    assert (tmp_path / "agiqa3k" / "AGIQA-3K" / "AGIQA-3K" / "AttnGAN_normal_000.jpg").exists()


def test_histogram_bar() -> None:
    assert histogram_bar((0, 1, 4, 8)) == " ▁▄█"
    assert histogram_bar((1, 1000)) == "▁█"
    assert histogram_bar(()) == ""
