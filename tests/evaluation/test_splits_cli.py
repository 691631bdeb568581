from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from agiqa_bench.cli.splits import app
from agiqa_bench.data import catalogue
from agiqa_bench.data.dataset import Dataset, Fault, Target
from agiqa_bench.errors import SplitError, UnknownNameError


@pytest.fixture(autouse=True)
def _small_dataset(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Dataset):
        name = "small"
        title = "Small"
        targets = (Target("quality", (0.0, 5.0)),)

        def read(self) -> tuple[pd.DataFrame, tuple[Fault, ...]]:
            return table, ()

    def open_dataset(name_or_path: str, root: Path | None, *, annotations_only: bool = False) -> Dataset:
        return Small(root, annotations_only=annotations_only)

    monkeypatch.setattr(catalogue, "open_dataset", open_dataset)
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_show_export_and_import_agree(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    shown = run("show", "small", "--repeats", "3")
    assert "84 (14)" in shown
    assert "100.0 %" in shown
    assert run("export", "small", "--output", str(path), "--repeats", "3") == (
        "0% of the test images have their prompt in the training part\n"
        "0% of the test images have their group in the training part\n"
        "100% of the test images have their generator in the training part\n"
        f"wrote 3 grouped splits of small to {path}\n"
    )
    imported = run("import", "small", str(path))
    assert f"agiqa-bench run --dataset small --splits {path}" in imported
    (digest,) = (line for line in shown.splitlines() if line.startswith("digest of all splits: "))
    assert digest in imported


def test_generator_rule_names_the_family_held_out() -> None:
    shown = run("show", "small", "--split", "generator")
    assert [f"{i} {family}" in shown for i, family in enumerate("abc")] == [True] * 3


def test_errors_reach_the_main_program(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown split rule 'grouper'"):
        run("show", "small", "--split", "grouper")
    with pytest.raises(SplitError, match=r"split file .*: no such file"):
        run("import", "small", str(tmp_path / "none.json"))
