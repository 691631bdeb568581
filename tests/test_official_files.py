"""The road on the official annotation files, with stand-in images under the official file names."""

import csv

import pytest

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
    assert -1.0 <= float(found["niqe", "quality"]["srcc_mean"]) <= 1.0
