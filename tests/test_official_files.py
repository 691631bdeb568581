"""The road on the official annotation files, with stand-in images under the official file names."""

import csv

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook
from PIL import Image
from scipy.stats import spearmanr

from agiqa_bench.methods.niqe import niqe
from agiqa_bench.methods.niqe_pristine import REFIT_FILE, read_pristine

SETS = {
    "agiqa1k": ("1,080 rows", "180 groups", {("niqe", "quality"), ("clipscore", "quality")}),
    "agiqa3k": ("2,982 rows", "300 groups", {("niqe", "quality"), ("clipscore", "alignment")}),
    "aigciqa2023": ("2,400 rows", "100 groups", {("niqe", "quality")}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_niqe_and_clipscore_run_on_the_official_files(name, annotations, standins, command, tmp_path):
    rows, groups, expected = SETS[name]
    standins.make_standins(name, annotations, tmp_path / "data", size=96)
    info = command("datasets", "info", name, "--data-root", tmp_path / "data")
    assert rows in info.stdout
    assert groups in info.stdout
    assert "all here" in info.stdout
    done = command("run", "--methods", "niqe,clipscore", "--dataset", name, "--data-root", tmp_path / "data",
                   "--repeats", 2, "--offline", timeout=500)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results" / "runs" / name / "table.csv").open() as file:
        found = {(row["method"].partition(" ")[0], row["target"]): row for row in csv.DictReader(file)}
    assert set(found) == expected
    # Nothing here is the real thing, and every name says so.
    assert found["niqe", "quality"]["name"] == "NIQE (refit)"
    assert all("(demo CLIP ViT)" in row["name"] for (method, _), row in found.items() if method == "clipscore")
    folder = tmp_path / "results" / "runs" / name
    for (method, target), row in found.items():
        ratings = published_ratings(name, target, annotations)
        wanted = [correlation(cell, ratings, target) for cell in cells(folder, method)]
        assert len(wanted) == 2
        assert float(row["srcc_mean"]) == pytest.approx(np.mean(wanted), abs=1e-6)
        assert float(row["srcc_std"]) == pytest.approx(np.std(wanted, ddof=1), abs=1e-6)
    # And what is correlated is NIQE of the file of that name.
    first = pd.read_parquet(cells(folder, "niqe")[0]).iloc[0]
    (file,) = [path for path in (tmp_path / "data").rglob(first["image"]) if path.is_file()]
    with Image.open(file) as image:
        direct = niqe(np.asarray(image.convert("RGB")), read_pristine(REFIT_FILE))
    assert first["score_quality"] == pytest.approx(-direct, rel=1e-6)


def cells(folder, method):
    """The files of scores of a method, one per repeat."""
    return sorted((folder / "cells").glob(f"{method}*/*/predictions.parquet"))


def correlation(cell, ratings, target):
    scores = pd.read_parquet(cell)
    assert scores[f"score_{target}"].nunique() > 100
    return spearmanr(scores[f"score_{target}"], ratings[scores["row"]]).statistic


def published_ratings(name, target, annotations):
    """The ratings in the order of the official file, read without this project."""
    if name == "agiqa1k":
        sheet = load_workbook(annotations / name / "AIGC_MOS_Zscore.xlsx", read_only=True).worksheets[0]
        return np.array([float(row[2]) for row in sheet.iter_rows(min_row=2, max_col=3, values_only=True)])
    file, column = {
        "agiqa3k": ("data.csv", {"quality": "mos_quality", "alignment": "mos_align"}[target]),
        "aigciqa2023": ("mos_quality_authenticity.csv", "mos_quality"),
    }[name]
    return pd.read_csv(annotations / name / file)[column].to_numpy()
